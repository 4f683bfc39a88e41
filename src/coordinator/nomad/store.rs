//! The checkpoint of one tenure: how it is read, and how a change of it is written.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::sleep;
use tracing::{debug, warn};

use super::{
    plan::{self, Part, Plan, Stored},
    record::{Content, Head},
    shared::Shared,
    writer::{NotStored, Requests},
};
use crate::{
    backoff::Backoff,
    checkpoint::Checkpoint,
    coordinator::reset::reset_in_variables,
    kind::Kind,
    lease::{Error, Progress},
    nomad::{self, Client, Items, Place, Written},
    position::RaftIndex,
    task_cursors::TaskCursors,
    throttle::Outage,
};

/// The deadline of each read and write.
const WITHIN: Duration = Duration::from_secs(10);
/// The most Variables that one save deletes.
const DELETED_AT_ONCE: usize = 16;
/// The key of the task cursors in a Variable of their own.
const ITEM: &str = "task_cursors";

/// Which Variable is wrong, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Corrupt {
    pub(super) path: String,
    pub(super) reason: String,
}

/// Why a checkpoint could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    Corrupt(Corrupt),
    Nomad(nomad::Error),
}

/// A checkpoint that was read.
pub(super) struct Found {
    pub(super) checkpoint: Checkpoint,
    pub(super) stored: Stored,
}

/// Reads the checkpoint whose head is `content`. `None` where there is none.
pub(super) async fn read(
    client: &Client,
    place: &Place,
    path: &str,
    content: &Content,
) -> Result<Option<Found>, Unread> {
    let corrupt = |path: String, reason: String| Unread::Corrupt(Corrupt { path, reason });
    let Some(Head { mut checkpoint, parts }) = content.parse().map_err(|reason| corrupt(path.to_owned(), reason))?
    else {
        return Ok(None);
    };
    let mut stored = Stored { parts, ..Stored::default() };
    let mut all = TaskCursors::default();
    for (number, name) in stored.parts.names().enumerate() {
        let path = format!("{path}/{name}");
        let found = client.variable(place, &path, None, WITHIN).await.map_err(Unread::Nomad)?;
        let Some(text) = found.and_then(|mut found| found.items.remove(ITEM)) else {
            return Err(corrupt(path, "it is missing".to_owned()));
        };
        let some = plan::parse(&text).map_err(|reason| corrupt(path, reason))?;
        match number < stored.parts.pages.len() {
            true => stored.in_pages += some.len(),
            false => stored.in_logs += some.len(),
        }
        some.into_iter().for_each(|(task, cursor)| all.set(task, cursor));
    }
    if let Some(text) = &content.recent {
        stored.recent = plan::parse(text).map_err(|reason| corrupt(path.to_owned(), reason))?;
        stored.recent.iter().for_each(|(task, cursor)| all.set(*task, *cursor));
    }
    checkpoint.task_cursors = all;
    Ok(Some(Found { checkpoint, stored }))
}

/// Reads and writes the checkpoint of one tenure.
#[derive(Debug)]
pub(super) struct Store {
    shared: Arc<Shared>,
    kind: Kind,
    path: String,
    /// What the Variable held when the lease was taken.
    begun: Content,
    /// A checkpoint made from what the last leader had told, for the case that its own is gone.
    known: Option<Checkpoint>,
    plan: Plan,
    /// What the stored head names.
    named: BTreeSet<String>,
    /// The paths of Variables that no head names any more.
    obsolete: Vec<String>,
}

impl Store {
    pub(super) fn new(shared: Arc<Shared>, kind: Kind, begun: Content, known: Option<Checkpoint>) -> Self {
        let (path, plan) = (shared.path(kind), Plan::new(&shared.id, None));
        Store { shared, kind, path, begun, known, plan, named: BTreeSet::new(), obsolete: Vec::new() }
    }

    /// Reads the checkpoint. Waits for a Nomad that does not answer.
    pub(super) async fn load(&mut self) -> Result<Option<Checkpoint>, Error> {
        let mut outage = Outage::new("reading the checkpoint from Nomad");
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let found = loop {
            match read(&self.shared.client, &self.shared.options.place, &self.path, &self.begun).await {
                Ok(found) => break found,
                Err(Unread::Corrupt(Corrupt { path, reason })) => {
                    return Err(Error::Corrupt { path, reason, reset: reset_in_variables(self.kind, &self.path) });
                }
                Err(Unread::Nomad(error)) => outage.log(&error),
            }
            sleep(backoff.failed()).await;
        };
        outage.over();
        let Some(Found { checkpoint, stored }) = found else {
            if self.known.is_some() {
                warn!(kind = %self.kind, checkpoint = "missing", "resuming from the last heartbeat");
            }
            return Ok(self.known.clone());
        };
        self.named = stored.parts.names().cloned().collect();
        self.plan = Plan::new(&self.shared.id, Some(stored));
        self.find_obsolete().await;
        // A first checkpoint that was cut off does not count.
        Ok(Some(checkpoint).filter(Checkpoint::is_begun))
    }

    /// Finds what earlier leaders have left behind.
    async fn find_obsolete(&mut self) {
        let prefix = format!("{}/", self.path);
        let place = &self.shared.options.place;
        match self.shared.client.variables(place, &prefix, WITHIN).await {
            Ok(found) => {
                let is_named = |path: &str| path.strip_prefix(&prefix).is_some_and(|name| self.named.contains(name));
                let paths = found.into_iter().map(|variable| variable.path);
                self.obsolete = paths.filter(|path| !is_named(path)).collect();
            }
            // The next leader finds them.
            Err(error) => debug!(%error, "cannot list what earlier leaders have left"),
        }
    }

    /// Writes what changed.
    pub(super) async fn save(&mut self, requests: &Requests, progress: &dyn Progress) -> Result<(), Error> {
        let Some(changes) = progress.changes() else { return Ok(()) };
        self.plan.take_in(&changes, progress);
        match self.write(requests, progress, &changes.head).await {
            Ok(()) => {
                self.delete_some().await;
                Ok(())
            }
            Err(failed) => {
                progress.not_stored();
                Err(match failed {
                    NotStored::Lost => Error::Lost,
                    NotStored::Unknown(error) => Error::Nomad(error),
                })
            }
        }
    }

    async fn write(
        &mut self,
        requests: &Requests,
        progress: &dyn Progress,
        checkpoint: &Checkpoint,
    ) -> Result<(), NotStored> {
        let mut is_first = true;
        while let Some((Part { name, text }, pending)) = self.plan.next_part(progress, is_first) {
            is_first = false;
            let items = Items::from([(ITEM.to_owned(), text)]);
            let (place, path) = (&self.shared.options.place, format!("{}/{name}", self.path));
            let written = self.shared.client.put_variable(place, &path, (&items, RaftIndex(0)), WITHIN).await;
            match written.map_err(|error| NotStored::Unknown(Arc::new(error)))? {
                Written::Done(_) => self.plan.wrote(name, pending),
                // The name is ours alone: another program has used it. The next one is free.
                Written::Conflict(_) => {}
            }
        }
        let (head, recent) = self.plan.head(checkpoint);
        requests.save(Content { head: Some(head), recent }).await?;
        let names = self.plan.names();
        let before = std::mem::replace(&mut self.named, names);
        let gone = before.difference(&self.named).map(|name| format!("{}/{name}", self.path));
        self.obsolete.extend(gone);
        Ok(())
    }

    /// Deletes some of what no head names. What cannot be deleted now, a later leader finds.
    async fn delete_some(&mut self) {
        let from = self.obsolete.len().saturating_sub(DELETED_AT_ONCE);
        let place = &self.shared.options.place;
        for path in self.obsolete.drain(from..) {
            let index = match self.shared.client.variable(place, &path, None, WITHIN).await {
                Ok(Some(found)) => found.index,
                Ok(None) => continue,
                Err(error) => {
                    debug!(%error, "cannot read what is to be deleted");
                    continue;
                }
            };
            if let Err(error) = self.shared.client.delete_variable(place, &path, index, WITHIN).await {
                debug!(%error, "cannot delete old task cursors");
            }
        }
    }
}
