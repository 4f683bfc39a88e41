//! Puts the cluster's identity into the checkpoints of a kind, and keeps it up to date.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    checkpoint::Checkpoint,
    cluster::{self, Identity, Known},
    lease::{Changes, Progress},
    ledger::Ledger,
    task_cursors::{Shard, TaskCursor, TaskKey},
};

/// What a kind's checkpoint says about its cluster.
#[derive(Debug)]
pub(super) struct Stamp {
    known: Known,
    /// The checkpoint that the kind resumes from, without its task cursors.
    pub(super) head: Checkpoint,
    /// Everything that can be known of the cluster was compared with it.
    is_compared: AtomicBool,
    stored: Mutex<Identity>,
}

impl Stamp {
    /// The stamp of a kind that resumes from the checkpoint of this head.
    pub(super) fn new(known: Known, head: Checkpoint) -> Self {
        let stored = head.cluster.clone().unwrap_or_default();
        let is_compared = AtomicBool::new(head.cluster.is_none());
        Stamp { known, head, is_compared, stored: Mutex::new(stored) }
    }

    /// Whether the checkpoint may still turn out to be another cluster's.
    pub(super) fn is_open(&self) -> bool {
        !self.is_compared.load(Ordering::Relaxed)
    }

    /// Notes that everything that can be known was compared.
    pub(super) fn compared(&self) {
        self.is_compared.store(true, Ordering::Relaxed);
    }

    /// Whether nothing may be stored yet, because Nomad has not said which cluster this is.
    pub(super) fn withholds(&self) -> bool {
        self.is_open() && !self.known.is_settled()
    }

    /// Whether the stored identity is out of date.
    pub(super) fn is_due(&self) -> bool {
        let now = self.identity();
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |identity: &Identity| identity.until.saturating_sub(cluster::now());
        Identity { until: 0, ..now.clone() } != Identity { until: 0, ..stored.clone() }
            || left(&now) / 2 > left(&stored)
    }

    /// The ledger's progress with the current identity, and that identity.
    pub(super) fn stamped<'a>(&self, ledger: &'a Ledger) -> (Stamped<'a>, Identity) {
        let identity = self.identity();
        let cluster = Some(identity.clone()).filter(|identity| !identity.is_empty());
        (Stamped { ledger, cluster }, identity)
    }

    /// Notes that this identity was stored.
    pub(super) fn stored(&self, identity: Identity) {
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    fn identity(&self) -> Identity {
        match &self.head.cluster {
            Some(stored) => self.known.identity().after(stored),
            None => self.known.identity(),
        }
    }
}

/// A ledger's progress, with the cluster that it belongs to.
pub(super) struct Stamped<'a> {
    ledger: &'a Ledger,
    cluster: Option<Identity>,
}

impl Stamped<'_> {
    fn put(&self, head: Checkpoint) -> Checkpoint {
        Checkpoint { cluster: self.cluster.clone(), ..head }
    }
}

impl Progress for Stamped<'_> {
    fn head(&self) -> Option<Checkpoint> {
        self.ledger.head().map(|head| self.put(head))
    }

    fn changes(&self) -> Option<Changes> {
        let Changes { head, task_cursors, forgotten } = self.ledger.changes()?;
        Some(Changes { head: self.put(head), task_cursors, forgotten })
    }

    fn not_stored(&self) {
        self.ledger.not_stored();
    }

    fn task_cursors(&self, shard: Shard) -> Vec<(TaskKey, TaskCursor)> {
        self.ledger.task_cursors(shard)
    }

    fn task_cursors_len(&self) -> usize {
        self.ledger.task_cursors_len()
    }
}
