//! One kind's progress on a stream: which events are new, which gaps to book, and how records enter the ledger and go
//! to delivery.
//!
//! Every record enters its ledger in [`Tracker::submit`], together with what changed in the [`Backfill`].

mod gaps;
mod legacy;
pub(super) mod lists;
mod new_topics;
mod objects;
mod polled;
mod submission;
mod watchdog;

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;
use tracing::warn;

use self::{gaps::GapReport, legacy::Legacy, polled::Polled, watchdog::Watchdog};
pub(super) use self::{lists::PageOutcome, submission::Submission};
use super::{
    backfill::{Backfill, Summaries, reader::ListReader},
    context::{Context, Stopped},
    resume::{
        new_namespaces::NewNamespaces,
        proof::{LineVerdict, StreamCursor},
        topics::WantedTopics,
    },
};
use crate::{
    checkpoint::{Anchor, Gap, Pass},
    kind::Kind,
    ledger::{Effect, Ledger},
    nomad::{
        Table, Topic,
        line::{Event, Line},
    },
    position::{Identity, Position, RaftIndex, Seen},
    record::{Envelope, Record},
    resource::{self, Draft, Known, Made},
    task_cursors::{TaskCursor, TaskKey},
    telemetry::SourceState,
    window::Share,
};

/// One kind that reads a stream.
#[derive(Debug)]
pub(super) struct Tracker {
    pub(super) kind: Kind,
    /// `*`, or the name of the namespace whose stream it reads.
    namespace: Arc<str>,
    topics: WantedTopics,
    ledger: Arc<Ledger>,
    pub(super) cursor: StreamCursor,
    pub(super) start_mode: StartMode,
    /// What lists still have to deliver.
    pub(super) backfill: Backfill,
    /// How its lists are read.
    pub(super) list: ListReader,
    /// Set while lists replace the stream: what they delivered beyond the booked gaps.
    pub(super) polled: Option<Polled>,
    /// Job stubs that wait for the summary of their job, which no event has.
    pub(super) summaries: Summaries,
    pub(super) watchdog: Watchdog,
    /// What the original program had delivered.
    legacy: Legacy,
    /// Up to which index another program has delivered a topic of raw events.
    delivered: BTreeMap<String, RaftIndex>,
}

/// How a tracker started, while that decides what counts as a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartMode {
    /// It continues from a checkpoint, or its first start is over: whatever the stream no longer has is a gap.
    Resumed,
    /// Nothing was ever delivered: lists deliver what precedes the stream's first line, and that is no gap. Ends when
    /// the first range is booked.
    FirstStart,
    /// The same for allocations that start at an index: lists also say which task events precede it, and those are
    /// never sent.
    FirstStartAfterIndex,
}

impl StartMode {
    pub(super) fn is_first_start(self) -> bool {
        self != StartMode::Resumed
    }

    /// Whether versions before the gaps of a new pass only set task cursors.
    fn needs_baseline(self) -> bool {
        self == StartMode::FirstStartAfterIndex
    }
}

impl Tracker {
    /// Continues where the ledger is.
    pub(super) fn new(kind: Kind, topics: Vec<Topic>, namespace: Arc<str>, ledger: Arc<Ledger>) -> Self {
        let stored = ledger.stream(&namespace).unwrap_or_default();
        let is_first = stored.position.index == RaftIndex(0);
        ledger.expect(&namespace);
        let mut cursor = match stored.chosen {
            true => StreamCursor::chosen(stored.position.index),
            false => StreamCursor::new(stored.position),
        };
        let position = cursor.position();
        if position.seen.is_empty() && stored.delivered.values().any(|index| *index == position.index) {
            // Another program was there, so the index is of this cluster.
            cursor.trust();
        }
        Tracker {
            kind,
            topics: WantedTopics::new(kind, topics, (!is_first).then_some(stored.topics)),
            backfill: Backfill::load(kind, stored.backfill),
            cursor,
            start_mode: if is_first { StartMode::FirstStart } else { StartMode::Resumed },
            list: ListReader::new(kind, Arc::clone(&namespace)),
            polled: None,
            summaries: Summaries::default(),
            watchdog: Watchdog::default(),
            legacy: Legacy::default(),
            delivered: stored.delivered,
            namespace,
            ledger,
        }
    }

    /// Starts for the first time, after `start`. With `now`, what the server's buffer has is not wanted either.
    pub(super) async fn start_after(&mut self, ctx: &Context, start: RaftIndex, now: bool) -> Result<(), Stopped> {
        // A table has named the index just now: it is of this cluster, and what the server still has from before it is no gap.
        self.cursor = if now { StreamCursor::chosen(start) } else { StreamCursor::new(Position::at(start)) };
        let baseline = self.kind == Kind::Allocations;
        self.start_mode = match (now, baseline) {
            (true, _) => StartMode::Resumed,
            (false, true) => StartMode::FirstStartAfterIndex,
            (false, false) => StartMode::FirstStart,
        };
        if now && baseline {
            let after = RaftIndex(start.0 + 1);
            let nothing = Gap { from: after, until: after, known: Seen::default() };
            self.backfill.add(Pass { ranges: vec![nothing], baseline, ..Pass::default() });
        }
        // Nothing older is wanted of the existing namespaces either.
        let (line, namespaces) = (Some((start, Vec::new())), Some(start));
        self.store(ctx, Effect { line, chosen: now, namespaces, ..Effect::default() }).await
    }

    /// Whether it starts with everything that the cluster has.
    pub(super) fn starts_from_nothing(&self) -> bool {
        self.start_mode.is_first_start() && self.cursor.position().index == RaftIndex(0)
    }

    /// The topics it subscribes to.
    pub(super) fn topics(&self) -> &[Topic] {
        self.topics.wanted()
    }

    /// Shows in the status how it is read.
    pub(super) fn show(&self, ctx: &Context, state: SourceState) {
        ctx.status.source(self.kind, &self.namespace, state);
    }

    /// The last event that moved its table for certain, from the checkpoint.
    pub(super) fn anchor(&self) -> Option<Anchor> {
        self.ledger.stream(&self.namespace)?.anchor
    }

    /// The namespace watermark of the checkpoint; `None` before the first start.
    pub(super) fn stored_watermark(&self) -> Option<RaftIndex> {
        Some(RaftIndex(self.ledger.stream(&self.namespace)?.namespaces))
    }

    /// The table whose list has this kind's objects; `None` for raw events, which no list has.
    pub(super) fn table(&self) -> Option<Table> {
        match self.kind {
            Kind::Events => None,
            _ => self.topics().first().and_then(|topic| Table::from_topic(&topic.name)),
        }
    }

    /// The tables that together say whether anything happened; `None` if a topic has no table.
    pub(super) fn tables(&self) -> Option<Vec<Table>> {
        self.topics().iter().map(|topic| Table::from_topic(&topic.name)).collect()
    }

    /// Starts over from nothing: the cluster is another one.
    pub(super) fn start_over(&mut self) {
        self.ledger.start_over(&self.namespace);
        // Lists deliver all objects again. Raw events have no list, so the break has to be a gap.
        self.start_mode = if self.kind == Kind::Events { StartMode::Resumed } else { StartMode::FirstStart };
        self.cursor = StreamCursor::new(Default::default());
        self.backfill.clear();
        self.list.clear();
        self.watchdog.forget_table();
        self.legacy = Legacy::default();
        self.delivered.clear();
    }

    /// Delivers the events of a line for this kind. Earlier events of `new_namespaces` are delivered too.
    pub(super) async fn take_line(
        &mut self,
        ctx: &Context,
        (line, identities): (&Line<'_>, &[Identity]),
        share: &Option<Share>,
        new_namespaces: Option<&NewNamespaces>,
    ) -> Result<(), Stopped> {
        let is_missing = line.passed_over.is_some_and(|identity| self.cursor.is_new(line.index, identity));
        let verdict = self.cursor.observe(line.index, identities);
        let mut submission = Submission::default();
        match &verdict {
            LineVerdict::DeliverAfterGap(gap) => {
                let report = match self.legacy.is_half_sent(line.index) {
                    true => GapReport::IfListFindsSomething,
                    false => GapReport::Now,
                };
                self.book_gap(ctx, gap.clone(), report, &mut submission);
            }
            LineVerdict::Deliver => self.know_at_gap_end(line.index, identities),
            LineVerdict::Nothing if new_namespaces.is_none() => return Ok(()),
            LineVerdict::Nothing => {}
        }
        if is_missing && verdict != LineVerdict::Nothing {
            self.book_long_line(ctx, line.index, &mut submission);
        }
        for event in &line.events {
            if !self.topics.want(event) {
                continue;
            }
            // A line at the end of a gap can arrive after the page that has delivered it.
            let is_new = verdict != LineVerdict::Nothing
                && self.cursor.is_new(line.index, event.identity)
                && !self.backfill.is_delivered(event.identity)
                && self.delivered.get(&*event.topic).is_none_or(|index| line.index > *index);
            let is_late = new_namespaces.is_some_and(|namespaces| namespaces.is_missing(event));
            if !is_new && !is_late {
                ctx.metrics.of(self.kind).duplicate_events_skipped.inc();
                continue;
            }
            self.take_event(ctx, event, &mut submission).await?;
        }
        submission.effect.line = (verdict != LineVerdict::Nothing).then(|| (line.index, identities.to_vec()));
        self.cursor.advance(line.index, identities);
        self.submit(ctx, submission, share.clone()).await
    }

    /// Delivers the events of a line with an implausible index. No position moves by it.
    pub(super) async fn take_unconfirmed(
        &mut self,
        ctx: &Context,
        line: &Line<'_>,
        share: &Option<Share>,
    ) -> Result<(), Stopped> {
        // No version of a page is dropped for an index that may be wrong.
        let (min_index, page, mut submission) = (self.list.min_index, self.list.page.take(), Submission::default());
        for event in line.events.iter().filter(|event| !event.delivered) {
            if self.topics.want(event) {
                self.take_event(ctx, event, &mut submission).await?;
            }
        }
        (self.list.min_index, self.list.page) = (min_index, page);
        let mut task_cursors = std::mem::take(&mut submission.effect.task_cursors);
        self.keep_cursor_index(&mut task_cursors);
        submission.effect = Effect { task_cursors, ..Effect::default() };
        self.submit(ctx, submission, share.clone()).await
    }

    /// The version of these cursors has an implausible index: with it, everything later would look older.
    fn keep_cursor_index(&self, task_cursors: &mut [(TaskKey, TaskCursor)]) {
        for (task, cursor) in task_cursors {
            *cursor = cursor.at(self.ledger.task_cursor(*task).map(TaskCursor::index).unwrap_or_default());
        }
    }

    async fn take_event(
        &mut self,
        ctx: &Context,
        event: &Event<'_>,
        submission: &mut Submission,
    ) -> Result<(), Stopped> {
        let repeated = event.occurrence > 0;
        let made = if ctx.is_own(event) {
            Ok(Made::default())
        } else {
            let task_cursor = |task| submission.task_cursor(&self.ledger, repeated, task);
            resource::from_event(self.kind, event, Known::task_cursors(&task_cursor).and(self.legacy.task_events))
        };
        match made {
            Ok(mut made) => {
                // An object that the transaction only touched does not move its table: a page as new as that would
                // never come.
                if !made.drafts.is_empty() {
                    self.list.delivered_by_stream(event);
                }
                if moves_its_table(event) {
                    submission.effect.anchor = Some(Anchor { topic: event.topic.to_string(), index: event.index });
                }
                if event.delivered {
                    made.drafts.clear();
                    made.lacks_summary = false;
                }
                // An object's own index is not above that of the transaction that changed it.
                if self.kind != Kind::Allocations {
                    made.value = made.value.filter(|value| *value <= event.index.0);
                }
                let overruns = submission.add(made);
                self.report_overruns(ctx, overruns, &event.key, event.index);
            }
            Err(_) if event.delivered => {}
            Err(reason) => ctx.dead_letter(self.kind, &event.raw, &reason.to_string()).await?,
        }
        Ok(())
    }

    fn report_overruns(&self, ctx: &Context, overruns: u32, allocation: &str, index: RaftIndex) {
        if overruns > 0 {
            ctx.metrics.of(self.kind).task_events_possibly_missed.inc();
            warn!(
                allocation,
                %index,
                tasks = overruns,
                reason = "more than ten happened between two updates",
                "task events may be missing"
            );
        }
    }

    /// Enters a submission into the ledger, with what changed in the backfill, and passes its records to delivery.
    pub(super) async fn submit(
        &mut self,
        ctx: &Context,
        mut submission: Submission,
        share: Option<Share>,
    ) -> Result<(), Stopped> {
        submission.effect.stream = Arc::clone(&self.namespace);
        submission.effect.topics = self.topics.to_store();
        submission.effect.backfill = self.backfill.take_snapshot();
        let Some(ack) = self.ledger.enter(submission.effect, submission.drafts.len(), share) else { return Ok(()) };
        let (kind, lacking) = (self.kind, submission.lacking_summary);
        let records = submission.drafts.into_iter().enumerate().map(|(n, draft)| {
            let Draft { id, key, namespace, job, node, index, body } = draft;
            let (group, time, envelope, ack) = (None, None, Envelope::None, ack.clone());
            let record = Record { kind, id, key, namespace, job, node, group, index, time, body, envelope, ack };
            (record, lacking.binary_search(&n).is_ok())
        });
        let records = self.summaries.hold(ctx, records);
        drop(ack);
        ctx.submit(records).await
    }

    /// When the next page may be asked for; `None` if there is none, or one is being read.
    pub(super) fn page_due(&self) -> Option<Instant> {
        // No list is polled before its table proved to be of the same cluster.
        let waits = self.polled.as_ref().is_some_and(|polled| !polled.table_is_ours);
        let is_due = self.list.page.is_none() && !self.backfill.is_empty() && !waits;
        is_due.then(|| self.list.not_before.unwrap_or_else(Instant::now))
    }

    /// Whether the stream has to wait until a page or a summary has arrived.
    pub(super) fn holds_stream(&self) -> bool {
        self.list.holds_stream() || self.summaries.is_full()
    }

    /// The connection is quiet: the last index is whole, so that a table at that index proves the next connection.
    pub(super) async fn settle(&mut self, ctx: &Context) -> Result<(), Stopped> {
        if !self.cursor.settle() {
            return Ok(());
        }
        self.store(ctx, Effect { whole: true, ..Effect::default() }).await
    }

    /// Stores the namespace watermark.
    pub(super) async fn store_watermark(&mut self, ctx: &Context, watermark: RaftIndex) -> Result<(), Stopped> {
        self.store(ctx, Effect { namespaces: Some(watermark), ..Effect::default() }).await
    }

    /// Enters a change of the checkpoint into the ledger.
    async fn store(&mut self, ctx: &Context, effect: Effect) -> Result<(), Stopped> {
        self.submit(ctx, Submission { effect, ..Submission::default() }, None).await
    }
}

/// Whether the event moved its table's index for certain. A job can also be touched by another transaction.
fn moves_its_table(event: &Event<'_>) -> bool {
    match &*event.topic {
        "Job" => event.kind.starts_with("JobRegistered") || event.kind.starts_with("JobDeregistered"),
        "Allocation" | "Evaluation" | "Deployment" | "Node" => true,
        _ => false,
    }
}
