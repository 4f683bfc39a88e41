//! The checkpoint of one tenure in Consul: how it is read, and how a change of it is written.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{
    keys::Extent,
    layout::{self, Corrupt, Found, Head},
    plan::{Remote, Save, Written, fits, pack},
    tenure::Tenure,
    writer::{NotStored, Requests},
};
use crate::{
    backoff::Backoff,
    checkpoint::{Checkpoint, LegacyValue, VERSION},
    consul::{self, Get, Op},
    coordinator::{reach::CheckpointReach, reset::reset_in_consul},
    lease::{Changes, Error, Progress},
    throttle::Outage,
};

/// The deadline of reading a checkpoint.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// Reads and writes the checkpoint of one tenure.
#[derive(Debug)]
pub(super) struct Store {
    tenure: Arc<Tenure>,
    requests: Requests,
    remote: Remote,
}

impl Store {
    pub(super) fn new(tenure: Arc<Tenure>, requests: Requests) -> Self {
        Store { tenure, requests, remote: Remote::default() }
    }

    /// Reads the checkpoint. Waits for a Consul that does not answer.
    pub(super) async fn load(&mut self) -> Result<Option<Checkpoint>, Error> {
        let mut outage = Outage::new("reading the checkpoint from consul");
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let (entries, value) = loop {
            match self.read().await {
                Ok(read) => break read,
                Err(error) => outage.log(&error),
            }
            sleep(backoff.failed()).await;
        };
        outage.over();
        let tenure = Arc::clone(&self.tenure);
        let found = layout::read(&tenure.keys, &entries).map_err(|corrupt| self.corrupt(corrupt))?;
        let value = match value.as_deref().map(layout::parse_value) {
            None => 0,
            Some(Ok(value)) => value,
            Some(Err(reason)) if found.is_none() => {
                return Err(self.corrupt(Corrupt { key: tenure.keys.value.clone(), reason }));
            }
            Some(Err(reason)) => {
                warn!(key = tenure.keys.value, reason, "legacy value is not a number");
                0
            }
        };
        let Some(Found { mut checkpoint, extent, stored_value, head, in_pages, in_logs }) = found else {
            self.remote = Remote::new(None, Written { value, ..Written::default() }, 0);
            return Ok(self.without_head(value));
        };
        let written = Written { extent, value, in_pages, in_logs };
        self.remote = Remote::new(Some(head), written, 0);
        if value > stored_value {
            warn!(
                kind = %tenure.hold.kind, value, ours = stored_value,
                "legacy value changed since the last checkpoint"
            );
            checkpoint.legacy = Some(LegacyValue { value, until: None });
        }
        tenure.reached(&checkpoint);
        // A first checkpoint that was cut off does not count.
        Ok(Some(checkpoint).filter(Checkpoint::is_begun))
    }

    /// Where to resume without a head: from the original program's value, or from the last leader's heartbeat.
    fn without_head(&self, value: u64) -> Option<Checkpoint> {
        let kind = self.tenure.hold.kind;
        if value == 0 {
            let known = self.tenure.known.clone();
            if known.is_some() {
                warn!(%kind, checkpoint = "missing", "resuming from the last heartbeat");
            }
            return known;
        }
        info!(%kind, value, checkpoint = "missing", "resuming from the legacy value");
        let legacy = Some(LegacyValue { value, until: None });
        Some(Checkpoint { version: VERSION, legacy, ..Checkpoint::default() })
    }

    /// Writes what changed.
    pub(super) async fn save(&mut self, progress: &dyn Progress) -> Result<(), Error> {
        if let Some(tried) = self.remote.unsure {
            self.look(tried).await?;
        }
        let Some(changes) = progress.changes() else { return Ok(()) };
        let saved = self.write(progress, &changes).await;
        match saved {
            Ok(()) => {
                self.tenure.reached(&changes.head);
                Ok(())
            }
            Err(failed) => {
                progress.not_stored();
                Err(match failed {
                    NotStored::Lost => Error::Lost,
                    NotStored::Moved => Error::Moved { path: self.tenure.keys.state.clone() },
                    NotStored::Unknown(error) => Error::Consul(error),
                })
            }
        }
    }

    async fn write(&mut self, progress: &dyn Progress, changes: &Changes) -> Result<(), NotStored> {
        let Save { before, head, written, folded } = self.remote.plan(&self.tenure.keys, progress, changes);
        self.remote.unsure = Some(written);
        if folded {
            self.remote.folded = written.extent.generation;
        }
        let mut transactions = pack(before);
        match transactions.last_mut().filter(|last| fits(last.iter().chain(&head))) {
            Some(last) => last.extend(head),
            None => transactions.push(head),
        }
        if self.remote.head.is_none() && transactions.len() > 1 {
            self.write_empty_head().await?;
            transactions.last_mut().and_then(|last| {
                let check = last.iter_mut().find(|op| matches!(op, Op::CheckNotExists { .. }))?;
                *check = self.remote.check_head(&self.tenure.keys);
                Some(())
            });
        }
        let (mut index, last) = (None, transactions.len() - 1);
        for (number, ops) in transactions.into_iter().enumerate() {
            // The head goes with the last one.
            let reach = (number == last).then(|| CheckpointReach::of(&changes.head));
            index = self.requests.commit(&self.tenure, ops, reach).await?;
        }
        // Consul's answer names each key that was set.
        self.remote.stored(index, written, folded);
        Ok(())
    }

    /// Task cursors without a head would be taken for damage, if this process ended before the head is written.
    async fn write_empty_head(&mut self) -> Result<(), NotStored> {
        let keys = &self.tenure.keys;
        let checkpoint = Checkpoint { version: VERSION, ..Checkpoint::default() };
        let empty = Head { checkpoint, extent: Extent::default(), stored_value: 0 };
        let text = serde_json::to_vec(&empty).expect("maps with texts as keys");
        let set = Op::Set { key: keys.state.clone(), value: text.into(), flags: 0 };
        let ops = vec![self.remote.check_head(keys), set];
        self.remote.head = self.requests.commit(&self.tenure, ops, None).await?;
        Ok(())
    }

    /// Reads whether the last write was stored. If it is still on its way, Consul will refuse it: either it has moved the
    /// head before our next write, or our next write moves the head.
    async fn look(&mut self, tried: Written) -> Result<(), Error> {
        let failed = |error| Error::Consul(Arc::new(error));
        let head = self.read_key(&self.tenure.keys.state).await.map_err(failed)?;
        let index = head.as_ref().map(|head| head.modify_index);
        let Remote { folded, .. } = self.remote;
        let written = if index.is_some() && index == self.remote.head {
            self.remote.written
        } else if head.and_then(|head| layout::extent(&head.value)) == Some(tried.extent) {
            tried
        } else {
            // Another program has written.
            let entries = self.read_state().await.map_err(failed)?;
            let found = layout::read(&self.tenure.keys, &entries).map_err(|corrupt| self.corrupt(corrupt))?;
            let (head, written) = match found {
                Some(Found { extent, stored_value: value, head, in_pages, in_logs, .. }) => {
                    (Some(head), Written { extent, value, in_pages, in_logs })
                }
                None => (None, Written { value: tried.value, ..Written::default() }),
            };
            self.remote = Remote::new(head, written, folded);
            return Ok(());
        };
        self.remote = Remote::new(index, written, folded);
        Ok(())
    }

    fn corrupt(&self, Corrupt { key, reason }: Corrupt) -> Error {
        Error::Corrupt { path: key, reason, reset: reset_in_consul(self.tenure.hold.kind, &self.tenure.keys.state) }
    }

    async fn read(&self) -> Result<(Vec<consul::Entry>, Option<Bytes>), consul::Error> {
        let entries = self.read_state().await?;
        let value = self.read_key(&self.tenure.keys.value).await?;
        Ok((entries, value.map(|entry| entry.value)))
    }

    async fn read_key(&self, key: &str) -> Result<Option<consul::Entry>, consul::Error> {
        let get = Get { consistent: true, ..Get::default() };
        Ok(self.tenure.client.get(key, get, READ_WITHIN).await?.value)
    }

    /// The head, and the keys that it names. In parts: a million task cursors are more than one answer may have.
    async fn read_state(&self) -> Result<Vec<consul::Entry>, consul::Error> {
        let Tenure { client, keys, .. } = &*self.tenure;
        loop {
            let Some(head) = self.read_key(&keys.state).await? else {
                return Ok(client.tree(&keys.state, READ_WITHIN).await?.value);
            };
            let index = head.modify_index;
            let extent = layout::extent(&head.value).unwrap_or_default();
            let mut entries = vec![head];
            for prefix in keys.hundreds(extent) {
                let part = client.tree(&prefix, READ_WITHIN).await?.value;
                // A part that is missing makes the checkpoint unreadable: the rest need not be read.
                let is_missing = part.is_empty();
                entries.extend(part);
                if is_missing {
                    break;
                }
            }
            let again = self.read_key(&keys.state).await?;
            // Where the head moved, a write of ours came late, and these keys need not belong together.
            if again.is_some_and(|again| again.modify_index == index) {
                return Ok(entries);
            }
        }
    }
}
