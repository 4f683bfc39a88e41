//! A clock that counts the time in which the machine is suspended or the process is stopped.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// On Linux, `CLOCK_MONOTONIC`, which Rust and tokio use, stops while the machine is suspended.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
/// On macOS and the BSDs it does not.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// The time since a moment before this process was started. Never goes back.
pub(crate) fn now() -> Duration {
    of(CLOCK)
}

/// The time of `CLOCK_MONOTONIC`, which service managers compare with their own.
pub(crate) fn monotonic() -> Duration {
    of(ClockId::Monotonic)
}

fn of(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    // Neither is negative: the clock starts at zero.
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}
