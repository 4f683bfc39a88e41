//! The last delivered task event of each task: 32 bytes a live task.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use xxhash_rust::xxh3::xxh3_128;

use crate::position::RaftIndex;

/// How many tasks of finished allocations keep their marks; the oldest go first.
///
/// No event announces the end of an allocation, so a rule has to: an allocation whose client status is final
/// (`complete`, `failed`, `lost`) can still be touched by the scheduler for a while (rescheduling links it to its
/// successor, a job stop changes its desired status), and then its ten events come again. With the mark they are known.
/// Without it they are sent again: a bounded repeat, never a loss.
pub const FINISHED_KEPT: usize = 65_536;

/// One task of one allocation, as a 128-bit hash of both names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// The content of one task event, as a 64-bit hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventHash(pub u64);

/// What is known of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The last delivered event.
    pub event: EventHash,
    /// The raft index of the allocation's version that carried it, and in the top bit whether it is finished.
    packed: u64,
}

const FINISHED: u64 = 1 << 63;

impl Mark {
    /// A mark at `event`, carried by the version of `index`.
    pub fn new(event: EventHash, index: RaftIndex, finished: bool) -> Self {
        let flag = if finished { FINISHED } else { 0 };
        Mark { event, packed: (index.0 & !FINISHED) | flag }
    }

    /// The raft index of the version that carried the event.
    pub fn index(self) -> RaftIndex {
        RaftIndex(self.packed & !FINISHED)
    }

    /// Whether that version was the allocation's end.
    pub fn is_finished(self) -> bool {
        self.packed & FINISHED != 0
    }
}

/// All marks.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    tasks: HashMap<TaskKey, Mark>,
    /// Finished tasks, oldest first, with the mark they finished at. An entry whose mark has changed since is stale.
    finished: VecDeque<(TaskKey, Mark)>,
}

impl PartialEq for Marks {
    /// Compares what is known; the order in which tasks finished is not part of it.
    fn eq(&self, other: &Self) -> bool {
        self.tasks == other.tasks
    }
}

impl Marks {
    /// The mark of a task.
    pub fn get(&self, task: TaskKey) -> Option<Mark> {
        self.tasks.get(&task).copied()
    }

    /// Sets the mark of a task, and retires the oldest finished ones past [`FINISHED_KEPT`].
    pub fn set(&mut self, task: TaskKey, mark: Mark) {
        let before = self.tasks.insert(task, mark);
        if mark.is_finished() && before != Some(mark) {
            self.finished.push_back((task, mark));
            self.retire(FINISHED_KEPT);
        }
    }

    fn retire(&mut self, keep: usize) {
        while self.finished.len() > keep {
            if let Some((task, mark)) = self.finished.pop_front()
                && self.tasks.get(&task) == Some(&mark)
            {
                self.tasks.remove(&task);
            }
        }
    }

    /// How many tasks are known.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no task is known.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

/// Stored as one text of 64 hexadecimal digits a task: key, event, index with the finished bit.
impl Serialize for Marks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.tasks.iter().map(|(task, mark)| format!("{:032x}{:016x}{:016x}", task.0, mark.event.0, mark.packed)),
        )
    }
}

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let mut marks = Marks::default();
        for text in texts {
            let (task, mark) = parse(&text).ok_or_else(|| D::Error::custom("a mark is not 64 hexadecimal digits"))?;
            marks.tasks.insert(task, mark);
            if mark.is_finished() {
                marks.finished.push_back((task, mark));
            }
        }
        marks.finished.make_contiguous().sort_unstable_by_key(|(_, mark)| mark.index());
        marks.retire(FINISHED_KEPT);
        Ok(marks)
    }
}

fn parse(text: &str) -> Option<(TaskKey, Mark)> {
    let text = text.is_ascii().then_some(text).filter(|text| text.len() == 64)?;
    let task = u128::from_str_radix(&text[..32], 16).ok()?;
    let event = u64::from_str_radix(&text[32..48], 16).ok()?;
    let packed = u64::from_str_radix(&text[48..], 16).ok()?;
    Some((TaskKey(task), Mark { event: EventHash(event), packed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(event: u64, index: u64, finished: bool) -> Mark {
        Mark::new(EventHash(event), RaftIndex(index), finished)
    }

    #[test]
    fn a_mark_is_32_bytes() {
        assert_eq!(size_of::<(TaskKey, Mark)>(), 32);
    }

    #[test]
    fn finished_tasks_are_retired_oldest_first() {
        let mut marks = Marks::default();
        let live = TaskKey::new("live", "task");
        marks.set(live, mark(1, 1, false));
        for n in 0..=FINISHED_KEPT as u64 {
            marks.set(TaskKey::new(&n.to_string(), "task"), mark(n, n + 2, true));
        }
        assert_eq!(marks.len(), FINISHED_KEPT + 1);
        assert_eq!(marks.get(TaskKey::new("0", "task")), None);
        assert!(marks.get(TaskKey::new("1", "task")).is_some());
        assert!(marks.get(live).is_some());
    }

    #[test]
    fn text_round_trips() {
        let mut marks = Marks::default();
        for n in 0..100 {
            marks.set(TaskKey::new(&n.to_string(), "t"), mark(n * 7, n, n % 3 == 0));
        }
        let text = serde_json::to_string(&marks).expect("marks are plain data");
        assert_eq!(serde_json::from_str::<Marks>(&text).expect("just written"), marks);
        assert!(serde_json::from_str::<Marks>("[\"12\"]").is_err());
    }
}
