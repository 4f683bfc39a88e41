//! The gap proof: does the stream go on where we left it, or could something lie between?
//!
//! We ask for the index of our position, and Nomad re-sends it where its buffer still holds it. An event whose identity
//! the position holds, seen before anything newer, proves that nothing was lost: the index alone could be another
//! history's. A lagging server first re-sends something older; we drop it and go on waiting. Where nothing streams, a
//! table that has not moved past the position proves it as well. Anything else is a possible gap.

use crate::{
    checkpoint::Owed,
    position::{Identity, Position, RaftIndex},
};

/// How far one kind has read its lane, and whether the connection is proven to go on from there.
#[derive(Debug)]
pub struct Cursor {
    position: Position,
    proof: Proof,
    /// Something older than the position was streamed before the proof: the server lags, or is another cluster.
    behind: bool,
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
    DeliverAfterGap(Owed),
}

/// What a table's index means for a kind that waits for its proof.
#[derive(Debug, PartialEq, Eq)]
pub enum TableVerdict {
    /// The table has not moved past the position: nothing is missing.
    Proven,
    /// The table has moved, and nothing of it was streamed: the range is owed, and streamed lines below its end are
    /// repeats of it.
    Gap(Owed),
    /// The server lags behind the position: it will stream everything.
    Wait,
}

impl Cursor {
    /// Goes on from `position`.
    pub fn new(position: Position) -> Self {
        Cursor { position, proof: Proof::None, behind: false }
    }

    /// The position read so far.
    pub fn position(&self) -> &Position {
        &self.position
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
    }

    /// Another kind on the same connection proved that it is complete from `index` on.
    pub fn proven_from(&mut self, index: RaftIndex) {
        if self.position.index >= index {
            self.proof = Proof::Stream;
        }
    }

    /// Takes in a line. Ask [`Cursor::is_new`] for its events before [`Cursor::advance`].
    pub fn observe(&mut self, index: RaftIndex, events: &[Identity]) -> Verdict {
        if index < self.position.index {
            self.behind = true;
            return Verdict::Nothing;
        }
        if index == self.position.index {
            if events.iter().any(|event| self.position.seen.contains(event)) {
                self.proof = Proof::Stream;
            }
            return if self.is_proven() { Verdict::Deliver } else { Verdict::Nothing };
        }
        if self.is_proven() {
            return Verdict::Deliver;
        }
        self.proof = Proof::Stream;
        Verdict::DeliverAfterGap(self.owed_until(index))
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

    /// Takes in the kind's table index, read consistently while no line has brought the proof.
    pub fn observe_table(&mut self, index: RaftIndex) -> TableVerdict {
        if index <= self.position.index {
            self.proof = Proof::Table;
            return TableVerdict::Proven;
        }
        if self.behind {
            return TableVerdict::Wait;
        }
        let owed = self.owed_until(RaftIndex(index.0 + 1));
        self.position = Position::at(index);
        self.proof = Proof::Table;
        TableVerdict::Gap(owed)
    }

    fn owed_until(&self, until: RaftIndex) -> Owed {
        let Position { index, seen } = &self.position;
        // With nothing seen at the position, the position itself is covered.
        let from = if seen.is_empty() { RaftIndex(index.0 + 1) } else { *index };
        Owed { from, until, known: seen.clone() }
    }
}
