//! The times of a lease that every coordinator with heartbeats keeps.

use std::time::Duration;

/// How long before the end of its lease a leader stops, and how long after it a standby waits: clocks do not run
/// exactly alike, and a thread can be delayed between a look at the clock and the write that follows it.
pub(super) fn margin(lease: Duration) -> Duration {
    lease / 8
}

/// How often a leader writes a heartbeat.
pub(super) fn interval(lease: Duration) -> Duration {
    lease / 3
}
