//! How long to wait before the next try: full jitter, so that replicas do not come back in step.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// The pauses of one thing that is tried again and again.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next pause: anything from nothing to a bound that doubles from 100 ms to 30 s.
    pub(super) fn next(&mut self) -> Duration {
        let bound = SHORTEST.saturating_mul(2u32.saturating_pow(self.tries)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        bound.mul_f64(fastrand::f64())
    }

    /// The thing has worked for a while.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }
}
