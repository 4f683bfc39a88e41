//! Which namespaces the subscription of a stream has, and how far later ones are read.
//!
//! The namespace watermark is a raft index: the subscription has every namespace created up to it. It is part of the
//! checkpoint.

use tracing::info;

use super::{
    namespaces::newest,
    new_namespaces::{History, NewNamespaces},
};
use crate::{
    checkpoint::Gap,
    nomad::{Namespace, line::Line},
    position::{Identity, Position, RaftIndex},
};

/// The namespaces of a stream.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// The subscription has the namespaces created up to here.
    watermark: RaftIndex,
    /// Later namespaces, until the stream has delivered their earlier events.
    new: Option<NewNamespaces>,
    history: History,
}

impl Coverage {
    /// Continues from the watermark of the checkpoint.
    pub(crate) fn from(watermark: RaftIndex) -> Self {
        Coverage { watermark, ..Coverage::default() }
    }

    pub(crate) fn watermark(&self) -> RaftIndex {
        self.watermark
    }

    /// Treats namespaces created after `index` as not subscribed.
    pub(crate) fn lower_to(&mut self, index: RaftIndex) {
        self.watermark = self.watermark.min(index);
    }

    /// Everything that a namespace had up to `index` is delivered or booked. Returns whether that is new.
    pub(crate) fn raise_to(&mut self, index: RaftIndex) -> bool {
        let has_moved = index > self.watermark;
        self.watermark = self.watermark.max(index);
        has_moved
    }

    /// The subscription has `found`. Returns whether the watermark can be stored: new namespaces have to be delivered
    /// first.
    pub(crate) fn subscribed(&mut self, found: &[Namespace]) -> bool {
        if let Some(new) = &mut self.new {
            // The others were created after the position: the stream has all of their events.
            new.newest = new.newest.max(newest(found));
            return false;
        }
        self.raise_to(newest(found));
        true
    }

    /// The namespaces in `found` that no subscription had, although they were created before `newest_position`, the position
    /// of the kind that has read most: while the program was stopped, or between two looks.
    pub(crate) fn uncovered(&self, found: &[Namespace], newest_position: RaftIndex) -> Vec<Namespace> {
        let is_known = |name: &str| self.new.as_ref().is_some_and(|new| new.has(name));
        let uncovered = found.iter().filter(|namespace| {
            namespace.create_index > self.watermark
                && namespace.create_index <= newest_position
                && !is_known(&namespace.name)
        });
        uncovered.cloned().collect()
    }

    /// Catches up with `found`, up to `until`, on the next subscription.
    pub(crate) fn catch_up(&mut self, found: &[Namespace], until: Position) {
        let names: Vec<&str> = found.iter().map(|namespace| namespace.name.as_str()).collect();
        info!(namespaces = ?names, "subscribing again for new namespaces");
        let earlier = self.new.take();
        self.new = Some(NewNamespaces::new(found, self.watermark, until, &self.history, earlier));
    }

    /// The namespaces whose earlier events are still being read.
    pub(crate) fn new_namespaces(&self) -> Option<&NewNamespaces> {
        self.new.as_ref()
    }

    /// Leaves the new namespaces to lists: returns the gap of each.
    pub(crate) fn leave_to_lists(&mut self) -> Vec<(String, Gap)> {
        let Some(new) = self.new.take() else { return Vec::new() };
        self.raise_to(new.newest);
        new.gaps()
    }

    /// The stream is subscribed to again.
    pub(crate) fn reconnected(&mut self) {
        if let Some(new) = &mut self.new {
            new.reconnected();
        }
    }

    /// Evaluates a line before its events are delivered. Returns the gaps of new namespaces, by name.
    pub(crate) fn observe(&mut self, line: &Line<'_>, identities: &[Identity]) -> Vec<(String, Gap)> {
        let Some(new) = &mut self.new else { return Vec::new() };
        let mut gaps = new.observe(line, identities);
        gaps.extend(line.passed_over.iter().flat_map(|identity| new.missed(line.index, identity)));
        gaps
    }

    /// A line is delivered. Returns whether the watermark has moved.
    pub(crate) fn advance(&mut self, index: RaftIndex, identities: &[Identity], is_proven: bool) -> bool {
        if is_proven {
            self.history.push(index);
        }
        let Some(new) = &mut self.new else { return false };
        new.advance(index, identities);
        let is_done = new.is_done_at(index);
        if is_done {
            let newest = new.newest;
            self.new = None;
            self.raise_to(newest);
        }
        is_done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a crash, kinds can be at different positions.
    #[test]
    fn what_was_created_after_the_slowest_kind_is_caught_up_with_for_the_others() {
        let found = [("default", 1), ("known", 500), ("new", 595), ("later", 601)];
        let found = found.map(|(name, index)| Namespace { name: name.to_owned(), create_index: RaftIndex(index) });
        let uncovered = Coverage::from(RaftIndex(500)).uncovered(&found, RaftIndex(600));
        assert_eq!(uncovered, found[2..3]);
    }
}
