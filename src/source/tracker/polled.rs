//! A resource whose lists are polled: what the index of its table books, and what a list delivers beyond that.

use tracing::warn;

use super::{Batch, Origin, Tracker};
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

/// So many versions with an index that cannot be true are remembered.
const IMPLAUSIBLE: usize = 10_000;

/// Versions that lists have delivered, and that are newer than every gap that is booked. Left to the next list, an object
/// that changes all the time would never come.
#[derive(Debug, Default)]
pub(in crate::source) struct Polled {
    delivered: Seen,
    /// Those whose index cannot be true: no table comes to it, so no gap ever covers them.
    implausible: Seen,
    newest: RaftIndex,
    /// Up to here lists have delivered everything: an older answer would not have it.
    booked: RaftIndex,
    /// The list under way is read with all that it has: much of it is missing.
    in_full: bool,
    /// The table was seen where it belongs.
    pub(in crate::source) table_is_ours: bool,
    /// The metrics have counted that lists stand in for the stream.
    is_counted: bool,
}

impl Tracker {
    /// From here on lists bring what is new, and no stream does.
    pub(in crate::source) fn begin_polling(&mut self) {
        self.cursor.reconnected();
        self.list.stale_pages = 0;
        self.drop_page();
        self.polled = Some(Polled::default());
    }

    /// A stream is to continue where the lists are, which are of this cluster for certain.
    pub(in crate::source) async fn end_polling(&mut self, ctx: &Context) -> Result<(), Stopped> {
        let mut batch = Batch::default();
        self.book_polled(ctx, RaftIndex(0), &mut batch);
        self.submit(ctx, batch, None).await?;
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

    /// The kind's table is at `index`: lists have to deliver what came since. Says whether there is anything.
    pub(in crate::source) async fn take_polled(&mut self, ctx: &Context, index: RaftIndex) -> Result<bool, Stopped> {
        self.list.stale_pages = 0;
        // An event need not have moved its table: the table's own word is what a page has to come to. But a page older
        // than what lists have delivered beyond it would not have that.
        let booked = self.polled.as_ref().map_or(RaftIndex(0), |polled| polled.booked);
        self.list.min_index = index.max(booked);
        let TableVerdict::Gap(gap) = self.cursor.observe_table(index) else { return Ok(false) };
        let mut batch = Batch::default();
        self.book(ctx, gap, index, &mut batch);
        self.submit(ctx, batch, None).await?;
        Ok(true)
    }

    /// Whether a version of this index can be one that [`Tracker::is_beyond_gaps`].
    pub(super) fn may_be_beyond_gaps(&self, index: RaftIndex) -> bool {
        self.polled.is_some() && index > self.cursor.position().index
    }

    /// Whether a version is newer than every gap that is booked, and a polled list has to deliver it all the same.
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
        if polled.implausible.len() >= IMPLAUSIBLE {
            polled.implausible.clear();
        }
        if polled.implausible.insert(version) {
            warn!(kind = %self.kind, namespace = &*self.namespace, %index, "index of a listed object is implausible");
            ctx.metrics.process().implausible_indexes.inc();
        }
    }

    /// Books everything up to the newest version that lists delivered beyond the gaps, except those that were delivered.
    /// `page` is where the table stood in the page that had them.
    pub(super) fn book_polled(&mut self, ctx: &Context, page: RaftIndex, batch: &mut Batch) {
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
            self.book(ctx, gap, until, batch);
        }
    }

    /// Whether the list may come without most of each allocation: of a poll that is not the first, few are missing, and
    /// these can be asked for one by one.
    pub(super) fn lists_lean(&self, pass: &Pass) -> bool {
        let is_first = pass.baseline || pass.ranges.iter().any(|gap| gap.from <= RaftIndex(1));
        self.kind == Kind::Allocations && !is_first && self.polled.as_ref().is_some_and(|polled| !polled.in_full)
    }

    /// Whether the list under way is read with all that it has.
    pub(super) fn list_in_full(&mut self, in_full: bool) {
        if let Some(polled) = &mut self.polled {
            polled.in_full = in_full;
        }
    }

    /// Books what came since the last list. Where lists are all that is wanted, such a range is no gap: it is how everything
    /// comes. Where they stand in for the stream, nothing proves that no version in between was missed.
    fn book(&mut self, ctx: &Context, gap: Gap, index: RaftIndex, batch: &mut Batch) {
        let origin = std::mem::replace(&mut self.origin, Origin::Resumed);
        if !origin.is_first_start() && ctx.polling.source == Source::Auto {
            let begins = self.polled.as_mut().is_some_and(|polled| !std::mem::replace(&mut polled.is_counted, true));
            ctx.metrics.listed_instead(self.kind, gap.until.0.saturating_sub(gap.from.0), begins);
        }
        self.backfill.add(Pass { ranges: vec![gap], baseline: origin.needs_baseline(), ..Pass::default() });
        batch.effect.line = Some((index, Vec::new()));
        let topic = self.table().map(Table::topic).unwrap_or_default().to_owned();
        batch.effect.anchor = Some(Anchor { topic, index });
    }
}
