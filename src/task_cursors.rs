//! Task cursors: the last delivered task event of each task, in 32 bytes a live task.

mod table;
mod text;

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_128;

use self::table::CursorTable;
pub use self::text::{DIGITS, to_text};
use crate::position::RaftIndex;

/// How many tasks of finished allocations keep their cursors; the oldest are removed first.
///
/// No event announces the end of an allocation, so a rule has to. The scheduler can still touch an allocation whose
/// client status is final (`complete`, `failed`, `lost`) for a while: rescheduling links it to its successor, a job
/// stop changes its desired status. Then its ten events come again. With the cursor they are known. Without it they are
/// sent again: a bounded repeat, never a loss.
pub const FINISHED_KEPT: usize = 65_536;

/// One task of one allocation, as a 128-bit hash of both names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey(u128);

impl TaskKey {
    /// The key of `task` in `allocation`.
    pub fn new(allocation: &str, task: &str) -> Self {
        let mut text = Vec::with_capacity(allocation.len() + task.len() + 1);
        text.extend_from_slice(allocation.as_bytes());
        text.push(0);
        text.extend_from_slice(task.as_bytes());
        TaskKey(xxh3_128(&text))
    }
}

/// A part of all tasks: number `number` of `of` parts of about the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Counts from 0.
    pub number: u32,
    /// How many there are, at least one.
    pub of: u32,
}

impl Shard {
    /// All tasks.
    pub const ALL: Shard = Shard { number: 0, of: 1 };

    /// Whether `task` is in it. Each task is in exactly one shard.
    pub fn has(self, task: TaskKey) -> bool {
        // The key is a hash: its upper bits are spread evenly.
        let high = (task.0 >> 96) as u64;
        (high * u64::from(self.of)) >> 32 == u64::from(self.number)
    }
}

/// The content of one task event, as a 64-bit hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventHash(pub u64);

/// What is known of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskCursor {
    /// The last delivered event.
    pub event: EventHash,
    /// The raft index of the allocation's version that carried it; the top bit says whether the allocation is finished.
    packed: u64,
}

const FINISHED: u64 = 1 << 63;

impl TaskCursor {
    /// A cursor at `event`, which the version of `index` carried.
    pub fn new(event: EventHash, index: RaftIndex, finished: bool) -> Self {
        let flag = if finished { FINISHED } else { 0 };
        TaskCursor { event, packed: (index.0 & !FINISHED) | flag }
    }

    /// The raft index of the version that carried the event.
    pub fn index(self) -> RaftIndex {
        RaftIndex(self.packed & !FINISHED)
    }

    /// The same event, carried by the version of `index`.
    #[must_use]
    pub fn at(self, index: RaftIndex) -> Self {
        TaskCursor::new(self.event, index, self.is_finished())
    }

    /// Whether that version was the end of the allocation.
    pub fn is_finished(self) -> bool {
        self.packed & FINISHED != 0
    }
}

/// All task cursors.
#[derive(Clone, Debug, Default)]
pub struct TaskCursors {
    tasks: CursorTable,
    /// Finished tasks, oldest first, with the cursor at which they finished. An entry whose cursor has changed since
    /// then is stale.
    finished: VecDeque<(TaskKey, TaskCursor)>,
}

impl PartialEq for TaskCursors {
    /// Compares what is known; the order in which tasks finished does not count.
    fn eq(&self, other: &Self) -> bool {
        self.tasks == other.tasks
    }
}

impl TaskCursors {
    /// The cursor of a task.
    pub fn get(&self, task: TaskKey) -> Option<TaskCursor> {
        self.tasks.get(task)
    }

    /// Sets the cursor of a task, and retires the oldest finished tasks past [`FINISHED_KEPT`].
    pub fn set(&mut self, task: TaskKey, task_cursor: TaskCursor) {
        let before = self.tasks.insert(task, task_cursor);
        if task_cursor.is_finished() && before != Some(task_cursor) {
            self.finished.push_back((task, task_cursor));
            self.retire(FINISHED_KEPT);
        }
    }

    fn retire(&mut self, keep: usize) {
        while self.finished.len() > keep {
            if let Some((task, task_cursor)) = self.finished.pop_front()
                && self.tasks.get(task) == Some(task_cursor)
            {
                self.tasks.remove(task);
            }
        }
    }

    /// All task cursors, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (TaskKey, TaskCursor)> {
        self.tasks.iter()
    }

    /// The task cursors of one shard, in no order.
    pub fn shard(&self, shard: Shard) -> impl Iterator<Item = (TaskKey, TaskCursor)> {
        self.tasks.shard(shard)
    }

    /// How many tasks are known.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no task is known.
    pub fn is_empty(&self) -> bool {
        self.tasks.len() == 0
    }
}

/// The last cursor of a task wins.
impl FromIterator<(TaskKey, TaskCursor)> for TaskCursors {
    fn from_iter<I: IntoIterator<Item = (TaskKey, TaskCursor)>>(entries: I) -> Self {
        let mut task_cursors = TaskCursors::default();
        for (task, task_cursor) in entries {
            task_cursors.tasks.insert(task, task_cursor);
        }
        task_cursors.finished =
            task_cursors.tasks.iter().filter(|(_, task_cursor)| task_cursor.is_finished()).collect();
        task_cursors.finished.make_contiguous().sort_unstable_by_key(|(_, task_cursor)| task_cursor.index());
        task_cursors.retire(FINISHED_KEPT);
        task_cursors
    }
}

/// 32 bytes, the numbers in little endian: key, event, index with the finished bit on top.
pub const ENTRY_BYTES: usize = 32;

/// The bytes of a task cursor.
pub fn to_bytes((task, task_cursor): (TaskKey, TaskCursor)) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..16].copy_from_slice(&task.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&task_cursor.event.0.to_le_bytes());
    bytes[24..].copy_from_slice(&task_cursor.packed.to_le_bytes());
    bytes
}

/// The task cursor of these bytes.
pub fn from_bytes(bytes: [u8; ENTRY_BYTES]) -> (TaskKey, TaskCursor) {
    let number =
        |from: usize| bytes[from..from + 8].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let task = u128::from(number(8)) << 64 | u128::from(number(0));
    (TaskKey(task), TaskCursor { event: EventHash(number(16)), packed: number(24) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task_cursor(event: u64, index: u64, finished: bool) -> TaskCursor {
        TaskCursor::new(EventHash(event), RaftIndex(index), finished)
    }

    #[test]
    fn a_mark_is_32_bytes() {
        assert_eq!(size_of::<(TaskKey, TaskCursor)>(), 32);
    }

    #[test]
    fn finished_tasks_are_retired_oldest_first() {
        let mut task_cursors = TaskCursors::default();
        let live = TaskKey::new("live", "task");
        task_cursors.set(live, task_cursor(1, 1, false));
        for n in 0..=FINISHED_KEPT as u64 {
            task_cursors.set(TaskKey::new(&n.to_string(), "task"), task_cursor(n, n + 2, true));
        }
        assert_eq!(task_cursors.len(), FINISHED_KEPT + 1);
        assert_eq!(task_cursors.get(TaskKey::new("0", "task")), None);
        assert!(task_cursors.get(TaskKey::new("1", "task")).is_some());
        assert!(task_cursors.get(live).is_some());
    }

    proptest! {
        #[test]
        fn bytes_round_trip_and_each_task_is_in_one_shard(task: u128, event: u64, index in 0..1_u64 << 63, finished: bool, of in 1_u32..1000) {
            let entry = (TaskKey(task), task_cursor(event, index, finished));
            prop_assert_eq!(from_bytes(to_bytes(entry)), entry);
            let shards = (0..of).filter(|number| Shard { number: *number, of }.has(entry.0)).count();
            prop_assert_eq!(shards, 1);
        }
    }

    #[test]
    fn text_round_trips() {
        let mut task_cursors = TaskCursors::default();
        for n in 0..100 {
            task_cursors.set(TaskKey::new(&n.to_string(), "t"), task_cursor(n * 7, n, n % 3 == 0));
        }
        let text = serde_json::to_string(&task_cursors).expect("marks are plain data");
        assert_eq!(serde_json::from_str::<TaskCursors>(&text).expect("just written"), task_cursors);
        assert!(serde_json::from_str::<TaskCursors>("[\"12\"]").is_err());
    }
}
