//! Asks Nomad which cluster this is, in the background: no start waits for the answers.

use std::{future, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{debug, info};

use super::{Identity, now};
use crate::{
    backoff::Backoff,
    nomad::{Client, Error},
};

/// How often the keys are read again. A rotated key stays longer than that. If the cluster was rebuilt under a running leader,
/// the new keys are in the checkpoint after that time.
const REFRESH: Duration = Duration::from_secs(60);

/// How many times a request is sent again after its answer broke off or did not come, as happens while an agent restarts.
const TRIES: u32 = 5;

/// What is known of a cluster so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// What is known of the cluster that this replica reads.
    pub identity: Identity,
    /// Nomad has answered each request once, or not in time. Until then the next answer can add something.
    pub settled: bool,
}

impl View {
    /// Whether everything is known.
    pub fn is_complete(&self) -> bool {
        self.identity.region.is_some() && !self.identity.keys.is_empty()
    }
}

/// The cluster that this replica reads, as far as it is known. All clones see the same.
#[derive(Clone, Debug)]
pub struct Known(watch::Receiver<View>);

impl Known {
    /// Always nothing: without a stored checkpoint there is nothing to compare.
    pub fn nothing() -> Self {
        Known(watch::channel(View { settled: true, ..View::default() }).1)
    }

    /// What the sender shows.
    #[cfg(test)]
    pub(crate) fn shown(view: View) -> (watch::Sender<View>, Self) {
        let (sender, known) = watch::channel(view);
        (sender, Known(known))
    }

    /// Asks `client` from now on, until the last clone is dropped. `label` is `NOMAD_FIREHOSE_CLUSTER`.
    ///
    /// A failure makes the client switch to its next address, so pass a client that nothing else uses.
    pub fn learn(client: Client, label: Option<String>) -> Self {
        let identity = Identity { label, ..Identity::default() };
        let (sender, known) = watch::channel(View { identity, settled: false });
        tokio::spawn(async move {
            tokio::select! {
                () = keep_asking(&client, &sender) => {}
                () = sender.closed() => {}
            }
        });
        Known(known)
    }

    /// What is known now.
    pub fn view(&self) -> View {
        self.0.borrow().clone()
    }

    /// What is known of the cluster now.
    pub fn identity(&self) -> Identity {
        self.0.borrow().identity.clone()
    }

    /// Waits until [`View::settled`], at most for `within`.
    pub async fn settled_within(&self, within: Duration) {
        // After that, what is known has to suffice.
        timeout(within, self.settled()).await.ok();
    }

    /// Waits until [`View::settled`].
    pub async fn settled(&self) {
        // An error: the asking task has ended, so nothing will be added.
        self.0.clone().wait_for(|view| view.settled).await.ok();
    }

    /// Waits until something has changed since the last call.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            future::pending().await
        }
    }
}

async fn keep_asking(client: &Client, sender: &watch::Sender<View>) {
    let mut unreachable = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut unreadable = Backoff::new(Duration::from_secs(2), REFRESH);
    let mut tries = 0;
    loop {
        tries += 1;
        let (region, keys) = tokio::join!(ask_region(client, sender, tries), ask_keys(client, sender, tries));
        let pause = if region && keys {
            sender.send_if_modified(|view| !std::mem::replace(&mut view.settled, true));
            if sender.borrow().is_complete() { REFRESH } else { unreadable.failed() }
        } else {
            unreachable.failed()
        };
        sleep(pause).await;
    }
}

/// Asks for the region if it is not known yet. Returns whether Nomad answered, or was reached and did not answer in time.
async fn ask_region(client: &Client, sender: &watch::Sender<View>, tries: u32) -> bool {
    if sender.borrow().identity.region.is_some() {
        return true;
    }
    match region(client).await {
        Ok(Some(region)) => {
            debug!(region, "region learned");
            sender.send_modify(|view| view.identity.region = Some(region));
            true
        }
        Ok(None) => true,
        Err(error) => is_answer(&error, tries),
    }
}

/// As [`ask_region`], for the keys.
async fn ask_keys(client: &Client, sender: &watch::Sender<View>, tries: u32) -> bool {
    match client.keyring().await {
        // A keyring that does not exist yet is not another one.
        Ok(keyring) if keyring.keys.is_empty() => true,
        Ok(keyring) => {
            let until = now().saturating_add(keyring.lasts.as_secs());
            sender.send_if_modified(|view| {
                let before = view.identity.clone();
                view.identity.take_keys(keyring.keys, until);
                if !before.keys.is_empty() && !before.shares_a_key(&view.identity) {
                    info!(
                        hint = "the keyring was rotated by hand, or this is another cluster",
                        "cluster keyring has no known key"
                    );
                }
                view.identity != before
            });
            true
        }
        Err(error) => is_answer(&error, tries),
    }
}

/// The region that requests go to, by the servers' own word; `None` if they do not say.
pub(crate) async fn region(client: &Client) -> Result<Option<String>, Error> {
    if let Some(region) = client.region() {
        // Only servers of that region answer, or servers that reach it.
        client.leader(None).await?;
        return Ok(Some(region.to_owned()));
    }
    let mut regions = client.regions().await?;
    if regions.len() <= 1 {
        return Ok(regions.pop());
    }
    // Among several regions, ours is the one with the same leader.
    let ours = client.leader(None).await?;
    let leaders = join_all(regions.iter().map(|region| client.leader(Some(region)))).await;
    let mut same = regions.iter().zip(leaders).filter(|(_, leader)| leader.as_ref().is_ok_and(|at| *at == ours));
    Ok(match (same.next(), same.next()) {
        (Some((region, _)), None) if !ours.is_empty() => Some(region.clone()),
        _ => None,
    })
}

/// Whether Nomad has answered, or was reached and did not answer: then it will not say more for a while.
fn is_answer(error: &Error, tries: u32) -> bool {
    debug!(%error, "the cluster's identity cannot be read");
    match error {
        // Nothing is written here.
        Error::Write(_)
        | Error::Status { .. }
        | Error::Denied { .. }
        | Error::BadToken { .. }
        | Error::NoNamespace { .. }
        | Error::NoStream { .. }
        | Error::Refused { .. }
        | Error::HeldBack { .. }
        | Error::Unsupported { .. }
        | Error::LongLine { .. }
        | Error::Garbage { .. }
        | Error::NoRegion { .. }
        | Error::Busy { .. }
        | Error::Timeout { .. } => true,
        Error::Silent { .. } | Error::Broken { .. } => tries >= TRIES,
        Error::File { .. } | Error::Setting { .. } | Error::Connect { .. } | Error::Tls { .. } => false,
    }
}
