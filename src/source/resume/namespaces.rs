//! The namespaces of a subscription. No topic announces new ones: they are found by asking.

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

/// How long one question may wait for a change.
const WAIT: Duration = Duration::from_secs(300);
/// Answers that come faster than this are followed by a pause.
const PACE: Duration = Duration::from_millis(200);

/// The namespaces whose events a subscription has.
#[derive(Clone, Debug, Default)]
pub(in crate::source) struct Namespaces {
    /// All that the token may see. `None` for a stream of one namespace, and where they cannot be listed.
    listed: Option<Vec<Namespace>>,
    /// The index of the last change to any of them, deletions included.
    changed_at: RaftIndex,
}

impl Namespaces {
    /// Those of the stream of `stream`: a namespace, or `*` for all.
    ///
    /// # Errors
    /// The one namespace does not exist, or the cluster cannot be asked.
    pub(in crate::source) async fn find(client: &Client, stream: &str) -> Result<Self, Error> {
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

    /// Those that were listed; none where they were not.
    pub(in crate::source) fn listed(&self) -> &[Namespace] {
        self.listed.as_deref().unwrap_or_default()
    }

    /// Whether they are all that the cluster has, so that a new one means a new subscription.
    pub(in crate::source) fn are_all(&self) -> bool {
        self.listed.is_some()
    }

    /// The raft index at which the last of them was created.
    pub(in crate::source) fn newest(&self) -> RaftIndex {
        newest(self.listed())
    }

    /// Every namespace that exists and was created up to this raft index is one of them.
    pub(in crate::source) fn complete_to(&self) -> RaftIndex {
        self.newest().max(self.changed_at)
    }

    /// Whether one was created since they were listed.
    ///
    /// A subscription to all namespaces has those of some moment between the request and its first line. Only where the
    /// lists before and after agree is it known which: one too many would be read twice, one too few never.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub(in crate::source) async fn is_outdated(&self, client: &Client) -> Result<bool, Error> {
        if !self.are_all() {
            return Ok(false);
        }
        let now = Namespaces::find(client, "*").await?;
        Ok(now.newest() > self.newest())
    }

    /// Watches for namespaces that are created from now on.
    pub(in crate::source) fn watch(&self, client: Client) -> NamespaceWatch {
        let (sender, created) = mpsc::channel(1);
        let watch = watch(client, self.newest(), sender);
        let task = self.are_all().then(|| AbortOnDropHandle::new(tokio::spawn(watch)));
        NamespaceWatch { created, task }
    }
}

/// The raft index at which the last of these was created.
pub(in crate::source) fn newest(namespaces: &[Namespace]) -> RaftIndex {
    namespaces.iter().map(|namespace| namespace.create_index).max().unwrap_or_default()
}

/// Checks that a namespace exists: Nomad accepts a stream of one that does not, and never sends anything.
///
/// # Errors
/// It does not exist, or the cluster cannot be asked. A token that may not ask is no error: the stream tells.
pub(in crate::source) async fn check(client: &Client, name: &str) -> Result<(), Error> {
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
pub(in crate::source) struct NamespaceWatch {
    created: mpsc::Receiver<Vec<Namespace>>,
    /// `None` where there is nothing to watch.
    task: Option<AbortOnDropHandle<()>>,
}

impl NamespaceWatch {
    /// The first namespaces to be created, those of one change together. Never returns where none can be. Cancel-safe.
    pub(in crate::source) async fn created(&mut self) -> Vec<Namespace> {
        match self.task {
            Some(_) => match self.created.recv().await {
                Some(created) => created,
                None => std::future::pending().await,
            },
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
                // An index that went back is of another history.
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
                // A server that does not wait for a change would be asked all the time.
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
