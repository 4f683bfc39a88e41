//! What lists still have to deliver of one kind, and how far they are read.
//!
//! [`Backfill`] is a pure state machine: it books gaps, names the next page, and remembers what that page has
//! delivered. The tracker drives it with what [`page`] reads. Every change is part of the next checkpoint, see
//! [`Backfill::take_snapshot`].

pub(super) mod fetch;
mod newest;
pub(super) mod page;
pub(super) mod page_error;
pub(super) mod progress;
pub(super) mod reader;
mod summaries;
mod tokens;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use self::tokens::Endless;
pub(super) use self::{
    summaries::{JobSummary, Summaries},
    tokens::PageTokens,
};
use crate::{
    checkpoint::{Gap, Pass},
    kind::Kind,
    position::{Identity, RaftIndex, Seen},
};

/// The gaps of one kind, and how far the lists that fill them are read.
#[derive(Debug)]
pub(super) struct Backfill {
    /// Each is one pass over the list. The first one is being read.
    passes: VecDeque<Pass>,
    page: PageState,
    tokens: PageTokens,
    /// The task cursors of the checkpoint say what was delivered, so its gaps need not.
    has_task_cursors: bool,
    changed: bool,
}

/// What the page being read has delivered by now. A page that fails is asked for again, and delivers nothing twice.
#[derive(Debug, Default)]
struct PageState {
    /// It has been asked for. A gap that is booked now needs another pass: the page may be past it.
    is_asked: bool,
    delivered: Seen,
    /// Listed, and not found by ID.
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
            tokens: PageTokens::default(),
            has_task_cursors: kind == Kind::Allocations,
            changed: false,
        }
    }

    /// Books a pass, or adds its ranges to a waiting one of the same kind: one pass over the list fills both.
    pub(super) fn add(&mut self, pass: Pass) {
        self.changed = true;
        // Between two pages, only a waiting pass has no next page.
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

    /// The page failed, and will be asked for again. What it has delivered is remembered.
    pub(super) fn page_failed(&mut self) {
        self.page.is_asked = false;
    }

    /// The page is left until the next start: what it has delivered becomes part of the gaps.
    pub(super) fn page_left(&mut self) {
        self.page_failed();
        let delivered = std::mem::take(&mut self.page.delivered);
        if let Some(front) = self.passes.front_mut().filter(|_| !delivered.is_empty()) {
            front.ranges.iter_mut().for_each(|gap| gap.known.extend(delivered.iter().copied()));
            self.changed = true;
        }
    }

    /// The page is delivered, and `next` is the token of the next one. Returns the pass if that was its last page.
    ///
    /// # Errors
    /// The list names a page twice. The page counts as failed.
    pub(super) fn page_done(&mut self, next: Option<String>) -> Result<Option<Pass>, Endless> {
        if let Some(token) = &next {
            let asked = self.passes.front().and_then(|pass| pass.page.as_deref());
            self.tokens.record_next(asked, token)?;
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

    /// Whether a version lies in a range of the pass being read. Cheaper than [`Backfill::is_missing`], which needs a
    /// hash.
    pub(super) fn is_in_range(&self, index: RaftIndex) -> bool {
        let in_range = |gap: &Gap| gap.from <= index && index < gap.until;
        self.next().is_some_and(|pass| pass.ranges.iter().any(in_range))
    }

    /// Whether the pass being read has to deliver a version, apart from what its page has delivered already.
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

    /// A listed version was not found by its ID. Returns whether this is the first time.
    pub(super) fn not_found(&mut self, version: Identity) -> bool {
        self.page.not_found.insert(version)
    }

    /// A listed version could not be read. Returns how often so far.
    pub(super) fn unread(&mut self, version: Identity) -> u32 {
        let tries = self.page.tries.entry(version).or_default();
        *tries += 1;
        *tries
    }

    /// The stream has delivered `events` of `index`: a gap that ends with that index need not deliver them.
    pub(super) fn know(&mut self, index: RaftIndex, events: &[Identity]) {
        let ends = |gap: &&mut Gap| gap.until.0 == index.0 + 1;
        for gap in self.passes.iter_mut().flat_map(|pass| &mut pass.ranges).filter(ends) {
            gap.known.extend(events.iter().copied());
            self.changed = true;
        }
    }

    /// The pass being read has missed something, or may have. Returns the ranges to report, the first time.
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
    /// For allocations, the task cursors say what was delivered. A pass that is not reported yet stores it all the
    /// same, because it counts whatever its list has in its ranges as missed.
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
