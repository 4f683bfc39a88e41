//! When to try again after a failure, and with how much. No I/O and no clock.

use std::time::Duration;

use super::Policy;
use crate::backoff::Backoff;

/// The bound of the first pause behind a rejected record that holds everything up. A mended cause is noticed soon, and
/// the sink that takes all other records is not asked the same question ten times a second.
const HELD: Duration = Duration::from_secs(1);

/// By how much the next try grows with each one that gets through, after an outage.
const GROWTH: usize = 4;

/// The retry policy: pauses that grow while nothing gets through, and one record that feels whether the way is free.
///
/// A round that delivers anything at all begins anew: what failed in it is a matter of single records, or of a sink that
/// takes less than it is given. While nothing gets through, each try carries one record. When that is taken, the next one
/// carries more, so that a sink that has only just come back, or that is too slow for a whole batch, is not buried.
#[derive(Debug)]
pub(super) struct Pace {
    outage: Backoff,
    held: Backoff,
    after_max: Duration,
    /// How many records the next try may carry.
    allowance: usize,
}

/// What a round of sending came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advance {
    /// Everything that was sent is through.
    All,
    /// Some of it is.
    Some,
    /// Nothing is.
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

    /// How many records the next try may carry; at least one.
    pub(super) fn allowance(&self) -> usize {
        self.allowance
    }

    /// Takes in how a try went.
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

    /// How long to wait after a failure that a later try can mend; `after` is what the far side asked for.
    pub(super) fn failed(&mut self, after: Option<Duration>) -> Duration {
        self.outage.failed().max(after.unwrap_or_default().min(self.after_max))
    }

    /// How long to wait behind a rejected record.
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
