//! Puts the cluster's identity into what is stored of a kind, and keeps it fresh.

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

/// What a kind's checkpoint says of its cluster.
#[derive(Debug)]
pub(super) struct Stamp {
    known: Known,
    /// The checkpoint that the kind goes on from, without its marks.
    pub(super) head: Checkpoint,
    /// Nothing is left to be compared with it.
    is_compared: AtomicBool,
    stored: Mutex<Identity>,
}

impl Stamp {
    /// For a kind that goes on from the checkpoint of this head.
    pub(super) fn new(known: Known, head: Checkpoint) -> Self {
        let stored = head.cluster.clone().unwrap_or_default();
        let is_compared = AtomicBool::new(head.cluster.is_none());
        Stamp { known, head, is_compared, stored: Mutex::new(stored) }
    }

    /// Whether the cluster of the checkpoint may still turn out to be another one.
    pub(super) fn is_open(&self) -> bool {
        !self.is_compared.load(Ordering::Relaxed)
    }

    /// All that can be known was compared.
    pub(super) fn compared(&self) {
        self.is_compared.store(true, Ordering::Relaxed);
    }

    /// Whether nothing may be stored yet: Nomad has not said which cluster this is.
    pub(super) fn withholds(&self) -> bool {
        self.is_open() && !self.known.is_settled()
    }

    /// Whether what is stored of the cluster is out of date.
    pub(super) fn is_due(&self) -> bool {
        let now = self.identity();
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |identity: &Identity| identity.until.saturating_sub(cluster::now());
        Identity { until: 0, ..now.clone() } != Identity { until: 0, ..stored.clone() }
            || left(&now) / 2 > left(&stored)
    }

    /// The ledger's progress with the identity as it is now, and that.
    pub(super) fn stamped<'a>(&self, ledger: &'a Ledger) -> (Stamped<'a>, Identity) {
        let identity = self.identity();
        let cluster = Some(identity.clone()).filter(|identity| !identity.is_empty());
        (Stamped { ledger, cluster }, identity)
    }

    /// This was stored.
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

/// A ledger's progress, with the cluster that it is of.
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
