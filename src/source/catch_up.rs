//! A namespace created after the subscription: its events are read again from its creation on.
//!
//! `namespace=*` is expanded once, when the stream is subscribed. So a new namespace means a new subscription, from the
//! greatest delivered index at or below the namespace's `CreateIndex`; everything else that is then re-sent is known.

use std::collections::{HashMap, VecDeque};

use crate::{
    checkpoint::Gap,
    nomad::{
        Namespace,
        line::{Event, Line},
    },
    position::{Identity, Position, RaftIndex},
};

/// How many delivered indexes are remembered as places to go back to.
const REMEMBERED: usize = 1024;

/// Delivered indexes.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<RaftIndex>);

impl History {
    /// Remembers a delivered line.
    pub(super) fn push(&mut self, index: RaftIndex) {
        if self.0.back().is_none_or(|last| *last < index) {
            if self.0.len() == REMEMBERED {
                self.0.pop_front();
            }
            self.0.push_back(index);
        }
    }

    /// The greatest delivered index at or below `index`. Without one the oldest that the server holds is to be asked for.
    fn at_or_below(&self, index: RaftIndex) -> RaftIndex {
        self.0.iter().rev().find(|line| **line <= index).copied().unwrap_or_default()
    }

    /// Nothing of it holds in another history.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// New namespaces whose events are owed up to where the lane has read.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// Up to where each is delivered: first, up to its creation.
    names: HashMap<String, Position>,
    /// Where the others are.
    until: Position,
    /// The index to ask for.
    ask: RaftIndex,
    /// The creation of the newest of them: covered when done.
    pub(super) newest: RaftIndex,
    /// The connection is known to hold everything that is owed, but for what is booked.
    proven: bool,
}

impl CatchUp {
    /// A catch-up for `found` on a lane that has read up to `until`, together with what an earlier one still owes.
    /// Nothing up to `covered` is owed.
    pub(super) fn new(
        found: &[Namespace],
        covered: RaftIndex,
        until: Position,
        history: &History,
        earlier: Option<CatchUp>,
    ) -> Self {
        let (mut names, newest) = earlier.map(|earlier| (earlier.names, earlier.newest)).unwrap_or_default();
        for namespace in found {
            let from = namespace.create_index.max(covered);
            names.entry(namespace.name.clone()).or_insert_with(|| Position::at(from));
        }
        let newest = found.iter().map(|namespace| namespace.create_index).max().max(Some(newest)).unwrap_or_default();
        let mut catch_up = CatchUp { names, until, ask: RaftIndex(0), newest, proven: false };
        catch_up.ask = history.at_or_below(catch_up.from());
        catch_up
    }

    /// What is still to come of each namespace.
    pub(super) fn gap(&self) -> Vec<(String, Gap)> {
        let until = RaftIndex(self.until.index.0.saturating_add(1));
        let gap = |(name, read): (&String, &Position)| {
            let known = read.seen.iter().chain(self.until.seen.iter()).copied().collect();
            (name.clone(), Gap { from: read.index, until, known })
        };
        self.names.iter().map(gap).collect()
    }

    /// The index to ask for.
    pub(super) fn ask(&self) -> RaftIndex {
        self.ask.min(self.until.index)
    }

    /// A new connection: what the last one has brought is delivered, and nothing about this one is proven.
    pub(super) fn reconnected(&mut self) {
        self.proven = false;
    }

    /// Whether it has this namespace.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether an event at or below the lane's position is owed.
    pub(super) fn is_owed(&self, event: &Event<'_>) -> bool {
        let behind = |place: &Position| {
            event.index > place.index || event.index == place.index && !place.seen.contains(&event.identity)
        };
        self.names.get(&*event.namespace).is_some_and(behind)
            && (event.index < self.until.index
                || event.index == self.until.index && !self.until.seen.contains(&event.identity))
    }

    /// Takes in a line before its events are delivered. Returns what could not be seen, for each namespace.
    ///
    /// The stream is whole from its first line on, so a first line at or below where a namespace's events begin holds
    /// them all.
    pub(super) fn observe(&mut self, line: &Line<'_>, identities: &[Identity]) -> Vec<(String, Gap)> {
        if std::mem::replace(&mut self.proven, true) {
            return Vec::new();
        }
        let until = RaftIndex(line.index.min(self.until.index).0.saturating_add(1));
        let is_held = |read: &Position| {
            line.index < read.index
                || line.index == read.index
                    && (read.seen.is_empty() || identities.iter().any(|event| read.seen.contains(event)))
        };
        let missed = self.names.iter().filter(|(_, read)| !is_held(read) && read.index < until);
        let gap = missed.map(|(name, read)| {
            let known = read.seen.iter().chain(identities).copied().collect();
            (name.clone(), Gap { from: read.index, until, known })
        });
        gap.collect()
    }

    /// What each namespace could have had in a line of `index` that could not be held, and is known by `identity`.
    pub(super) fn missed(&self, index: RaftIndex, identity: &Identity) -> Vec<(String, Gap)> {
        let is_owed = |read: &Position| index > read.index || index == read.index && !read.seen.contains(identity);
        let missed = self.names.iter().filter(|(_, read)| index <= self.until.index && is_owed(read));
        let until = RaftIndex(index.0.saturating_add(1));
        missed.map(|(name, read)| (name.clone(), Gap { from: index, until, known: read.seen.clone() })).collect()
    }

    /// A line is delivered.
    pub(super) fn advance(&mut self, index: RaftIndex, identities: &[Identity]) {
        for read in self.names.values_mut() {
            if index >= read.index {
                read.advance(index, identities);
            }
        }
    }

    /// Whether a line reaches what the lane had read.
    pub(super) fn is_done_at(&self, index: RaftIndex) -> bool {
        self.proven && index >= self.until.index
    }

    fn from(&self) -> RaftIndex {
        self.names.values().map(|read| read.index).min().unwrap_or_default()
    }
}
