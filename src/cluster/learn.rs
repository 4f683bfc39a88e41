//! Asks Nomad which cluster this is, beside everything else: no start waits for the answers.

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

/// How often the keys are read again: a rotated key stays for longer than that, and a cluster that was built anew under a
/// running leader has its new keys in the checkpoint that soon.
const REFRESH: Duration = Duration::from_secs(60);

/// So often a question is asked again whose answer breaks off or does not come: an agent that restarts does that for a moment.
const TRIES: u32 = 5;

/// What is known so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// What is known of the cluster that this replica reads.
    pub identity: Identity,
    /// Nomad has answered each question once, or not in time. Until then the next answer can tell more.
    pub settled: bool,
}

impl View {
    /// Whether nothing more can become known.
    pub fn is_complete(&self) -> bool {
        self.identity.region.is_some() && !self.identity.keys.is_empty()
    }
}

/// The cluster that this replica reads, as far as it is known. Clones see the same.
#[derive(Clone, Debug)]
pub struct Known(watch::Receiver<View>);

impl Known {
    /// Nothing, for good: where nothing is stored, nothing need be compared.
    pub fn nothing() -> Self {
        Known(watch::channel(View { settled: true, ..View::default() }).1)
    }

    /// Asks `client` from now on, until the last clone is gone. `label` is `NOMAD_FIREHOSE_CLUSTER`.
    ///
    /// A failure has the client try its next address, so it should be one of its own.
    pub fn learn(client: Client, label: Option<String>) -> Self {
        let identity = Identity { label, ..Identity::default() };
        let (told, known) = watch::channel(View { identity, settled: false });
        tokio::spawn(async move {
            tokio::select! {
                () = ask_for_ever(&client, &told) => {}
                () = told.closed() => {}
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

    /// Whether [`View::settled`].
    pub fn is_settled(&self) -> bool {
        self.0.borrow().settled
    }

    /// Waits until it is settled, but no longer than that.
    pub async fn settled(&self, within: Duration) {
        // In vain, what is known has to do.
        timeout(within, self.0.clone().wait_for(|view| view.settled)).await.ok();
    }

    /// Waits until more is known than at the last call.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            future::pending().await
        }
    }
}

async fn ask_for_ever(client: &Client, told: &watch::Sender<View>) {
    let mut unreachable = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut unreadable = Backoff::new(Duration::from_secs(2), REFRESH);
    let mut tries = 0;
    loop {
        tries += 1;
        let (region, keys) = tokio::join!(ask_region(client, told, tries), ask_keys(client, told, tries));
        let pause = if region && keys {
            told.send_if_modified(|view| !std::mem::replace(&mut view.settled, true));
            if told.borrow().is_complete() { REFRESH } else { unreadable.failed() }
        } else {
            unreachable.failed()
        };
        sleep(pause).await;
    }
}

/// Asks for the region, where it is not known yet. Says whether Nomad answered, or could not in time.
async fn ask_region(client: &Client, told: &watch::Sender<View>, tries: u32) -> bool {
    if told.borrow().identity.region.is_some() {
        return true;
    }
    match region(client).await {
        Ok(Some(region)) => {
            debug!(region, "region learned");
            told.send_modify(|view| view.identity.region = Some(region));
            true
        }
        Ok(None) => true,
        Err(error) => is_answer(&error, tries),
    }
}

/// As [`ask_region`], for the keys.
async fn ask_keys(client: &Client, told: &watch::Sender<View>, tries: u32) -> bool {
    match client.keyring().await {
        // A keyring that is not there yet is no other one.
        Ok(keyring) if keyring.keys.is_empty() => true,
        Ok(keyring) => {
            let until = now().saturating_add(keyring.lasts.as_secs());
            told.send_if_modified(|view| {
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

/// The region that reads go to, as the servers have it. `None` where they do not tell.
async fn region(client: &Client) -> Result<Option<String>, Error> {
    if let Some(region) = client.region() {
        // Only servers of that region answer, or those that reach one.
        client.leader(None).await?;
        return Ok(Some(region.to_owned()));
    }
    let mut regions = client.regions().await?;
    if regions.len() <= 1 {
        return Ok(regions.pop());
    }
    // Of several, ours is the one whose leader ours is.
    let ours = client.leader(None).await?;
    let leaders = join_all(regions.iter().map(|region| client.leader(Some(region)))).await;
    let mut same = regions.iter().zip(leaders).filter(|(_, leader)| leader.as_ref().is_ok_and(|at| *at == ours));
    Ok(match (same.next(), same.next()) {
        (Some((region, _)), None) if !ours.is_empty() => Some(region.clone()),
        _ => None,
    })
}

/// Whether Nomad has answered, or can be reached and does not: then it will not say more for a while.
fn is_answer(error: &Error, tries: u32) -> bool {
    debug!(%error, "the cluster's identity cannot be read");
    match error {
        Error::Status { .. }
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
