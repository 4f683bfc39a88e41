//! The entries that have not taken effect.
//!
//! What is done and waits for an earlier entry costs no memory of its own: neighbours that are done share one entry for each stream, with
//! one cursor for each task. So a record can be held back for long, by a sink that fails or for a summary, while others are filtered away.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::Effect;
use crate::task_cursors::{TaskCursor, TaskKey};

/// How many done entries are looked at for one of the same stream. More streams than these that take turns share less.
const NEIGHBOURS: usize = 16;

/// The entries in their order.
#[derive(Default)]
pub(super) struct Entries {
    /// The number of the next entry.
    next: u64,
    pending: BTreeMap<u64, Pending>,
    /// The newest undelivered cursor of each task, and how many entries carry one.
    in_flight: HashMap<TaskKey, (TaskCursor, u32)>,
}

struct Pending {
    /// An entry from before its stream started over has no effect after it.
    epoch: u64,
    done: bool,
    effect: Effect,
    /// The newest cursor of each task, once it waits for an earlier entry.
    task_cursors: HashMap<TaskKey, TaskCursor>,
    /// When it was received, if the sink has to deliver it.
    since: Option<Instant>,
}

impl Pending {
    /// Whether both are done, and change the same stream.
    fn is_like(&self, other: &Pending) -> bool {
        let is_same = self.epoch == other.epoch && self.effect.stream == other.effect.stream;
        is_same && self.done && other.done
    }

    /// Whether it makes no difference that it takes effect after `later`, an entry of another stream.
    fn may_follow(&self, later: &Pending) -> bool {
        let (few, many) = match self.task_cursors.len() < later.task_cursors.len() {
            true => (&self.task_cursors, &later.task_cursors),
            false => (&later.task_cursors, &self.task_cursors),
        };
        self.done && !few.keys().any(|task| many.contains_key(task))
    }
}

impl Entries {
    /// Adds an entry, and returns its number.
    pub(super) fn push(&mut self, epoch: u64, effect: Effect, since: Option<Instant>) -> u64 {
        for (task, task_cursor) in &effect.task_cursors {
            let carried = self.in_flight.entry(*task).or_insert((*task_cursor, 0));
            *carried = (*task_cursor, carried.1 + 1);
        }
        let number = self.next;
        self.next += 1;
        self.pending.insert(number, Pending { epoch, done: false, effect, task_cursors: HashMap::new(), since });
        number
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The newest cursor of a task that an entry carries.
    pub(super) fn task_cursor(&self, task: TaskKey) -> Option<TaskCursor> {
        self.in_flight.get(&task).map(|(task_cursor, _)| *task_cursor)
    }

    pub(super) fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.pending.values().map(|entry| &entry.effect)
    }

    /// The effect of the entry at the front, and when it was received.
    pub(super) fn front(&self) -> Option<(&Effect, Option<Instant>)> {
        self.pending.values().next().map(|entry| (&entry.effect, entry.since))
    }

    /// When an entry was received that is not done; `None` also where nothing had to be delivered.
    pub(super) fn since(&self, number: u64) -> Option<Instant> {
        self.pending.get(&number).filter(|entry| !entry.done).and_then(|entry| entry.since)
    }

    /// The cursors and values of all entries are those of another cluster.
    pub(super) fn forget_cursors_and_values(&mut self) {
        self.in_flight.clear();
        for entry in self.pending.values_mut() {
            entry.effect.value = None;
            entry.effect.task_cursors.clear();
            entry.task_cursors.clear();
        }
    }

    /// Takes the entry at the front, if it is done: the epoch and the effect.
    pub(super) fn pop_done(&mut self) -> Option<(u64, Effect)> {
        let first = self.pending.first_entry().filter(|first| first.get().done)?;
        let Pending { epoch, mut effect, task_cursors, .. } = first.remove();
        effect.task_cursors.extend(task_cursors);
        for (task, _) in &effect.task_cursors {
            uncount(&mut self.in_flight, *task);
        }
        Some((epoch, effect))
    }

    /// The entry is done. Returns whether it is the one at the front.
    pub(super) fn complete(&mut self, number: u64) -> bool {
        // An entry that is no longer there is done already.
        let Some(entry) = self.pending.get_mut(&number).filter(|entry| !entry.done) else { return false };
        entry.done = true;
        if self.pending.first_key_value().is_some_and(|(first, _)| *first == number) {
            return true;
        }
        self.collect_cursors(number);
        // It joins the done entries before it with those after it.
        let after = self.pending.range(number + 1..).take(NEIGHBOURS).take_while(|(_, entry)| entry.done);
        let joined: Vec<u64> = std::iter::once(number).chain(after.map(|(later, _)| *later)).collect();
        for later in joined {
            if let Some(earlier) = self.earlier_neighbour(later) {
                self.merge(earlier, later);
            }
        }
        false
    }

    /// Task cursors of an entry that waits are kept once for each task.
    fn collect_cursors(&mut self, number: u64) {
        let Some(entry) = self.pending.get_mut(&number) else { return };
        for (task, task_cursor) in std::mem::take(&mut entry.effect.task_cursors) {
            if entry.task_cursors.insert(task, task_cursor).is_some() {
                uncount(&mut self.in_flight, task);
            }
        }
    }

    /// The entry before `number` that it can be merged into.
    fn earlier_neighbour(&self, number: u64) -> Option<u64> {
        let ours = self.pending.get(&number)?;
        for (earlier, entry) in self.pending.range(..number).rev().take(NEIGHBOURS) {
            if entry.is_like(ours) {
                return Some(*earlier);
            }
            if !entry.may_follow(ours) {
                return None;
            }
        }
        None
    }

    /// Merges an entry into an earlier one.
    fn merge(&mut self, earlier: u64, later: u64) {
        let Some(Pending { effect, task_cursors: mut newer, .. }) = self.pending.remove(&later) else { return };
        let Some(entry) = self.pending.get_mut(&earlier) else { return };
        entry.effect.follow(effect);
        // The smaller one moves.
        let is_newer_larger = newer.len() > entry.task_cursors.len();
        if is_newer_larger {
            std::mem::swap(&mut newer, &mut entry.task_cursors);
        }
        for (task, task_cursor) in newer {
            let known = entry.task_cursors.insert(task, task_cursor);
            if let Some(known) = known {
                uncount(&mut self.in_flight, task);
                if is_newer_larger {
                    entry.task_cursors.insert(task, known);
                }
            }
        }
    }
}

/// One entry less carries a cursor of `task`.
fn uncount(in_flight: &mut HashMap<TaskKey, (TaskCursor, u32)>, task: TaskKey) {
    if let Some((_, carried)) = in_flight.get_mut(&task) {
        *carried -= 1;
        if *carried == 0 {
            in_flight.remove(&task);
        }
    }
}

#[cfg(test)]
impl Entries {
    /// How many task cursors are kept.
    pub(super) fn task_cursors(&self) -> usize {
        self.pending.values().map(|entry| entry.effect.task_cursors.len() + entry.task_cursors.len()).sum()
    }

    /// Whether no cursor is counted as undelivered.
    pub(super) fn carries_nothing(&self) -> bool {
        self.in_flight.is_empty()
    }
}
