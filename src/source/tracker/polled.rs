//! A kind whose lists are polled: what the index of its table books, and what a list delivers beyond that.

use tracing::warn;

use super::{StartMode, Submission, Tracker};
use crate::{
    checkpoint::{Anchor, Gap, Pass},
    kind::Kind,
    nomad::Table,
    position::{Identity, RaftIndex, Seen},
    source::{
        context::{Context, Source, Stopped},
        resume::proof::TableVerdict,
    },
};

/// So many versions with an implausible index are remembered.
const MAX_IMPLAUSIBLE: usize = 10_000;

/// Versions that lists have delivered, and that are newer than every booked gap. If they waited for the next list, an
/// object that changes all the time would never arrive.
#[derive(Debug, Default)]
pub(crate) struct Polled {
    delivered: Seen,
    /// Those with an implausible index: no table reaches it, so no gap ever covers them.
    implausible: Seen,
    newest: RaftIndex,
    /// Lists have delivered everything up to here: an older answer would not have it.
    booked: RaftIndex,
    /// The list under way is read in full: much of it is missing.
    in_full: bool,
    /// The table proved to be of the same cluster.
    pub(crate) table_is_ours: bool,
    /// The metrics have counted that lists replace the stream.
    is_counted: bool,
}

impl Tracker {
    /// Switches from the stream to lists.
    pub(crate) fn begin_polling(&mut self) {
        self.cursor.reconnected();
        self.list.stale_pages = 0;
        self.drop_page();
        self.polled = Some(Polled::default());
    }

    /// Switches back: a stream continues where the lists are, which are of this cluster for certain.
    pub(crate) async fn end_polling(&mut self, ctx: &Context) -> Result<(), Stopped> {
        let mut submission = Submission::default();
        self.book_polled(ctx, RaftIndex(0), &mut submission);
        self.submit(ctx, submission, None).await?;
        self.polled = None;
        self.drop_page();
        self.list.not_before = None;
        self.cursor.trust();
        Ok(())
    }

    fn drop_page(&mut self) {
        self.list.page = None;
        self.backfill.page_failed();
    }

    /// The kind's table is at `index`: lists have to deliver what changed since. Returns whether there is anything.
    pub(crate) async fn take_polled(&mut self, ctx: &Context, index: RaftIndex) -> Result<bool, Stopped> {
        self.list.stale_pages = 0;
        // An event need not have moved its table, so a page has to reach the table's own index. But a page older than
        // what lists have delivered beyond it would not have that.
        let booked = self.polled.as_ref().map_or(RaftIndex(0), |polled| polled.booked);
        self.list.min_index = index.max(booked);
        let TableVerdict::Gap(gap) = self.cursor.observe_table(index) else { return Ok(false) };
        let mut submission = Submission::default();
        self.book(ctx, gap, index, &mut submission);
        self.submit(ctx, submission, None).await?;
        Ok(true)
    }

    /// Whether a version of this index can be one that [`Tracker::is_beyond_gaps`].
    pub(super) fn may_be_beyond_gaps(&self, index: RaftIndex) -> bool {
        self.polled.is_some() && index > self.cursor.position().index
    }

    /// Whether a version is newer than every booked gap, and a polled list has to deliver it all the same.
    pub(super) fn is_beyond_gaps(&self, index: RaftIndex, version: Identity) -> bool {
        let is_new = |polled: &Polled| !polled.delivered.contains(&version) && !polled.implausible.contains(&version);
        self.polled.as_ref().is_some_and(is_new) && index > self.cursor.position().index
    }

    /// Such a version is delivered: no later page may be older.
    pub(super) fn note_polled(&mut self, ctx: &Context, index: RaftIndex, version: Identity) {
        let Some(polled) = &mut self.polled else { return };
        if index.is_plausible_after(ctx.client.newest_index()) {
            polled.delivered.insert(version);
            polled.newest = polled.newest.max(index);
            self.list.min_index = self.list.min_index.max(index);
            return;
        }
        if polled.implausible.len() >= MAX_IMPLAUSIBLE {
            polled.implausible.clear();
        }
        if polled.implausible.insert(version) {
            warn!(kind = %self.kind, namespace = &*self.namespace, %index, "index of a listed object is implausible");
            ctx.metrics.process().implausible_indexes.inc();
        }
    }

    /// Books everything up to the newest version that lists delivered beyond the gaps, except for those versions.
    /// `page` is the index of the table in the page that had them.
    pub(super) fn book_polled(&mut self, ctx: &Context, page: RaftIndex, submission: &mut Submission) {
        let Some(polled) = &mut self.polled else { return };
        let (delivered, newest) = (std::mem::take(&mut polled.delivered), std::mem::take(&mut polled.newest));
        if delivered.is_empty() {
            return;
        }
        let until = newest.max(page);
        polled.booked = polled.booked.max(until);
        self.list.min_index = self.list.min_index.max(until);
        if let TableVerdict::Gap(mut gap) = self.cursor.observe_table(until) {
            gap.known.extend(delivered.iter().copied());
            self.book(ctx, gap, until, submission);
        }
    }

    /// Whether the list may come without most of each allocation: after the first poll few are missing, and these can
    /// be read one by one.
    pub(super) fn lists_lean(&self, pass: &Pass) -> bool {
        let is_first = pass.baseline || pass.ranges.iter().any(|gap| gap.from <= RaftIndex(1));
        self.kind == Kind::Allocations && !is_first && self.polled.as_ref().is_some_and(|polled| !polled.in_full)
    }

    /// Sets whether the list under way is read in full.
    pub(super) fn list_in_full(&mut self, in_full: bool) {
        if let Some(polled) = &mut self.polled {
            polled.in_full = in_full;
        }
    }

    /// Books what changed since the last list. If the source is lists alone, such a range is no gap: it is how
    /// everything arrives. If lists replace the stream, nothing proves that no version in between was missed.
    fn book(&mut self, ctx: &Context, gap: Gap, index: RaftIndex, submission: &mut Submission) {
        let start_mode = std::mem::replace(&mut self.start_mode, StartMode::Resumed);
        if !start_mode.is_first_start() && ctx.polling.source == Source::Auto {
            let begins = self.polled.as_mut().is_some_and(|polled| !std::mem::replace(&mut polled.is_counted, true));
            ctx.metrics.listed_instead(self.kind, gap.until.0.saturating_sub(gap.from.0), begins);
        }
        self.backfill.add(Pass { ranges: vec![gap], baseline: start_mode.needs_baseline(), ..Pass::default() });
        submission.effect.line = Some((index, Vec::new()));
        let topic = self.table().map(Table::topic).unwrap_or_default().to_owned();
        submission.effect.anchor = Some(Anchor { topic, index });
    }
}
