//! Reads lists where there is no event stream: watches the tables with blocking queries, and reads from their lists what
//! changed.
//!
//! A table that moved books a range, as a gap does: the range, its place in the checkpoint and the reading of pages are
//! those of [`crate::source::tracker::lists`]. What no list shows is not delivered: versions in between, purges, changes
//! that leave an object's `ModifyIndex`, and raw events.

mod watch;

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use self::watch::{Question, Step, Watch};
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
        tracker::{Tracker, Turn},
    },
    telemetry::SourceState,
    throttle::{Classified as _, Failure, Outage},
};

/// The stream is looked for again after so many of the shortest pauses between two lists, but no later than
/// [`TRY_AT_MOST`], and after up to twice as long: half a minute to a minute, unless the pauses are set shorter.
const TRY_AFTER: u32 = 30;
/// The longest time, before it is drawn out, until the stream is looked for again.
const TRY_AT_MOST: Duration = Duration::from_secs(30);

/// What a polling driver keeps beside its trackers.
struct Session {
    namespace: Arc<str>,
    /// Why there is no stream.
    reason: Arc<str>,
    watches: Vec<Watch>,
    questions: FuturesUnordered<Question>,
    /// Of all tables together: most reasons are of the server.
    outage: Outage,
}

impl Driver {
    /// Delivers from lists until there is a stream. `absence` says since when there is none.
    pub(super) async fn poll(&mut self, reason: &str, mut absence: Absence) -> Result<(), Stopped> {
        let mut left = self.stream_positions();
        let missing = "purges, versions in between, raw events";
        warn!(namespace = &*self.namespace, reason, missing, "polling lists instead of streaming");
        let reason: Arc<str> = Arc::from(reason);
        self.begin_polling(&mut absence).await?;
        for tracker in self.trackers.iter().filter(|tracker| tracker.kind == Kind::Events) {
            let reason = format!("raw events come from the stream alone: {reason}");
            tracker.show(&self.ctx, SourceState::Blocked { reason });
        }
        let mut session = Session::new(Arc::clone(&self.namespace), reason, &self.trackers);
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
                        left.clear();
                    }
                }
                beside = beside::next(&mut self.trackers, self.last_turn) => {
                    let (tracker, beside) = beside?;
                    let turn = self.go_on_beside(tracker, beside).await?;
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
        self.report_left(&left);
        self.suspicion = Suspicion::default();
        Ok(())
    }

    /// Where each kind that lists take over was on the stream; nothing where there never was one.
    fn stream_positions(&self) -> Vec<(Kind, RaftIndex)> {
        // Lists leave no event behind that could be known again.
        let was_streamed = |tracker: &&Tracker| self.connection.is_some() || !tracker.cursor.position().seen.is_empty();
        let of_tables = self.trackers.iter().filter(|tracker| tracker.table().is_some());
        of_tables.filter(was_streamed).map(|tracker| (tracker.kind, tracker.cursor.position().index)).collect()
    }

    /// What the stream had while lists were read is not read from it: says so.
    fn report_left(&self, left: &[(Kind, RaftIndex)]) {
        for (kind, from) in left {
            let Some(tracker) = self.trackers.iter().find(|tracker| tracker.kind == *kind) else { continue };
            let until = tracker.cursor.position().index;
            if until > *from {
                // Counted as the lists were read.
                let missing = "purges, versions in between";
                warn!(%kind, namespace = &*self.namespace, after = %from, %until, missing, "polled in place of the stream");
            }
        }
    }

    /// Hands over to lists what the stream would have had to deliver. `absence` begins anew where the cluster does not
    /// answer otherwise, either.
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
            let (error, reason) = match self.meanwhile(found).await {
                Ok(found) => break found,
                Err(Interrupted::Stopped) => return Err(Stopped),
                // Nomad before 1.0 has no namespaces, and its lists of `*` are empty.
                Err(Interrupted::Failed(error @ Error::Unsupported { .. })) => {
                    let reason = format!("{error}; for a Nomad without namespaces set NOMAD_NAMESPACE=default");
                    (error, reason)
                }
                Err(Interrupted::Failed(error))
                    if error.is_retryable() || matches!(error, Error::NoNamespace { .. }) =>
                {
                    let reason = error.to_string();
                    (error, reason)
                }
                // Whether it may read the lists, those tell.
                Err(Interrupted::Failed(_)) => break Vec::new(),
            };
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

    /// What the stream did not have of the newest namespaces is read from lists. Later ones need nothing: a list has
    /// all that there are when it is asked for.
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

    /// Tells when there is a stream, and at which server.
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

    /// Takes in where a table stands. `true` if the cluster is another one.
    async fn take_answer(
        &mut self,
        session: &mut Session,
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
            Step::Again => {}
            Step::Blocked(failure) => {
                session.outage.log(&failure);
                for tracker in self.trackers.iter_mut().filter(of_table) {
                    tracker.show(&self.ctx, SourceState::Blocked { reason: failure.reason.clone() });
                }
            }
            Step::At(index) => {
                self.know(&[(table, index)]);
                if session.watches.iter().all(|watch| !watch.failing) {
                    session.outage.over();
                }
                let mut moved = false;
                for tracker in self.trackers.iter_mut().filter(of_table) {
                    tracker.show(&self.ctx, SourceState::Polling { reason: Some(session.reason.to_string()) });
                    moved |= tracker.take_polled(&self.ctx, index).await?;
                }
                // Whatever a namespace had up to here, lists have delivered or will.
                if moved && self.coverage.raise_to(index) {
                    self.store_watermark().await?;
                }
            }
            Step::StartOver => {
                self.start_over();
                *session = Session::new(Arc::clone(&session.namespace), Arc::clone(&session.reason), &self.trackers);
                for tracker in self.trackers.iter_mut().filter(|tracker| tracker.table().is_some()) {
                    tracker.begin_polling();
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a page came to. After the last one of a list, rests for at least as long as the list took.
    fn page_polled(&mut self, session: &mut Session, tracker: usize, turn: Turn) {
        let tracker = &mut self.trackers[tracker];
        if matches!(turn, Turn::Page | Turn::List) {
            // Whatever a table said last, lists come.
            tracker.show(&self.ctx, SourceState::Polling { reason: Some(session.reason.to_string()) });
        }
        if turn == Turn::List {
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

impl Session {
    fn new(namespace: Arc<str>, reason: Arc<str>, trackers: &[Tracker]) -> Self {
        let mut watches: Vec<Watch> = Vec::new();
        for table in trackers.iter().filter_map(Tracker::table) {
            if watches.iter().all(|watch| watch.table != table) {
                watches.push(Watch::new(table));
            }
        }
        Session {
            namespace,
            reason,
            watches,
            questions: FuturesUnordered::new(),
            outage: Outage::new("watching the tables"),
        }
    }

    /// Asks for the tables whose time has come.
    fn ask(&mut self, ctx: &Context, trackers: &[Tracker]) {
        let now = Instant::now();
        for watch in self.watches.iter_mut().filter(|watch| watch.is_wanted(trackers) && watch.after <= now) {
            self.questions.push(watch.ask(ctx, &self.namespace));
        }
    }

    /// When the next table is to be asked for.
    fn due(&self, trackers: &[Tracker]) -> Option<Instant> {
        self.watches.iter().filter(|watch| watch.is_wanted(trackers)).map(|watch| watch.after).min()
    }
}
