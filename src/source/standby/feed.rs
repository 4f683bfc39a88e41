//! Feeds the lines of successive connections into a replay buffer without holes. No I/O.

use bytes::Bytes;

use crate::{
    nomad::line::{Error, Line, Occurrences, Text},
    position::{Identity, Position, RaftIndex, Seen},
    source::{
        resume::proof::{LineVerdict, StreamCursor},
        stream::replay_buffer::ReplayBuffer,
    },
};

/// Feeds a replay buffer.
#[derive(Debug)]
pub(super) struct BufferFeed {
    pub(super) buffer: ReplayBuffer,
    /// What was read last; `None` before the first line.
    cursor: Option<StreamCursor>,
    occurrences: Occurrences,
    /// The connection is not the buffer's first, and has brought nothing newer than this: it can still repeat buffered
    /// lines.
    repeats_at: Option<RaftIndex>,
    /// Events of the lines that were set aside.
    aside: Seen,
    /// The index of the last of these lines.
    last_aside: RaftIndex,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FeedOutcome {
    /// It is buffered, or known.
    Buffered,
    /// The buffer restarted with it.
    Restarted,
    /// Its index is implausible: it was not taken.
    Implausible(RaftIndex),
}

impl BufferFeed {
    /// The most events of set-aside lines that are remembered.
    const MAX_ASIDE: usize = 10_000;

    pub(super) fn new(buffer: ReplayBuffer) -> Self {
        BufferFeed {
            buffer,
            cursor: None,
            occurrences: Occurrences::default(),
            repeats_at: None,
            aside: Seen::default(),
            last_aside: RaftIndex(0),
        }
    }

    /// The index to subscribe at; `None` if the buffer has not begun.
    pub(super) fn ask(&self) -> Option<RaftIndex> {
        self.cursor.as_ref().map(StreamCursor::ask)
    }

    /// The index that was read last.
    pub(super) fn read_to(&self) -> Option<RaftIndex> {
        self.cursor.as_ref().map(|cursor| cursor.position().index)
    }

    /// Whether the open connection continues right after the buffer, so that both together are one stream.
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

    /// What a second stream would add to the buffer.
    pub(super) fn comparison(&self, confirmed: RaftIndex) -> Comparison {
        let cursors = self.cursor.clone().map(|buffered| {
            let mut cursor = buffered.clone();
            cursor.reconnected();
            (buffered, cursor)
        });
        Comparison { cursors, occurrences: Occurrences::default(), has_hole: false, confirmed }
    }

    /// Empties the buffer: it is of no use.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.cursor = None;
        self.occurrences = Occurrences::default();
        self.repeats_at = None;
        (self.aside, self.last_aside) = (Seen::default(), RaftIndex(0));
    }

    /// Buffers a line of the connection. If the line is not proven to continue the buffer, the buffer restarts with it.
    /// `confirmed` is a certain index of the cluster: a line far above that and above the buffer is not taken.
    ///
    /// # Errors
    /// The line cannot be read: the connection cannot be trusted, and the line is missing.
    pub(super) fn take(&mut self, text: &Bytes, confirmed: RaftIndex) -> Result<FeedOutcome, Error> {
        let line = Text::new(text.clone());
        let line = Line::parse(&line, &mut self.occurrences)?;
        let events = line.identities();
        // A line without events has no place that could be known again.
        if events.is_empty() {
            return Ok(FeedOutcome::Buffered);
        }
        let follows = self.last_aside < line.index && line.index.is_plausible_after(self.last_aside);
        let confirmed = self.read_to().unwrap_or_default().max(confirmed);
        if !line.index.is_plausible_after(confirmed) {
            if follows {
                self.restart(line.index, &events, text);
                return Ok(FeedOutcome::Restarted);
            }
            self.occurrences.forget(&line);
            return Ok(FeedOutcome::Implausible(line.index));
        }
        let Some(cursor) = &mut self.cursor else {
            self.restart(line.index, &events, text);
            return Ok(FeedOutcome::Restarted);
        };
        match cursor.observe(line.index, &events) {
            LineVerdict::Nothing => {}
            LineVerdict::Deliver => {
                let is_new = events.iter().any(|event| cursor.is_new(line.index, *event));
                cursor.advance(line.index, &events);
                if is_new {
                    self.buffer.push(line.index, text);
                }
                self.repeats_at = self.repeats_at.filter(|repeats| line.index <= *repeats);
            }
            LineVerdict::DeliverAfterGap(_) => {
                self.restart(line.index, &events, text);
                return Ok(FeedOutcome::Restarted);
            }
        }
        Ok(FeedOutcome::Buffered)
    }

    /// Buffers a line with an implausible index after the last line, as if it had that line's index. The driver that
    /// takes over delivers it, and decides for itself.
    ///
    /// # Errors
    /// As [`BufferFeed::take`].
    pub(super) fn set_aside(&mut self, text: &Bytes) -> Result<(), Error> {
        let line = Text::new(text.clone());
        let line = Line::parse(&line, &mut self.occurrences)?;
        let events = line.identities();
        let is_new = events.iter().any(|event| !self.aside.contains(event));
        if self.aside.len() + events.len() > Self::MAX_ASIDE {
            self.aside.clear();
        }
        self.aside.extend(events);
        self.last_aside = line.index;
        if let Some(read_to) = self.read_to().filter(|_| is_new) {
            self.buffer.push(read_to, text);
        }
        Ok(())
    }

    fn restart(&mut self, index: RaftIndex, events: &[Identity], text: &Bytes) {
        let mut position = Position::default();
        position.advance(index, events);
        let mut cursor = StreamCursor::new(position);
        cursor.proven_from(index);
        self.cursor = Some(cursor);
        self.repeats_at = None;
        self.buffer.begin(index);
        self.buffer.push(index, text);
    }
}

/// Compares a second stream with the buffer, and changes nothing.
#[derive(Debug)]
pub(super) struct Comparison {
    /// The cursor of the buffer, and a copy that reads the second stream; `None` if the buffer is empty.
    cursors: Option<(StreamCursor, StreamCursor)>,
    occurrences: Occurrences,
    has_hole: bool,
    confirmed: RaftIndex,
}

/// A line that is not in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamDifference {
    /// The stream continues the buffer.
    Continues,
    /// The buffer would have to restart with it.
    NeedsRestart,
}

impl Comparison {
    /// Compares the next line of the stream. `None` if it repeats the buffer, or says nothing yet.
    ///
    /// # Errors
    /// The line cannot be read.
    pub(super) fn compare(&mut self, text: &Bytes) -> Result<Option<StreamDifference>, Error> {
        let line = Text::new(text.clone());
        let line = Line::parse(&line, &mut self.occurrences)?;
        let events = line.identities();
        if events.is_empty() {
            return Ok(None);
        }
        let buffered = self.cursors.as_ref().map(|(_, cursor)| cursor.position().index);
        if !line.index.is_plausible_after(self.confirmed.max(buffered.unwrap_or_default())) {
            return Ok(None);
        }
        let Some((buffered, cursor)) = &mut self.cursors else { return Ok(Some(StreamDifference::NeedsRestart)) };
        match cursor.observe(line.index, &events) {
            LineVerdict::Nothing => return Ok(None),
            LineVerdict::Deliver => {}
            LineVerdict::DeliverAfterGap(_) => self.has_hole = true,
        }
        cursor.advance(line.index, &events);
        let is_new = events.iter().any(|event| buffered.is_new(line.index, *event));
        Ok(is_new.then_some(if self.has_hole { StreamDifference::NeedsRestart } else { StreamDifference::Continues }))
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

    fn feed() -> BufferFeed {
        BufferFeed::new(ReplayBuffer::new(4000, Metrics::new(&[])))
    }

    fn drain(feed: &mut BufferFeed) -> Vec<Bytes> {
        std::iter::from_fn(|| feed.buffer.pop()).collect()
    }

    #[derive(Clone, Debug)]
    struct ConnectionStep {
        /// How many lines were added to the log since the last connection began.
        appended: usize,
        /// How many lines the server keeps, and by how many it lags.
        kept: usize,
        lag: usize,
        /// How many lines of it are read before it breaks.
        read: usize,
        /// How far the leaders are behind.
        behind: u64,
    }

    fn connections() -> impl Strategy<Value = Vec<ConnectionStep>> {
        let connection =
            (0_usize..12, 1_usize..12, prop_oneof![3 => Just(0_usize), 1 => 0_usize..6], 0_usize..14, 0_u64..12)
                .prop_map(|(appended, kept, lag, read, behind)| ConnectionStep { appended, kept, lag, read, behind });
        proptest::collection::vec(connection, 1..12)
    }

    proptest! {
        /// A server that keeps few lines, lags, and breaks connections anywhere: the buffer has no hole and no line
        /// twice, and the connection would bring next what follows in the log.
        #[test]
        fn reconnects_leave_no_hole(steps in proptest::collection::vec(0_u64..3, 160), connections in connections()) {
            let indexes = steps.iter().scan(10, |index, step| { *index += step; Some(*index) });
            let log: Vec<_> = indexes.enumerate().map(|(n, index)| (RaftIndex(index), text(n, index))).collect();
            let mut feed = feed();
            let mut end = 1;
            for connection in connections {
                end = (end + connection.appended).min(log.len());
                let newest = end.saturating_sub(connection.lag).max(1);
                let oldest = newest.saturating_sub(connection.kept);
                let ask = feed.ask().unwrap_or_default();
                // From the index asked for, or the next one, or the last line once more.
                let start = (oldest..newest).find(|n| log[*n].0 >= ask).unwrap_or(newest - 1);
                feed.reconnected();
                let stop = (start + connection.read).min(newest);
                for (_, line) in log.iter().take(stop).skip(start) {
                    feed.take(line, RaftIndex(0)).expect("a line of events");
                }
                let Some(read) = feed.read_to() else { continue };
                feed.buffer.trim(RaftIndex(read.0.saturating_sub(connection.behind)));
                let is_buffered = |(index, line): &(RaftIndex, Bytes)| feed.buffer.at(*index).any(|buffered| buffered == line);
                let lines: Vec<usize> = (0..end).filter(|n| is_buffered(&log[*n])).collect();
                prop_assert_eq!(lines.len(), feed.buffer.len(), "each line once");
                prop_assert!(lines.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a hole: {lines:?}");
                let from = feed.buffer.complete_from().expect("a line was read");
                // Some lines of the last index can be yet to arrive.
                let missing = log.iter().take(end).find(|line| line.0 >= from && line.0 < read && !is_buffered(line));
                prop_assert!(missing.is_none(), "{missing:?} is missing from {from} on: {lines:?}");
                if feed.is_joined() && let Some(last) = lines.last() {
                    prop_assert_eq!(last + 1, stop, "the connection continues right after the buffer");
                }
            }
        }
    }

    #[test]
    fn a_connection_that_may_still_repeat_buffered_lines_is_not_joined() {
        let mut feed = feed();
        for (n, index) in [(0, 10), (1, 11), (2, 11)] {
            feed.take(&text(n, index), RaftIndex(0)).expect("a line");
        }
        assert!(feed.is_joined());
        feed.reconnected();
        for (n, index) in [(0, 10), (1, 11)] {
            feed.take(&text(n, index), RaftIndex(0)).expect("a line");
        }
        assert!(!feed.is_joined());
        feed.take(&text(2, 11), RaftIndex(0)).expect("a line");
        feed.take(&text(3, 11), RaftIndex(0)).expect("a line");
        assert!(!feed.is_joined());
        feed.take(&text(4, 12), RaftIndex(0)).expect("a line");
        assert!(feed.is_joined());
        assert_eq!(drain(&mut feed), [(0, 10), (1, 11), (2, 11), (3, 11), (4, 12)].map(|(n, index)| text(n, index)));
    }

    #[test]
    fn an_absurd_index_is_buffered_in_its_place_and_moves_nothing() {
        let mut feed = feed();
        let absurd = RaftIndex(1 << 63);
        for connection in 0..2 {
            for (n, index) in [(0, 10), (1, absurd.0), (2, 11), (3, 12)].into_iter().take(3 + connection) {
                let line = text(n, index);
                if feed.take(&line, RaftIndex(0)).expect("a line") == FeedOutcome::Implausible(absurd) {
                    feed.set_aside(&line).expect("a line");
                }
            }
            feed.reconnected();
        }
        assert_eq!(feed.read_to(), Some(RaftIndex(12)));
        let buffered = [(0, 10), (1, absurd.0), (2, 11), (3, 12)].map(|(n, index)| text(n, index));
        assert_eq!(drain(&mut feed), buffered);
        // The next one can be true.
        assert_eq!(feed.take(&text(4, absurd.0 + 1), RaftIndex(0)).expect("a line"), FeedOutcome::Restarted);
    }

    /// The same object twice: all lines of an absurd index are buffered.
    #[test]
    fn the_second_event_of_an_object_at_an_absurd_index_is_buffered_too() {
        let mut feed = feed();
        for (n, index) in [(0, 10), (1, 1 << 40), (1, 1 << 40), (2, 11)] {
            let line = text(n, index);
            if matches!(feed.take(&line, RaftIndex(0)).expect("a line"), FeedOutcome::Implausible(_)) {
                feed.set_aside(&line).expect("a line");
            }
        }
        assert_eq!(drain(&mut feed), [(0, 10), (1, 1 << 40), (1, 1 << 40), (2, 11)].map(|(n, index)| text(n, index)));
    }

    #[test]
    fn a_comparison_changes_nothing() {
        let mut feed = feed();
        for (n, index) in [(0, 10), (1, 11), (2, 11)] {
            feed.take(&text(n, index), RaftIndex(0)).expect("a line");
        }
        let tried = |lines: &[(usize, u64)]| {
            let mut comparison = feed.comparison(RaftIndex(0));
            let differences = lines.iter().map(|(n, index)| comparison.compare(&text(*n, *index)).expect("a line"));
            differences.collect::<Vec<_>>()
        };
        // From the line before, which is asked for.
        assert_eq!(tried(&[(0, 10), (1, 11), (2, 11), (3, 11)]), [None, None, None, Some(StreamDifference::Continues)]);
        assert_eq!(tried(&[(0, 10), (1, 11), (3, 12)]), [None, None, Some(StreamDifference::Continues)]);
        assert_eq!(tried(&[(3, 12)]), [Some(StreamDifference::NeedsRestart)]);
        // The server no longer has the line before, and so perhaps not all of the index: known, but no proof.
        assert_eq!(tried(&[(1, 11), (2, 11), (3, 12)]), [None, None, Some(StreamDifference::NeedsRestart)]);
        assert!(feed.comparison(RaftIndex(0)).compare(&Bytes::from_static(b"no line")).is_err());
        assert!(feed.is_joined());
    }

    #[test]
    fn a_hole_between_two_connections_restarts_the_buffer() {
        let mut feed = feed();
        feed.take(&text(0, 10), RaftIndex(0)).expect("a line");
        feed.reconnected();
        feed.take(&text(5, 20), RaftIndex(0)).expect("a line");
        assert!(feed.is_joined());
        assert_eq!((feed.buffer.len(), feed.buffer.complete_from()), (1, Some(RaftIndex(21))));
        assert!(feed.take(&Bytes::from_static(b"no line"), RaftIndex(0)).is_err());
    }
}
