//! The gap proof: does the stream resume where the last connection ended, or could events be missing in between?
//!
//! The driver asks for the index of its position, and Nomad sends that index again if its buffer still holds it. A
//! known event that arrives before anything newer proves that nothing was lost. The index alone proves nothing: it
//! could be of another history. If more of that index could be to come, the driver asks for the line before it, because
//! occurrences count from the first line of an index. A lagging server first sends something older, which is dropped.
//! If nothing arrives, a table below the position proves it too, and so does a table at the position if that index is
//! known to be whole. Everything else is a possible gap.

use crate::{
    checkpoint::Gap,
    position::{Identity, Position, RaftIndex},
};

/// How far one kind has read its stream, and whether the connection is proven to resume there.
#[derive(Clone, Debug)]
pub struct StreamCursor {
    position: Position,
    proof: Proof,
    /// Something older than the position arrived before the proof: the server lags, or is another cluster.
    saw_older: bool,
    /// Unknown events at the position arrived before any proof: there is more at this index.
    saw_unknown: bool,
    /// The position is known to belong to this cluster's history, so an index alone is a proof.
    trusting: bool,
    /// An operator has chosen the position, or it is that of a start at `now`: there need not be an event at it.
    chosen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    None,
    /// The kind's table had not moved. This says nothing about other kinds.
    Table,
    /// The stream resumes at the position, for every kind that reads it.
    Stream,
}

/// What a line means for a kind.
#[derive(Debug, PartialEq, Eq)]
pub enum LineVerdict {
    /// All of it is known, or has to wait for the proof.
    Nothing,
    /// The unknown events are new. See [`StreamCursor::is_new`].
    Deliver,
    /// As [`LineVerdict::Deliver`], and every version in the range could have been missed.
    DeliverAfterGap(Gap),
}

/// What a table's index means for a kind that waits for its proof.
#[derive(Debug, PartialEq, Eq)]
pub enum TableVerdict {
    /// The table has not moved since the position: nothing is missing.
    Proven,
    /// The table has moved, and nothing of it arrived: lists have to deliver the range, and streamed lines below its
    /// end repeat it.
    Gap(Gap),
    /// The server lags behind the position: the stream will bring everything.
    Wait,
}

impl StreamCursor {
    /// Resumes at `position`.
    pub fn new(position: Position) -> Self {
        StreamCursor {
            position,
            proof: Proof::None,
            saw_older: false,
            saw_unknown: false,
            trusting: false,
            chosen: false,
        }
    }

    /// As [`StreamCursor::trusting`], for an index that an operator has chosen, or that is that of a table.
    pub fn chosen(index: RaftIndex) -> Self {
        StreamCursor { chosen: true, ..StreamCursor::trusting(index) }
    }

    /// Resumes after `index`. It is known to belong to this cluster's history, although no event of it is. So a line at
    /// or below it, before anything newer, is as good a proof as a known event. This holds for one connection.
    pub fn trusting(index: RaftIndex) -> Self {
        StreamCursor { trusting: true, ..StreamCursor::new(Position::at(index)) }
    }

    /// The position belongs to this cluster's history for certain, as with [`StreamCursor::trusting`].
    pub fn trust(&mut self) {
        self.trusting = true;
    }

    /// The position read so far.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The index to ask for, see [`Position::ask`]. A server that has no event at a chosen index would begin after it, which proves
    /// nothing: its oldest one does.
    pub fn ask(&self) -> RaftIndex {
        if self.chosen && self.trusting { RaftIndex(1) } else { self.position.ask() }
    }

    /// Whether the connection is proven to resume at the position.
    pub fn is_proven(&self) -> bool {
        self.proof != Proof::None
    }

    /// The index from which the connection is complete for every kind; `None` if the stream has not proven it.
    pub fn complete_from(&self) -> Option<RaftIndex> {
        (self.proof == Proof::Stream).then_some(self.position.index)
    }

    /// Whether the server sent something older than the position before any proof.
    pub fn is_behind(&self) -> bool {
        self.saw_older && !self.is_proven()
    }

    /// A new connection: nothing about it is proven.
    pub fn reconnected(&mut self) {
        self.proof = Proof::None;
        self.saw_older = false;
        self.saw_unknown = false;
        // Nothing after the chosen index has come: there still need not be an event at it.
        self.trusting |= self.chosen && self.position.seen.is_empty();
    }

    /// Another kind on the same connection proved that it is complete from `index` on.
    pub fn proven_from(&mut self, index: RaftIndex) {
        if self.position.index >= index {
            self.proof = Proof::Stream;
        }
    }

    /// Evaluates a line. Ask [`StreamCursor::is_new`] about its events before [`StreamCursor::advance`].
    pub fn observe(&mut self, index: RaftIndex, events: &[Identity]) -> LineVerdict {
        if std::mem::take(&mut self.trusting) && index <= self.position.index {
            self.proof = Proof::Stream;
        }
        if index < self.position.index {
            self.saw_older = true;
            return LineVerdict::Nothing;
        }
        if index == self.position.index {
            if events.iter().any(|event| self.position.seen.contains(event)) {
                if !self.is_proven() && !self.saw_older && self.position.needs_line_before() {
                    return self.redeliver_index(events);
                }
                self.proof = Proof::Stream;
            }
            self.saw_unknown |= !self.is_proven() && events.iter().any(|event| self.is_new(index, *event));
            return if self.is_proven() { LineVerdict::Deliver } else { LineVerdict::Nothing };
        }
        if self.is_proven() {
            return LineVerdict::Deliver;
        }
        self.proof = Proof::Stream;
        // The first line in the buffer need not be the first of its index. So lists cover that index too, except for
        // the events of this line.
        LineVerdict::DeliverAfterGap(self.gap_until(index.next(), events))
    }

    /// The server no longer has the line before the position, and so perhaps not the first lines of its index. What it
    /// still has of the index is delivered, even if again, and the rest is a gap.
    fn redeliver_index(&mut self, events: &[Identity]) -> LineVerdict {
        let index = self.position.index;
        let gap = self.gap_until(index.next(), events);
        self.proof = Proof::Stream;
        self.position = Position::at(RaftIndex(index.0 - 1));
        LineVerdict::DeliverAfterGap(gap)
    }

    /// Whether an event of a line to deliver is unknown.
    pub fn is_new(&self, index: RaftIndex, event: Identity) -> bool {
        // If nothing was seen at the position, a list covered that index whole.
        index > self.position.index
            || index == self.position.index && !self.position.seen.is_empty() && !self.position.seen.contains(&event)
    }

    /// Moves past a line.
    pub fn advance(&mut self, index: RaftIndex, events: &[Identity]) {
        if self.is_proven() {
            self.position.advance(index, events);
        }
    }

    /// The connection was quiet for so long that the index of the position is known to be whole. Returns whether that
    /// is new.
    pub fn settle(&mut self) -> bool {
        self.is_proven() && !std::mem::replace(&mut self.position.whole, true)
    }

    /// Evaluates the index of the kind's table, read consistently while no line has brought the proof.
    pub fn observe_table(&mut self, index: RaftIndex) -> TableVerdict {
        if self.is_proven_by_table(index) {
            self.proof = Proof::Table;
            return TableVerdict::Proven;
        }
        self.trusting = false;
        if self.saw_older {
            return TableVerdict::Wait;
        }
        let gap = self.gap_until(index.next(), &[]);
        self.position = Position::at(index);
        self.proof = Proof::Table;
        TableVerdict::Gap(gap)
    }

    /// Whether a table at `index` has not moved past the position.
    pub fn is_proven_by_table(&self, index: RaftIndex) -> bool {
        let Position { index: ours, seen, whole, .. } = &self.position;
        // At the position itself the table proves nothing if a line was the last to arrive: another line of that index
        // can have been under way.
        index < *ours || index == *ours && (*whole || seen.is_empty()) && !self.saw_unknown
    }

    /// From the position to `until`, without the known events and `others`.
    fn gap_until(&self, until: RaftIndex, others: &[Identity]) -> Gap {
        let Position { index, seen, .. } = &self.position;
        // If nothing was seen at the position, a list covered it.
        let from = if seen.is_empty() { index.next() } else { *index };
        let mut known = seen.clone();
        known.extend(others.iter().copied());
        Gap { from, until, known }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(index: u64, line: u32) -> Identity {
        Identity::new("Job", "default", "web", RaftIndex(index), line)
    }

    fn position(index: u64, lines: &[u32]) -> Position {
        let seen = lines.iter().map(|line| event(index, *line)).collect();
        Position { index: RaftIndex(index), seen, ..Position::default() }
    }

    /// Feeds a line of one event; returns whether it was delivered.
    fn feed(cursor: &mut StreamCursor, index: u64, line: u32) -> (LineVerdict, bool) {
        let event = event(index, line);
        let verdict = cursor.observe(RaftIndex(index), &[event]);
        let new = verdict != LineVerdict::Nothing && cursor.is_new(RaftIndex(index), event);
        cursor.advance(RaftIndex(index), &[event]);
        (verdict, new)
    }

    #[test]
    fn a_known_event_proves_and_the_rest_of_its_index_is_new() {
        let mut cursor = StreamCursor::new(position(10, &[0]));
        assert_eq!(feed(&mut cursor, 10, 0), (LineVerdict::Deliver, false));
        assert_eq!(feed(&mut cursor, 10, 1), (LineVerdict::Deliver, true));
        assert_eq!(feed(&mut cursor, 11, 0), (LineVerdict::Deliver, true));
    }

    #[test]
    fn another_history_at_the_same_index_proves_nothing() {
        let mut cursor = StreamCursor::new(position(10, &[0]));
        assert_eq!(feed(&mut cursor, 10, 7).0, LineVerdict::Nothing);
        assert!(!cursor.is_proven());
        assert!(matches!(feed(&mut cursor, 12, 0).0, LineVerdict::DeliverAfterGap(_)));
    }

    #[test]
    fn an_index_alone_proves_one_connection_of_a_history_that_is_trusted() {
        for first in [8, 10] {
            let mut cursor = StreamCursor::trusting(RaftIndex(10));
            assert!(!feed(&mut cursor, first, 0).1);
            assert!(cursor.is_proven());
            cursor.reconnected();
            assert!(!feed(&mut cursor, first, 0).1);
            assert!(!cursor.is_proven());
        }
        let mut cursor = StreamCursor::trusting(RaftIndex(10));
        assert!(matches!(feed(&mut cursor, 11, 0).0, LineVerdict::DeliverAfterGap(_)));
    }

    #[test]
    fn an_index_that_an_operator_has_chosen_need_not_have_an_event() {
        let mut cursor = StreamCursor::chosen(RaftIndex(10));
        assert_eq!(cursor.ask(), RaftIndex(1), "whatever the server still has");
        assert_eq!(feed(&mut cursor, 7, 0), (LineVerdict::Nothing, false));
        assert_eq!(feed(&mut cursor, 10, 0), (LineVerdict::Deliver, false), "it counts as delivered");
        assert_eq!(feed(&mut cursor, 12, 0), (LineVerdict::Deliver, true));
        assert_eq!(cursor.ask(), RaftIndex(12));
        // A connection can end before anything new has come.
        let mut cursor = StreamCursor::chosen(RaftIndex(10));
        feed(&mut cursor, 7, 0);
        cursor.reconnected();
        assert_eq!(cursor.ask(), RaftIndex(1));
        assert_eq!(feed(&mut cursor, 8, 0), (LineVerdict::Nothing, false));
        assert_eq!(feed(&mut cursor, 12, 0), (LineVerdict::Deliver, true));
        cursor.reconnected();
        assert_eq!(cursor.ask(), RaftIndex(12), "an event like any other");
        // What the server no longer has is a gap.
        let mut cursor = StreamCursor::chosen(RaftIndex(10));
        let LineVerdict::DeliverAfterGap(gap) = feed(&mut cursor, 15, 0).0 else { panic!("no gap") };
        assert_eq!((gap.from, gap.until), (RaftIndex(11), RaftIndex(16)));
    }

    #[test]
    fn a_lagging_server_is_waited_for() {
        let mut cursor = StreamCursor::new(position(10, &[0]));
        assert_eq!(feed(&mut cursor, 8, 0), (LineVerdict::Nothing, false));
        assert!(cursor.is_behind());
        assert_eq!(cursor.observe_table(RaftIndex(12)), TableVerdict::Wait);
        assert_eq!(feed(&mut cursor, 10, 0), (LineVerdict::Deliver, false));
        assert!(!cursor.is_behind());
    }

    #[test]
    fn a_quiet_table_proves_and_a_moved_one_is_a_gap() {
        let mut cursor = StreamCursor::new(position(10, &[0]));
        assert_eq!(cursor.observe_table(RaftIndex(9)), TableVerdict::Proven);
        let mut cursor = StreamCursor::new(position(10, &[0]));
        let gap = Gap { from: RaftIndex(10), until: RaftIndex(16), known: [event(10, 0)].into_iter().collect() };
        assert_eq!(cursor.observe_table(RaftIndex(15)), TableVerdict::Gap(gap));
        // What the list has covered is not delivered again.
        assert!(!feed(&mut cursor, 15, 0).1);
        assert!(feed(&mut cursor, 16, 0).1);
    }

    /// The connection can have ended between two lines of one index, and the server can have lost its buffer since.
    #[test]
    fn a_table_at_the_position_proves_only_an_index_that_is_known_whole() {
        let mut cursor = StreamCursor::new(position(10, &[0]));
        let gap = Gap { from: RaftIndex(10), until: RaftIndex(11), known: [event(10, 0)].into_iter().collect() };
        assert_eq!(cursor.observe_table(RaftIndex(10)), TableVerdict::Gap(gap));
        cursor.reconnected();
        assert_eq!(cursor.observe_table(RaftIndex(10)), TableVerdict::Proven);
        // A quiet second after the line proves that it was the last.
        let mut cursor = StreamCursor::new(position(9, &[0]));
        cursor.observe_table(RaftIndex(8));
        feed(&mut cursor, 10, 0);
        assert!(cursor.settle() && !cursor.settle());
        cursor.reconnected();
        assert_eq!(cursor.observe_table(RaftIndex(10)), TableVerdict::Proven);
    }

    /// Two lines of the index that a list covers, which arrive after the list was booked: both are repeats.
    #[test]
    fn no_line_at_an_index_that_a_list_covers_is_new() {
        let mut cursor = StreamCursor::new(position(10, &[0]));
        assert!(matches!(cursor.observe_table(RaftIndex(13)), TableVerdict::Gap(_)));
        assert!(!feed(&mut cursor, 13, 0).1);
        assert!(!feed(&mut cursor, 13, 1).1);
        assert_eq!(cursor.position(), &Position::at(RaftIndex(13)));
    }

    #[test]
    fn an_unknown_event_at_the_position_is_a_gap_even_if_the_table_stands() {
        let mut cursor = StreamCursor::new(position(10, &[0]));
        assert_eq!(feed(&mut cursor, 10, 1).0, LineVerdict::Nothing);
        let gap = Gap { from: RaftIndex(10), until: RaftIndex(11), known: [event(10, 0)].into_iter().collect() };
        assert_eq!(cursor.observe_table(RaftIndex(10)), TableVerdict::Gap(gap));
    }

    #[test]
    fn a_quiet_table_says_nothing_of_other_kinds() {
        let mut jobs = StreamCursor::new(position(10, &[0]));
        jobs.observe_table(RaftIndex(5));
        assert_eq!(jobs.complete_from(), None);
    }

    proptest! {
        /// Whatever the buffer still holds and wherever we stopped, every line is known, delivered once, or in a gap.
        /// If the buffer still held our position, there is no gap.
        #[test]
        fn nothing_is_lost_and_nothing_comes_twice(
            steps in prop::collection::vec((1u64..4, 1u32..4), 1..40),
            stop in any::<prop::sample::Index>(),
            oldest in any::<prop::sample::Index>(),
            older in 0usize..3,
        ) {
            let mut index = 0;
            let lines: Vec<(u64, u32)> = steps.iter().flat_map(|(step, count)| {
                index += step;
                (0..*count).map(move |line| (index, line))
            }).collect();
            let stop = stop.index(lines.len());
            let (at, last) = lines[stop];
            let mut cursor = StreamCursor::new(position(at, &(0..=last).collect::<Vec<_>>()));
            // The server keeps the lines from `oldest` on. It starts at the first kept line of our index, a little
            // before it if it lags, or at its oldest line.
            let oldest = oldest.index(lines.len());
            let ours = lines.iter().position(|(index, _)| *index == at).expect("it is one of them");
            let start = ours.saturating_sub(older).max(oldest);
            let mut delivered = Vec::new();
            let mut gap = None;
            for (index, line) in &lines[start..] {
                let (verdict, new) = feed(&mut cursor, *index, *line);
                if let LineVerdict::DeliverAfterGap(range) = verdict {
                    prop_assert!(gap.is_none());
                    gap = Some(range);
                }
                if new {
                    prop_assert!(lines.iter().position(|l| l == &(*index, *line)) > Some(stop), "a repeat");
                    delivered.push((*index, *line));
                }
            }
            for (index, line) in lines.iter().skip(stop + 1) {
                let covered = gap.as_ref().is_some_and(|gap| gap.contains(RaftIndex(*index), event(*index, *line)));
                let pending = !cursor.is_proven() && *index == at;
                prop_assert!(delivered.contains(&(*index, *line)) || covered || pending, "{index}/{line} is lost");
            }
            if start <= ours {
                prop_assert_eq!(gap, None);
            }
        }
    }

    /// What a server sends of `lines`, each a raft index and an object, from `start` on. Occurrences count from there.
    fn sent(lines: &[(u64, u32)], start: usize) -> Vec<(u64, Identity)> {
        let mut seen = Vec::new();
        let sent = lines.iter().skip(start).map(|line| {
            let occurrence = seen.iter().filter(|other| *other == line).count() as u32;
            seen.push(*line);
            (line.0, Identity::new("Job", "default", &line.1.to_string(), RaftIndex(line.0), occurrence))
        });
        sent.collect()
    }

    /// Reads `lines`; returns which of them were delivered, and the gap.
    fn read(cursor: &mut StreamCursor, lines: &[(u64, Identity)]) -> (Vec<usize>, Option<Gap>) {
        let (mut delivered, mut gap) = (Vec::new(), None);
        for (n, (index, event)) in lines.iter().enumerate() {
            let verdict = cursor.observe(RaftIndex(*index), &[*event]);
            if verdict != LineVerdict::Nothing && cursor.is_new(RaftIndex(*index), *event) {
                delivered.push(n);
            }
            if let LineVerdict::DeliverAfterGap(range) = verdict {
                gap = Some(range);
            }
            cursor.advance(RaftIndex(*index), &[*event]);
        }
        (delivered, gap)
    }

    /// The connection broke between two lines of one index with the same object, and the buffer begins with the second.
    #[test]
    fn the_second_event_of_an_object_is_not_taken_for_its_first() {
        let lines = [(9, 0), (10, 1), (10, 1), (11, 0)];
        let mut cursor = StreamCursor::new(Position::default());
        read(&mut cursor, &sent(&lines, 0)[..2]);
        cursor.reconnected();
        assert_eq!(cursor.ask(), RaftIndex(9));
        let (delivered, gap) = read(&mut cursor, &sent(&lines, 2));
        assert_eq!(delivered, [0, 1]);
        assert_eq!(gap.map(|gap| (gap.from, gap.until)), Some((RaftIndex(10), RaftIndex(11))));
    }

    proptest! {
        /// The same if lines of one index are about the same objects, so that one can look like another.
        #[test]
        fn no_line_is_taken_for_another(
            steps in prop::collection::vec((0u64..2, 0u32..2), 3..30),
            stop in any::<prop::sample::Index>(),
            oldest in any::<prop::sample::Index>(),
            quiet: bool,
        ) {
            let indexes = steps.iter().scan(10, |index, (step, _)| { *index += step; Some(*index) });
            let lines: Vec<(u64, u32)> = indexes.zip(steps.iter().map(|(_, object)| *object)).collect();
            let stop = stop.index(lines.len());
            let mut cursor = StreamCursor::new(Position::default());
            read(&mut cursor, &sent(&lines, 0)[..=stop]);
            let at = lines[stop].0;
            let is_last = lines.get(stop + 1).is_none_or(|next| next.0 > at);
            // No line before the very first index is known.
            prop_assume!(at > lines[0].0);
            if quiet && is_last {
                cursor.settle();
            }
            cursor.reconnected();
            let asked = lines.partition_point(|line| line.0 < cursor.ask().0);
            let start = asked.max(oldest.index(lines.len()));
            let (delivered, gap) = read(&mut cursor, &sent(&lines, start));
            let true_events = sent(&lines, 0);
            for (n, (index, _)) in true_events.iter().enumerate().skip(stop + 1) {
                let in_gap = gap.as_ref().is_some_and(|gap| gap.from.0 <= *index && *index < gap.until.0);
                let arrived = n >= start && delivered.contains(&(n - start));
                let pending = !cursor.is_proven() && *index == at;
                prop_assert!(arrived || pending || in_gap, "line {n} is lost");
                // A line that arrived after the gap is not left to a list, which has only final versions.
                prop_assert!(n < start || arrived || pending || *index == at, "line {n} arrived and was dropped");
            }
            if start == asked {
                prop_assert!(gap.is_none() && delivered.iter().all(|n| n + start > stop), "nothing was lost");
            }
        }
    }
}
