//! A kind whose lists are polled: what the index of its table books, and what a list gives ahead of that.

use tracing::{info, warn};

use super::{super::Context, super::Stopped, Batch, Tracker};
use crate::{
    checkpoint::{Anchor, Gap, Pass},
    kind::Kind,
    nomad::Table,
    position::{Identity, RaftIndex, Seen},
    source::{Source, proof::TableVerdict},
};

/// So many versions with an index that cannot be true are remembered.
const ODD: usize = 10_000;

/// Versions that lists have given, and that are newer than anything that is booked. Left to the next list, an object
/// that changes all the time would never come.
#[derive(Debug, Default)]
pub(in crate::source) struct Ahead {
    known: Seen,
    /// Those whose index cannot be true: no table comes to it, so they are never booked.
    odd: Seen,
    newest: RaftIndex,
    /// Up to here everything was booked by what lists gave: no answer that is older tells of it.
    booked: RaftIndex,
    /// The list under way is read with all that it has: much of it is owed.
    full: bool,
    /// The table was seen where it belongs.
    pub(in crate::source) is_seen: bool,
    /// It was counted that lists stand in for the stream.
    counted: bool,
}

impl Tracker {
    /// From here on lists bring what is new, and no stream does.
    pub(in crate::source) fn begin_polling(&mut self) {
        self.cursor.reconnected();
        self.stale_pages = 0;
        self.page = None;
        self.ahead = Some(Ahead::default());
    }

    /// A stream is to go on from where the lists are, which are of this cluster for certain.
    pub(in crate::source) async fn end_polling(&mut self, ctx: &Context) -> Result<(), Stopped> {
        let mut batch = Batch::default();
        self.book_ahead(ctx, RaftIndex(0), &mut batch);
        self.submit(ctx, batch, None).await?;
        self.ahead = None;
        self.page = None;
        self.page_after = None;
        self.cursor.trust();
        Ok(())
    }

    /// From here on lists are of `default` alone, and the positions move none the less: what other namespaces have from
    /// here on, and what is owed of them already, is owed until they can be listed.
    pub(in crate::source) async fn leave_unlisted(&mut self, ctx: &Context) -> Result<(), Stopped> {
        if self.unlisted.is_some() || !self.table().is_some_and(Table::namespaced) {
            return Ok(());
        }
        let mut gap = self.cursor.owed_from_here();
        for range in self.passes.iter().flat_map(|pass| &pass.ranges) {
            gap.from = gap.from.min(range.from);
            gap.known.extend(range.known.iter().copied());
        }
        let baseline = self.baseline || self.passes.iter().any(|pass| pass.baseline);
        self.unlisted = Some(Pass::unlisted(gap, baseline));
        self.passes.retain(|pass| pass.namespace.is_none());
        self.begin_lists_again();
        let mut batch = Batch::default();
        batch.effect.backfill = Some(self.passes.iter().cloned().collect());
        self.submit(ctx, batch, None).await
    }

    /// All namespaces can be listed, and what is owed of them can be read. Says whether there was anything.
    pub(in crate::source) async fn owe_unlisted(&mut self, ctx: &Context) -> Result<bool, Stopped> {
        let mut batch = Batch::default();
        if self.unlisted.is_some() {
            self.book_ahead(ctx, RaftIndex(0), &mut batch);
        }
        let Some(unlisted) = self.unlisted.take() else { return Ok(false) };
        let position = self.cursor.position();
        let until = RaftIndex(position.index.0.saturating_add(1));
        let known = position.seen.clone();
        for gap in unlisted.ranges {
            let known = gap.known.iter().chain(known.iter()).copied().collect();
            info!(kind = %self.kind, from = %gap.from, %until, "reading what all namespaces had while one was listed");
            let ranges = vec![Gap { until: until.max(gap.from), known, ..gap }];
            self.add_pass(Pass { ranges, baseline: unlisted.baseline, ..Pass::default() });
        }
        self.begin_lists_again();
        batch.effect.backfill = Some(self.passes.iter().cloned().collect());
        self.submit(ctx, batch, None).await?;
        Ok(true)
    }

    /// Lists are of other namespaces than before.
    fn begin_lists_again(&mut self) {
        self.page = None;
        self.passes.iter_mut().filter(|pass| pass.namespace.is_none()).for_each(|pass| pass.page = None);
        self.walk.end();
    }

    /// The kind's table stands at `index`: what came since is owed by the list. Says whether there is anything.
    pub(in crate::source) async fn take_polled(&mut self, ctx: &Context, index: RaftIndex) -> Result<bool, Stopped> {
        self.stale_pages = 0;
        // An event need not have moved its table: the table's own word is what a page has to come to.
        // But of what a list gave ahead, an older one would know nothing.
        self.table_seen = index.max(self.ahead.as_ref().map_or(RaftIndex(0), |ahead| ahead.booked));
        let TableVerdict::Gap(gap) = self.cursor.observe_table(index) else { return Ok(false) };
        let mut batch = Batch::default();
        self.book(ctx, gap, index, &mut batch);
        self.submit(ctx, batch, None).await?;
        Ok(true)
    }

    /// Whether a version of this index can be one that [`Tracker::is_ahead`].
    pub(in crate::source) fn may_be_ahead(&self, index: RaftIndex) -> bool {
        self.ahead.is_some() && index > self.cursor.position().index
    }

    /// Whether a version is newer than all that is booked, and lists are to give it none the less.
    pub(in crate::source) fn is_ahead(&self, index: RaftIndex, identity: Identity) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| !ahead.known.contains(&identity) && !ahead.odd.contains(&identity))
            && index > self.cursor.position().index
    }

    /// Such a version is delivered: no later page may be older.
    pub(in crate::source) fn note_ahead(&mut self, ctx: &Context, index: RaftIndex, identity: Identity) {
        if !index.is_plausible_after(ctx.client.newest_index()) {
            if let Some(ahead) = &mut self.ahead {
                if ahead.odd.len() >= ODD {
                    ahead.odd.clear();
                }
                if ahead.odd.insert(identity) {
                    warn!(kind = %self.kind, namespace = &*self.lane, %index, "listed object's index is not plausible");
                    ctx.metrics.implausible_index();
                }
            }
            return;
        }
        self.table_seen = self.table_seen.max(index);
        if let Some(ahead) = &mut self.ahead {
            ahead.known.insert(identity);
            ahead.newest = ahead.newest.max(index);
        }
    }

    /// Books everything up to the newest version that was given ahead, but for those that were. `page` is where the
    /// table stood in the page that gave them.
    pub(in crate::source) fn book_ahead(&mut self, ctx: &Context, page: RaftIndex, batch: &mut Batch) {
        let Some(ahead) = &mut self.ahead else { return };
        let (known, newest) = (std::mem::take(&mut ahead.known), std::mem::take(&mut ahead.newest));
        if known.is_empty() {
            return;
        }
        let until = newest.max(page);
        ahead.booked = ahead.booked.max(until);
        self.table_seen = self.table_seen.max(until);
        if let TableVerdict::Gap(mut gap) = self.cursor.observe_table(until) {
            gap.known.extend(known.iter().copied());
            self.book(ctx, gap, until, batch);
        }
    }

    /// Whether the list may go without most of each allocation: of a poll that is not the first, few are owed, and these
    /// can be asked for.
    pub(in crate::source) fn lists_lean(&self, pass: &Pass) -> bool {
        let begins = pass.baseline || pass.ranges.iter().any(|gap| gap.from <= RaftIndex(1));
        self.kind == Kind::Allocations && !begins && self.ahead.as_ref().is_some_and(|ahead| !ahead.full)
    }

    /// Whether the list under way is read with all that it has.
    pub(in crate::source) fn list_in_full(&mut self, full: bool) {
        if let Some(ahead) = &mut self.ahead {
            ahead.full = full;
        }
    }

    /// Books what came since the last list. Where lists are all that is wanted, such a range is no gap: it is how everything
    /// comes. Where they stand in for the stream, nothing proves that no version in between was passed over.
    fn book(&mut self, ctx: &Context, gap: Gap, index: RaftIndex, batch: &mut Batch) {
        if !self.first_start && ctx.polling.source == Source::Auto {
            let begins = self.ahead.as_mut().is_some_and(|ahead| !std::mem::replace(&mut ahead.counted, true));
            ctx.metrics.listed_instead(self.kind, gap.until.0.saturating_sub(gap.from.0), begins);
        }
        self.add_pass(Pass { ranges: vec![gap], baseline: self.baseline, ..Pass::default() });
        (self.first_start, self.baseline) = (false, false);
        batch.effect.backfill = Some(self.backfill());
        batch.effect.line = Some((index, Vec::new()));
        let topic = self.table().map(Table::topic).unwrap_or_default().to_owned();
        batch.effect.anchor = Some(Anchor { topic, index });
    }
}
