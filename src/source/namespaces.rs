//! Finds namespaces that are created while a stream of all of them is open: no topic announces them.

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

/// All namespaces that the token may see; `None` where the cluster has none or the token may not list them.
///
/// # Errors
/// The cluster cannot be asked.
pub(super) async fn list(client: &Client) -> Result<Option<Vec<Namespace>>, Error> {
    Ok(list_at(client).await?.map(|(_, namespaces)| namespaces))
}

/// Those of a lane that is of `lane`, all or one. `None` too where it is of one: that is there.
///
/// # Errors
/// It is not there, or the cluster cannot be asked.
pub(super) async fn of(client: &Client, lane: &str) -> Result<Option<Vec<Namespace>>, Error> {
    if lane == "*" { list(client).await } else { check(client, lane).await.map(|()| None) }
}

/// The same, with the index of the last change to any, deletions included: whatever was created up to it is there.
///
/// # Errors
/// The cluster cannot be asked.
pub(super) async fn list_at(client: &Client) -> Result<Option<(RaftIndex, Vec<Namespace>)>, Error> {
    match client.namespaces(RaftIndex(0), WAIT).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_retryable() => Err(error),
        Err(error) => {
            debug!(%error, "namespaces cannot be listed; new ones are found when the stream is subscribed again");
            Ok(None)
        }
    }
}

/// Whether one was created since `found` was listed.
///
/// A subscription to all namespaces has those of some moment between the request and its first line. Only where the
/// lists before and after have the same ones is it known which: one too many would be read twice, one too few never.
///
/// # Errors
/// The cluster cannot be asked.
pub(super) async fn created_since(client: &Client, found: &[Namespace]) -> Result<bool, Error> {
    let now = list(client).await?;
    Ok(now.is_some_and(|now| newest(&now) > newest(found)))
}

/// The raft index at which the last of them was created.
pub(super) fn newest(namespaces: &[Namespace]) -> RaftIndex {
    namespaces.iter().map(|namespace| namespace.create_index).max().unwrap_or_default()
}

/// Whether a namespace is there: a stream of one that is not would be accepted and stay silent.
///
/// # Errors
/// It is not there, or the cluster cannot be asked. A token that may not ask is no error: the stream tells.
pub(super) async fn check(client: &Client, name: &str) -> Result<(), Error> {
    match client.namespace(name).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Error::NoNamespace { namespace: name.to_owned() }),
        // Before 1.0 namespaces were not for everyone.
        Err(error) if error.is_retryable() && !matches!(error, Error::Status { code: 501, .. }) => Err(error),
        Err(error) => {
            debug!(%error, namespace = name, "the namespace cannot be asked for");
            Ok(())
        }
    }
}

/// Watches for namespaces created after `covered`. They come together, and then the watch ends.
pub(super) fn watch(
    client: Client,
    covered: RaftIndex,
) -> (mpsc::Receiver<Vec<Namespace>>, Option<AbortOnDropHandle<()>>) {
    let (sender, receiver) = mpsc::channel(1);
    let task = tokio::spawn(async move {
        let mut backoff = Backoff::default();
        let mut index = RaftIndex(0);
        loop {
            let asked = Instant::now();
            match client.namespaces(index, WAIT).await {
                Ok((next, namespaces)) => {
                    // An index that went back is another history's.
                    let before = std::mem::replace(&mut index, next.max(RaftIndex(1)));
                    if next < before {
                        index = RaftIndex(0);
                    }
                    let new = namespaces.into_iter().filter(|namespace| namespace.create_index > covered);
                    let new: Vec<Namespace> = new.collect();
                    if !new.is_empty() {
                        // Nobody is left to hear of it when the lane has ended.
                        if sender.send(new).await.is_err() {
                            debug!("nobody waits for new namespaces any more");
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
    });
    (receiver, Some(AbortOnDropHandle::new(task)))
}
