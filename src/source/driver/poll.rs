//! Reads lists if there is no event stream: blocking queries watch the tables, and their lists deliver what changed.
//!
//! A table that moved books a range, as a gap does: the range, its place in the checkpoint and the reading of pages are
//! those of [`crate::source::tracker::lists`]. What no list shows is not delivered: versions in between, purges,
//! changes that leave an object's `ModifyIndex`, and raw events.

mod watch;

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use self::watch::{Question, TableStep, Watch};
use super::{Driver, beside, buffered::Suspicion};
use crate::{
    backoff::Backoff,
    kind::Kind,
    nomad::{Error, Namespace, Table, TableState},
    position::RaftIndex,
    source::{
        context::{Context, Interrupted, Source, Stopped},
        resume::namespaces::check,
        stream::absence::Absence,
        tracker::{PageOutcome, Tracker},
    },
    telemetry::SourceState,
    throttle::{Classified as _, Failure, Outage},
};

/// The driver tries the stream again after so many of the shortest pauses between two lists, but no later than
/// [`TRY_AT_MOST`], and after up to twice as long: half a minute to a minute, unless the pauses are set shorter.
const TRY_AFTER: u32 = 30;
/// The longest time until the next try, before it is drawn out.
const TRY_AT_MOST: Duration = Duration::from_secs(30);

/// What a polling driver keeps besides its trackers.
struct PollSession {
    namespace: Arc<str>,
    /// Why there is no stream.
    reason: Arc<str>,
    watches: Vec<Watch>,
    questions: FuturesUnordered<Question>,
    /// Of all tables together: most reasons are the server's.
    outage: Outage,
}

impl Driver {
    /// Delivers from lists until there is a stream. `absence` says since when there is none.
    pub(super) async fn poll(&mut self, reason: &str, mut absence: Absence) -> Result<(), Stopped> {
        let mut stream_positions = self.stream_positions();
        let missing = "purges, versions in between, raw events";
        warn!(namespace = &*self.namespace, reason, missing, "polling lists instead of streaming");
        let reason: Arc<str> = Arc::from(reason);
        self.begin_polling(&mut absence).await?;
        for tracker in self.trackers.iter().filter(|tracker| tracker.kind == Kind::Events) {
            let reason = format!("raw events come from the stream alone: {reason}");
            tracker.show(&self.ctx, SourceState::Blocked { reason });
        }
        let mut session = PollSession::new(Arc::clone(&self.namespace), reason, &self.trackers);
        let mut stream = self.find_stream();
        loop {
            session.ask(&self.ctx, &self.trackers);
            let (due, stop) = (session.due(&self.trackers), self.ctx.stop.clone());
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Stopped),
                server = &mut stream => {
                    info!(namespace = &*self.namespace, server, "event stream available again");
                    break;
                }
                Some((table, answer)) = session.questions.next(), if !session.questions.is_empty() => {
                    if self.take_answer(&mut session, table, answer).await? {
                        stream_positions.clear();
                    }
                }
                beside = beside::next_step(&mut self.trackers, self.last_turn) => {
                    let (tracker, beside) = beside?;
                    let turn = self.take_beside_step(tracker, beside).await?;
                    self.page_polled(&mut session, tracker, turn);
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
        for tracker in &mut self.trackers {
            if tracker.table().is_some() {
                tracker.end_polling(&self.ctx).await?;
            }
        }
        self.report_polled_range(&stream_positions);
        self.suspicion = Suspicion::default();
        Ok(())
    }

    /// The stream position of each kind that lists take over; nothing if it never had a stream.
    fn stream_positions(&self) -> Vec<(Kind, RaftIndex)> {
        // A position that a list set has no event that could be known again.
        let was_streamed = |tracker: &&Tracker| self.connection.is_some() || !tracker.cursor.position().seen.is_empty();
        let of_tables = self.trackers.iter().filter(|tracker| tracker.table().is_some());
        of_tables.filter(was_streamed).map(|tracker| (tracker.kind, tracker.cursor.position().index)).collect()
    }

    /// Reports what is not read from the stream, because lists replaced it.
    fn report_polled_range(&self, stream_positions: &[(Kind, RaftIndex)]) {
        for (kind, from) in stream_positions {
            let Some(tracker) = self.trackers.iter().find(|tracker| tracker.kind == *kind) else { continue };
            let until = tracker.cursor.position().index;
            if until > *from {
                // Counted while the lists were read.
                let missing = "purges, versions in between";
                warn!(%kind, namespace = &*self.namespace, after = %from, %until, missing, "polled in place of the stream");
            }
        }
    }

    /// Switches from the stream to lists. `absence` starts again if the cluster does not answer otherwise either.
    async fn begin_polling(&mut self, absence: &mut Absence) -> Result<(), Stopped> {
        let (mut backoff, mut outage) = (Backoff::default(), Outage::new("listing the namespaces"));
        let found = loop {
            let (client, namespace) = (self.ctx.client.clone(), Arc::clone(&self.namespace));
            let found = async move {
                match &*namespace {
                    "*" => client.namespaces(RaftIndex(0), Duration::ZERO).await.map(|(_, found)| found),
                    one => check(&client, one).await.map(|()| Vec::new()),
                }
            };
            let error = match self.meanwhile(found).await {
                Ok(found) => break found,
                Err(Interrupted::Stopped) => return Err(Stopped),
                Err(Interrupted::Failed(error)) if blocks_lists(&error) => error,
                // The lists themselves tell whether the token may read them.
                Err(Interrupted::Failed(_)) => break Vec::new(),
            };
            // Nomad before 1.0 has no namespaces, and its lists of `*` are empty.
            let hint = match error {
                Error::Unsupported { .. } => "; for a Nomad without namespaces set NOMAD_NAMESPACE=default",
                _ => "",
            };
            let reason = format!("{error}{hint}");
            outage.log(&Failure { class: error.class(), reason: reason.clone() });
            self.show(&SourceState::Blocked { reason });
            *absence = Absence::default();
            self.rest(backoff.failed()).await?;
        };
        outage.over();
        self.book_uncovered(&found).await?;
        for tracker in self.trackers.iter_mut().filter(|tracker| tracker.table().is_some()) {
            tracker.begin_polling();
        }
        Ok(())
    }

    /// Lists deliver what the stream did not have of the newest namespaces. Later ones need nothing: a list has all
    /// that exist when it is asked for.
    async fn book_uncovered(&mut self, found: &[Namespace]) -> Result<(), Stopped> {
        self.find_uncovered(found);
        if self.coverage.new_namespaces().is_some() {
            let gaps = self.coverage.leave_to_lists();
            self.book_namespaces(&gaps).await?;
            self.store_watermark().await?;
        }
        Ok(())
    }

    fn try_after(&self) -> Duration {
        (self.ctx.polling.interval * TRY_AFTER).min(TRY_AT_MOST)
    }

    /// Waits until there is a stream, and returns its server.
    fn find_stream(&self) -> BoxFuture<'static, String> {
        if self.ctx.polling.source != Source::Auto {
            return std::future::pending().boxed();
        }
        let (client, after) = (self.ctx.client.clone(), self.try_after());
        let query = self.query(self.position());
        let held_back = self.suspicion.held_back;
        let find = async move {
            loop {
                sleep(after.mul_f64(1.0 + fastrand::f64())).await;
                let found = async {
                    let mut stream = client.stream(&query).await?;
                    if held_back {
                        stream.until_unbuffered().await?;
                    }
                    Ok::<_, Error>(stream.server().to_owned())
                };
                match found.await {
                    Ok(server) => return server,
                    Err(error) => debug!(%error, "still no event stream"),
                }
            }
        };
        find.boxed()
    }

    /// Processes the index of a table. `true` if the cluster is another one.
    async fn take_answer(
        &mut self,
        session: &mut PollSession,
        table: Table,
        answer: Result<TableState, Error>,
    ) -> Result<bool, Stopped> {
        let Some(watch) = session.watches.iter_mut().find(|watch| watch.table == table) else { return Ok(false) };
        let anchor = self.trackers.iter().filter_map(Tracker::anchor);
        let anchor = anchor.filter(|anchor| anchor.topic == table.topic()).map(|anchor| anchor.index).max();
        let step = watch.take(&self.ctx, anchor, answer);
        let of_table = |tracker: &&mut Tracker| tracker.table() == Some(table);
        let is_seen = watch.is_seen();
        let polled = self.trackers.iter_mut().filter(of_table).filter_map(|tracker| tracker.polled.as_mut());
        polled.for_each(|polled| polled.table_is_ours = is_seen);
        match step {
            TableStep::Again => {}
            TableStep::Blocked(failure) => {
                session.outage.log(&failure);
                for tracker in self.trackers.iter_mut().filter(of_table) {
                    tracker.show(&self.ctx, SourceState::Blocked { reason: failure.reason.clone() });
                }
            }
            TableStep::At(index) => {
                self.record_tables(&[(table, index)]);
                if session.watches.iter().all(|watch| !watch.failing) {
                    session.outage.over();
                }
                let mut moved = false;
                for tracker in self.trackers.iter_mut().filter(of_table) {
                    tracker.show(&self.ctx, SourceState::Polling { reason: Some(session.reason.to_string()) });
                    moved |= tracker.take_polled(&self.ctx, index).await?;
                }
                // Lists have delivered or will deliver everything that a namespace had up to here.
                if moved && self.coverage.raise_to(index) {
                    self.store_watermark().await?;
                }
            }
            TableStep::StartOver => {
                self.start_over();
                *session =
                    PollSession::new(Arc::clone(&session.namespace), Arc::clone(&session.reason), &self.trackers);
                for tracker in self.trackers.iter_mut().filter(|tracker| tracker.table().is_some()) {
                    tracker.begin_polling();
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Processes the outcome of a piece. After the last page of a list, the driver rests at least as long as the list
    /// took.
    fn page_polled(&mut self, session: &mut PollSession, tracker: usize, turn: PageOutcome) {
        let tracker = &mut self.trackers[tracker];
        if matches!(turn, PageOutcome::PageDone | PageOutcome::ListDone) {
            // Whatever a table said last, lists arrive.
            tracker.show(&self.ctx, SourceState::Polling { reason: Some(session.reason.to_string()) });
        }
        if turn == PageOutcome::ListDone {
            let took = std::mem::take(&mut tracker.list.took);
            self.ctx.metrics.polled(took);
            let rest = Instant::now() + took.max(self.ctx.polling.interval);
            tracker.list.not_before = Some(rest);
            if let Some(watch) = session.watches.iter_mut().find(|watch| Some(watch.table) == tracker.table()) {
                watch.rest(rest);
            }
        }
    }
}

/// Whether lists cannot be read while Nomad answers a query for its namespaces so.
fn blocks_lists(error: &Error) -> bool {
    error.is_retryable() || matches!(error, Error::NoNamespace { .. } | Error::Unsupported { .. })
}

impl PollSession {
    fn new(namespace: Arc<str>, reason: Arc<str>, trackers: &[Tracker]) -> Self {
        let mut watches: Vec<Watch> = Vec::new();
        for table in trackers.iter().filter_map(Tracker::table) {
            if watches.iter().all(|watch| watch.table != table) {
                watches.push(Watch::new(table));
            }
        }
        PollSession {
            namespace,
            reason,
            watches,
            questions: FuturesUnordered::new(),
            outage: Outage::new("watching the tables"),
        }
    }

    /// Asks for the tables that are due.
    fn ask(&mut self, ctx: &Context, trackers: &[Tracker]) {
        let now = Instant::now();
        for watch in self.watches.iter_mut().filter(|watch| watch.is_wanted(trackers) && watch.after <= now) {
            self.questions.push(watch.ask(ctx, &self.namespace));
        }
    }

    /// When the next table is due.
    fn due(&self, trackers: &[Tracker]) -> Option<Instant> {
        self.watches.iter().filter(|watch| watch.is_wanted(trackers)).map(|watch| watch.after).min()
    }
}
