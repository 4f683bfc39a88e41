//! Puts the cluster's identity into the checkpoints of a kind, and keeps it up to date.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{
    checkpoint::Checkpoint,
    cluster::{self, Identity, Known, View},
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
    /// What was known of the cluster when it was last compared with that.
    compared: Mutex<View>,
    stored: Mutex<Identity>,
}

impl Stamp {
    /// The stamp of a kind that resumes from the checkpoint of this head, which `compared` does not contradict.
    pub(super) fn new(known: Known, head: Checkpoint, compared: View) -> Self {
        let stored = head.cluster.clone().unwrap_or_default();
        Stamp { known, head, compared: Mutex::new(compared), stored: Mutex::new(stored) }
    }

    /// Whether the checkpoint may still turn out to be another cluster's.
    pub(super) fn is_open(&self) -> bool {
        self.head.cluster.is_some() && !lock(&self.compared).is_complete()
    }

    /// Notes that this was compared, and does not contradict the checkpoint.
    pub(super) fn compared(&self, view: View) {
        *lock(&self.compared) = view;
    }

    /// Whether the stored identity is out of date.
    pub(super) fn is_due(&self) -> bool {
        let Some(now) = self.identity() else { return false };
        let stored = lock(&self.stored);
        let left = |identity: &Identity| identity.until.saturating_sub(cluster::now());
        !now.is_alike(&stored) || left(&now) / 2 > left(&stored)
    }

    /// The ledger's progress with the current identity, and that identity. `None` if nothing may be stored yet: Nomad has not said
    /// which cluster this is, or what it said was not compared with the checkpoint.
    pub(super) fn stamped<'a>(&self, ledger: &'a Ledger) -> Option<(Stamped<'a>, Identity)> {
        let identity = self.identity()?;
        let cluster = Some(identity.clone()).filter(|identity| !identity.is_empty());
        Some((Stamped { ledger, cluster }, identity))
    }

    /// Notes that this identity was stored.
    pub(super) fn stored(&self, identity: Identity) {
        *lock(&self.stored) = identity;
    }

    fn identity(&self) -> Option<Identity> {
        let view = self.known.view();
        let Some(stored) = &self.head.cluster else { return Some(view.identity) };
        let compared = lock(&self.compared);
        // Saves do not wait for the comparison, which can ask Nomad.
        let is_compared = view.settled && view.identity.is_alike(&compared.identity);
        (compared.is_complete() || is_compared).then(|| view.identity.after(stored))
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn view(region: Option<&str>, settled: bool) -> View {
        let identity = Identity { region: region.map(str::to_owned), ..Identity::default() };
        View { identity, settled }
    }

    #[test]
    fn what_was_not_compared_is_not_stored() {
        let (sender, known) = Known::shown(view(None, false));
        let head = Checkpoint { cluster: Some(view(Some("eu"), true).identity), ..Checkpoint::default() };
        let stamp = Stamp::new(known.clone(), head, known.view());
        assert_eq!(stamp.identity(), None, "Nomad may still answer");
        // It did not answer in time: what is missing contradicts nothing.
        sender.send_replace(view(None, true));
        assert_eq!(stamp.identity(), Some(view(Some("eu"), true).identity));
        // It answers after all. The checkpoint is another cluster's, and only the comparison finds that.
        sender.send_replace(view(Some("us"), true));
        assert_eq!(stamp.identity(), None);
        assert!(!stamp.is_due() && stamp.is_open());
        sender.send_replace(view(Some("eu"), true));
        assert_eq!(stamp.identity(), None);
        stamp.compared(known.view());
        assert_eq!(stamp.identity(), Some(view(Some("eu"), true).identity));
    }

    #[test]
    fn a_checkpoint_without_a_cluster_takes_what_is_known() {
        let (_sender, known) = Known::shown(view(Some("us"), false));
        let stamp = Stamp::new(known.clone(), Checkpoint::default(), View::default());
        assert_eq!(stamp.identity(), Some(known.identity()));
        assert!(stamp.is_due() && !stamp.is_open());
    }
}
