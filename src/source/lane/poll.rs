//! The other session of a lane, where there is no event stream: its tables are watched with blocking queries, and what
//! changed is read from their lists.
//!
//! A table that moved books a range, as a gap does: the range, its place in the checkpoint and the reading of pages are
//! those of [`reconcile`]. What no list shows does not come: versions in between, purges, changes that leave an
//! object's `ModifyIndex`, and raw events.

mod watch;

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use self::watch::{Question, Step, Watch};
use super::Lane;
use crate::{
    backoff::Backoff,
    kind::Kind,
    nomad::{Error, Namespace, Standing, StreamQuery, Table},
    position::RaftIndex,
    source::{Context, Source, Stopped, member::Member, namespaces, outage::Outage, reconcile, union},
    telemetry::Phase,
};

/// The stream is looked for again after so many of the shortest pauses between two lists, but no later than
/// [`TRY_AT_MOST`], and after up to twice as long: half a minute to a minute, unless the pauses are set shorter.
const TRY_AFTER: u32 = 30;
/// The longest time, before it is drawn out, until the stream is looked for again.
const TRY_AT_MOST: Duration = Duration::from_secs(30);
/// How often in a row a stream may be refused without a word before that is taken for a broker that is off. A server
/// that has just lost its leader refuses, too.
const REFUSALS: u32 = 3;

/// What a polling lane keeps beside its members.
struct Session {
    /// What lists are asked for: `*`, or the name of a namespace.
    scope: Arc<str>,
    watches: Vec<Watch>,
    questions: FuturesUnordered<Question>,
    /// Of all tables together: most reasons are of the server.
    outage: Outage,
}

impl Lane {
    /// Whether this failure of the stream means that there is none, and lists are to be read in its place.
    pub(super) fn is_to_poll(&self, error: &Error, refusals: &mut u32) -> bool {
        match error {
            _ if self.ctx.polling.source == Source::Stream => false,
            // Nothing to read in its place.
            _ if self.members.iter().all(|member| member.table().is_none()) => false,
            Error::NoStream { .. } => true,
            Error::Refused { permitted: true, .. } => {
                *refusals += 1;
                *refusals >= REFUSALS
            }
            _ => false,
        }
    }

    /// Delivers from lists until there is a stream.
    pub(super) async fn poll(&mut self, reason: &str) -> Result<(), Stopped> {
        warn!(
            namespace = &*self.namespace,
            reason, "records come from lists, which show no purges, no versions in between and no raw events"
        );
        let scope = self.begin().await?;
        for member in self.members.iter().filter(|member| member.kind == Kind::Events) {
            let reason = format!("raw events come from the stream alone: {reason}");
            show(&self.ctx, member.kind, Phase::Blocked { reason });
        }
        let mut session = Session::new(scope, &self.members);
        let mut stream = self.find_stream();
        loop {
            session.ask(&self.ctx, &self.members);
            let (page, page_after) = session.next_page(&self.members);
            let (due, stop) = (session.due(&self.members), self.ctx.stop.clone());
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Stopped),
                server = &mut stream => {
                    info!(namespace = &*self.namespace, server, "there is an event stream again; leaving the lists");
                    break;
                }
                Some((table, answer)) = session.questions.next(), if !session.questions.is_empty() => {
                    self.take_answer(&mut session, table, answer).await?;
                }
                () = sleep_until(page_after), if page.is_some() => {
                    if let Some(page) = page {
                        self.poll_page(&mut session, page).await?;
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
        for member in &mut self.members {
            if member.table().is_some() {
                member.end_polling(&self.ctx).await?;
            }
        }
        Ok(())
    }

    /// Makes what the lane knows of its stream what lists are to go on from. Gives what these are asked for.
    async fn begin(&mut self) -> Result<Arc<str>, Stopped> {
        let (mut backoff, mut outage) = (Backoff::default(), Outage::new("listing the namespaces"));
        let found = loop {
            let (stop, all) = (self.ctx.stop.clone(), &*self.namespace == "*");
            let found = async {
                match all {
                    true => self.ctx.client.namespaces(RaftIndex(0), Duration::ZERO).await.map(|(_, found)| found),
                    false => namespaces::check(&self.ctx.client, &self.namespace).await.map(|()| Vec::new()),
                }
            };
            let found = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Stopped),
                found = found => found,
            };
            match found {
                Err(error) if error.is_retryable() || matches!(error, Error::NoNamespace { .. }) => {
                    outage.log(&error);
                    self.phase(&Phase::Blocked { reason: error.to_string() });
                    self.ctx.pause(backoff.failed()).await?;
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
        self.book_uncovered(&found.unwrap_or_default()).await?;
        for member in self.members.iter_mut().filter(|member| member.table().is_some()) {
            member.begin_polling();
        }
        Ok(scope)
    }

    /// What the stream did not have of the newest namespaces is read from lists. Later ones need nothing: a list has
    /// all that there are when it is asked for.
    async fn book_uncovered(&mut self, found: &[Namespace]) -> Result<(), Stopped> {
        self.find_uncovered(found);
        if let Some(catch_up) = self.catch_up.take() {
            self.owe_namespaces(catch_up.owed()).await?;
            self.covered = self.covered.max(catch_up.newest);
            self.mark_covered().await?;
        }
        Ok(())
    }

    /// Tells when there is a stream, and at which server.
    fn find_stream(&self) -> BoxFuture<'static, String> {
        if self.ctx.polling.source != Source::Auto {
            return std::future::pending().boxed();
        }
        let (client, after) = (self.ctx.client.clone(), (self.ctx.polling.interval * TRY_AFTER).min(TRY_AT_MOST));
        let query = StreamQuery {
            namespace: self.namespace.to_string(),
            topics: union(self.members.iter().flat_map(Member::topics)),
            index: self.position(),
        };
        let find = async move {
            loop {
                sleep(after.mul_f64(1.0 + fastrand::f64())).await;
                match client.stream(&query).await {
                    Ok(stream) => return stream.server().to_owned(),
                    Err(error) => debug!(%error, "still no event stream"),
                }
            }
        };
        find.boxed()
    }

    /// Takes in where a table stands.
    async fn take_answer(
        &mut self,
        session: &mut Session,
        table: Table,
        answer: Result<Standing, Error>,
    ) -> Result<(), Stopped> {
        let Some(watch) = session.watches.iter_mut().find(|watch| watch.table == table) else { return Ok(()) };
        let anchor = self.members.iter().filter_map(|member| member.ledger().lane(&self.namespace)?.anchor);
        let anchor = anchor.filter(|anchor| anchor.topic == table.topic()).map(|anchor| anchor.index).max();
        let step = watch.take(&self.ctx, anchor, answer);
        let of_table = |member: &&mut Member| member.table() == Some(table);
        match step {
            Step::Again => {}
            Step::Blocked(reason) => {
                session.outage.log(&reason);
                for member in self.members.iter_mut().filter(of_table) {
                    show(&self.ctx, member.kind, Phase::Blocked { reason: reason.clone() });
                }
            }
            Step::At(index) => {
                if session.watches.iter().all(|watch| !watch.failing) {
                    session.outage.over();
                }
                let mut moved = false;
                for member in self.members.iter_mut().filter(of_table) {
                    show(&self.ctx, member.kind, Phase::Polling);
                    moved |= member.take_polled(&self.ctx, index).await?;
                }
                if moved && index > self.covered {
                    // Whatever a namespace had up to here, lists have given or owe.
                    self.covered = index;
                    self.mark_covered().await?;
                }
            }
            Step::StartOver => {
                self.start_over();
                *session = Session::new(Arc::clone(&session.scope), &self.members);
                for member in self.members.iter_mut().filter(|member| member.table().is_some()) {
                    member.begin_polling();
                }
            }
        }
        Ok(())
    }

    /// Delivers a page; behind the last one of a list, rests for at least as long as the list took.
    async fn poll_page(&mut self, session: &mut Session, page: usize) -> Result<(), Stopped> {
        let member = &mut self.members[page];
        let Some(watch) = session.watches.iter_mut().find(|watch| Some(watch.table) == member.table()) else {
            return Ok(());
        };
        let began = Instant::now();
        let ended = reconcile::page(&self.ctx, &session.scope, member).await?;
        member.listing += began.elapsed();
        let failed = !ended && member.page_after.is_some();
        let reason = || "its list cannot be read; see the log".to_owned();
        show(&self.ctx, member.kind, if failed { Phase::Blocked { reason: reason() } } else { Phase::Polling });
        if ended {
            let took = std::mem::take(&mut member.listing);
            self.ctx.metrics.polled(took);
            let rest = Instant::now() + took.max(self.ctx.polling.interval);
            member.page_after = Some(rest);
            watch.rest(rest);
            if member.passes.is_empty() {
                self.ctx.metrics.lag(member.kind, 0);
            }
        }
        Ok(())
    }
}

/// Says what a kind does where there is no stream.
fn show(ctx: &Context, kind: Kind, phase: Phase) {
    ctx.status.set_instead(kind, Some(phase));
    ctx.status.set(kind, Phase::Leading);
}

impl Session {
    fn new(scope: Arc<str>, members: &[Member]) -> Self {
        let mut watches: Vec<Watch> = Vec::new();
        for table in members.iter().filter_map(Member::table) {
            if watches.iter().all(|watch| watch.table != table) {
                watches.push(Watch::new(table));
            }
        }
        Session { scope, watches, questions: FuturesUnordered::new(), outage: Outage::new("watching the tables") }
    }

    /// Asks for the tables whose time has come.
    fn ask(&mut self, ctx: &Context, members: &[Member]) {
        let now = Instant::now();
        for watch in self.watches.iter_mut().filter(|watch| watch.is_wanted(members) && watch.after <= now) {
            self.questions.push(watch.ask(ctx, &self.scope));
        }
    }

    /// The member whose page is next, and when it may be asked for. Nothing is read before a table was seen to be that
    /// of the same cluster.
    fn next_page(&self, members: &[Member]) -> (Option<usize>, Instant) {
        let is_seen =
            |member: &Member| self.watches.iter().any(|watch| Some(watch.table) == member.table() && watch.is_seen());
        let owing = members.iter().enumerate().filter(|(_, member)| !member.passes.is_empty() && is_seen(member));
        let next = owing.min_by_key(|(_, member)| member.page_after);
        (next.map(|(n, _)| n), next.and_then(|(_, member)| member.page_after).unwrap_or_else(Instant::now))
    }

    /// When the next table is to be asked for.
    fn due(&self, members: &[Member]) -> Option<Instant> {
        self.watches.iter().filter(|watch| watch.is_wanted(members)).map(|watch| watch.after).min()
    }
}
