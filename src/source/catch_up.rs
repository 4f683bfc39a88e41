//! A namespace created after the subscription: its events are read again from its creation on.
//!
//! `namespace=*` is expanded once, when the stream is subscribed. So a new namespace means a new subscription, from the
//! greatest delivered index at or below the namespace's `CreateIndex`; everything else that is then re-sent is known.

use std::collections::{HashSet, VecDeque};

use super::line::{Event, Line};
use crate::{
    nomad::Namespace,
    position::{Identity, Position, RaftIndex},
};

/// How many delivered lines are remembered as places to go back to.
const REMEMBERED: usize = 1024;

/// Delivered lines, one identity each.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<(RaftIndex, Identity)>);

impl History {
    /// Remembers a delivered line.
    pub(super) fn push(&mut self, index: RaftIndex, identities: &[Identity]) {
        let newer = self.0.back().is_none_or(|(last, _)| *last < index);
        if let (true, Some(first)) = (newer, identities.first()) {
            if self.0.len() == REMEMBERED {
                self.0.pop_front();
            }
            self.0.push_back((index, *first));
        }
    }

    /// The greatest delivered line at or below `index`.
    fn at_or_below(&self, index: RaftIndex) -> Option<(RaftIndex, Identity)> {
        self.0.iter().rev().find(|(line, _)| *line <= index).copied()
    }

    /// Nothing of it holds in another history.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// New namespaces whose events are owed up to where the lane has read.
#[derive(Debug)]
pub(super) struct CatchUp {
    names: HashSet<String>,
    /// The creation of the oldest of them.
    from: RaftIndex,
    /// The creation of the newest of them: covered when done.
    pub(super) newest: RaftIndex,
    /// Where the others are.
    until: Position,
    /// The line to ask for, which the answer must hold.
    proof: Option<(RaftIndex, Identity)>,
    proven: bool,
}

impl CatchUp {
    /// A catch-up for `found`, which is not empty, on a lane that has read up to `until`.
    pub(super) fn new(found: &[Namespace], until: Position, history: &History, earlier: Option<CatchUp>) -> Self {
        let mut names: HashSet<String> = found.iter().map(|namespace| namespace.name.clone()).collect();
        let mut from = found.iter().map(|namespace| namespace.create_index).min().unwrap_or_default();
        let newest = found.iter().map(|namespace| namespace.create_index).max().unwrap_or_default();
        if let Some(earlier) = earlier {
            names.extend(earlier.names);
            from = from.min(earlier.from);
        }
        CatchUp { names, from, newest, until, proof: history.at_or_below(from), proven: false }
    }

    /// The index to ask for.
    pub(super) fn ask(&self) -> RaftIndex {
        self.proof.map_or(self.from, |(index, _)| index).min(self.until.index)
    }

    /// Whether an event at or below the lane's position is owed.
    pub(super) fn is_owed(&self, event: &Event) -> bool {
        event.index >= self.from
            && (event.index < self.until.index
                || event.index == self.until.index && !self.until.seen.contains(&event.identity))
            && self.names.contains(&*event.namespace)
    }

    /// Takes in a line before its events are delivered. Returns the index before which the new namespaces' events
    /// could not be seen, if there is one.
    pub(super) fn observe(&mut self, line: &Line, identities: &[Identity]) -> Option<(RaftIndex, RaftIndex)> {
        if self.proven {
            return None;
        }
        match self.proof {
            Some((index, identity)) if line.index == index && identities.contains(&identity) => {
                self.proven = true;
                None
            }
            Some((index, _)) if line.index <= index => None,
            _ => {
                self.proven = true;
                let until = line.index.min(self.until.index);
                (until > self.from).then_some((self.from, until))
            }
        }
    }

    /// Whether a line reaches what the lane had read.
    pub(super) fn is_done_at(&self, index: RaftIndex) -> bool {
        self.proven && index >= self.until.index
    }

    /// The namespaces.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter()
    }
}
