//! Versions that a list shows behind what it owes, and that the stream should bring: whether it does.
//!
//! A job also changes without an event: `JobStability` moves its `ModifyIndex`, and so do others that Nomad publishes
//! nothing for (2.0.5, `nomad/state/events.go`, `MsgTypeEvents`). Such a change hides the version that is owed, and left to
//! the stream the object would never come. So it is noted; once the stream has passed its index and has not brought it, the
//! list is to give it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Batch, Member};
use crate::{
    checkpoint::{Owed, Pass},
    kind::Kind,
    position::{Identity, RaftIndex, Seen},
    resource::Listed,
};

/// So many versions that the stream has brought are remembered, and so many that it is to bring. With more, some that it has
/// brought come again from the list, with the same ids.
const MOST: usize = 65_536;

/// What the stream has brought while lists are read, and what it is to bring.
#[derive(Debug, Default)]
pub(in crate::source) struct Later {
    brought: BTreeSet<Identity>,
    /// By raft index.
    expected: BTreeMap<RaftIndex, BTreeSet<Identity>>,
    /// What is expected of more than is remembered, and what the run before expected: first and last indexes.
    ranges: Vec<(RaftIndex, RaftIndex)>,
    /// Less is expected than was stored.
    changed: bool,
}

impl Later {
    /// What a checkpoint says is expected.
    pub(super) fn restore(passes: Vec<Pass>) -> Self {
        let ranges = passes.iter().flat_map(|pass| &pass.ranges);
        let ranges = ranges.map(|owed| (owed.from, RaftIndex(owed.until.0.saturating_sub(1)))).collect();
        Later { ranges, ..Later::default() }
    }

    /// What the checkpoint is to hold of it.
    pub(super) fn pass(&self) -> Option<Pass> {
        let indexes = self.expected.keys().map(|index| (*index, *index));
        let ranges: Vec<_> = self.ranges.iter().copied().chain(indexes).map(owed).collect();
        (!ranges.is_empty()).then(|| Pass { ranges, deferred: true, ..Pass::default() })
    }

    fn expect(&mut self, index: RaftIndex, version: Identity) {
        if self.expected.len() >= MOST {
            let all = std::mem::take(&mut self.expected);
            let first_and_last = all.first_key_value().zip(all.last_key_value());
            self.ranges.extend(first_and_last.map(|((first, _), (last, _))| (*first, *last)));
        }
        self.expected.entry(index).or_default().insert(version);
    }

    /// The stream has brought a version.
    fn bring(&mut self, index: RaftIndex, version: Identity) {
        if let Some(versions) = self.expected.get_mut(&index) {
            self.changed |= versions.remove(&version);
            if versions.is_empty() {
                self.expected.remove(&index);
            }
        }
    }

    /// A list is going to give what is in this range.
    pub(super) fn covered(&mut self, owed: &Owed) {
        self.expected.retain(|index, _| *index < owed.from || *index >= owed.until);
    }

    /// What the stream has not brought, now that it has passed `index`.
    fn passed(&mut self, index: RaftIndex) -> Vec<Owed> {
        let behind = self.expected.split_off(&index);
        let missing = std::mem::replace(&mut self.expected, behind).into_keys().map(|index| (index, index));
        let ranges = self.ranges.extract_if(.., |(_, last)| *last < index);
        ranges.chain(missing).map(owed).collect()
    }
}

impl Member {
    /// An object is listed as it became behind what is owed.
    pub(in crate::source) fn expect(&mut self, listed: &Listed) {
        let version = listed.identity(self.kind.topic().unwrap_or_default());
        if self.kind != Kind::Allocations && self.ahead.is_none() && !self.later.brought.contains(&version) {
            self.later.expect(listed.modify_index, version);
        }
    }

    /// The stream has brought a version, or a list.
    pub(in crate::source) fn has_brought(&mut self, index: RaftIndex, version: Identity) {
        if self.kind == Kind::Allocations {
            return;
        }
        self.later.bring(index, version);
        if self.passes.is_empty() {
            self.later.brought.clear();
        } else if self.later.brought.len() < MOST {
            self.later.brought.insert(version);
        }
    }

    /// What the stream has passed and not brought is owed by the list.
    pub(in crate::source) fn owe_unbrought(&mut self, batch: &mut Batch) {
        // Of the index of the position there can be more to come.
        let ranges = self.later.passed(self.cursor.position().index);
        // What was brought must not come again after a restart, either.
        let changed = std::mem::take(&mut self.later.changed) || !ranges.is_empty();
        if !ranges.is_empty() {
            self.add_pass(Pass { ranges, ..Pass::default() });
        }
        if changed {
            batch.effect.backfill = Some(self.backfill());
        }
    }
}

fn owed((first, last): (RaftIndex, RaftIndex)) -> Owed {
    Owed { from: first, until: RaftIndex(last.0.saturating_add(1)), known: Seen::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(index: u64) -> (RaftIndex, Identity) {
        (RaftIndex(index), Identity(index))
    }

    fn expecting(indexes: &[u64]) -> Later {
        let mut later = Later::default();
        indexes.iter().map(|index| version(*index)).for_each(|(index, version)| later.expect(index, version));
        later
    }

    fn indexes(owed: &[Owed]) -> Vec<(u64, u64)> {
        owed.iter().map(|owed| (owed.from.0, owed.until.0)).collect()
    }

    #[test]
    fn what_the_stream_passes_and_does_not_bring_is_owed() {
        let mut later = expecting(&[5, 7, 9]);
        let (index, brought) = version(7);
        later.bring(index, brought);
        assert_eq!(indexes(&later.passed(RaftIndex(5))), [], "more of it can come");
        assert_eq!(indexes(&later.passed(RaftIndex(9))), [(5, 6)]);
        assert_eq!(indexes(&later.passed(RaftIndex(10))), [(9, 10)]);
        assert_eq!(later.pass(), None);
    }

    #[test]
    fn a_restart_expects_the_same() {
        let pass = expecting(&[5, 9]).pass().expect("two are expected");
        assert_eq!(indexes(&pass.ranges), [(5, 6), (9, 10)]);
        let mut later = Later::restore(vec![pass]);
        assert_eq!(indexes(&later.passed(RaftIndex(5))), []);
        assert_eq!(indexes(&later.passed(RaftIndex(9))), [(5, 6)]);
        assert_eq!(indexes(&later.passed(RaftIndex(10))), [(9, 10)]);
    }

    #[test]
    fn more_than_is_remembered_is_a_range() {
        let all: Vec<u64> = (1..=MOST as u64 + 2).collect();
        let mut later = expecting(&all);
        assert!(later.expected.len() <= MOST);
        let owed = later.passed(RaftIndex(u64::MAX));
        assert_eq!(owed.first().map(|owed| owed.from), Some(RaftIndex(1)));
        assert!(all.iter().all(|index| owed.iter().any(|owed| owed.contains(RaftIndex(*index), Identity(0)))));
    }
}
