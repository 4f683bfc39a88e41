//! Lines with an implausible raft index, which nothing else confirms.
//!
//! An index is implausible if it lies more than a million above everything confirmed. The events of such a line are
//! delivered at once, and no position moves: a position at a wrong index would hide every event below it. The line is
//! kept until a table or a later line confirms its index. Then it is processed once more, only to move the positions.
//! An index that no table confirms is remembered, so that it causes no further query when it comes again.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use crate::position::{Identity, RaftIndex, Seen};

/// So many answers of the tables that do not confirm an index are enough. One is not: Nomad publishes events before it
/// commits them.
const MAX_LOOKS: u32 = 2;
/// The pause between two queries of the tables.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The most lines, and bytes, that are kept. Beyond that no line is read until the tables have answered.
const MAX_LINES: usize = 1024;
const MAX_BYTES: usize = 8 << 20;
/// The most unconfirmed indexes, and delivered events, that are remembered.
const MAX_GIVEN_UP: usize = 1024;
const MAX_DELIVERED: usize = 100_000;

/// The unconfirmed lines of one stream.
#[derive(Debug, Default)]
pub(crate) struct UnconfirmedLines {
    kept: VecDeque<UnconfirmedLine>,
    bytes: usize,
    looks: u32,
    look_at: Option<Instant>,
    given_up: VecDeque<RaftIndex>,
    delivered: Seen,
}

/// A line that is delivered, and has moved no position yet.
#[derive(Debug)]
struct UnconfirmedLine {
    index: RaftIndex,
    text: Bytes,
    events: Vec<Identity>,
    about: String,
}

/// An index that no table confirms.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnconfirmedIndex {
    pub(crate) index: RaftIndex,
    /// Topic and key of the line's first event.
    pub(crate) about: String,
}

impl UnconfirmedLines {
    /// The greatest kept index that a line of `index` confirms by following it; 0 if there is none.
    pub(crate) fn followed_by(&self, index: RaftIndex) -> RaftIndex {
        let followed = self.kept.iter().map(|kept| kept.index);
        followed.filter(|kept| *kept < index && index.is_plausible_after(*kept)).max().unwrap_or_default()
    }

    /// Whether an event was delivered from an unconfirmed line.
    pub(crate) fn has_delivered(&self, event: &Identity) -> bool {
        self.delivered.contains(event)
    }

    /// Whether no line was ever unconfirmed.
    pub(crate) fn is_empty(&self) -> bool {
        self.delivered.is_empty()
    }

    /// Keeps a delivered line until its index is confirmed. Returns false if the index was given up before.
    pub(crate) fn keep(&mut self, index: RaftIndex, text: Bytes, events: Vec<Identity>, about: String) -> bool {
        self.note(events.iter().copied());
        if self.given_up.contains(&index) {
            return false;
        }
        self.bytes += text.len();
        self.kept.push_back(UnconfirmedLine { index, text, events, about });
        self.look_at.get_or_insert_with(Instant::now);
        true
    }

    /// Remembers events that were delivered, and whose line has moved no position.
    pub(crate) fn note(&mut self, events: impl IntoIterator<Item = Identity, IntoIter: ExactSizeIterator>) {
        let events = events.into_iter();
        if self.delivered.len() + events.len() > MAX_DELIVERED {
            self.delivered = self.kept.iter().flat_map(|kept| kept.events.iter().copied()).collect();
        }
        self.delivered.extend(events);
    }

    /// Whether the stream has to wait until the tables have answered.
    pub(crate) fn is_full(&self) -> bool {
        self.kept.len() >= MAX_LINES || self.bytes >= MAX_BYTES
    }

    /// When to ask the tables; `None` if no line is kept.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Removes the lines that `confirmed` confirms, and those that follow them, in order of arrival.
    pub(crate) fn take_confirmed(&mut self, mut confirmed: RaftIndex) -> Vec<Bytes> {
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
        self.reset_if_empty();
        taken
    }

    /// The tables have answered, and do not confirm what is kept. Returns the indexes to give up.
    pub(crate) fn give_up(&mut self) -> Vec<UnconfirmedIndex> {
        if self.kept.is_empty() {
            return Vec::new();
        }
        self.looks += 1;
        if self.looks < MAX_LOOKS {
            self.look_at = Some(Instant::now() + LOOK_AGAIN);
            return Vec::new();
        }
        let given_up: Vec<UnconfirmedIndex> =
            self.kept.drain(..).map(|UnconfirmedLine { index, about, .. }| UnconfirmedIndex { index, about }).collect();
        for UnconfirmedIndex { index, .. } in &given_up {
            if !self.given_up.contains(index) {
                self.given_up.truncate(MAX_GIVEN_UP - 1);
                self.given_up.push_front(*index);
            }
        }
        self.reset_if_empty();
        given_up
    }

    /// The tables did not answer.
    pub(crate) fn ask_later(&mut self) {
        self.look_at = self.look_at.map(|_| Instant::now() + LOOK_AGAIN);
    }

    /// A new connection brings the kept lines again.
    pub(crate) fn reconnected(&mut self) {
        self.kept.clear();
        self.reset_if_empty();
    }

    fn reset_if_empty(&mut self) {
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

    /// Reads a line as a driver does: returns the lines that move positions by it, in order.
    fn read(unconfirmed: &mut UnconfirmedLines, confirmed: &mut RaftIndex, n: u64, index: RaftIndex) -> Vec<u64> {
        let (text, events) = line(n);
        let by_line = unconfirmed.followed_by(index).max(*confirmed);
        if !index.is_plausible_after(by_line) {
            unconfirmed.keep(index, text, events, String::new());
            return Vec::new();
        }
        let mut taken = unconfirmed.take_confirmed(by_line);
        taken.push(text);
        *confirmed = by_line.max(index);
        taken.iter().map(|text| std::str::from_utf8(text).expect("digits").parse().expect("a number")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_absurd_index_waits_for_the_tables_and_the_others_do_not() {
        let (mut unconfirmed, mut confirmed) = (UnconfirmedLines::default(), RaftIndex(100));
        assert_eq!(read(&mut unconfirmed, &mut confirmed, 0, RaftIndex(1 << 63)), [0; 0]);
        assert_eq!(read(&mut unconfirmed, &mut confirmed, 1, RaftIndex(101)), [1]);
        assert!(unconfirmed.look_at().is_some() && unconfirmed.give_up().is_empty(), "one answer is not enough");
        assert!(unconfirmed.look_at() > Some(Instant::now()));
        let given_up = unconfirmed.give_up();
        assert_eq!(given_up, [UnconfirmedIndex { index: RaftIndex(1 << 63), about: String::new() }]);
        // It comes again, and causes no query.
        assert_eq!(read(&mut unconfirmed, &mut confirmed, 0, RaftIndex(1 << 63)), [0; 0]);
        assert!(unconfirmed.look_at().is_none() && unconfirmed.give_up().is_empty());
        assert!(unconfirmed.has_delivered(&Identity(0)) && !unconfirmed.has_delivered(&Identity(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_or_a_later_line_confirms() {
        let (mut unconfirmed, mut confirmed) = (UnconfirmedLines::default(), RaftIndex(0));
        assert_eq!(read(&mut unconfirmed, &mut confirmed, 0, RaftIndex(5_000_000)), [0; 0]);
        assert_eq!(
            read(&mut unconfirmed, &mut confirmed, 1, RaftIndex(5_000_000)),
            [0; 0],
            "the same index is no later one"
        );
        assert_eq!(unconfirmed.take_confirmed(RaftIndex(3_999_999)).len(), 0);
        assert_eq!(unconfirmed.take_confirmed(RaftIndex(4_000_000)).len(), 2);
        assert!(unconfirmed.look_at().is_none());
        let (mut unconfirmed, mut confirmed) = (UnconfirmedLines::default(), RaftIndex(0));
        assert_eq!(read(&mut unconfirmed, &mut confirmed, 0, RaftIndex(u64::MAX)), [0; 0]);
        assert_eq!(read(&mut unconfirmed, &mut confirmed, 1, RaftIndex(5_000_000)), [0; 0]);
        assert_eq!(read(&mut unconfirmed, &mut confirmed, 2, RaftIndex(5_000_001)), [1, 2]);
        assert_eq!(read(&mut unconfirmed, &mut confirmed, 3, RaftIndex(5_000_002)), [3]);
    }

    proptest! {
        /// Absurd lines anywhere in a log: all others move positions in order, none has to wait, and no position is
        /// absurd.
        #[test]
        fn absurd_lines_change_nothing_for_the_others(
            steps in prop::collection::vec(prop_oneof![9 => (1_u64..1_000_000).prop_map(Some), 1 => Just(None)], 1..80),
            first in prop_oneof![Just(1_u64), Just(7_000_000)],
            absurd in (1_u64 << 40)..u64::MAX,
        ) {
            let (mut unconfirmed, mut confirmed) = (UnconfirmedLines::default(), RaftIndex(first));
            let (mut index, mut taken, mut expected) = (first, Vec::new(), Vec::new());
            for (n, step) in (0..).zip(steps) {
                match step {
                    Some(step) => {
                        index += step;
                        expected.push(n);
                        taken.extend(read(&mut unconfirmed, &mut confirmed, n, RaftIndex(index)));
                    }
                    None => taken.extend(read(&mut unconfirmed, &mut confirmed, n, RaftIndex(absurd))),
                }
                prop_assert_eq!(&taken, &expected);
                prop_assert_eq!(confirmed, RaftIndex(index));
            }
        }
    }
}
