//! One kind on a lane: its cursor, its filter, and how its records enter the ledger and go to delivery.

mod legacy;
mod new_topics;
mod polled;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tracing::{error, warn};
use xxhash_rust::xxh3::xxh3_64;

use self::polled::Ahead;
use super::{
    Context, Stopped,
    catch_up::CatchUp,
    held::Held,
    progress::Walk,
    proof::{Cursor, TableVerdict, Verdict},
    reconcile::{Page, object_of},
    tokens::Tokens,
    topics,
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
    record::Record,
    resource::{self, Draft, Known, LegacyProgress, Made, Unusable},
    task_cursors::{TaskCursor, TaskKey},
    telemetry::SourceState,
    window::Share,
};

/// One kind that reads a lane.
#[derive(Debug)]
pub(super) struct Tracker {
    pub(super) kind: Kind,
    pub(super) cursor: Cursor,
    /// What lists owe; the first one is under way.
    pub(super) passes: VecDeque<Pass>,
    /// What is owed of all namespaces as soon as they can be listed.
    pub(super) unlisted: Option<Pass>,
    /// The page of the first pass that is under way.
    pub(super) page: Option<Page>,
    /// When a page that failed may be asked for again.
    pub(super) page_after: Option<Instant>,
    /// What the page under way has delivered already, should it fail half-way.
    pub(super) page_done: Seen,
    /// What the page under way lists, and was not found when asked for.
    pub(super) absent: Seen,
    /// How often an object of the page under way could not be read.
    pub(super) tries: HashMap<Identity, u32>,
    /// The tokens of the pages that the list under way has had.
    pub(super) tokens: Tokens,
    /// How often in a row a page has failed, and since when.
    pub(super) failing: Option<(u32, Instant)>,
    /// Hashes of what lists gave and no record can be made of: it comes again with each list.
    refused: Seen,
    /// While lists are polled: what they gave of versions newer than what is owed.
    pub(super) ahead: Option<Ahead>,
    /// How often in a row a page was older than the stream.
    pub(super) stale_pages: u32,
    /// How far the pass under way has come.
    pub(super) walk: Walk,
    /// How long the list under way has taken so far, where it is polled.
    pub(super) listing: Duration,
    /// Records that wait for what no event has.
    pub(super) held: Held,
    /// The newest event of the kind's table: a page must not be older.
    pub(super) table_seen: RaftIndex,
    /// Nothing was ever delivered before: what lies before the stream's start is no gap.
    pub(super) first_start: bool,
    /// First start at an index: task events before it are not sent.
    pub(super) baseline: bool,
    /// When the watchdog may bark again.
    pub(super) alarm: Alarm,
    /// The table's index a watch ago.
    pub(super) table_before: RaftIndex,
    /// Task events that the original program has delivered.
    pub(super) legacy: LegacyProgress,
    /// At this index the original program had not delivered everything.
    legacy_half_sent: Option<RaftIndex>,
    lane: Arc<str>,
    ledger: Arc<Ledger>,
    topics: Vec<Topic>,
    /// Of raw events, what the checkpoint is to hold of them.
    stored_topics: Option<Arc<[String]>>,
    /// What it held of them at the start; `None` where nothing was delivered before, so that nothing can be missing.
    topics_before: Option<Vec<String>>,
}

/// Spaces out alarms that may all be false: one at once, then after pauses that double from two minutes to an hour.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    raised: u32,
    not_before: Option<Instant>,
}

impl Alarm {
    /// Whether an alarm may be raised now; then it counts as raised.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return false;
        }
        self.raised = (self.raised + 1).min(5);
        self.not_before = Some(now + Duration::from_secs(60) * 2u32.pow(self.raised));
        true
    }
}

/// What one line or page comes to, before it is entered.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) drafts: Vec<Draft>,
    /// Which of these lack the summary of their job.
    lacking: Vec<usize>,
    pub(super) effect: Effect,
}

impl Batch {
    /// Adds what one event or object came to.
    pub(super) fn add(&mut self, made: Made) -> u32 {
        let before = self.drafts.len();
        self.drafts.extend(made.drafts);
        if made.lacks_summary {
            self.lacking.extend(before..self.drafts.len());
        }
        self.effect.task_cursors.extend(made.task_cursors);
        self.effect.value = self.effect.value.max(made.value);
        made.overruns
    }

    /// The mark of a task, those of this batch included.
    pub(super) fn task_cursor(&self, ledger: &Ledger, repeated: bool, task: TaskKey) -> Option<TaskCursor> {
        let own =
            || self.effect.task_cursors.iter().rev().find(|(key, _)| *key == task).map(|(_, task_cursor)| *task_cursor);
        // Only an object that comes twice at one index can have set its mark in this very batch.
        repeated.then(own).flatten().or_else(|| ledger.task_cursor(task))
    }
}

impl Tracker {
    /// So many unusable objects of lists are remembered.
    const REFUSED: usize = 10_000;

    /// A kind that goes on where its ledger is.
    pub(super) fn new(kind: Kind, topics: Vec<Topic>, lane: Arc<str>, ledger: Arc<Ledger>) -> Self {
        let state = ledger.stream(&lane);
        let state = state.unwrap_or_default();
        let first_start = state.position.index == RaftIndex(0);
        let stored_topics = (kind == Kind::Events).then(|| topics::stored(&topics));
        let topics_before = (!first_start).then_some(state.topics);
        ledger.expect(&lane);
        let walk = Walk::new(kind, Arc::clone(&lane));
        let (mut unlisted, passes): (Vec<_>, Vec<_>) = state.backfill.into_iter().partition(Pass::is_unlisted);
        Tracker {
            kind,
            cursor: Cursor::new(state.position),
            passes: passes.into(),
            unlisted: unlisted.pop(),
            page: None,
            page_after: None,
            page_done: Seen::default(),
            absent: Seen::default(),
            tries: HashMap::new(),
            tokens: Tokens::default(),
            failing: None,
            refused: Seen::default(),
            ahead: None,
            walk,
            listing: Duration::ZERO,
            held: Held::default(),
            stale_pages: 0,
            table_seen: RaftIndex(0),
            first_start,
            baseline: false,
            alarm: Alarm::default(),
            table_before: RaftIndex(0),
            legacy: LegacyProgress::Nothing,
            legacy_half_sent: None,
            lane,
            ledger,
            topics,
            stored_topics,
            topics_before,
        }
    }

    /// A first start elsewhere than at the beginning. `now` says that not even the buffer is wanted.
    pub(super) async fn start_after(&mut self, ctx: &Context, start: RaftIndex, now: bool) -> Result<(), Stopped> {
        self.cursor = Cursor::new(Position::at(start));
        self.baseline = self.kind == Kind::Allocations;
        let mut batch = Batch::default();
        batch.effect.line = Some((start, Vec::new()));
        // Of the namespaces that there were, too, nothing older is wanted.
        batch.effect.namespaces = Some(start);
        if now {
            if self.baseline {
                let after = RaftIndex(start.0 + 1);
                let nothing = Gap { from: after, until: after, known: Seen::default() };
                self.add_pass(Pass { ranges: vec![nothing], baseline: true, ..Pass::default() });
                batch.effect.backfill = Some(self.backfill());
            }
            self.baseline = false;
            self.first_start = false;
        }
        self.submit(ctx, batch, None).await
    }

    /// Whether it begins with everything that there is.
    pub(super) fn begins(&self) -> bool {
        self.first_start && self.cursor.position().index == RaftIndex(0)
    }

    /// The topics it asks for.
    pub(super) fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// The namespace of its lane.
    pub(super) fn lane(&self) -> &str {
        &self.lane
    }

    /// Shows how it is read.
    pub(super) fn show(&self, ctx: &Context, state: SourceState) {
        ctx.status.source(self.kind, &self.lane, state);
    }

    /// The ledger it enters its records in.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The table whose list gives this kind's objects; `None` for raw events, which no list gives.
    pub(super) fn table(&self) -> Option<Table> {
        match self.kind {
            Kind::Events => None,
            _ => self.topics.first().and_then(|topic| Table::from_topic(&topic.name)),
        }
    }

    /// The tables that together tell whether anything happened at all; `None` where some topic has none.
    pub(super) fn tables(&self) -> Option<Vec<Table>> {
        self.topics.iter().map(|topic| Table::from_topic(&topic.name)).collect()
    }

    /// Starts over from nothing: the cluster is another one.
    pub(super) fn start_over(&mut self) {
        self.ledger.start_over(&self.lane);
        // Objects are read anew from the list; in the stream of events the break has to show.
        self.first_start = self.kind != Kind::Events;
        self.cursor = Cursor::new(Default::default());
        self.passes.clear();
        self.unlisted = None;
        self.page = None;
        self.page_done.clear();
        self.absent.clear();
        self.tries.clear();
        self.failing = None;
        self.walk.end();
        self.table_seen = RaftIndex(0);
        self.table_before = RaftIndex(0);
        (self.legacy, self.legacy_half_sent) = (LegacyProgress::Nothing, None);
    }

    /// Delivers what a line has for this kind.
    pub(super) async fn take_line(
        &mut self,
        ctx: &Context,
        line: &Line<'_>,
        identities: &[Identity],
        share: &Option<Share>,
        catch_up: Option<&CatchUp>,
    ) -> Result<(), Stopped> {
        let is_missing = line.passed_over.is_some_and(|identity| self.cursor.is_new(line.index, identity));
        let verdict = self.cursor.observe(line.index, identities);
        let mut batch = Batch::default();
        match &verdict {
            Verdict::DeliverAfterGap(gap) => {
                let report = self.legacy_half_sent != Some(line.index);
                self.owe(ctx, gap.clone(), &mut batch, report);
            }
            Verdict::Deliver => self.know_at_gap_end(line.index, identities, &mut batch),
            Verdict::Nothing if catch_up.is_none() => return Ok(()),
            Verdict::Nothing => {}
        }
        if is_missing && verdict != Verdict::Nothing {
            self.miss(ctx, line.index, &mut batch);
        }
        for event in &line.events {
            if !self.wants(event) {
                continue;
            }
            // A line of the index that a gap ends with can come behind the page that has given it already.
            let new = verdict != Verdict::Nothing
                && self.cursor.is_new(line.index, event.identity)
                && !self.page_done.contains(&event.identity);
            let late = catch_up.is_some_and(|catch_up| catch_up.is_owed(event));
            if !new && !late {
                ctx.metrics.repeats_dropped(self.kind, 1);
                continue;
            }
            self.take_event(ctx, event, &mut batch).await?;
        }
        batch.effect.line = (verdict != Verdict::Nothing).then(|| (line.index, identities.to_vec()));
        self.cursor.advance(line.index, identities);
        self.submit(ctx, batch, share.clone()).await
    }

    /// A line could not be held: whatever it had is a gap. What other lines of its index have brought is known.
    fn miss(&mut self, ctx: &Context, index: RaftIndex, batch: &mut Batch) {
        let Position { index: at, seen, .. } = self.cursor.position();
        let known = if *at == index { seen.clone() } else { Seen::default() };
        let gap = Gap { from: index, until: RaftIndex(index.0.saturating_add(1)), known };
        ctx.metrics.gap(self.kind, 1);
        if self.kind == Kind::Events {
            batch.drafts.push(resource::gap(&self.lane, &gap));
        } else {
            self.add_pass(Pass { ranges: vec![gap], ..Pass::default() });
            batch.effect.backfill = Some(self.backfill());
        }
    }

    /// Further lines of the index that a gap ends with need not come from the list as well. Where the list covers that
    /// index whole, none of them is new, and all of them are left to it.
    fn know_at_gap_end(&mut self, index: RaftIndex, identities: &[Identity], batch: &mut Batch) {
        let delivered = || identities.iter().copied().filter(|event| self.cursor.is_new(index, *event));
        if index != self.cursor.position().index || delivered().next().is_none() {
            return;
        }
        let ends = |gap: &&mut Gap| gap.until.0 == index.0 + 1;
        let mut changed = false;
        for gap in self.passes.iter_mut().flat_map(|pass| &mut pass.ranges).filter(ends) {
            gap.known.extend(delivered());
            changed = true;
        }
        if changed {
            batch.effect.backfill = Some(self.backfill());
        }
    }

    /// Delivers what a line of a doubtful index has for this kind. Nothing that follows an index moves by it.
    pub(super) async fn take_doubtful(
        &mut self,
        ctx: &Context,
        line: &Line<'_>,
        share: &Option<Share>,
    ) -> Result<(), Stopped> {
        // Nothing of a page is left out for an index that may not be true.
        let (table_seen, page, mut batch) = (self.table_seen, self.page.take(), Batch::default());
        for event in line.events.iter().filter(|event| !event.delivered) {
            if self.wants(event) {
                self.take_event(ctx, event, &mut batch).await?;
            }
        }
        (self.table_seen, self.page) = (table_seen, page);
        let mut task_cursors = std::mem::take(&mut batch.effect.task_cursors);
        self.distrust_index(&mut task_cursors);
        batch.effect = Effect { task_cursors, ..Effect::default() };
        self.submit(ctx, batch, share.clone()).await
    }

    /// The version that carried these marks has an index that cannot be true: with it, all that follows would be older.
    pub(super) fn distrust_index(&self, task_cursors: &mut [(TaskKey, TaskCursor)]) {
        for (task, task_cursor) in task_cursors {
            *task_cursor = task_cursor.at(self.ledger.task_cursor(*task).map(TaskCursor::index).unwrap_or_default());
        }
    }

    async fn take_event(&mut self, ctx: &Context, event: &Event<'_>, batch: &mut Batch) -> Result<(), Stopped> {
        let repeated = event.occurrence > 0;
        let made = {
            let task_cursor = |task| batch.task_cursor(&self.ledger, repeated, task);
            resource::from_event(self.kind, event, Known::task_cursors(&task_cursor).and(self.legacy))
        };
        match made {
            Ok(mut made) => {
                // Bystanders do not move their table, and waiting for that would wait for ever.
                if !made.drafts.is_empty() {
                    self.table_seen = self.table_seen.max(event.index);
                    if let Some(page) = &mut self.page {
                        page.note(object_of(&event.topic, &event.namespace, &event.key), event.index);
                    }
                }
                if moves_its_table(event) {
                    batch.effect.anchor = Some(Anchor { topic: event.topic.to_string(), index: event.index });
                }
                if event.delivered {
                    made.drafts.clear();
                    made.lacks_summary = false;
                }
                // An object's own index is not above that of the transaction that changed it.
                if self.kind != Kind::Allocations {
                    made.value = made.value.filter(|value| *value <= event.index.0);
                }
                let overruns = batch.add(made);
                self.report_overruns(ctx, overruns, &event.key, event.index);
            }
            Err(_) if event.delivered => {}
            Err(reason) => self.unusable(ctx, &event.raw, &reason).await?,
        }
        Ok(())
    }

    /// Something that no record can be made of goes to the dead-letter place, and everything else goes on.
    pub(super) async fn unusable(&self, ctx: &Context, raw: &[u8], reason: &Unusable) -> Result<(), Stopped> {
        ctx.dead_letter(self.kind, raw, &reason.to_string()).await
    }

    /// The same for what a list gave, where lists give it again and again: it is told once, as far as
    /// [`Tracker::REFUSED`] goes.
    pub(super) async fn refuse(&mut self, ctx: &Context, raw: &[u8], reason: &Unusable) -> Result<(), Stopped> {
        let hash = Identity(xxh3_64(raw));
        if self.refused.contains(&hash) {
            return Ok(());
        }
        self.unusable(ctx, raw, reason).await?;
        if self.refused.len() >= Self::REFUSED {
            self.refused.clear();
        }
        self.refused.insert(hash);
        Ok(())
    }

    pub(super) fn report_overruns(&self, ctx: &Context, overruns: u32, allocation: &str, index: RaftIndex) {
        if overruns > 0 {
            ctx.metrics.lost_mark(self.kind);
            warn!(
                allocation,
                %index,
                tasks = overruns,
                "task events may be missing: more than ten happened between two updates"
            );
        }
    }

    /// Enters what a batch came to, and hands it to delivery.
    pub(super) async fn submit(
        &mut self,
        ctx: &Context,
        mut batch: Batch,
        share: Option<Share>,
    ) -> Result<(), Stopped> {
        batch.effect.stream = Arc::clone(&self.lane);
        batch.effect.topics = self.stored_topics.clone();
        if let Some(backfill) = &mut batch.effect.backfill {
            backfill.extend(self.unlisted.clone());
        }
        let Some(ack) = self.ledger.enter(batch.effect, batch.drafts.len(), share) else { return Ok(()) };
        let (kind, lacking) = (self.kind, batch.lacking);
        let records = batch.drafts.into_iter().enumerate().map(|(n, draft)| {
            let Draft { id, key, namespace, job, body } = draft;
            let record = Record { kind, id, key, namespace, job, body, ack: ack.clone() };
            (record, lacking.binary_search(&n).is_ok())
        });
        let records = self.held.hold(ctx, records);
        drop(ack);
        ctx.submit(records).await
    }

    /// What lists are asked for: `*`, or the name of a namespace.
    pub(super) fn scope(&self) -> &str {
        // A Nomad without namespaces.
        if self.unlisted.is_some() { "default" } else { &self.lane }
    }

    /// When it is to be said that the page under way is slow.
    pub(super) fn slow_at(&self) -> Option<Instant> {
        self.page.as_ref().and_then(Page::slow_at)
    }

    /// When the next page may be asked for; `None` where none is to be.
    pub(super) fn page_due(&self) -> Option<Instant> {
        // Nothing is polled before its table was seen to be that of the same cluster, and what is owed of all namespaces
        // is not read before they can be listed.
        let waits = self.ahead.as_ref().map_or(self.unlisted.is_some(), |ahead| !ahead.is_seen);
        let is_due = self.page.is_none() && !self.passes.is_empty() && !waits;
        is_due.then(|| self.page_after.unwrap_or_else(Instant::now))
    }

    /// Whether no more lines can be taken before something else has come.
    pub(super) fn holds_stream(&self) -> bool {
        self.page.as_ref().is_some_and(Page::holds_stream) || self.held.is_full()
    }

    /// Takes in the index of the kind's tables while the proof is due. Returns what was decided.
    pub(super) async fn take_table_index(&mut self, ctx: &Context, index: RaftIndex) -> Result<TableVerdict, Stopped> {
        // No list gives raw events: to wait for the next one costs nothing, and what still comes is not passed over.
        if self.kind == Kind::Events && !self.cursor.is_proven_by_table(index) {
            return Ok(TableVerdict::Wait);
        }
        let verdict = self.cursor.observe_table(index);
        if let TableVerdict::Gap(gap) = &verdict {
            let mut batch = Batch::default();
            // Tables also move without an event. What the list then finds, it reports.
            self.owe(ctx, gap.clone(), &mut batch, false);
            batch.effect.line = Some((index, Vec::new()));
            self.submit(ctx, batch, None).await?;
        }
        Ok(verdict)
    }

    /// Books a range in which versions could have been missed.
    pub(super) fn owe(&mut self, ctx: &Context, gap: Gap, batch: &mut Batch, report: bool) {
        if report && !self.first_start {
            report_gap(ctx, self.kind, &self.lane, &gap);
        }
        if self.kind == Kind::Events {
            if !self.first_start {
                batch.drafts.push(resource::gap(&self.lane, &gap));
            }
        } else {
            let unreported = !report && !self.first_start;
            self.add_pass(Pass { ranges: vec![gap], baseline: self.baseline, unreported, ..Pass::default() });
            batch.effect.backfill = Some(self.backfill());
        }
        self.first_start = false;
        self.baseline = false;
    }

    /// Adds a pass, or its ranges to one of the same kind that has not begun: one walk over the list gives both.
    pub(super) fn add_pass(&mut self, pass: Pass) {
        // The page under way has passed over what is only owed now. Between two pages, a pass without a next page has
        // not had its first one.
        let waiting = self.passes.iter_mut().skip(usize::from(self.page.is_some())).find(|waiting| {
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

    /// What the checkpoint is to hold of the passes. Of allocations the marks say what was delivered, except to a pass that
    /// takes whatever its list has in its ranges for missing.
    pub(super) fn backfill(&self) -> Vec<Pass> {
        let stored = |pass: &Pass| match pass {
            Pass { unreported: false, .. } if self.kind == Kind::Allocations => pass.without_known(),
            _ => pass.clone(),
        };
        self.passes.iter().map(stored).collect()
    }

    fn wants(&self, event: &Event<'_>) -> bool {
        self.topics.iter().any(|topic| {
            (topic.name == "*" || *topic.name == *event.topic)
                && topic.key.as_deref().is_none_or(|key| {
                    key == "*" || *key == *event.key || event.filter_keys.iter().any(|other| **other == *key)
                })
        })
    }
}

/// Says that versions could have been missed, where they could not be seen.
pub(super) fn report_gap(ctx: &Context, kind: Kind, lane: &str, gap: &Gap) {
    ctx.metrics.gap(kind, gap.until.0.saturating_sub(gap.from.0));
    error!(
        %kind,
        namespace = lane,
        from = %gap.from,
        until = %gap.until,
        "events may be missing: the server's buffer no longer held them; final versions are read from the list"
    );
}

/// Whether the event moved its table's index for certain. A job can also be a bystander of somebody else's transaction.
fn moves_its_table(event: &Event<'_>) -> bool {
    match &*event.topic {
        "Job" => event.kind.starts_with("JobRegistered") || event.kind.starts_with("JobDeregistered"),
        "Allocation" | "Evaluation" | "Deployment" | "Node" => true,
        _ => false,
    }
}
