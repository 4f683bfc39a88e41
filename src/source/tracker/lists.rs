//! Delivers from paged lists what the stream could have missed.
//!
//! A list has final versions only. It delivers the objects whose `ModifyIndex` lies in a booked gap; later changes come
//! through the stream. A task of its own reads a page, see [`crate::source::backfill::page`], while the stream flows;
//! every decision is made here, on the driver's task. A page has to be at least as new as the newest event delivered
//! before it was asked for, and versions older than what the stream delivers meanwhile are dropped from it: so no
//! version is delivered after a newer one.

use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, info, warn};

use super::{Submission, Tracker, gaps::report_gap};
use crate::{
    checkpoint::Pass,
    kind::Kind,
    position::{Identity, RaftIndex},
    resource::{self, Known, LegacyProgress, Listed, Unusable},
    source::{
        backfill::{
            page::{ListTask, PageHead, PagePiece, PageRequest},
            page_error::PageError,
            progress::WalkTotals,
            reader::{PendingPage, SLOW_AFTER, object_of},
        },
        context::{Context, Interrupted, Stopped},
    },
    telemetry::ListState,
    window::Share,
};

/// If no more than so many allocations of a page are missing, they are read one by one, and the list comes without the
/// states of all tasks.
const ONE_BY_ONE: usize = 50;
/// How often a page that is older than the stream is asked for again.
pub(crate) const STALE_PAGES: u32 = 3;
/// A list that has failed for so long is reported in the status.
const FAILING_AFTER: Duration = Duration::from_secs(60);
/// What a piece of a page leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageOutcome {
    /// The page goes on.
    Continues,
    /// The page is delivered, and there is a further one.
    PageDone,
    /// The list is delivered.
    ListDone,
    /// The page will be asked for again, after a pause.
    Failed,
}

/// Whether and how an object of the page is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It is in no gap, or was delivered.
    No,
    /// It existed before a first start: its task events are known from here on, and not sent.
    Baseline,
    /// It may have had a version in the gap that is gone: it has changed since, and the stream delivers the newer one.
    Overtaken,
    /// It is missing.
    Yes,
}

impl Tracker {
    /// Asks for the next page.
    pub(crate) fn ask_page(&mut self, ctx: &Context) {
        let (Some(pass), Some(table)) = (self.backfill.next(), self.table()) else {
            self.backfill.clear();
            return;
        };
        let is_lean = self.lists_lean(pass);
        match (&pass.page, &self.polled) {
            (None, Some(_)) => {
                ctx.metrics.of(self.kind).polls.inc();
            }
            (None, None) => {
                ctx.metrics.of(self.kind).backfills.inc();
            }
            (Some(_), _) => {}
        }
        let asked = PageRequest {
            kind: self.kind,
            table,
            namespace: pass.namespace.as_deref().unwrap_or(&self.namespace).to_owned(),
            next_token: pass.page.clone(),
            min_index: self.list.min_index,
            task_states: !is_lean,
            stale: self.polled.as_ref().and(ctx.polling.stale).is_some(),
        };
        self.backfill.page_asked();
        self.list.page = Some(PendingPage::ask(ctx, asked));
    }

    /// Processes the next piece of the page under way. What a page delivers before it fails is not repeated.
    pub(crate) async fn take_piece(&mut self, ctx: &Context, piece: Option<PagePiece>) -> Result<PageOutcome, Stopped> {
        let taken = match piece {
            Some(PagePiece::Head(head)) => self.check_head(ctx, head).map_err(Interrupted::Failed),
            Some(PagePiece::Elements(elements, share)) => Ok(self.take_elements(ctx, elements, share).await?),
            Some(PagePiece::Object(wanted, answer, share)) => self.take_object(ctx, wanted, answer, share).await,
            Some(PagePiece::End) => match self.end_page(ctx).await {
                Ok(turn) => return Ok(turn),
                Err(interrupted) => Err(interrupted),
            },
            Some(PagePiece::Failed(error)) => Err(PageError::from(error).into()),
            None => Err(PageError::Gone.into()),
        };
        match taken {
            Ok(()) => Ok(PageOutcome::Continues),
            Err(Interrupted::Failed(failed)) => Ok(self.fail_page(ctx, &failed)),
            Err(Interrupted::Stopped) => Err(Stopped),
        }
    }

    /// Leaves the page under way, in the checkpoint too: what it has delivered counts as known.
    pub(crate) async fn leave_page(&mut self, ctx: &Context) -> Result<(), Stopped> {
        self.list.page = None;
        let mut submission = Submission::default();
        self.book_polled(ctx, RaftIndex(0), &mut submission);
        self.backfill.page_left();
        if !self.backfill.has_changed() {
            return Ok(());
        }
        self.submit(ctx, submission, None).await
    }

    /// Shows in the status that the page under way takes long.
    pub(crate) fn show_slow(&mut self, ctx: &Context) {
        let text = format!("a page has been under way for more than {SLOW_AFTER:?}");
        if let Some(page) = &mut self.list.page {
            page.is_slow = true;
        }
        // That no list can be read says more.
        if self.list.failing.is_none() {
            ctx.status.list(self.kind, &self.namespace, ListState::Slow { text });
        }
    }

    fn fail_page(&mut self, ctx: &Context, failed: &PageError) -> PageOutcome {
        self.backfill.page_failed();
        if let Some(since) = self.list.page_failed(failed)
            // Without a stream everything depends on lists.
            && (since.elapsed() >= FAILING_AFTER || self.polled.is_some())
        {
            ctx.status.list(self.kind, &self.namespace, ListState::Failing { reason: failed.to_string() });
        }
        ctx.metrics.of(self.kind).list_failures.inc();
        warn!(kind = %self.kind, namespace = &*self.namespace, error = %failed, "cannot read the list");
        PageOutcome::Failed
    }

    /// The answer has begun: checks that its state is new enough.
    fn check_head(&mut self, ctx: &Context, head: PageHead) -> Result<(), PageError> {
        let Some(page) = &mut self.list.page else { return Err(PageError::Gone) };
        let stale = self.polled.as_ref().and(ctx.polling.stale);
        if stale.is_some_and(|bound| !head.known_leader || head.last_contact > bound) {
            ctx.client.fail_over(&head.server);
            return Err(PageError::Stale { server: head.server, last_contact: head.last_contact });
        }
        if head.index < page.min_index {
            self.list.stale_pages += 1;
            // The table was seen at that index: the list will reach it, unless the cluster is another one.
            if self.polled.is_some() || self.list.stale_pages < STALE_PAGES {
                return Err(PageError::Late { page: head.index, seen: page.min_index });
            }
            // It never will: the index is of an event that did not move its table.
            if self.list.min_index == page.min_index {
                self.list.min_index = head.index;
            }
        }
        self.list.stale_pages = 0;
        self.list.progress.begin();
        page.head = Some(head);
        Ok(())
    }

    /// Delivers the missing ones of these elements, or notes them to be read one by one.
    async fn take_elements(
        &mut self,
        ctx: &Context,
        elements: Vec<Bytes>,
        share: Option<Share>,
    ) -> Result<(), Stopped> {
        let mut submission = Submission::default();
        for element in elements {
            let made = match Listed::parse(&element) {
                Ok(listed) => self.take_element(ctx, &element, listed.of(self.kind), &mut submission),
                Err(reason) => Err(reason),
            };
            if let Err(reason) = made {
                self.refuse(ctx, &element, &reason).await?;
            }
        }
        self.submit(ctx, submission, share).await?;
        if self.list.page.as_ref().is_some_and(|page| page.is_lean && page.wanted.len() > ONE_BY_ONE) {
            // The page is asked for again, in full.
            self.list_in_full(true);
            self.list.page = None;
            self.backfill.page_failed();
        }
        Ok(())
    }

    fn take_element(
        &mut self,
        ctx: &Context,
        element: &Bytes,
        listed: Listed,
        submission: &mut Submission,
    ) -> Result<(), Unusable> {
        self.list.progress.walked();
        let is_fetched =
            matches!(self.kind, Kind::Jobs | Kind::Nodes) || self.list.page.as_ref().is_some_and(|page| page.is_lean);
        match self.due(&listed) {
            Due::No => Ok(()),
            Due::Overtaken => {
                self.confirm_gap(ctx);
                Ok(())
            }
            Due::Baseline => self.set_baseline(element, submission),
            Due::Yes if is_fetched => {
                self.list.page.iter_mut().for_each(|page| page.wanted.push(listed.clone()));
                Ok(())
            }
            // Records that are the object itself wait for the sink, and must not keep everything that was read in
            // memory.
            Due::Yes if self.kind != Kind::Allocations => {
                self.deliver(ctx, &Bytes::copy_from_slice(element), &listed, submission)
            }
            Due::Yes => self.deliver(ctx, element, &listed, submission),
        }
    }

    /// Everything has arrived that was asked for.
    async fn end_page(&mut self, ctx: &Context) -> Result<PageOutcome, Interrupted<PageError>> {
        let Some(mut page) = self.list.page.take() else { return Err(PageError::Gone.into()) };
        if !page.is_fetching && !page.wanted.is_empty() {
            page.is_fetching = true;
            page.read = ListTask::objects(ctx, self.kind, std::mem::take(&mut page.wanted));
            self.list.page = Some(page);
            return Ok(PageOutcome::Continues);
        }
        self.try_unread_again(ctx, &mut page).await?;
        let (index, next_page) = page.head.take().map(|head| (head.index, head.next_page)).unwrap_or_default();
        let (begun, failed) = (page.begun, page.failed.take());
        // If the page failed, its time counts too.
        self.list.page = Some(page);
        if let Some(failed) = failed {
            // The same page again, or a newer one.
            self.list.min_index = self.list.min_index.max(index);
            return Err(failed.into());
        }
        let done = self.backfill.page_done(next_page.clone()).map_err(PageError::from)?;
        self.list.page = None;
        self.list.page_delivered(begun);
        ctx.status.list(self.kind, &self.namespace, ListState::Fine);
        ctx.metrics.of(self.kind).listed_objects.inc_by(self.list.progress.page(next_page.as_deref(), index));
        let turn = if done.is_some() { PageOutcome::ListDone } else { PageOutcome::PageDone };
        if let Some(pass) = done {
            self.end_list(&pass);
        }
        let mut submission = Submission::default();
        self.book_polled(ctx, index, &mut submission);
        self.submit(ctx, submission, None).await?;
        Ok(turn)
    }

    fn end_list(&mut self, pass: &Pass) {
        self.list_in_full(false);
        let (kind, namespace) = (self.kind, &*self.namespace);
        let WalkTotals { delivered: objects, walked, pages, elapsed } = self.list.progress.end();
        // More digits do not help.
        let elapsed = if elapsed.is_zero() { "<1ms".to_owned() } else { format!("{elapsed:?}") };
        match self.polled {
            None if objects == 0 => debug!(%kind, namespace, objects, walked, pages, elapsed, "backfill finished"),
            Some(_) => debug!(%kind, namespace, objects, walked, pages, elapsed, "list polled"),
            None => info!(%kind, namespace, objects, walked, pages, elapsed, "backfill finished"),
        }
        for gap in pass.ranges.iter().filter(|_| pass.unreported) {
            let (from, until) = (gap.from, gap.until);
            info!(%kind, namespace, %from, %until, missing = "deletions", "backfill found nothing new");
        }
    }

    /// Input that cannot become a record becomes a dead letter, once: each list has it again.
    pub(super) async fn refuse(&mut self, ctx: &Context, raw: &[u8], reason: &Unusable) -> Result<(), Stopped> {
        if self.list.refuses_first(raw) {
            ctx.dead_letter(self.kind, raw, &reason.to_string()).await?;
        }
        Ok(())
    }

    pub(super) fn identity(&self, listed: &Listed) -> Identity {
        listed.identity(self.kind.topic().unwrap_or_default())
    }

    pub(super) fn due(&self, listed: &Listed) -> Due {
        let (Some(pass), Some(page)) = (self.backfill.next(), &self.list.page) else { return Due::No };
        if !self.is_missing(listed) {
            let is_before = pass.baseline && pass.ranges.iter().all(|gap| listed.modify_index < gap.from);
            return match is_before {
                true => Due::Baseline,
                false if is_overtaken(self.kind, pass, listed) => Due::Overtaken,
                false => Due::No,
            };
        }
        let object = object_of(self.kind.topic().unwrap_or_default(), &listed.namespace, &listed.id);
        if page.newest.has(object, listed.modify_index) { Due::Overtaken } else { Due::Yes }
    }

    fn is_missing(&self, listed: &Listed) -> bool {
        let index = listed.modify_index;
        // Most objects of most lists are in no gap, and an identity costs a hash.
        if !self.backfill.is_in_range(index) && !self.may_be_beyond_gaps(index) {
            return false;
        }
        let identity = self.identity(listed);
        (self.backfill.is_missing(index, identity) || self.is_beyond_gaps(index, identity))
            && !self.backfill.is_delivered(identity)
    }

    /// The pass being read has missed something, or may have: it counts as a gap from here on.
    pub(super) fn confirm_gap(&mut self, ctx: &Context) {
        for gap in self.backfill.confirm_gap().into_iter().flatten() {
            report_gap(ctx, self.kind, &self.namespace, &gap);
        }
    }

    /// Adds the records of a missing object.
    pub(super) fn deliver(
        &mut self,
        ctx: &Context,
        element: &Bytes,
        listed: &Listed,
        submission: &mut Submission,
    ) -> Result<(), Unusable> {
        let mut made = {
            let task_cursor = |task| self.ledger.task_cursor(task);
            resource::from_object(self.kind, element, Known::task_cursors(&task_cursor).and(self.legacy.task_events))?
        };
        let newest = ctx.client.newest_index().max(self.cursor.position().index);
        if self.kind != Kind::Allocations {
            made.value = made.value.filter(|value| RaftIndex(*value).is_plausible_after(newest));
        } else if !listed.modify_index.is_plausible_after(newest) {
            self.keep_cursor_index(&mut made.task_cursors);
        }
        let identity = self.identity(listed);
        let is_beyond_gaps = self.is_beyond_gaps(listed.modify_index, identity);
        if !is_beyond_gaps {
            self.confirm_gap(ctx);
        }
        let overruns = submission.add(made);
        self.report_overruns(ctx, overruns, &listed.id, listed.modify_index);
        self.list.progress.delivered();
        self.backfill.delivered(identity);
        if is_beyond_gaps {
            self.note_polled(ctx, listed.modify_index, identity);
        }
        Ok(())
    }

    /// Sets the task cursors of events before the first start.
    fn set_baseline(&self, element: &Bytes, submission: &mut Submission) -> Result<(), Unusable> {
        let task_cursor = |task| self.ledger.task_cursor(task);
        let known = Known::task_cursors(&task_cursor).and(LegacyProgress::All);
        submission.add(resource::from_object(self.kind, element, known)?);
        Ok(())
    }
}

/// Whether the object existed before the ranges of the pass end, and has changed after them. For allocations the task
/// events count, and the newest version has them all.
fn is_overtaken(kind: Kind, pass: &Pass, listed: &Listed) -> bool {
    let until = pass.ranges.iter().map(|gap| gap.until).max().unwrap_or_default();
    kind != Kind::Allocations && listed.create_index < until && until <= listed.modify_index
}

#[cfg(test)]
mod tests;
