//! How long to wait before the next try.

use std::time::Duration;

use super::Policy;

/// Full-jitter exponential backoff: an even draw from zero to a bound that doubles with each failure, so that many
/// senders do not come back in step.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure: the time to wait, at least `after` where the far side asked for that.
    pub(super) fn failed(&mut self, policy: &Policy, after: Option<Duration>) -> Duration {
        let bound = bound(policy, self.failures);
        self.failures = self.failures.saturating_add(1);
        let jittered = bound.mul_f64(fastrand::f64());
        jittered.max(after.unwrap_or_default().min(policy.after_max))
    }
}

fn bound(policy: &Policy, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
    policy.retry_min.saturating_mul(factor).min(policy.retry_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_its_limit() {
        let policy = Policy::default();
        assert_eq!(bound(&policy, 0), Duration::from_millis(100));
        assert_eq!(bound(&policy, 3), Duration::from_millis(800));
        assert_eq!(bound(&policy, 9), Duration::from_secs(30));
        assert_eq!(bound(&policy, 31), Duration::from_secs(30));
        assert_eq!(bound(&policy, u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn the_far_side_is_heard_within_reason() {
        let policy = Policy::default();
        let asked = |after| Backoff::default().failed(&policy, Some(after));
        assert_eq!(asked(Duration::from_secs(7)), Duration::from_secs(7));
        assert_eq!(asked(Duration::from_secs(86_400)), policy.after_max);
        assert!(asked(Duration::ZERO) <= policy.retry_min);
    }
}
