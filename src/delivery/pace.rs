//! When to try again after a failure, and with how much. No I/O and no clock.

use std::time::Duration;

use super::Policy;
use crate::backoff::Backoff;

/// The bound of the first pause after a rejected record that holds up the rest. A fix is noticed soon, and a sink that
/// takes all other records is not asked the same thing ten times a second.
const HELD: Duration = Duration::from_secs(1);

/// By how much the next attempt grows with each one that gets through, after an outage.
const GROWTH: usize = 4;

/// The retry policy: pauses that grow while nothing gets through, and attempts of one record until one is delivered.
///
/// A round that delivers anything resets the pauses: its failures concern single records, or a sink that takes less
/// than it is given. While nothing gets through, each attempt carries one record. When that is delivered, the next
/// attempt carries more, so that a sink that has just recovered, or is too slow for a whole batch, is not flooded.
#[derive(Debug)]
pub(super) struct Pace {
    outage: Backoff,
    held: Backoff,
    after_max: Duration,
    /// How many records the next attempt may carry.
    allowance: usize,
}

/// The result of a round of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advance {
    /// Every record that was sent is delivered.
    All,
    /// Some are.
    Some,
    /// None is.
    None,
}

impl Pace {
    pub(super) fn new(policy: &Policy) -> Self {
        Pace {
            outage: Backoff::new(policy.retry_min, policy.retry_max),
            held: Backoff::new(HELD.min(policy.retry_max), policy.retry_max),
            after_max: policy.after_max,
            allowance: usize::MAX,
        }
    }

    /// How many records the next attempt may carry; at least one.
    pub(super) fn allowance(&self) -> usize {
        self.allowance
    }

    /// Takes in the result of an attempt.
    pub(super) fn went(&mut self, progress: Advance) {
        match progress {
            Advance::All => {
                self.outage.reset();
                self.held.reset();
                self.allowance = self.allowance.saturating_mul(GROWTH);
            }
            Advance::Some => {
                self.outage.reset();
                self.held.reset();
            }
            Advance::None => self.allowance = 1,
        }
    }

    /// How long to wait after a failure that a retry can fix; `after` is what the far side asked for.
    pub(super) fn failed(&mut self, after: Option<Duration>) -> Duration {
        self.outage.failed().max(after.unwrap_or_default().min(self.after_max))
    }

    /// How long to wait after a rejected record.
    pub(super) fn rejected(&mut self) -> Duration {
        self.held.failed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_felt_with_one_record_and_left_in_steps() {
        let mut pace = Pace::new(&Policy::default());
        assert_eq!(pace.allowance(), usize::MAX);
        pace.went(Advance::Some);
        assert_eq!(pace.allowance(), usize::MAX);
        pace.went(Advance::None);
        for allowance in [1, 4, 16] {
            assert_eq!(pace.allowance(), allowance);
            pace.went(Advance::All);
        }
        pace.went(Advance::Some);
        assert_eq!(pace.allowance(), 64);
        for _ in 0..64 {
            pace.went(Advance::All);
        }
        assert_eq!(pace.allowance(), usize::MAX);
    }

    #[test]
    fn whatever_gets_through_shortens_the_pauses() {
        let mut pace = Pace::new(&Policy::default());
        for _ in 0..20 {
            pace.went(Advance::None);
            pace.failed(None);
            pace.rejected();
        }
        pace.went(Advance::Some);
        assert!(pace.failed(None) <= Duration::from_millis(100));
        assert!(pace.rejected() <= HELD);
    }

    #[test]
    fn the_far_side_is_heeded_within_bounds() {
        let mut pace = Pace::new(&Policy::default());
        assert_eq!(pace.failed(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(pace.failed(Some(Duration::from_secs(7000))), Policy::default().after_max);
    }
}
