//! A table of task cursors that grows in small steps.

use super::{Shard, TaskCursor, TaskKey};

/// Parts of the table; the upper bits of a key choose one. Of a million tasks each part has about 250.
const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 12;

/// Task cursors by task.
///
/// A full hash table doubles, and needs both sizes while it does: of a million cursors, 32 bytes each become 105 for
/// that moment, and 70 after it. Here each part is a sorted list that grows by a few entries at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct CursorTable {
    /// None before the first entry.
    parts: Box<[Vec<(TaskKey, TaskCursor)>]>,
    len: usize,
}

impl PartialEq for CursorTable {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

fn part_of(task: TaskKey) -> usize {
    // Twelve bits of it are left.
    (task.0 >> (u128::BITS - PART_BITS)) as usize
}

fn place(part: &[(TaskKey, TaskCursor)], task: TaskKey) -> Result<usize, usize> {
    part.binary_search_by(|(known, _)| known.0.cmp(&task.0))
}

impl CursorTable {
    pub(super) fn get(&self, task: TaskKey) -> Option<TaskCursor> {
        let part = self.parts.get(part_of(task))?;
        place(part, task).ok().map(|at| part[at].1)
    }

    /// Returns the cursor that was there before.
    pub(super) fn insert(&mut self, task: TaskKey, task_cursor: TaskCursor) -> Option<TaskCursor> {
        if self.parts.is_empty() {
            self.parts = std::iter::repeat_with(Vec::new).take(PARTS).collect();
        }
        let part = &mut self.parts[part_of(task)];
        match place(part, task) {
            Ok(at) => Some(std::mem::replace(&mut part[at].1, task_cursor)),
            Err(at) => {
                if part.len() == part.capacity() {
                    part.reserve_exact((part.len() / 16).clamp(2, 64));
                }
                part.insert(at, (task, task_cursor));
                self.len += 1;
                None
            }
        }
    }

    pub(super) fn remove(&mut self, task: TaskKey) {
        if let Some(part) = self.parts.get_mut(part_of(task))
            && let Ok(at) = place(part, task)
        {
            part.remove(at);
            self.len -= 1;
        }
    }

    /// In the order of the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskKey, TaskCursor)> {
        self.parts.iter().flatten().copied()
    }

    /// The cursors in `shard`, in the order of the keys; reads little else.
    pub(super) fn shard(&self, shard: Shard) -> impl Iterator<Item = (TaskKey, TaskCursor)> {
        // A shard is a range of keys.
        let edge = |number: u32| {
            let first = (u64::from(number) << 32).div_ceil(u64::from(shard.of)).min(u64::from(u32::MAX));
            (first >> (32 - PART_BITS)) as usize
        };
        let (first, last) = (edge(shard.number), edge(shard.number.saturating_add(1)));
        let parts = self.parts.get(first..=last).unwrap_or_default();
        parts.iter().flatten().copied().filter(move |(task, _)| shard.has(*task))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{position::RaftIndex, task_cursors::EventHash};

    #[derive(Clone, Debug)]
    enum Step {
        Insert(TaskKey, u64),
        Remove(TaskKey),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few keys, so that they repeat, at both ends of the parts and within one.
        let key = prop_oneof![
            0..8_u128,
            (0..8_u128).prop_map(|low| u128::MAX - low),
            any::<u8>().prop_map(|at| u128::from(at) << 120)
        ];
        let key = key.prop_map(TaskKey);
        prop_oneof![
            3 => (key.clone(), any::<u64>()).prop_map(|(task, event)| Step::Insert(task, event)),
            1 => key.prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_the_order_of_its_keys(steps in prop::collection::vec(step(), 0..200), of in 1_u32..5000) {
            let mut table = CursorTable::default();
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(task, event) => {
                        let task_cursor = TaskCursor::new(EventHash(event), RaftIndex(event >> 1), false);
                        prop_assert_eq!(table.insert(task, task_cursor), model.insert(task.0, task_cursor));
                    }
                    Step::Remove(task) => {
                        table.remove(task);
                        model.remove(&task.0);
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
            prop_assert!(table.iter().eq(model.iter().map(|(task, task_cursor)| (TaskKey(*task), *task_cursor))));
            for (task, task_cursor) in &model {
                prop_assert_eq!(table.get(TaskKey(*task)), Some(*task_cursor));
            }
            prop_assert_eq!(table.get(TaskKey(1 << 64)), None);
            let shards = (0..of).flat_map(|number| table.shard(Shard { number, of }).collect::<Vec<_>>());
            prop_assert!(shards.eq(table.iter()));
        }
    }
}
