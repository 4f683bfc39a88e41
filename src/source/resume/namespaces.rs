//! The namespaces of a subscription. No topic announces new ones, so a blocking query watches for them.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::{
    backoff::Backoff,
    nomad::{Client, Error, Namespace},
    position::RaftIndex,
};

/// How long one query may wait for a change.
const WAIT: Duration = Duration::from_secs(300);
/// Answers that arrive faster than this are followed by a pause.
const PACE: Duration = Duration::from_millis(200);

/// The namespaces whose events a subscription has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespaces {
    /// All that the token may see. `None` for the stream of one namespace, and if they cannot be listed.
    listed: Option<Vec<Namespace>>,
    /// The index of the last change to any of them, deletions included.
    changed_at: RaftIndex,
}

impl Namespaces {
    /// The namespaces of `stream`: one namespace, or `*` for all.
    ///
    /// # Errors
    /// The one namespace does not exist, or the cluster does not answer.
    pub(crate) async fn find(client: &Client, stream: &str) -> Result<Self, Error> {
        if stream != "*" {
            return check(client, stream).await.map(|()| Namespaces::default());
        }
        match client.namespaces(RaftIndex(0), WAIT).await {
            Ok((changed_at, listed)) => Ok(Namespaces { listed: Some(listed), changed_at }),
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => {
                debug!(%error, "namespaces cannot be listed; new ones are found when the stream is subscribed again");
                Ok(Namespaces::default())
            }
        }
    }

    /// The listed namespaces; none if they could not be listed.
    pub(crate) fn listed(&self) -> &[Namespace] {
        self.listed.as_deref().unwrap_or_default()
    }

    /// Whether they are all of the cluster, so that a new one needs a new subscription.
    pub(crate) fn are_all(&self) -> bool {
        self.listed.is_some()
    }

    /// The raft index at which the last of them was created.
    pub(crate) fn newest(&self) -> RaftIndex {
        newest(self.listed())
    }

    /// Every existing namespace that was created up to this raft index is one of them.
    pub(crate) fn complete_to(&self) -> RaftIndex {
        self.newest().max(self.changed_at)
    }

    /// Whether a namespace was created since they were listed.
    ///
    /// A subscription to all namespaces has those of some moment between the request and its first line. It is known
    /// which only if the lists before and after agree: one too many would be read twice, one too few never.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub(crate) async fn is_outdated(&self, client: &Client) -> Result<bool, Error> {
        if !self.are_all() {
            return Ok(false);
        }
        let now = Namespaces::find(client, "*").await?;
        Ok(now.newest() > self.newest())
    }

    /// Watches for namespaces that are created from now on.
    pub(crate) fn watch(&self, client: Client) -> NamespaceWatch {
        let (sender, created) = mpsc::channel(1);
        let watch = watch(client, self.newest(), sender);
        let task = self.are_all().then(|| AbortOnDropHandle::new(tokio::spawn(watch)));
        NamespaceWatch { created, _task: task }
    }
}

/// The raft index at which the last of these was created.
pub(crate) fn newest(namespaces: &[Namespace]) -> RaftIndex {
    namespaces.iter().map(|namespace| namespace.create_index).max().unwrap_or_default()
}

/// Checks that a namespace exists: Nomad accepts a stream of a missing one, and never sends anything.
///
/// # Errors
/// It does not exist, or the cluster does not answer. A token that may not ask is no error: the stream will tell.
pub(crate) async fn check(client: &Client, name: &str) -> Result<(), Error> {
    match client.namespace(name).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Error::NoNamespace { namespace: name.to_owned() }),
        // Before 1.0 only Nomad Enterprise had namespaces.
        Err(error) if error.is_retryable() && !matches!(error, Error::Status { code: 501, .. }) => Err(error),
        Err(error) => {
            debug!(%error, namespace = name, "the namespace cannot be asked for");
            Ok(())
        }
    }
}

/// A task that looks for new namespaces. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct NamespaceWatch {
    created: mpsc::Receiver<Vec<Namespace>>,
    /// `None` if there is nothing to watch.
    _task: Option<AbortOnDropHandle<()>>,
}

impl NamespaceWatch {
    /// The first namespaces to be created, those of one change together. Pending forever if there is nothing to watch.
    /// Cancel-safe.
    pub(crate) async fn created(&mut self) -> Vec<Namespace> {
        match self.created.recv().await {
            Some(created) => created,
            None => std::future::pending().await,
        }
    }
}

async fn watch(client: Client, known: RaftIndex, created: mpsc::Sender<Vec<Namespace>>) {
    let mut backoff = Backoff::default();
    let mut index = RaftIndex(0);
    loop {
        let asked = Instant::now();
        match client.namespaces(index, WAIT).await {
            Ok((next, namespaces)) => {
                // An index that went back belongs to another history.
                let before = std::mem::replace(&mut index, next.max(RaftIndex(1)));
                if next < before {
                    index = RaftIndex(0);
                }
                let new = namespaces.into_iter().filter(|namespace| namespace.create_index > known);
                let new: Vec<Namespace> = new.collect();
                if !new.is_empty() {
                    if created.send(new).await.is_err() {
                        debug!("the driver that watched for namespaces has ended");
                    }
                    return;
                }
                // A server that does not wait for a change would otherwise be asked all the time.
                if next <= before && asked.elapsed() < PACE {
                    sleep(backoff.failed().max(PACE)).await;
                } else if asked.elapsed() < PACE && before.0 > 0 {
                    sleep(PACE).await;
                } else {
                    backoff.reset();
                }
            }
            Err(error) => {
                debug!(%error, "cannot watch the namespaces");
                sleep(backoff.failed()).await;
            }
        }
    }
}
