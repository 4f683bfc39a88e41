//! One stream of a standby: connects, buffers what comes, and reconnects after every failure.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{BoxFuture, OptionFuture};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    WarmStream,
    doubt::{self, Doubt, Second},
    intake::{Intake, Taken, Trial},
};
use crate::{
    backoff::Backoff,
    coordinator::Positions,
    kind::Kind,
    nomad::{Error, EventStream, Namespace, StreamQuery, Table, Topic, line},
    position::RaftIndex,
    source::{
        context::{Context, Source},
        resume::namespaces::Namespaces,
        stream::{
            absence::Absence,
            reader::HEALTHY_AFTER,
            subscription::{Subscription, union},
        },
    },
    throttle::Outage,
};

/// Where there is no stream, one is looked for again after this time, and up to twice as long.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A stream, and what was held of it. All of it is in here, so that it can be taken away at any moment.
#[derive(Debug)]
pub(super) struct Follower {
    ctx: Context,
    namespace: Arc<str>,
    kinds: Vec<Kind>,
    topics: Vec<Topic>,
    leaders: watch::Receiver<Positions>,
    /// Where the leader that is furthest behind was when it was last heard of.
    leader: Option<RaftIndex>,
    intake: Intake,
    stream: Option<EventStream>,
    namespaces: Namespaces,
    /// The newest index that was ever read.
    furthest: RaftIndex,
    /// A line was read, and is not held yet.
    unheld: bool,
}

/// Why a connection was given up.
enum End {
    /// It ended or failed; what follows can be read from the next one.
    Lost,
    /// What it brought cannot be read: a line is missing.
    Garbage,
    /// What is held is of no use.
    Anew,
}

impl Follower {
    pub(super) fn new(
        ctx: Context,
        namespace: Arc<str>,
        kinds: &[&(Kind, Vec<Topic>)],
        leaders: watch::Receiver<Positions>,
        intake: Intake,
    ) -> Self {
        Follower {
            ctx,
            namespace,
            kinds: kinds.iter().map(|(kind, _)| *kind).collect(),
            topics: union(kinds.iter().flat_map(|(_, topics)| topics)),
            leaders,
            leader: None,
            intake,
            stream: None,
            namespaces: Namespaces::default(),
            furthest: RaftIndex(0),
            unheld: false,
        }
    }

    /// Holds the stream until it is stopped, whatever it waits for then, and hands over what it has.
    pub(super) async fn run(mut self, stop: CancellationToken) -> WarmStream {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            never = self.hold() => match never {},
        }
        let joined = self.intake.is_joined() && !self.unheld;
        WarmStream {
            read_to: self.intake.read_to().unwrap_or_default(),
            buffer: self.intake.buffer,
            // What it brings next could be held already.
            stream: self.stream.filter(|_| joined),
            topics: self.topics,
            namespaces: self.namespaces,
        }
    }

    async fn hold(&mut self) -> Infallible {
        let mut backoff = Backoff::default();
        let mut outage = Outage::mild("reading the event stream").of_calls();
        let mut absence = Absence::default();
        let mut polled = false;
        loop {
            match self.connect().await {
                Ok(()) => {
                    outage.over();
                    (absence, polled) = (Absence::default(), false);
                    let (connected, before) = (Instant::now(), self.furthest);
                    let end = self.read().await;
                    self.stream = None;
                    if connected.elapsed() >= HEALTHY_AFTER || self.furthest > before {
                        backoff.reset();
                    }
                    match end {
                        End::Lost => {}
                        End::Garbage => self.intake.clear(),
                        End::Anew => {
                            self.intake.clear();
                            continue;
                        }
                    }
                }
                // What is held can still be wanted.
                Err(error @ Error::NoStream { .. })
                    if self.ctx.polling.source == Source::Auto && !absence.seen(&self.ctx.polling) =>
                {
                    debug!(%error, "standby has no event stream");
                    sleep(backoff.failed().min(Absence::pause(&self.ctx.polling))).await;
                    continue;
                }
                Err(error @ Error::NoStream { .. }) if self.ctx.polling.source == Source::Auto => {
                    if !std::mem::replace(&mut polled, true) {
                        info!(namespace = &*self.namespace, %error, "standby needs no replay buffer while polling");
                    }
                    self.intake.clear();
                    sleep(LOOK_AGAIN.mul_f64(1.0 + fastrand::f64())).await;
                }
                Err(error) => {
                    absence = Absence::default();
                    outage.log(&error);
                }
            }
            sleep(backoff.failed()).await;
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        loop {
            let namespaces = Namespaces::find(&self.ctx.client, &self.namespace).await?;
            self.prepare(namespaces.listed());
            let query = self.query();
            let Some(Subscription { stream, namespaces }) =
                Subscription::open(&self.ctx.client, &query, namespaces).await?
            else {
                continue;
            };
            info!(namespace = &*self.namespace, index = %query.index, server = stream.server(),
                "standby subscribed to the event stream");
            self.intake.reconnected();
            self.namespaces = namespaces;
            self.stream = Some(stream);
            return Ok(());
        }
    }

    /// Clears the buffer where the next subscription cannot continue it.
    fn prepare(&mut self, found: &[Namespace]) {
        let went_back = self.follow();
        let is_missing = |namespace: &Namespace| {
            namespace.create_index > self.namespaces.complete_to()
                && Some(namespace.create_index) <= self.intake.read_to()
        };
        // What the buffered lines lack of a new namespace, no later line brings.
        if went_back || found.iter().any(is_missing) {
            self.intake.clear();
        }
    }

    fn query(&self) -> StreamQuery {
        let index = self.intake.ask().or(self.leader).unwrap_or_default();
        StreamQuery { namespace: self.namespace.to_string(), topics: self.topics.clone(), index }
    }

    /// Holds what one connection brings.
    async fn read(&mut self) -> End {
        let mut new_namespaces = self.namespaces.watch(self.ctx.client.clone());
        let mut leading = true;
        let mut doubt: Option<Doubt> = None;
        let mut second: Option<BoxFuture<'static, Option<Second>>> = None;
        loop {
            let look_at = doubt.as_ref().map(|doubt| doubt.due);
            let Some(stream) = &mut self.stream else { return End::Lost };
            let lines = tokio::select! {
                biased;
                found = new_namespaces.created() => {
                    let names: Vec<&str> = found.iter().map(|namespace| namespace.name.as_str()).collect();
                    info!(namespaces = ?names, reason = "new namespaces", "standby restarts its replay buffer");
                    return End::Anew;
                }
                // Who tells of the leaders can end first.
                changed = self.leaders.changed(), if leading => {
                    leading = changed.is_ok();
                    if self.follow() {
                        return End::Anew;
                    }
                    continue;
                }
                line = stream.next_line() => match line {
                    Ok(Some(line)) => vec![line],
                    Ok(None) => {
                        debug!(namespace = &*self.namespace, "event stream of the standby ended by the server");
                        return End::Lost;
                    }
                    // Nothing before it goes on to what follows.
                    Err(error @ Error::LongLine { .. }) => {
                        info!(namespace = &*self.namespace, reason = %error, "standby restarts its replay buffer");
                        self.intake.clear();
                        (doubt, second) = (None, None);
                        continue;
                    }
                    Err(error) => {
                        info!(namespace = &*self.namespace, %error, "standby lost the event stream");
                        return End::Lost;
                    }
                },
                () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {
                    let read_to = self.intake.read_to().unwrap_or_default();
                    doubt = doubt.and_then(|doubt| doubt.look(read_to));
                    if doubt.is_none() {
                        let client = self.ctx.client.clone();
                        second = Some(doubt::second(client, self.query(), read_to, self.trial()));
                    }
                    continue;
                }
                answer = async { OptionFuture::from(second.as_mut()).await }, if second.is_some() => {
                    second = None;
                    let Some(Second { stream, lines }) = answer.flatten() else { continue };
                    info!(namespace = &*self.namespace, server = stream.server(),
                        "standby switched to a second event stream");
                    self.stream = Some(stream);
                    self.intake.reconnected();
                    lines
                }
            };
            let was_asked = second.take().is_some();
            let mut begins = false;
            for line in lines {
                match self.take(&line).await {
                    Ok(taken) => begins |= taken == Taken::Begins,
                    Err(error) => {
                        self.ctx.metrics.process().unreadable_lines.inc();
                        warn!(namespace = &*self.namespace, %error, bytes = line.len(),
                            "standby cannot read an event stream line");
                        return End::Garbage;
                    }
                }
            }
            let read_to = self.intake.read_to().unwrap_or_default();
            self.furthest = self.furthest.max(read_to);
            if begins || was_asked {
                doubt = Some(Doubt::new(read_to));
            }
        }
    }

    /// Holds a line. Where nothing confirms its index, tables are asked first: without a word of theirs it is set aside.
    async fn take(&mut self, line: &Bytes) -> Result<Taken, line::Error> {
        let client = self.ctx.client.clone();
        let taken = self.intake.take(line, client.newest_index())?;
        let Taken::Doubtful(index) = taken else { return Ok(taken) };
        self.unheld = true;
        client.claim_index(index);
        let is_told_of =
            |table: &Table| self.topics.iter().any(|topic| topic.name == "*" || topic.name == table.topic());
        if let Some(table) = Table::ALL.into_iter().filter(is_told_of).chain(Table::ALL).next()
            && let Err(error) = client.table_index(table, &self.namespace).await
        {
            debug!(%error, "cannot read the index of a table");
        }
        self.unheld = false;
        match self.intake.take(line, client.newest_index())? {
            Taken::Doubtful(index) => {
                warn!(namespace = &*self.namespace, %index, "standby set aside an implausible raft index");
                self.intake.set_aside(line)?;
                Ok(Taken::Held)
            }
            taken => Ok(taken),
        }
    }

    /// What another connection would bring.
    fn trial(&self) -> Trial {
        self.intake.trial(self.ctx.client.newest_index())
    }

    /// Lets go what the leaders have passed. `true` when one of them went back behind what is held: the server may still
    /// have what lies between.
    fn follow(&mut self) -> bool {
        let Some(leader) = self.furthest_behind() else { return false };
        let confirmed = self.ctx.client.newest_index().max(self.intake.read_to().unwrap_or_default());
        // Whoever let everything go up to an absurd index would hold nothing any more.
        if !leader.is_plausible_after(confirmed) {
            return false;
        }
        let went_back = self.leader.is_some_and(|before| leader < before);
        self.leader = Some(leader);
        if went_back && self.intake.buffer.complete_from().is_some_and(|from| leader.0 + 1 < from.0) {
            info!(namespace = &*self.namespace, %leader, reason = "the leader went back", "standby restarts its replay buffer");
            return true;
        }
        self.intake.buffer.trim(leader);
        false
    }

    /// The smallest of the leaders' positions; `None` unless all are known.
    fn furthest_behind(&mut self) -> Option<RaftIndex> {
        let leaders = self.leaders.borrow_and_update();
        let positions = self.kinds.iter().map(|kind| leaders.get(kind)?.get(&*self.namespace).copied());
        positions.collect::<Option<Vec<_>>>()?.into_iter().min()
    }
}
