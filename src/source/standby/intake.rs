//! From the lines of one connection after the other to a ring without holes. No I/O.

use bytes::Bytes;

use crate::{
    nomad::line::{Error, Line, Occurrences, Text},
    position::{Identity, Position, RaftIndex, Seen},
    source::{
        resume::proof::{Cursor, Verdict},
        stream::replay_buffer::ReplayBuffer,
    },
};

/// What feeds a ring.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) buffer: ReplayBuffer,
    /// What was read last; `None` before the first line.
    cursor: Option<Cursor>,
    occurrences: Occurrences,
    /// The connection is not the ring's first, and nothing newer than this has come on it: it can still repeat lines
    /// that are held.
    repeats_at: Option<RaftIndex>,
    /// Events of the lines that are set aside.
    aside: Seen,
    /// The index of the last of these lines.
    last_aside: RaftIndex,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is held, or known.
    Held,
    /// The ring begins anew with it.
    Begins,
    /// Nothing confirms its index: it is not taken yet.
    Doubtful(RaftIndex),
}

impl Intake {
    /// Events that are set aside: so many are known when they come again.
    const ASIDE: usize = 10_000;

    pub(super) fn new(buffer: ReplayBuffer) -> Self {
        Intake {
            buffer,
            cursor: None,
            occurrences: Occurrences::default(),
            repeats_at: None,
            aside: Seen::default(),
            last_aside: RaftIndex(0),
        }
    }

    /// The index to subscribe at; `None` where there is nothing to go on from.
    pub(super) fn ask(&self) -> Option<RaftIndex> {
        self.cursor.as_ref().map(Cursor::ask)
    }

    /// The index that was read last.
    pub(super) fn read_to(&self) -> Option<RaftIndex> {
        self.cursor.as_ref().map(|cursor| cursor.position().index)
    }

    /// Whether the open connection goes on right behind what is held, so that both together are one stream.
    pub(super) fn is_joined(&self) -> bool {
        self.cursor.is_some() && self.repeats_at.is_none()
    }

    /// A new connection.
    pub(super) fn reconnected(&mut self) {
        self.occurrences = Occurrences::default();
        self.repeats_at = self.read_to();
        if let Some(cursor) = &mut self.cursor {
            cursor.reconnected();
        }
    }

    /// What another connection would bring to what is held now.
    pub(super) fn trial(&self, confirmed: RaftIndex) -> Trial {
        let cursors = self.cursor.clone().map(|held| {
            let mut cursor = held.clone();
            cursor.reconnected();
            (held, cursor)
        });
        Trial { cursors, occurrences: Occurrences::default(), has_hole: false, confirmed }
    }

    /// Begins anew: what is held is of no use.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.cursor = None;
        self.occurrences = Occurrences::default();
        self.repeats_at = None;
        (self.aside, self.last_aside) = (Seen::default(), RaftIndex(0));
    }

    /// Takes in a line of the connection. Where it is not proven to go on behind what is held, the ring begins anew
    /// with it. `confirmed` is where the cluster surely is: a line far above that and above what is held is not taken.
    ///
    /// # Errors
    /// The line cannot be read: the connection is not to be trusted, and what the line was is missing.
    pub(super) fn take(&mut self, text: &Bytes, confirmed: RaftIndex) -> Result<Taken, Error> {
        let line = Text::new(text.clone());
        let line = Line::parse(&line, &mut self.occurrences)?;
        let events = line.identities();
        // A line of nothing has no place that could be known again.
        if events.is_empty() {
            return Ok(Taken::Held);
        }
        let follows = self.last_aside < line.index && line.index.is_plausible_after(self.last_aside);
        let confirmed = self.read_to().unwrap_or_default().max(confirmed);
        if !line.index.is_plausible_after(confirmed) {
            if follows {
                self.begin(line.index, &events, text);
                return Ok(Taken::Begins);
            }
            self.occurrences.forget(&line);
            return Ok(Taken::Doubtful(line.index));
        }
        let Some(cursor) = &mut self.cursor else {
            self.begin(line.index, &events, text);
            return Ok(Taken::Begins);
        };
        match cursor.observe(line.index, &events) {
            Verdict::Nothing => {}
            Verdict::Deliver => {
                let is_new = events.iter().any(|event| cursor.is_new(line.index, *event));
                cursor.advance(line.index, &events);
                if is_new {
                    self.buffer.push(line.index, text);
                }
                self.repeats_at = self.repeats_at.filter(|repeats| line.index <= *repeats);
            }
            Verdict::DeliverAfterGap(_) => {
                self.begin(line.index, &events, text);
                return Ok(Taken::Begins);
            }
        }
        Ok(Taken::Held)
    }

    /// Holds a line whose index nothing confirms behind the last one, as if it were of that line's index: whoever takes
    /// over delivers it, and judges for itself.
    ///
    /// # Errors
    /// As [`Intake::take`].
    pub(super) fn set_aside(&mut self, text: &Bytes) -> Result<(), Error> {
        let line = Text::new(text.clone());
        let line = Line::parse(&line, &mut self.occurrences)?;
        let events = line.identities();
        let is_new = events.iter().any(|event| !self.aside.contains(event));
        if self.aside.len() + events.len() > Self::ASIDE {
            self.aside.clear();
        }
        self.aside.extend(events);
        self.last_aside = line.index;
        if let Some(read_to) = self.read_to().filter(|_| is_new) {
            self.buffer.push(read_to, text);
        }
        Ok(())
    }

    fn begin(&mut self, index: RaftIndex, events: &[Identity], text: &Bytes) {
        let mut position = Position::default();
        position.advance(index, events);
        let mut cursor = Cursor::new(position);
        cursor.proven_from(index);
        self.cursor = Some(cursor);
        self.repeats_at = None;
        self.buffer.begin(index);
        self.buffer.push(index, text);
    }
}

/// Another connection beside the one that is read. Nothing is taken in.
#[derive(Debug)]
pub(super) struct Trial {
    /// What is held, and the same going on with the connection; `None` where nothing is held.
    cursors: Option<(Cursor, Cursor)>,
    occurrences: Occurrences,
    has_hole: bool,
    confirmed: RaftIndex,
}

/// A line that is not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The connection goes on behind what is held.
    GoesOn,
    /// What is held would have to begin anew.
    Anew,
}

impl Trial {
    /// Looks at the next line of the connection. `None` where it repeats what is held, or tells nothing yet.
    ///
    /// # Errors
    /// The line cannot be read.
    pub(super) fn look(&mut self, text: &Bytes) -> Result<Option<News>, Error> {
        let line = Text::new(text.clone());
        let line = Line::parse(&line, &mut self.occurrences)?;
        let events = line.identities();
        if events.is_empty() {
            return Ok(None);
        }
        let held = self.cursors.as_ref().map(|(_, cursor)| cursor.position().index);
        if !line.index.is_plausible_after(self.confirmed.max(held.unwrap_or_default())) {
            return Ok(None);
        }
        let Some((held, cursor)) = &mut self.cursors else { return Ok(Some(News::Anew)) };
        match cursor.observe(line.index, &events) {
            Verdict::Nothing => return Ok(None),
            Verdict::Deliver => {}
            Verdict::DeliverAfterGap(_) => self.has_hole = true,
        }
        cursor.advance(line.index, &events);
        let is_new = events.iter().any(|event| held.is_new(line.index, *event));
        Ok(is_new.then_some(if self.has_hole { News::Anew } else { News::GoesOn }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::Metrics;

    /// Line `n` of a log.
    fn text(n: usize, index: u64) -> Bytes {
        let event = format!(r#"{{"Topic":"Job","Type":"t","Key":"{n}","Namespace":"d","Index":{index}}}"#);
        Bytes::from(format!(r#"{{"Index":{index},"Events":[{event}]}}"#))
    }

    fn intake() -> Intake {
        Intake::new(ReplayBuffer::new(4000, Metrics::new(&[])))
    }

    fn drain(intake: &mut Intake) -> Vec<Bytes> {
        std::iter::from_fn(|| intake.buffer.pop()).collect()
    }

    #[derive(Clone, Debug)]
    struct Connection {
        /// How many lines the log has by now more than when the last connection began.
        appended: usize,
        /// How many lines the server keeps, and by how many it lags.
        kept: usize,
        lag: usize,
        /// How many lines of it are read before it breaks.
        read: usize,
        /// How far the leaders are behind.
        behind: u64,
    }

    fn connections() -> impl Strategy<Value = Vec<Connection>> {
        let connection =
            (0_usize..12, 1_usize..12, prop_oneof![3 => Just(0_usize), 1 => 0_usize..6], 0_usize..14, 0_u64..12)
                .prop_map(|(appended, kept, lag, read, behind)| Connection { appended, kept, lag, read, behind });
        proptest::collection::vec(connection, 1..12)
    }

    proptest! {
        /// A server that keeps few lines, lags, and cuts us off anywhere: the ring has no hole and no line twice, and
        /// what the connection would bring next is what follows in the log.
        #[test]
        fn reconnects_leave_no_hole(steps in proptest::collection::vec(0_u64..3, 160), connections in connections()) {
            let indexes = steps.iter().scan(10, |index, step| { *index += step; Some(*index) });
            let log: Vec<_> = indexes.enumerate().map(|(n, index)| (RaftIndex(index), text(n, index))).collect();
            let mut intake = intake();
            let mut end = 1;
            for connection in connections {
                end = (end + connection.appended).min(log.len());
                let newest = end.saturating_sub(connection.lag).max(1);
                let oldest = newest.saturating_sub(connection.kept);
                let ask = intake.ask().unwrap_or_default();
                // From the index asked for, or the next one, or the last line once more.
                let start = (oldest..newest).find(|n| log[*n].0 >= ask).unwrap_or(newest - 1);
                intake.reconnected();
                let stop = (start + connection.read).min(newest);
                for (_, line) in log.iter().take(stop).skip(start) {
                    intake.take(line, RaftIndex(0)).expect("a line of events");
                }
                let Some(read) = intake.read_to() else { continue };
                intake.buffer.trim(RaftIndex(read.0.saturating_sub(connection.behind)));
                let is_held = |(index, line): &(RaftIndex, Bytes)| intake.buffer.at(*index).any(|held| held == line);
                let lines: Vec<usize> = (0..end).filter(|n| is_held(&log[*n])).collect();
                prop_assert_eq!(lines.len(), intake.buffer.len(), "each line once");
                prop_assert!(lines.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a hole: {lines:?}");
                let from = intake.buffer.complete_from().expect("a line was read");
                // Of the last index some lines can be yet to come.
                let missing = log.iter().take(end).find(|line| line.0 >= from && line.0 < read && !is_held(line));
                prop_assert!(missing.is_none(), "{missing:?} is missing from {from} on: {lines:?}");
                if intake.is_joined() && let Some(last) = lines.last() {
                    prop_assert_eq!(last + 1, stop, "the connection goes on right behind what is held");
                }
            }
        }
    }

    #[test]
    fn a_connection_that_may_still_repeat_what_is_held_is_not_joined() {
        let mut intake = intake();
        for (n, index) in [(0, 10), (1, 11), (2, 11)] {
            intake.take(&text(n, index), RaftIndex(0)).expect("a line");
        }
        assert!(intake.is_joined());
        intake.reconnected();
        for (n, index) in [(0, 10), (1, 11)] {
            intake.take(&text(n, index), RaftIndex(0)).expect("a line");
        }
        assert!(!intake.is_joined());
        intake.take(&text(2, 11), RaftIndex(0)).expect("a line");
        intake.take(&text(3, 11), RaftIndex(0)).expect("a line");
        assert!(!intake.is_joined());
        intake.take(&text(4, 12), RaftIndex(0)).expect("a line");
        assert!(intake.is_joined());
        assert_eq!(drain(&mut intake), [(0, 10), (1, 11), (2, 11), (3, 11), (4, 12)].map(|(n, index)| text(n, index)));
    }

    #[test]
    fn an_absurd_index_is_held_in_its_place_and_moves_nothing() {
        let mut intake = intake();
        let absurd = RaftIndex(1 << 63);
        for connection in 0..2 {
            for (n, index) in [(0, 10), (1, absurd.0), (2, 11), (3, 12)].into_iter().take(3 + connection) {
                let line = text(n, index);
                if intake.take(&line, RaftIndex(0)).expect("a line") == Taken::Doubtful(absurd) {
                    intake.set_aside(&line).expect("a line");
                }
            }
            intake.reconnected();
        }
        assert_eq!(intake.read_to(), Some(RaftIndex(12)));
        let held = [(0, 10), (1, absurd.0), (2, 11), (3, 12)].map(|(n, index)| text(n, index));
        assert_eq!(drain(&mut intake), held);
        // The next one can be true.
        assert_eq!(intake.take(&text(4, absurd.0 + 1), RaftIndex(0)).expect("a line"), Taken::Begins);
    }

    /// The same object twice: what is held of an absurd index is all of it.
    #[test]
    fn the_second_event_of_an_object_at_an_absurd_index_is_held_too() {
        let mut intake = intake();
        for (n, index) in [(0, 10), (1, 1 << 40), (1, 1 << 40), (2, 11)] {
            let line = text(n, index);
            if matches!(intake.take(&line, RaftIndex(0)).expect("a line"), Taken::Doubtful(_)) {
                intake.set_aside(&line).expect("a line");
            }
        }
        assert_eq!(drain(&mut intake), [(0, 10), (1, 1 << 40), (1, 1 << 40), (2, 11)].map(|(n, index)| text(n, index)));
    }

    #[test]
    fn another_connection_is_tried_without_a_trace() {
        let mut intake = intake();
        for (n, index) in [(0, 10), (1, 11), (2, 11)] {
            intake.take(&text(n, index), RaftIndex(0)).expect("a line");
        }
        let tried = |lines: &[(usize, u64)]| {
            let mut trial = intake.trial(RaftIndex(0));
            let news = lines.iter().map(|(n, index)| trial.look(&text(*n, *index)).expect("a line"));
            news.collect::<Vec<_>>()
        };
        // From the line before on, which is what is asked for.
        assert_eq!(tried(&[(0, 10), (1, 11), (2, 11), (3, 11)]), [None, None, None, Some(News::GoesOn)]);
        assert_eq!(tried(&[(0, 10), (1, 11), (3, 12)]), [None, None, Some(News::GoesOn)]);
        assert_eq!(tried(&[(3, 12)]), [Some(News::Anew)]);
        // The server no longer has the line before, and so perhaps not all of the index: known, but no proof.
        assert_eq!(tried(&[(1, 11), (2, 11), (3, 12)]), [None, None, Some(News::Anew)]);
        assert!(intake.trial(RaftIndex(0)).look(&Bytes::from_static(b"no line")).is_err());
        assert!(intake.is_joined());
    }

    #[test]
    fn a_hole_between_two_connections_begins_the_ring_anew() {
        let mut intake = intake();
        intake.take(&text(0, 10), RaftIndex(0)).expect("a line");
        intake.reconnected();
        intake.take(&text(5, 20), RaftIndex(0)).expect("a line");
        assert!(intake.is_joined());
        assert_eq!((intake.buffer.len(), intake.buffer.complete_from()), (1, Some(RaftIndex(21))));
        assert!(intake.take(&Bytes::from_static(b"no line"), RaftIndex(0)).is_err());
    }
}
