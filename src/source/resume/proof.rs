//! The gap proof: does the stream go on where we left it, or could something lie between?
//!
//! We ask for the index of our position, and Nomad re-sends it where its buffer still holds it. An event whose identity
//! the position holds, seen before anything newer, proves that nothing was lost: the index alone could be another
//! history's. Where more of that index could be to come, we ask for the line before it, for occurrences count from the
//! first line of an index. A lagging server first re-sends something older; we drop it and go on waiting. Where nothing streams, a
//! table that stands below the position proves it as well, or at it, if that index is known whole. Anything else is a
//! possible gap.

use crate::{
    checkpoint::Gap,
    position::{Identity, Position, RaftIndex},
};

/// How far one kind has read its lane, and whether the connection is proven to go on from there.
#[derive(Clone, Debug)]
pub struct Cursor {
    position: Position,
    proof: Proof,
    /// Something older than the position was streamed before the proof: the server lags, or is another cluster.
    behind: bool,
    /// Events at the position came that are not known, before any proof: there is more at this index.
    withheld: bool,
    /// The position is known to be of this cluster's history, so that an index alone proves.
    trusting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    None,
    /// The kind's table had not moved. That says nothing of other kinds.
    Table,
    /// The stream goes on from the position, for every kind that reads it.
    Stream,
}

/// What a line means for a kind.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it is known, or waits for the proof.
    Nothing,
    /// The events that are not known are new. See [`Cursor::is_new`].
    Deliver,
    /// As [`Verdict::Deliver`], and everything in the range could have been missed.
    DeliverAfterGap(Gap),
}

/// What a table's index means for a kind that waits for its proof.
#[derive(Debug, PartialEq, Eq)]
pub enum TableVerdict {
    /// The table has not moved since the position: nothing is missing.
    Proven,
    /// The table has moved, and nothing of it was streamed: the range is owed, and streamed lines below its end are
    /// repeats of it.
    Gap(Gap),
    /// The server lags behind the position: it will stream everything.
    Wait,
}

impl Cursor {
    /// Goes on from `position`.
    pub fn new(position: Position) -> Self {
        Cursor { position, proof: Proof::None, behind: false, withheld: false, trusting: false }
    }

    /// Goes on behind `index`, of which no event is known, but that it is of this history: a line at it or below, before
    /// anything newer, proves as well as a known event does. One connection is trusted so.
    pub fn trusting(index: RaftIndex) -> Self {
        Cursor { trusting: true, ..Cursor::new(Position::at(index)) }
    }

    /// The position is of this history for certain, as [`Cursor::trusting`] has it.
    pub fn trust(&mut self) {
        self.trusting = true;
    }

    /// The position read so far.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The index to ask for, see [`Position::ask`].
    pub fn ask(&self) -> RaftIndex {
        self.position.ask()
    }

    /// Whether the connection goes on from the position.
    pub fn is_proven(&self) -> bool {
        self.proof != Proof::None
    }

    /// The index from which the connection is complete for every kind on it; `None` without proof by the stream.
    pub fn complete_from(&self) -> Option<RaftIndex> {
        (self.proof == Proof::Stream).then_some(self.position.index)
    }

    /// Whether the server streamed something older than the position before any proof.
    pub fn is_behind(&self) -> bool {
        self.behind && !self.is_proven()
    }

    /// A new connection: nothing about it is proven.
    pub fn reconnected(&mut self) {
        self.proof = Proof::None;
        self.behind = false;
        self.withheld = false;
    }

    /// Another kind on the same connection proved that it is complete from `index` on.
    pub fn proven_from(&mut self, index: RaftIndex) {
        if self.position.index >= index {
            self.proof = Proof::Stream;
        }
    }

    /// Takes in a line. Ask [`Cursor::is_new`] for its events before [`Cursor::advance`].
    pub fn observe(&mut self, index: RaftIndex, events: &[Identity]) -> Verdict {
        if std::mem::take(&mut self.trusting) && index <= self.position.index {
            self.proof = Proof::Stream;
        }
        if index < self.position.index {
            self.behind = true;
            return Verdict::Nothing;
        }
        if index == self.position.index {
            if events.iter().any(|event| self.position.seen.contains(event)) {
                if !self.is_proven() && !self.behind && self.position.needs_line_before() {
                    return self.begin_index_again(events);
                }
                self.proof = Proof::Stream;
            }
            self.withheld |= !self.is_proven() && events.iter().any(|event| self.is_new(index, *event));
            return if self.is_proven() { Verdict::Deliver } else { Verdict::Nothing };
        }
        if self.is_proven() {
            return Verdict::Deliver;
        }
        self.proof = Proof::Stream;
        // The first line that the server still holds need not be the first of its index: what the list has at that
        // index is owed too, but for what this line brings.
        let mut gap = self.gap_until(RaftIndex(index.0.saturating_add(1)));
        gap.known.extend(events.iter().copied());
        Verdict::DeliverAfterGap(gap)
    }

    /// The server no longer has the line before the position, and so perhaps not the first lines of its index: what it
    /// still has of the index is delivered, be it again, and the rest is owed.
    fn begin_index_again(&mut self, events: &[Identity]) -> Verdict {
        let index = self.position.index;
        let mut gap = self.gap_until(RaftIndex(index.0.saturating_add(1)));
        gap.known.extend(events.iter().copied());
        self.proof = Proof::Stream;
        self.position = Position::at(RaftIndex(index.0 - 1));
        Verdict::DeliverAfterGap(gap)
    }

    /// Whether an event of a delivered line is not known yet.
    pub fn is_new(&self, index: RaftIndex, event: Identity) -> bool {
        // Where nothing was seen at the position, a list covered it whole.
        index > self.position.index
            || index == self.position.index && !self.position.seen.is_empty() && !self.position.seen.contains(&event)
    }

    /// Moves past a line.
    pub fn advance(&mut self, index: RaftIndex, events: &[Identity]) {
        if self.is_proven() {
            self.position.advance(index, events);
        }
    }

    /// No further line has come for so long that the index of the position is known whole. Says whether that is news.
    pub fn settle(&mut self) -> bool {
        self.is_proven() && !std::mem::replace(&mut self.position.whole, true)
    }

    /// Takes in the kind's table index, read consistently while no line has brought the proof.
    pub fn observe_table(&mut self, index: RaftIndex) -> TableVerdict {
        if self.is_proven_by_table(index) {
            self.proof = Proof::Table;
            return TableVerdict::Proven;
        }
        self.trusting = false;
        if self.behind {
            return TableVerdict::Wait;
        }
        let gap = self.gap_until(RaftIndex(index.0.saturating_add(1)));
        self.position = Position::at(index);
        self.proof = Proof::Table;
        TableVerdict::Gap(gap)
    }

    /// Whether a table at `index` has not moved past the position.
    pub fn is_proven_by_table(&self, index: RaftIndex) -> bool {
        let Position { index: ours, seen, whole, .. } = &self.position;
        // At the position itself the table says nothing where a line was the last to come: another line of that index
        // can have been under way.
        index < *ours || index == *ours && (*whole || seen.is_empty()) && !self.withheld
    }

    fn gap_until(&self, until: RaftIndex) -> Gap {
        let Position { index, seen, .. } = &self.position;
        // With nothing seen at the position, the position itself is covered.
        let from = if seen.is_empty() { RaftIndex(index.0.saturating_add(1)) } else { *index };
        Gap { from, until, known: seen.clone() }
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

    /// Feeds a line of one event; gives whether it was delivered.
    fn feed(cursor: &mut Cursor, index: u64, line: u32) -> (Verdict, bool) {
        let event = event(index, line);
        let verdict = cursor.observe(RaftIndex(index), &[event]);
        let new = verdict != Verdict::Nothing && cursor.is_new(RaftIndex(index), event);
        cursor.advance(RaftIndex(index), &[event]);
        (verdict, new)
    }

    #[test]
    fn a_known_event_proves_and_the_rest_of_its_index_is_new() {
        let mut cursor = Cursor::new(position(10, &[0]));
        assert_eq!(feed(&mut cursor, 10, 0), (Verdict::Deliver, false));
        assert_eq!(feed(&mut cursor, 10, 1), (Verdict::Deliver, true));
        assert_eq!(feed(&mut cursor, 11, 0), (Verdict::Deliver, true));
    }

    #[test]
    fn another_history_at_the_same_index_proves_nothing() {
        let mut cursor = Cursor::new(position(10, &[0]));
        assert_eq!(feed(&mut cursor, 10, 7).0, Verdict::Nothing);
        assert!(!cursor.is_proven());
        assert!(matches!(feed(&mut cursor, 12, 0).0, Verdict::DeliverAfterGap(_)));
    }

    #[test]
    fn an_index_alone_proves_one_connection_of_a_history_that_is_trusted() {
        for first in [8, 10] {
            let mut cursor = Cursor::trusting(RaftIndex(10));
            assert!(!feed(&mut cursor, first, 0).1);
            assert!(cursor.is_proven());
            cursor.reconnected();
            assert!(!feed(&mut cursor, first, 0).1);
            assert!(!cursor.is_proven());
        }
        let mut cursor = Cursor::trusting(RaftIndex(10));
        assert!(matches!(feed(&mut cursor, 11, 0).0, Verdict::DeliverAfterGap(_)));
    }

    #[test]
    fn a_lagging_server_is_waited_for() {
        let mut cursor = Cursor::new(position(10, &[0]));
        assert_eq!(feed(&mut cursor, 8, 0), (Verdict::Nothing, false));
        assert!(cursor.is_behind());
        assert_eq!(cursor.observe_table(RaftIndex(12)), TableVerdict::Wait);
        assert_eq!(feed(&mut cursor, 10, 0), (Verdict::Deliver, false));
        assert!(!cursor.is_behind());
    }

    #[test]
    fn a_quiet_table_proves_and_a_moved_one_is_owed() {
        let mut cursor = Cursor::new(position(10, &[0]));
        assert_eq!(cursor.observe_table(RaftIndex(9)), TableVerdict::Proven);
        let mut cursor = Cursor::new(position(10, &[0]));
        let gap = Gap { from: RaftIndex(10), until: RaftIndex(16), known: [event(10, 0)].into_iter().collect() };
        assert_eq!(cursor.observe_table(RaftIndex(15)), TableVerdict::Gap(gap));
        // What the list has covered is not delivered again.
        assert!(!feed(&mut cursor, 15, 0).1);
        assert!(feed(&mut cursor, 16, 0).1);
    }

    /// The connection can have ended between two lines of one index, and the server have lost its buffer since.
    #[test]
    fn a_table_at_the_position_proves_only_an_index_that_is_known_whole() {
        let mut cursor = Cursor::new(position(10, &[0]));
        let gap = Gap { from: RaftIndex(10), until: RaftIndex(11), known: [event(10, 0)].into_iter().collect() };
        assert_eq!(cursor.observe_table(RaftIndex(10)), TableVerdict::Gap(gap));
        cursor.reconnected();
        assert_eq!(cursor.observe_table(RaftIndex(10)), TableVerdict::Proven);
        // A quiet second after the line says that there was no other.
        let mut cursor = Cursor::new(position(9, &[0]));
        cursor.observe_table(RaftIndex(8));
        feed(&mut cursor, 10, 0);
        assert!(cursor.settle() && !cursor.settle());
        cursor.reconnected();
        assert_eq!(cursor.observe_table(RaftIndex(10)), TableVerdict::Proven);
    }

    /// Two lines of the index that a list covers, which come after it was decided to list: both are repeats.
    #[test]
    fn no_line_at_an_index_that_a_list_covers_is_new() {
        let mut cursor = Cursor::new(position(10, &[0]));
        assert!(matches!(cursor.observe_table(RaftIndex(13)), TableVerdict::Gap(_)));
        assert!(!feed(&mut cursor, 13, 0).1);
        assert!(!feed(&mut cursor, 13, 1).1);
        assert_eq!(cursor.position(), &Position::at(RaftIndex(13)));
    }

    #[test]
    fn an_unknown_event_at_the_position_is_owed_even_if_the_table_stands() {
        let mut cursor = Cursor::new(position(10, &[0]));
        assert_eq!(feed(&mut cursor, 10, 1).0, Verdict::Nothing);
        let gap = Gap { from: RaftIndex(10), until: RaftIndex(11), known: [event(10, 0)].into_iter().collect() };
        assert_eq!(cursor.observe_table(RaftIndex(10)), TableVerdict::Gap(gap));
    }

    #[test]
    fn a_quiet_table_says_nothing_of_other_kinds() {
        let mut jobs = Cursor::new(position(10, &[0]));
        jobs.observe_table(RaftIndex(5));
        assert_eq!(jobs.complete_from(), None);
    }

    proptest! {
        /// Whatever the server's buffer still holds and wherever we stopped, every line is known, delivered once, or in
        /// a range that is owed; and where the buffer still held our place, nothing is owed.
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
            let mut cursor = Cursor::new(position(at, &(0..=last).collect::<Vec<_>>()));
            // The server keeps what follows `oldest`, and starts at the first kept line of our index, or a little
            // before it where it lags, or at its oldest one.
            let oldest = oldest.index(lines.len());
            let ours = lines.iter().position(|(index, _)| *index == at).expect("it is one of them");
            let start = ours.saturating_sub(older).max(oldest);
            let mut delivered = Vec::new();
            let mut gap = None;
            for (index, line) in &lines[start..] {
                let (verdict, new) = feed(&mut cursor, *index, *line);
                if let Verdict::DeliverAfterGap(range) = verdict {
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

    /// What a server sends of `lines`, which are a raft index and an object each, from `start` on: occurrences are
    /// counted from there.
    fn sent(lines: &[(u64, u32)], start: usize) -> Vec<(u64, Identity)> {
        let mut seen = Vec::new();
        let sent = lines.iter().skip(start).map(|line| {
            let occurrence = seen.iter().filter(|other| *other == line).count() as u32;
            seen.push(*line);
            (line.0, Identity::new("Job", "default", &line.1.to_string(), RaftIndex(line.0), occurrence))
        });
        sent.collect()
    }

    /// Reads `lines`; gives which of them were delivered, and what is owed.
    fn read(cursor: &mut Cursor, lines: &[(u64, Identity)]) -> (Vec<usize>, Option<Gap>) {
        let (mut delivered, mut gap) = (Vec::new(), None);
        for (n, (index, event)) in lines.iter().enumerate() {
            let verdict = cursor.observe(RaftIndex(*index), &[*event]);
            if verdict != Verdict::Nothing && cursor.is_new(RaftIndex(*index), *event) {
                delivered.push(n);
            }
            if let Verdict::DeliverAfterGap(range) = verdict {
                gap = Some(range);
            }
            cursor.advance(RaftIndex(*index), &[*event]);
        }
        (delivered, gap)
    }

    /// Cut off between two lines of one index with the same object, and the server's buffer begins with the second.
    #[test]
    fn the_second_event_of_an_object_is_not_taken_for_its_first() {
        let lines = [(9, 0), (10, 1), (10, 1), (11, 0)];
        let mut cursor = Cursor::new(Position::default());
        read(&mut cursor, &sent(&lines, 0)[..2]);
        cursor.reconnected();
        assert_eq!(cursor.ask(), RaftIndex(9));
        let (delivered, gap) = read(&mut cursor, &sent(&lines, 2));
        assert_eq!(delivered, [0, 1]);
        assert_eq!(gap.map(|gap| (gap.from, gap.until)), Some((RaftIndex(10), RaftIndex(11))));
    }

    proptest! {
        /// The same where lines of one index are about the same objects, so that one can look like another.
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
            let mut cursor = Cursor::new(Position::default());
            read(&mut cursor, &sent(&lines, 0)[..=stop]);
            let at = lines[stop].0;
            let is_last = lines.get(stop + 1).is_none_or(|next| next.0 > at);
            // Of the very first index no line before is known.
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
                let is_owed = gap.as_ref().is_some_and(|gap| gap.from.0 <= *index && *index < gap.until.0);
                let came = n >= start && delivered.contains(&(n - start));
                let pending = !cursor.is_proven() && *index == at;
                prop_assert!(came || pending || is_owed, "line {n} is lost");
                // What came behind the gap is not left to a list, which has final versions alone.
                prop_assert!(n < start || came || pending || *index == at, "line {n} came and was dropped");
            }
            if start == asked {
                prop_assert!(gap.is_none() && delivered.iter().all(|n| n + start > stop), "nothing was lost");
            }
        }
    }
}
