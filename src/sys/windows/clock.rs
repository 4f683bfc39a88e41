//! A clock that counts the time in which the machine is suspended or the process is stopped.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time since the first call. `Instant` is the performance counter here, which goes on while the machine sleeps.
pub(crate) fn now() -> Duration {
    START.elapsed()
}
