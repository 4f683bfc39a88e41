//! What one line or page adds to the ledger.

use crate::{
    ledger::{Effect, Ledger},
    resource::{Draft, Made},
    task_cursors::{TaskCursor, TaskKey},
};

/// Records, and what their delivery changes in the checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Submission {
    pub(crate) drafts: Vec<Draft>,
    /// Which of these need the summary of their job, in ascending order.
    pub(super) lacking_summary: Vec<usize>,
    pub(crate) effect: Effect,
}

impl Submission {
    /// Adds what one event or object becomes. Returns how many of its tasks may have had more events than Nomad keeps.
    pub(super) fn add(&mut self, made: Made) -> u32 {
        let before = self.drafts.len();
        self.drafts.extend(made.drafts);
        if made.lacks_summary {
            self.lacking_summary.extend(before..self.drafts.len());
        }
        self.effect.task_cursors.extend(made.task_cursors);
        self.effect.value = self.effect.value.max(made.value);
        made.overruns
    }

    /// The cursor of a task, including those of this submission.
    pub(super) fn task_cursor(&self, ledger: &Ledger, repeated: bool, task: TaskKey) -> Option<TaskCursor> {
        let own = || self.effect.task_cursors.iter().rev().find(|(key, _)| *key == task).map(|(_, cursor)| *cursor);
        // Only an object that comes twice at one index can have set its cursor in this submission.
        repeated.then(own).flatten().or_else(|| ledger.task_cursor(task))
    }
}
