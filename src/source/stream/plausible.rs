//! Raft indexes that nothing but one line vouches for.
//!
//! A line whose index lies more than a million above everything that is confirmed is doubtful. Its events are delivered
//! at once, and nothing else moves: whoever took its index for a position would deliver nothing below it any more. It is
//! kept until a table or a later line confirms the index, and is then taken once more, for its place alone. An index
//! that no table confirms is remembered, so that it asks no further question when it comes again.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use crate::position::{Identity, RaftIndex, Seen};

/// So many answers of the tables that do not confirm an index are enough. One is not: events are published before they
/// are committed.
const LOOKS: u32 = 2;
/// The pause between two looks at the tables.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Lines, and their bytes, that are kept; then no further line is read until the tables have answered.
const KEPT: usize = 1024;
const KEPT_BYTES: usize = 8 << 20;
/// Indexes that were not confirmed, and events that were delivered under doubt: so many are remembered.
const DENIED: usize = 1024;
const DELIVERED: usize = 100_000;

/// What is in doubt on one lane.
#[derive(Debug, Default)]
pub(in crate::source) struct Doubts {
    kept: VecDeque<Kept>,
    bytes: usize,
    looks: u32,
    look_at: Option<Instant>,
    denied: VecDeque<RaftIndex>,
    delivered: Seen,
}

/// A doubtful line that is delivered, and has not taken its place.
#[derive(Debug)]
struct Kept {
    index: RaftIndex,
    text: Bytes,
    events: Vec<Identity>,
    about: String,
}

/// An index that no table confirms.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) struct Denied {
    pub(in crate::source) index: RaftIndex,
    /// Topic and key of the line's first event.
    pub(in crate::source) about: String,
}

impl Doubts {
    /// The greatest kept index that a line of `index` confirms by following it; 0 where there is none.
    pub(in crate::source) fn followed_by(&self, index: RaftIndex) -> RaftIndex {
        let followed = self.kept.iter().map(|kept| kept.index);
        followed.filter(|kept| *kept < index && index.is_plausible_after(*kept)).max().unwrap_or_default()
    }

    /// Whether an event was delivered under doubt.
    pub(in crate::source) fn has_delivered(&self, event: &Identity) -> bool {
        self.delivered.contains(event)
    }

    /// Whether nothing was ever in doubt.
    pub(in crate::source) fn is_empty(&self) -> bool {
        self.delivered.is_empty()
    }

    /// A doubtful line is delivered. Where its index was not denied before, it waits for its confirmation: says whether
    /// it does.
    pub(in crate::source) fn keep(
        &mut self,
        index: RaftIndex,
        text: Bytes,
        events: Vec<Identity>,
        about: String,
    ) -> bool {
        self.note(events.iter().copied());
        if self.denied.contains(&index) {
            return false;
        }
        self.bytes += text.len();
        self.kept.push_back(Kept { index, text, events, about });
        self.look_at.get_or_insert_with(Instant::now);
        true
    }

    /// These events were delivered, and their line has not taken its place.
    pub(in crate::source) fn note(&mut self, events: impl IntoIterator<Item = Identity, IntoIter: ExactSizeIterator>) {
        let events = events.into_iter();
        if self.delivered.len() + events.len() > DELIVERED {
            self.delivered = self.kept.iter().flat_map(|kept| kept.events.iter().copied()).collect();
        }
        self.delivered.extend(events);
    }

    /// Whether no further line may be read before the tables have answered.
    pub(in crate::source) fn is_full(&self) -> bool {
        self.kept.len() >= KEPT || self.bytes >= KEPT_BYTES
    }

    /// When the tables are to be asked; `None` where nothing is in doubt.
    pub(in crate::source) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Takes out the lines that `confirmed` confirms, and those that follow them, in the order they came.
    pub(in crate::source) fn take_confirmed(&mut self, mut confirmed: RaftIndex) -> Vec<Bytes> {
        let mut taken = Vec::new();
        if self.kept.is_empty() {
            return taken;
        }
        for kept in std::mem::take(&mut self.kept) {
            if kept.index.is_plausible_after(confirmed) {
                confirmed = confirmed.max(kept.index);
                self.bytes -= kept.text.len();
                taken.push(kept.text);
            } else {
                self.kept.push_back(kept);
            }
        }
        self.calm();
        taken
    }

    /// The tables have answered, and what is kept is not confirmed. Gives what is not to be waited for any longer.
    pub(in crate::source) fn deny(&mut self) -> Vec<Denied> {
        if self.kept.is_empty() {
            return Vec::new();
        }
        self.looks += 1;
        if self.looks < LOOKS {
            self.look_at = Some(Instant::now() + LOOK_AGAIN);
            return Vec::new();
        }
        let denied: Vec<Denied> =
            self.kept.drain(..).map(|Kept { index, about, .. }| Denied { index, about }).collect();
        for Denied { index, .. } in &denied {
            if self.denied.contains(index) {
                continue;
            }
            if self.denied.len() == DENIED {
                self.denied.pop_front();
            }
            self.denied.push_back(*index);
        }
        self.calm();
        denied
    }

    /// The tables could not be asked.
    pub(in crate::source) fn ask_later(&mut self) {
        self.look_at = self.look_at.map(|_| Instant::now() + LOOK_AGAIN);
    }

    /// A new connection brings again what is kept.
    pub(in crate::source) fn reconnected(&mut self) {
        self.kept.clear();
        self.calm();
    }

    fn calm(&mut self) {
        if self.kept.is_empty() {
            (self.bytes, self.looks, self.look_at) = (0, 0, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(n: u64) -> (Bytes, Vec<Identity>) {
        (Bytes::from(n.to_string()), vec![Identity(n)])
    }

    /// Reads a line as a lane does: gives the lines that take their place by it, in order.
    fn read(doubts: &mut Doubts, confirmed: &mut RaftIndex, n: u64, index: RaftIndex) -> Vec<u64> {
        let (text, events) = line(n);
        let by_line = doubts.followed_by(index).max(*confirmed);
        if !index.is_plausible_after(by_line) {
            doubts.keep(index, text, events, String::new());
            return Vec::new();
        }
        let mut taken = doubts.take_confirmed(by_line);
        taken.push(text);
        *confirmed = by_line.max(index);
        taken.iter().map(|text| std::str::from_utf8(text).expect("digits").parse().expect("a number")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_absurd_index_waits_for_the_tables_and_the_others_do_not() {
        let (mut doubts, mut confirmed) = (Doubts::default(), RaftIndex(100));
        assert_eq!(read(&mut doubts, &mut confirmed, 0, RaftIndex(1 << 63)), [0; 0]);
        assert_eq!(read(&mut doubts, &mut confirmed, 1, RaftIndex(101)), [1]);
        assert!(doubts.look_at().is_some() && doubts.deny().is_empty(), "one answer is not enough");
        assert!(doubts.look_at() > Some(Instant::now()));
        let denied = doubts.deny();
        assert_eq!(denied, [Denied { index: RaftIndex(1 << 63), about: String::new() }]);
        // It comes again, and asks for nothing.
        assert_eq!(read(&mut doubts, &mut confirmed, 0, RaftIndex(1 << 63)), [0; 0]);
        assert!(doubts.look_at().is_none() && doubts.deny().is_empty());
        assert!(doubts.has_delivered(&Identity(0)) && !doubts.has_delivered(&Identity(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_or_a_later_line_confirms() {
        let (mut doubts, mut confirmed) = (Doubts::default(), RaftIndex(0));
        assert_eq!(read(&mut doubts, &mut confirmed, 0, RaftIndex(5_000_000)), [0; 0]);
        assert_eq!(
            read(&mut doubts, &mut confirmed, 1, RaftIndex(5_000_000)),
            [0; 0],
            "the same index is no later one"
        );
        assert_eq!(doubts.take_confirmed(RaftIndex(3_999_999)).len(), 0);
        assert_eq!(doubts.take_confirmed(RaftIndex(4_000_000)).len(), 2);
        assert!(doubts.look_at().is_none());
        let (mut doubts, mut confirmed) = (Doubts::default(), RaftIndex(0));
        assert_eq!(read(&mut doubts, &mut confirmed, 0, RaftIndex(u64::MAX)), [0; 0]);
        assert_eq!(read(&mut doubts, &mut confirmed, 1, RaftIndex(5_000_000)), [0; 0]);
        assert_eq!(read(&mut doubts, &mut confirmed, 2, RaftIndex(5_000_001)), [1, 2]);
        assert_eq!(read(&mut doubts, &mut confirmed, 3, RaftIndex(5_000_002)), [3]);
    }

    proptest! {
        /// Absurd lines anywhere in a log: all others take their places in order, none is held up, and no position is
        /// absurd.
        #[test]
        fn absurd_lines_change_nothing_for_the_others(
            steps in prop::collection::vec(prop_oneof![9 => (1_u64..1_000_000).prop_map(Some), 1 => Just(None)], 1..80),
            first in prop_oneof![Just(1_u64), Just(7_000_000)],
            absurd in (1_u64 << 40)..u64::MAX,
        ) {
            let (mut doubts, mut confirmed) = (Doubts::default(), RaftIndex(first));
            let (mut index, mut taken, mut expected) = (first, Vec::new(), Vec::new());
            for (n, step) in (0..).zip(steps) {
                match step {
                    Some(step) => {
                        index += step;
                        expected.push(n);
                        taken.extend(read(&mut doubts, &mut confirmed, n, RaftIndex(index)));
                    }
                    None => taken.extend(read(&mut doubts, &mut confirmed, n, RaftIndex(absurd))),
                }
                prop_assert_eq!(&taken, &expected);
                prop_assert_eq!(confirmed, RaftIndex(index));
            }
        }
    }
}
