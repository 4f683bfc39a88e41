//! The other session of a lane, where there is no event stream: its tables are watched with blocking queries, and what
//! changed is read from their lists.
//!
//! A table that moved books a range, as a gap does: the range, its place in the checkpoint and the reading of pages are
//! those of [`crate::source::reconcile`]. What no list shows does not come: versions in between, purges, changes that leave an
//! object's `ModifyIndex`, and raw events.

mod missing;
mod watch;

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

pub(super) use self::missing::Missing;
use self::watch::{Question, Step, Watch};
use super::{Lane, beside, buffered::Suspicion};
use crate::{
    backoff::Backoff,
    kind::Kind,
    nomad::{Error, Namespace, StreamQuery, Table, TableState},
    position::RaftIndex,
    source::{Context, Source, Stopped, absence::Absence, namespaces, reconcile::Turn, tracker::Tracker, union},
    telemetry::SourceState,
    throttle::Outage,
};

/// The stream is looked for again after so many of the shortest pauses between two lists, but no later than
/// [`TRY_AT_MOST`], and after up to twice as long: half a minute to a minute, unless the pauses are set shorter.
const TRY_AFTER: u32 = 30;
/// The longest time, before it is drawn out, until the stream is looked for again.
const TRY_AT_MOST: Duration = Duration::from_secs(30);

/// What a polling lane keeps beside its members.
struct Session {
    /// What lists are asked for: `*`, or the name of a namespace.
    scope: Arc<str>,
    /// Why there is no stream.
    reason: Arc<str>,
    watches: Vec<Watch>,
    questions: FuturesUnordered<Question>,
    /// Of all tables together: most reasons are of the server.
    outage: Outage,
}

impl Lane {
    /// Delivers from lists until there is a stream. `absence` says since when there is none.
    pub(super) async fn poll(&mut self, reason: &str, mut absence: Absence) -> Result<(), Stopped> {
        let mut left = self.stream_positions();
        warn!(
            namespace = &*self.namespace,
            reason, "records come from lists, which show no purges, no versions in between and no raw events"
        );
        let reason: Arc<str> = Arc::from(reason);
        let mut scope = self.begin(&mut absence).await?;
        for tracker in self.trackers.iter().filter(|tracker| tracker.kind == Kind::Events) {
            let reason = format!("raw events come from the stream alone: {reason}");
            tracker.show(&self.ctx, SourceState::Blocked { reason });
        }
        let mut session = Session::new(Arc::clone(&scope), Arc::clone(&reason), &self.trackers);
        let (mut stream, mut namespaces) = (self.find_stream(), self.find_namespaces(&scope));
        loop {
            session.ask(&self.ctx, &self.trackers);
            let (due, stop) = (session.due(&self.trackers), self.ctx.stop.clone());
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Stopped),
                server = &mut stream => {
                    info!(namespace = &*self.namespace, server, "there is an event stream again; leaving the lists");
                    break;
                }
                () = &mut namespaces => {
                    info!("there are namespaces; listing all of them");
                    scope = self.begin(&mut Absence::default()).await?;
                    session = Session::new(Arc::clone(&scope), Arc::clone(&reason), &self.trackers);
                    namespaces = self.find_namespaces(&scope);
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
        let was_streamed = |tracker: &&Tracker| self.streamed || !tracker.cursor.position().seen.is_empty();
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
                warn!(%kind, namespace = &*self.namespace, after = %from, %until,
                    "lists were read in place of the stream between these indexes; deletions and versions in between may be \
                     missing");
            }
        }
    }

    /// Makes what the lane knows of its stream what lists are to go on from. Gives what these are asked for.
    async fn begin(&mut self, absence: &mut Absence) -> Result<Arc<str>, Stopped> {
        let (mut backoff, mut outage) = (Backoff::default(), Outage::new("listing the namespaces"));
        let found = loop {
            let (client, namespace) = (self.ctx.client.clone(), Arc::clone(&self.namespace));
            let found = async move {
                match &*namespace {
                    "*" => client.namespaces(RaftIndex(0), Duration::ZERO).await.map(|(_, found)| found),
                    one => namespaces::check(&client, one).await.map(|()| Vec::new()),
                }
            };
            match self.meanwhile(found).await? {
                Err(error) if error.is_retryable() || matches!(error, Error::NoNamespace { .. }) => {
                    outage.log(&error);
                    self.show(&SourceState::Blocked { reason: error.to_string() });
                    *absence = Absence::default();
                    self.meanwhile(sleep(backoff.failed())).await?;
                }
                // Where they were missing before, no more is lost.
                Err(error @ Error::Unsupported { .. })
                    if self.trackers.iter().all(|tracker| tracker.unlisted.is_none())
                        && !absence.seen(&self.ctx.polling) =>
                {
                    debug!(%error, "no namespaces; if that lasts, the one there is without them is listed");
                    let pause = backoff.failed().min(Absence::pause(&self.ctx.polling));
                    self.meanwhile(sleep(pause)).await?;
                }
                found => break found,
            }
        };
        outage.over();
        // Nomad before 1.0 has no namespaces, and its lists of `*` are empty.
        let scope = match &found {
            Err(Error::Unsupported { .. }) => Arc::from("default"),
            _ => Arc::clone(&self.namespace),
        };
        if is_whole(&scope, &self.namespace) {
            self.list_unlisted().await?;
        } else {
            self.leave_unlisted().await?;
        }
        self.book_uncovered(&found.unwrap_or_default()).await?;
        for tracker in self.trackers.iter_mut().filter(|tracker| tracker.table().is_some()) {
            tracker.begin_polling();
        }
        Ok(scope)
    }

    /// What the stream did not have of the newest namespaces is read from lists. Later ones need nothing: a list has
    /// all that there are when it is asked for.
    async fn book_uncovered(&mut self, found: &[Namespace]) -> Result<(), Stopped> {
        self.find_uncovered(found);
        if let Some(catch_up) = self.catch_up.take() {
            self.owe_namespaces(catch_up.gap()).await?;
            self.covered = self.covered.max(catch_up.newest);
            self.mark_covered().await?;
        }
        Ok(())
    }

    /// The namespaces that lists do not show from here on.
    async fn leave_unlisted(&mut self) -> Result<(), Stopped> {
        for tracker in &mut self.trackers {
            tracker.leave_unlisted(&self.ctx).await?;
        }
        Ok(())
    }

    /// Tells when there are namespaces, where one is listed for want of them.
    fn find_namespaces(&self, scope: &str) -> BoxFuture<'static, ()> {
        if is_whole(scope, &self.namespace) {
            return std::future::pending().boxed();
        }
        let (client, after) = (self.ctx.client.clone(), self.try_after());
        let find = async move {
            loop {
                sleep(after.mul_f64(1.0 + fastrand::f64())).await;
                match client.namespaces(RaftIndex(0), Duration::ZERO).await {
                    Ok(_) | Err(Error::Denied { .. }) => return,
                    Err(error) => debug!(%error, "still no namespaces"),
                }
            }
        };
        find.boxed()
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
        let query = StreamQuery {
            namespace: self.namespace.to_string(),
            topics: union(self.trackers.iter().flat_map(Tracker::topics)),
            index: self.position(),
        };
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
        let anchor = self.trackers.iter().filter_map(|tracker| tracker.ledger().stream(&self.namespace)?.anchor);
        let anchor = anchor.filter(|anchor| anchor.topic == table.topic()).map(|anchor| anchor.index).max();
        let step = watch.take(&self.ctx, anchor, answer);
        let of_table = |tracker: &&mut Tracker| tracker.table() == Some(table);
        let is_seen = watch.is_seen();
        let of_lists = self.trackers.iter_mut().filter(of_table).filter_map(|tracker| tracker.ahead.as_mut());
        of_lists.for_each(|ahead| ahead.is_seen = is_seen);
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
                if moved && index > self.covered && is_whole(&session.scope, &self.namespace) {
                    // Whatever a namespace had up to here, lists have given or owe.
                    self.covered = index;
                    self.mark_covered().await?;
                }
            }
            Step::StartOver => {
                self.start_over();
                if !is_whole(&session.scope, &self.namespace) {
                    self.leave_unlisted().await?;
                }
                *session = Session::new(Arc::clone(&session.scope), Arc::clone(&session.reason), &self.trackers);
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
            let took = std::mem::take(&mut tracker.listing);
            self.ctx.metrics.polled(took);
            let rest = Instant::now() + took.max(self.ctx.polling.interval);
            tracker.page_after = Some(rest);
            if let Some(watch) = session.watches.iter_mut().find(|watch| Some(watch.table) == tracker.table()) {
                watch.rest(rest);
            }
        }
    }
}

/// Whether lists of `scope` show all that a lane is of.
fn is_whole(scope: &str, lane: &str) -> bool {
    scope == lane
}

impl Session {
    fn new(scope: Arc<str>, reason: Arc<str>, trackers: &[Tracker]) -> Self {
        let mut watches: Vec<Watch> = Vec::new();
        for table in trackers.iter().filter_map(Tracker::table) {
            if watches.iter().all(|watch| watch.table != table) {
                watches.push(Watch::new(table));
            }
        }
        Session {
            scope,
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
            self.questions.push(watch.ask(ctx, &self.scope));
        }
    }

    /// When the next table is to be asked for.
    fn due(&self, trackers: &[Tracker]) -> Option<Instant> {
        self.watches.iter().filter(|watch| watch.is_wanted(trackers)).map(|watch| watch.after).min()
    }
}
