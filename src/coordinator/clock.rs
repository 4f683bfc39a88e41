//! The clock of leases: it counts the time in which the machine is suspended or the process is stopped.
//!
//! On Linux, Rust's and tokio's `Instant` are `CLOCK_MONOTONIC`, which stops while the machine is suspended: a leader
//! that wakes up after an hour would believe that its lease still holds.

use std::{fmt, time::Duration};

use crate::sys;

/// A moment: the time since the machine was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) Duration);

impl Moment {
    /// The time from `earlier` to here; zero where it is later.
    pub(super) fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(super) fn after(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration))
    }
}

/// The time of leases. Never goes back.
pub(super) trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Moment;
}

/// The clock of the system that counts it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boot;

impl Clock for Boot {
    fn now(&self) -> Moment {
        Moment(sys::clock::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let first = Boot.now();
        assert!(first > Moment::default());
        assert!(Boot.now() >= first);
        assert_eq!(first.since(first.after(Duration::from_secs(1))), Duration::ZERO);
    }
}
