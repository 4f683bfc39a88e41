//! Namespaces created after the subscription: their events are read again from their creation on.
//!
//! Nomad expands `namespace=*` once, when the stream is opened. So a new namespace needs a new subscription, from the
//! greatest delivered index at or below its `CreateIndex`. Everything else that arrives again is known.

use std::collections::{HashMap, VecDeque};

use crate::{
    checkpoint::Gap,
    nomad::{
        Namespace,
        line::{Event, Line},
    },
    position::{Identity, Position, RaftIndex},
};

/// How many delivered indexes are remembered to go back to.
const REMEMBERED: usize = 1024;

/// Delivered indexes.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<RaftIndex>);

impl History {
    /// Remembers a delivered line.
    pub(crate) fn push(&mut self, index: RaftIndex) {
        if self.0.back().is_none_or(|last| *last < index) {
            if self.0.len() == REMEMBERED {
                self.0.pop_front();
            }
            self.0.push_back(index);
        }
    }

    /// The greatest delivered index at or below `index`; 0, for the oldest line of the server, if there is none.
    fn at_or_below(&self, index: RaftIndex) -> RaftIndex {
        self.0.iter().rev().find(|line| **line <= index).copied().unwrap_or_default()
    }
}

/// New namespaces whose events are missing up to where the stream was read.
#[derive(Debug)]
pub(crate) struct NewNamespaces {
    /// Up to where each is delivered; at first, up to its creation.
    names: HashMap<String, Position>,
    /// The position of the other namespaces.
    until: Position,
    /// The index to ask for.
    ask: RaftIndex,
    /// The creation of the newest of them: the watermark when all are done.
    pub(crate) newest: RaftIndex,
    /// The connection is known to bring everything that is missing, except for booked gaps.
    proven: bool,
}

impl NewNamespaces {
    /// Catches up with `found` on a stream that has read up to `until`, and with what `earlier` still misses. Nothing
    /// up to `watermark` is missing.
    pub(crate) fn new(
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

    /// What is still missing of each namespace.
    pub(crate) fn gaps(&self) -> Vec<(String, Gap)> {
        let until = self.until.index.next();
        let gap = |(name, read): (&String, &Position)| {
            let known = read.seen.iter().chain(self.until.seen.iter()).copied().collect();
            (name.clone(), Gap { from: read.index, until, known })
        };
        self.names.iter().map(gap).collect()
    }

    /// The index to ask for.
    pub(crate) fn ask(&self) -> RaftIndex {
        self.ask.min(self.until.index)
    }

    /// The stream is subscribed to again: what the last connection brought is delivered, and nothing about the new one
    /// is proven.
    pub(crate) fn reconnected(&mut self) {
        self.proven = false;
    }

    /// Whether it has this namespace.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether an event at or below the stream's position is missing.
    pub(crate) fn is_missing(&self, event: &Event<'_>) -> bool {
        let after = |place: &Position| {
            event.index > place.index || event.index == place.index && !place.seen.contains(&event.identity)
        };
        self.names.get(&*event.namespace).is_some_and(after)
            && (event.index < self.until.index
                || event.index == self.until.index && !self.until.seen.contains(&event.identity))
    }

    /// Evaluates a line before its events are delivered. Returns the gap of each namespace.
    ///
    /// The stream is complete from its first line on. So a first line at or below the start of a namespace proves that
    /// all its events follow.
    pub(crate) fn observe(&mut self, line: &Line<'_>, identities: &[Identity]) -> Vec<(String, Gap)> {
        if std::mem::replace(&mut self.proven, true) {
            return Vec::new();
        }
        let until = line.index.min(self.until.index).next();
        let is_covered = |read: &Position| {
            line.index < read.index
                || line.index == read.index
                    && (read.seen.is_empty() || identities.iter().any(|event| read.seen.contains(event)))
        };
        let missed = self.names.iter().filter(|(_, read)| !is_covered(read) && read.index < until);
        let gap = missed.map(|(name, read)| {
            let known = read.seen.iter().chain(identities).copied().collect();
            (name.clone(), Gap { from: read.index, until, known })
        });
        gap.collect()
    }

    /// The gap of each namespace that a line of `index`, too long to be kept and known by `identity`, can have caused.
    pub(crate) fn missed(&self, index: RaftIndex, identity: &Identity) -> Vec<(String, Gap)> {
        let is_missing_from =
            |read: &Position| index > read.index || index == read.index && !read.seen.contains(identity);
        let missed = self.names.iter().filter(|(_, read)| index <= self.until.index && is_missing_from(read));
        let until = index.next();
        missed.map(|(name, read)| (name.clone(), Gap { from: index, until, known: read.seen.clone() })).collect()
    }

    /// A line is delivered.
    pub(crate) fn advance(&mut self, index: RaftIndex, identities: &[Identity]) {
        for read in self.names.values_mut() {
            if index >= read.index {
                read.advance(index, identities);
            }
        }
    }

    /// Whether a line reaches the position of the stream.
    pub(crate) fn is_done_at(&self, index: RaftIndex) -> bool {
        self.proven && index >= self.until.index
    }

    fn from(&self) -> RaftIndex {
        self.names.values().map(|read| read.index).min().unwrap_or_default()
    }
}
