//! What lists still have to deliver of one resource, and how far they have come.
//!
//! [`Backfill`] is a pure state machine: it books gaps, names the page to read next, and remembers what that page has
//! delivered. `tracker::lists` drives it with what [`page`] reads. Whatever changes it is part of the next checkpoint:
//! [`Backfill::take_snapshot`] tells whether there is something to store.

pub(super) mod failure;
pub(super) mod fetch;
mod newest;
pub(super) mod page;
pub(super) mod progress;
pub(super) mod reader;
mod summaries;
mod tokens;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use self::tokens::Endless;
pub(super) use self::{
    summaries::{Summaries, Summary},
    tokens::Tokens,
};
use crate::{
    checkpoint::{Gap, Pass},
    kind::Kind,
    position::{Identity, RaftIndex, Seen},
};

/// The gaps of one resource, and how far the lists that fill them are read.
#[derive(Debug)]
pub(super) struct Backfill {
    /// One pass over the list each. The first one is being read.
    passes: VecDeque<Pass>,
    page: PageState,
    tokens: Tokens,
    /// The task cursors of the checkpoint tell what was delivered, so that its gaps need not.
    has_task_cursors: bool,
    changed: bool,
}

/// What the page being read has delivered by now. A page that fails is asked for again, and delivers none of it twice.
#[derive(Debug, Default)]
struct PageState {
    /// It has been asked for. A gap that is booked from here on needs another pass: the page may have gone past it.
    is_asked: bool,
    delivered: Seen,
    /// Listed, and not found when asked for by ID.
    not_found: Seen,
    /// How often an object could not be read.
    tries: HashMap<Identity, u32>,
}

impl Backfill {
    /// Continues with what a checkpoint has stored.
    pub(super) fn load(kind: Kind, stored: Vec<Pass>) -> Self {
        Backfill {
            passes: stored.into(),
            page: PageState::default(),
            tokens: Tokens::default(),
            has_task_cursors: kind == Kind::Allocations,
            changed: false,
        }
    }

    /// Books a pass, or adds its ranges to one of the same kind that has not begun: one pass over the list fills both.
    pub(super) fn add(&mut self, pass: Pass) {
        self.changed = true;
        // Between two pages, a pass without a next page has not had its first one.
        let waiting = self.passes.iter_mut().skip(usize::from(self.page.is_asked)).find(|waiting| {
            waiting.page.is_none()
                && waiting.namespace == pass.namespace
                && waiting.baseline == pass.baseline
                && waiting.unreported == pass.unreported
        });
        match waiting {
            Some(waiting) => pass.ranges.into_iter().for_each(|gap| waiting.add(gap)),
            None => self.passes.push_back(pass),
        }
    }

    /// Whether lists have nothing left to deliver.
    pub(super) fn is_empty(&self) -> bool {
        self.passes.is_empty()
    }

    /// The pass to read a page of.
    pub(super) fn next(&self) -> Option<&Pass> {
        self.passes.front()
    }

    /// The next page of the first pass is asked for.
    pub(super) fn page_asked(&mut self) {
        self.page.is_asked = true;
        if self.passes.front().is_some_and(|pass| pass.page.is_none()) {
            self.tokens.clear();
        }
    }

    /// The page is given up, and will be asked for again. What it has delivered is remembered.
    pub(super) fn page_failed(&mut self) {
        self.page.is_asked = false;
    }

    /// Nobody will ask for the page again before the next start: what it has delivered becomes part of the gaps.
    pub(super) fn page_left(&mut self) {
        self.page_failed();
        let delivered = std::mem::take(&mut self.page.delivered);
        if let Some(front) = self.passes.front_mut().filter(|_| !delivered.is_empty()) {
            front.ranges.iter_mut().for_each(|gap| gap.known.extend(delivered.iter().copied()));
            self.changed = true;
        }
    }

    /// The page is delivered, and `next` is the token of the page after it. Gives the pass when that was its last page.
    ///
    /// # Errors
    /// The list names a page as its next one that it has named before. The page counts as failed.
    pub(super) fn page_done(&mut self, next: Option<String>) -> Result<Option<Pass>, Endless> {
        if let Some(token) = &next {
            let asked = self.passes.front().and_then(|pass| pass.page.as_deref());
            self.tokens.go_on(asked, token)?;
        }
        self.page = PageState::default();
        self.changed = true;
        match (next, self.passes.front_mut()) {
            (Some(token), Some(front)) => {
                front.page = Some(token);
                Ok(None)
            }
            _ => {
                self.tokens.clear();
                Ok(Some(self.passes.pop_front().unwrap_or_default()))
            }
        }
    }

    /// Whether a version lies in a range of the pass being read. Cheaper than [`Backfill::is_missing`], which needs a hash.
    pub(super) fn is_in_range(&self, index: RaftIndex) -> bool {
        let in_range = |gap: &Gap| gap.from <= index && index < gap.until;
        self.next().is_some_and(|pass| pass.ranges.iter().any(in_range))
    }

    /// Whether the pass being read has to deliver a version. What its page has delivered is
    /// [`Backfill::is_delivered`].
    pub(super) fn is_missing(&self, index: RaftIndex, version: Identity) -> bool {
        self.next().is_some_and(|pass| pass.ranges.iter().any(|gap| gap.contains(index, version)))
    }

    /// Whether the page being read has delivered a version.
    pub(super) fn is_delivered(&self, version: Identity) -> bool {
        self.page.delivered.contains(&version)
    }

    /// The page being read has delivered a version.
    pub(super) fn delivered(&mut self, version: Identity) {
        self.page.delivered.insert(version);
        self.page.tries.remove(&version);
    }

    /// A listed version was not found by its ID. Says whether it was found missing for the first time.
    pub(super) fn not_found(&mut self, version: Identity) -> bool {
        self.page.not_found.insert(version)
    }

    /// A listed version could not be read. Gives how often by now.
    pub(super) fn unread(&mut self, version: Identity) -> u32 {
        let tries = self.page.tries.entry(version).or_default();
        *tries += 1;
        *tries
    }

    /// The stream has delivered `events` of `index`: a gap that ends with that index need not deliver them again.
    pub(super) fn know(&mut self, index: RaftIndex, events: &[Identity]) {
        let ends = |gap: &&mut Gap| gap.until.0 == index.0 + 1;
        for gap in self.passes.iter_mut().flat_map(|pass| &mut pass.ranges).filter(ends) {
            gap.known.extend(events.iter().copied());
            self.changed = true;
        }
    }

    /// The pass being read has missed something, or may have. Gives the ranges to report, the first time.
    pub(super) fn confirm_gap(&mut self) -> Option<Vec<Gap>> {
        let pass = self.passes.front_mut().filter(|pass| pass.unreported)?;
        pass.unreported = false;
        self.changed = true;
        Some(pass.ranges.clone())
    }

    /// Forgets everything: the cluster is another one.
    pub(super) fn clear(&mut self) {
        self.passes.clear();
        self.page = PageState::default();
        self.changed = true;
    }

    /// Whether there is something to store.
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    /// What the checkpoint has to store, if it changed since the last snapshot.
    ///
    /// Of allocations the task cursors tell what was delivered. A pass that is not reported yet needs it all the same: it
    /// takes whatever its list has in its ranges for missed.
    pub(super) fn take_snapshot(&mut self) -> Option<Vec<Pass>> {
        let stored = |pass: &Pass| match pass.unreported {
            false if self.has_task_cursors => pass.without_known(),
            _ => pass.clone(),
        };
        let snapshot = self.changed.then(|| self.passes.iter().map(stored).collect());
        self.changed = false;
        snapshot
    }
}
