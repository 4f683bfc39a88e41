//! Whether the stream has fallen behind its tables.

use std::time::Duration;

use tokio::time::Instant;

use crate::position::RaftIndex;

/// The last look at a tracker's tables, and when the next alarm may be raised.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    /// The table's index at the previous look.
    pub(crate) table_before: RaftIndex,
    raised: u32,
    not_before: Option<Instant>,
}

impl Watchdog {
    /// Whether an alarm may be raised now; if so, it counts as raised. Alarms may all be false, so they are spaced out:
    /// one at once, then after pauses that double from two minutes to an hour.
    pub(crate) fn may_alarm(&mut self) -> bool {
        let now = Instant::now();
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return false;
        }
        self.raised = (self.raised + 1).min(5);
        self.not_before = Some(now + Duration::from_secs(60) * 2u32.pow(self.raised));
        true
    }

    /// The cluster is another one.
    pub(super) fn forget_table(&mut self) {
        self.table_before = RaftIndex(0);
    }
}
