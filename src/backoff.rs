//! The pause before the next try.

use std::time::Duration;

/// Full-jitter exponential backoff: each pause is random between zero and a bound that doubles with each failure, so that many
/// clients do not retry in step.
#[derive(Clone, Debug)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    failures: u32,
}

impl Default for Backoff {
    /// Bounds from 100 ms to 30 s.
    fn default() -> Self {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(30))
    }
}

impl Backoff {
    /// A backoff whose bound grows from `shortest` to `longest`.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        Backoff { shortest, longest, failures: 0 }
    }

    /// Counts a failure, and returns how long to wait.
    pub fn failed(&mut self) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(fastrand::f64())
    }

    /// Starts again at the shortest bound: the operation has worked for a while.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn bound(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.shortest.saturating_mul(factor).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_its_limit() {
        let bound = |failures| Backoff { failures, ..Backoff::default() }.bound();
        assert_eq!(bound(0), Duration::from_millis(100));
        assert_eq!(bound(3), Duration::from_millis(800));
        assert_eq!(bound(9), Duration::from_secs(30));
        assert_eq!(bound(31), Duration::from_secs(30));
        assert_eq!(bound(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn a_draw_is_within_the_bound_and_a_reset_begins_anew() {
        let mut backoff = Backoff::default();
        for bound in [100, 200, 400] {
            assert!(backoff.failed() <= Duration::from_millis(bound));
        }
        backoff.reset();
        assert!(backoff.failed() <= Duration::from_millis(100));
    }
}
