//! Which namespaces the subscription of a stream has, and how far those are read that came later.
//!
//! The namespace watermark is a raft index: namespaces created up to it are in the subscription. It is part of the
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
pub(in crate::source) struct Coverage {
    /// Namespaces created up to here are in the subscription.
    watermark: RaftIndex,
    /// Later ones, until the stream has delivered what they had before.
    new: Option<NewNamespaces>,
    history: History,
}

impl Coverage {
    /// Continues from the watermark of the checkpoint.
    pub(in crate::source) fn from(watermark: RaftIndex) -> Self {
        Coverage { watermark, ..Coverage::default() }
    }

    pub(in crate::source) fn watermark(&self) -> RaftIndex {
        self.watermark
    }

    /// Namespaces created after `index` count as not subscribed to.
    pub(in crate::source) fn lower_to(&mut self, index: RaftIndex) {
        self.watermark = self.watermark.min(index);
    }

    /// Whatever a namespace had up to `index` is delivered or booked. Says whether that is news.
    pub(in crate::source) fn raise_to(&mut self, index: RaftIndex) -> bool {
        let is_news = index > self.watermark;
        self.watermark = self.watermark.max(index);
        is_news
    }

    /// The subscription has `found`. Says whether the watermark is to be stored: not before the new ones are delivered.
    pub(in crate::source) fn subscribed(&mut self, found: &[Namespace]) -> bool {
        if let Some(new) = &mut self.new {
            // The others were created after the position: the stream has all of their events.
            new.newest = new.newest.max(newest(found));
            return false;
        }
        self.raise_to(newest(found));
        true
    }

    /// Those of `found` that no subscription had, although they were created before `furthest`, the position of the kind
    /// that has read most: while the program was stopped, or between two looks.
    pub(in crate::source) fn uncovered(&self, found: &[Namespace], furthest: RaftIndex) -> Vec<Namespace> {
        let is_known = |name: &str| self.new.as_ref().is_some_and(|new| new.has(name));
        let uncovered = found.iter().filter(|namespace| {
            namespace.create_index > self.watermark && namespace.create_index <= furthest && !is_known(&namespace.name)
        });
        uncovered.cloned().collect()
    }

    /// Catches up with `found`, up to `until`, with the next subscription.
    pub(in crate::source) fn catch_up(&mut self, found: &[Namespace], until: Position) {
        let names: Vec<&str> = found.iter().map(|namespace| namespace.name.as_str()).collect();
        info!(namespaces = ?names, "subscribing again for new namespaces");
        let earlier = self.new.take();
        self.new = Some(NewNamespaces::new(found, self.watermark, until, &self.history, earlier));
    }

    /// Those that are being caught up with.
    pub(in crate::source) fn new_namespaces(&self) -> Option<&NewNamespaces> {
        self.new.as_ref()
    }

    /// Gives up the stream for the new namespaces: gives what is missing of each. Lists deliver it.
    pub(in crate::source) fn leave_to_lists(&mut self) -> Vec<(String, Gap)> {
        let Some(new) = self.new.take() else { return Vec::new() };
        self.raise_to(new.newest);
        new.gaps()
    }

    /// The stream is subscribed to again.
    pub(in crate::source) fn reconnected(&mut self) {
        if let Some(new) = &mut self.new {
            new.reconnected();
        }
    }

    /// Takes in a line before its events are delivered. Gives what new namespaces miss, each by its name.
    pub(in crate::source) fn observe(&mut self, line: &Line<'_>, identities: &[Identity]) -> Vec<(String, Gap)> {
        let Some(new) = &mut self.new else { return Vec::new() };
        let mut gaps = new.observe(line, identities);
        gaps.extend(line.passed_over.iter().flat_map(|identity| new.missed(line.index, identity)));
        gaps
    }

    /// A line is delivered. Says whether the watermark has moved by it.
    pub(in crate::source) fn advance(&mut self, index: RaftIndex, identities: &[Identity], is_proven: bool) -> bool {
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
    fn what_was_created_behind_the_slowest_kind_is_caught_up_with_for_the_others() {
        let found = [("default", 1), ("known", 500), ("new", 595), ("later", 601)];
        let found = found.map(|(name, index)| Namespace { name: name.to_owned(), create_index: RaftIndex(index) });
        let uncovered = Coverage::from(RaftIndex(500)).uncovered(&found, RaftIndex(600));
        assert_eq!(uncovered, found[2..3]);
    }
}
