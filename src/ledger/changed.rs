//! What has changed since the last checkpoint.

use crate::task_cursors::TaskKey;

/// What is not stored yet.
#[derive(Default)]
pub(super) struct Changed {
    pub(super) any: bool,
    pub(super) task_cursors: ChangedCursors,
    pub(super) forgotten: bool,
}

/// Task cursors that were set.
pub(super) enum ChangedCursors {
    /// The cursors of these tasks; a task can be named twice.
    Of(Vec<TaskKey>),
    /// Any task: the coordinator stores all cursors, or there are too many to name.
    Any,
}

impl Default for ChangedCursors {
    fn default() -> Self {
        ChangedCursors::Of(Vec::new())
    }
}

impl ChangedCursors {
    pub(super) fn add(&mut self, task: TaskKey) {
        let ChangedCursors::Of(tasks) = self else { return };
        if tasks.len() == tasks.capacity() && tasks.len() >= 1024 {
            // Usually the same tasks change again and again.
            tasks.sort_unstable();
            tasks.dedup();
        }
        tasks.push(task);
    }

    pub(super) fn join(&mut self, other: ChangedCursors) {
        match other {
            ChangedCursors::Of(tasks) => tasks.into_iter().for_each(|task| self.add(task)),
            ChangedCursors::Any => *self = ChangedCursors::Any,
        }
    }
}
