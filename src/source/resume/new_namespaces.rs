//! Namespaces created after the subscription: their events are read again from their creation on.
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
pub(in crate::source) struct History(VecDeque<RaftIndex>);

impl History {
    /// Remembers a delivered line.
    pub(in crate::source) fn push(&mut self, index: RaftIndex) {
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
}

/// New namespaces whose events are missing up to where the stream was read.
#[derive(Debug)]
pub(in crate::source) struct NewNamespaces {
    /// Up to where each is delivered: first, up to its creation.
    names: HashMap<String, Position>,
    /// Where the others are.
    until: Position,
    /// The index to ask for.
    ask: RaftIndex,
    /// The creation of the newest of them: covered when done.
    pub(in crate::source) newest: RaftIndex,
    /// The connection is known to hold everything that is owed, but for what is booked.
    proven: bool,
}

impl NewNamespaces {
    /// Catches up with `found` on a stream that has read up to `until`, together with what `earlier` still lacks. Nothing
    /// up to `watermark` is missing.
    pub(in crate::source) fn new(
        found: &[Namespace],
        watermark: RaftIndex,
        until: Position,
        history: &History,
        earlier: Option<NewNamespaces>,
    ) -> Self {
        let (mut names, newest) = earlier.map(|earlier| (earlier.names, earlier.newest)).unwrap_or_default();
        for namespace in found {
            let from = namespace.create_index.max(watermark);
            names.entry(namespace.name.clone()).or_insert_with(|| Position::at(from));
        }
        let newest = found.iter().map(|namespace| namespace.create_index).max().max(Some(newest)).unwrap_or_default();
        let mut new = NewNamespaces { names, until, ask: RaftIndex(0), newest, proven: false };
        new.ask = history.at_or_below(new.from());
        new
    }

    /// What is still to come of each namespace.
    pub(in crate::source) fn gaps(&self) -> Vec<(String, Gap)> {
        let until = RaftIndex(self.until.index.0.saturating_add(1));
        let gap = |(name, read): (&String, &Position)| {
            let known = read.seen.iter().chain(self.until.seen.iter()).copied().collect();
            (name.clone(), Gap { from: read.index, until, known })
        };
        self.names.iter().map(gap).collect()
    }

    /// The index to ask for.
    pub(in crate::source) fn ask(&self) -> RaftIndex {
        self.ask.min(self.until.index)
    }

    /// A new connection: what the last one has brought is delivered, and nothing about this one is proven.
    pub(in crate::source) fn reconnected(&mut self) {
        self.proven = false;
    }

    /// Whether it has this namespace.
    pub(in crate::source) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether an event at or below the lane's position is owed.
    pub(in crate::source) fn is_missing(&self, event: &Event<'_>) -> bool {
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
    pub(in crate::source) fn observe(&mut self, line: &Line<'_>, identities: &[Identity]) -> Vec<(String, Gap)> {
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
    pub(in crate::source) fn missed(&self, index: RaftIndex, identity: &Identity) -> Vec<(String, Gap)> {
        let is_owed = |read: &Position| index > read.index || index == read.index && !read.seen.contains(identity);
        let missed = self.names.iter().filter(|(_, read)| index <= self.until.index && is_owed(read));
        let until = RaftIndex(index.0.saturating_add(1));
        missed.map(|(name, read)| (name.clone(), Gap { from: index, until, known: read.seen.clone() })).collect()
    }

    /// A line is delivered.
    pub(in crate::source) fn advance(&mut self, index: RaftIndex, identities: &[Identity]) {
        for read in self.names.values_mut() {
            if index >= read.index {
                read.advance(index, identities);
            }
        }
    }

    /// Whether a line reaches what the lane had read.
    pub(in crate::source) fn is_done_at(&self, index: RaftIndex) -> bool {
        self.proven && index >= self.until.index
    }

    fn from(&self) -> RaftIndex {
        self.names.values().map(|read| read.index).min().unwrap_or_default()
    }
}
