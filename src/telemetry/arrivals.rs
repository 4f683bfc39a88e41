//! When Nomad's newest index became known, in samples: how old the first index is that is not delivered, also while its line still
//! waits to be read.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::position::RaftIndex;

/// The most samples. Where there are more, the older half is thinned out: what is old needs no exact time.
const SAMPLES: usize = 128;
/// The shortest time between two samples.
pub(super) const EVERY: Duration = Duration::from_millis(100);

/// Ascending indexes, each with when it became known.
#[derive(Debug, Default)]
pub(super) struct Arrivals(VecDeque<(RaftIndex, Instant)>);

impl Arrivals {
    /// Notes that `index` is the newest one. An index that is not above the last sample adds none.
    pub(super) fn note(&mut self, index: RaftIndex, at: Instant) {
        if self.0.back().is_some_and(|(newest, _)| *newest >= index) {
            return;
        }
        if self.0.len() >= SAMPLES {
            let mut place = 0;
            self.0.retain(|_| {
                place += 1;
                place > SAMPLES / 2 || place % 2 == 1
            });
        }
        self.0.push_back((index, at));
    }

    /// When the first index above `delivered` became known; `None` if `newest` is not above it. Forgets what is delivered.
    pub(super) fn since(&mut self, delivered: RaftIndex, newest: RaftIndex) -> Option<Instant> {
        // The last sample stays: the newest index can have followed it too soon to be one.
        while self.0.len() > 1 && self.0.front().is_some_and(|(index, _)| *index <= delivered) {
            self.0.pop_front();
        }
        let (_, at) = self.0.front()?;
        (newest > delivered).then_some(*at)
    }

    /// The indexes of another cluster do not count.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_age_is_that_of_the_first_index_that_is_not_delivered() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.since(RaftIndex(0), RaftIndex(9)), None);
        for (index, seconds) in [(10, 1), (20, 2), (15, 3), (30, 4)] {
            arrivals.note(RaftIndex(index), at(seconds));
        }
        assert_eq!(arrivals.since(RaftIndex(9), RaftIndex(30)), Some(at(1)));
        assert_eq!(arrivals.since(RaftIndex(10), RaftIndex(30)), Some(at(2)));
        assert_eq!(arrivals.since(RaftIndex(29), RaftIndex(30)), Some(at(4)));
        assert_eq!(arrivals.since(RaftIndex(30), RaftIndex(30)), None);
        // It followed the last sample too soon to be one.
        assert_eq!(arrivals.since(RaftIndex(30), RaftIndex(31)), Some(at(4)));
        arrivals.forget();
        assert_eq!(arrivals.since(RaftIndex(0), RaftIndex(31)), None);
    }

    proptest! {
        #[test]
        fn however_many_arrive_they_are_few_and_no_age_is_below_that_of_the_next_sample(
            steps in proptest::collection::vec((1_u64..50, 100_u64..5_000), 1..2_000), part in 0.0..1.0,
        ) {
            let start = Instant::now();
            let (mut index, mut millis, mut all) = (0, 0, Vec::new());
            let mut arrivals = Arrivals::default();
            for (more, later) in steps {
                (index, millis) = (index + more, millis + later);
                let at = start + Duration::from_millis(millis);
                arrivals.note(RaftIndex(index), at);
                all.push((index, at));
                prop_assert!(arrivals.0.len() <= SAMPLES);
            }
            let delivered = (index as f64 * part) as u64;
            let exact = all.iter().find(|(at, _)| *at > delivered).map(|(_, at)| *at);
            let found = arrivals.since(RaftIndex(delivered), RaftIndex(index));
            // A thinned sample stands for those before it: the age is at most that much too small.
            prop_assert_eq!(found.is_some(), exact.is_some());
            prop_assert!(found >= exact);
        }
    }
}
