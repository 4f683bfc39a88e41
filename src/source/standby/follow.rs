//! One stream of a standby: connects, buffers what arrives, and reconnects after every failure.

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
    feed::{BufferFeed, Comparison, FeedOutcome},
    second_stream::{self, QuietCheck, SecondStream},
};
use crate::{
    backoff::Backoff,
    coordinator::Positions,
    kind::Kind,
    nomad::{Error, EventStream, Namespace, StreamQuery, Topic, line},
    position::RaftIndex,
    source::{
        context::{Context, Source},
        resume::{namespaces::Namespaces, topics::tables},
        stream::{absence::Absence, reader::HEALTHY_AFTER, subscription::Subscription},
    },
    throttle::Outage,
};

/// If there is no event stream, the standby tries again after this time, and up to twice as long.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A stream and its buffer. All of it is in here, so that it can be taken over at any moment.
#[derive(Debug)]
pub(super) struct Follower {
    ctx: Context,
    namespace: Arc<str>,
    /// The kinds that other replicas lead.
    kinds: Vec<Kind>,
    topics: Vec<Topic>,
    leaders: watch::Receiver<Positions>,
    /// The last known position of the slowest leader.
    leader: Option<RaftIndex>,
    feed: BufferFeed,
    stream: Option<EventStream>,
    namespaces: Namespaces,
    /// The newest index that was ever read.
    newest_read: RaftIndex,
    /// A line was read, and is not in the buffer yet.
    line_pending: bool,
}

/// Why the standby gave up a connection.
enum FollowerEnd {
    /// It ended or failed; the next one can continue.
    Lost,
    /// It brought an unreadable line: that line is missing.
    Garbage,
    /// The buffer is of no use.
    Restart,
}

impl Follower {
    pub(super) fn new(
        ctx: Context,
        namespace: Arc<str>,
        (kinds, topics): (Vec<Kind>, Vec<Topic>),
        leaders: watch::Receiver<Positions>,
        feed: BufferFeed,
    ) -> Self {
        Follower {
            ctx,
            namespace,
            kinds,
            topics,
            leaders,
            leader: None,
            feed,
            stream: None,
            namespaces: Namespaces::default(),
            newest_read: RaftIndex(0),
            line_pending: false,
        }
    }

    /// Follows the stream until `stop`, whatever it waits for then, and returns what it has.
    pub(super) async fn run(mut self, stop: CancellationToken) -> WarmStream {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            never = self.follow_forever() => match never {},
        }
        let joined = self.feed.is_joined() && !self.line_pending;
        WarmStream {
            read_to: self.feed.read_to().unwrap_or_default(),
            buffer: self.feed.buffer,
            // What it brings next could be in the buffer already.
            stream: self.stream.filter(|_| joined),
            topics: self.topics,
            namespaces: self.namespaces,
        }
    }

    async fn follow_forever(&mut self) -> Infallible {
        let mut backoff = Backoff::default();
        let mut outage = Outage::mild("reading the event stream").of_calls();
        let mut absence = Absence::default();
        let mut polled = false;
        loop {
            match self.connect().await {
                Ok(()) => {
                    outage.over();
                    (absence, polled) = (Absence::default(), false);
                    let (connected, before) = (Instant::now(), self.newest_read);
                    let end = self.read().await;
                    self.stream = None;
                    if connected.elapsed() >= HEALTHY_AFTER || self.newest_read > before {
                        backoff.reset();
                    }
                    match end {
                        FollowerEnd::Lost => {}
                        FollowerEnd::Garbage => self.feed.clear(),
                        FollowerEnd::Restart => {
                            self.feed.clear();
                            continue;
                        }
                    }
                }
                // The buffer can still be useful.
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
                    self.feed.clear();
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
            self.feed.reconnected();
            self.namespaces = namespaces;
            self.stream = Some(stream);
            return Ok(());
        }
    }

    /// Clears the buffer if the next subscription cannot continue it.
    fn prepare(&mut self, found: &[Namespace]) {
        let went_back = self.trim_to_leaders();
        let is_missing = |namespace: &Namespace| {
            namespace.create_index > self.namespaces.complete_to()
                && Some(namespace.create_index) <= self.feed.read_to()
        };
        // No later line brings what the buffered lines miss of a new namespace.
        if went_back || found.iter().any(is_missing) {
            self.feed.clear();
        }
    }

    fn query(&self) -> StreamQuery {
        let index = self.feed.ask().or(self.leader).unwrap_or_default();
        StreamQuery { namespace: self.namespace.to_string(), topics: self.topics.clone(), index }
    }

    /// Buffers what one connection brings.
    async fn read(&mut self) -> FollowerEnd {
        let mut new_namespaces = self.namespaces.watch(self.ctx.client.clone());
        let mut has_leaders = true;
        let mut quiet_check: Option<QuietCheck> = None;
        let mut second: Option<BoxFuture<'static, Option<SecondStream>>> = None;
        loop {
            let look_at = quiet_check.as_ref().map(|quiet_check| quiet_check.due);
            let Some(stream) = &mut self.stream else { return FollowerEnd::Lost };
            let lines = tokio::select! {
                biased;
                found = new_namespaces.created() => {
                    let names: Vec<&str> = found.iter().map(|namespace| namespace.name.as_str()).collect();
                    info!(namespaces = ?names, reason = "new namespaces", "standby restarts its replay buffer");
                    return FollowerEnd::Restart;
                }
                // The sender of the leaders' positions can end first.
                changed = self.leaders.changed(), if has_leaders => {
                    has_leaders = changed.is_ok();
                    if self.trim_to_leaders() {
                        return FollowerEnd::Restart;
                    }
                    continue;
                }
                line = stream.next_line() => match line {
                    Ok(Some(line)) => vec![line],
                    Ok(None) => {
                        debug!(namespace = &*self.namespace, "event stream of the standby ended by the server");
                        return FollowerEnd::Lost;
                    }
                    // Nothing before the long line continues with what follows it.
                    Err(error @ Error::LongLine { .. }) => {
                        info!(namespace = &*self.namespace, reason = %error, "standby restarts its replay buffer");
                        self.feed.clear();
                        (quiet_check, second) = (None, None);
                        continue;
                    }
                    Err(error) => {
                        info!(namespace = &*self.namespace, %error, "standby lost the event stream");
                        return FollowerEnd::Lost;
                    }
                },
                () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {
                    let read_to = self.feed.read_to().unwrap_or_default();
                    quiet_check = quiet_check.and_then(|quiet_check| quiet_check.look(read_to));
                    if quiet_check.is_none() {
                        let client = self.ctx.client.clone();
                        second = Some(second_stream::open(client, self.query(), read_to, self.comparison()));
                    }
                    continue;
                }
                answer = async { OptionFuture::from(second.as_mut()).await }, if second.is_some() => {
                    second = None;
                    let Some(SecondStream { stream, lines }) = answer.flatten() else { continue };
                    info!(namespace = &*self.namespace, server = stream.server(),
                        "standby switched to a second event stream");
                    self.stream = Some(stream);
                    self.feed.reconnected();
                    lines
                }
            };
            let was_asked = second.take().is_some();
            let has_restarted = match self.take_all(&lines).await {
                Ok(has_restarted) => has_restarted,
                Err(end) => return end,
            };
            let read_to = self.feed.read_to().unwrap_or_default();
            self.newest_read = self.newest_read.max(read_to);
            if has_restarted || was_asked {
                quiet_check = Some(QuietCheck::new(read_to));
            }
        }
    }

    /// Buffers lines in their order. Says whether the buffer restarted with one of them; a line that cannot be read ends
    /// the connection.
    async fn take_all(&mut self, lines: &[Bytes]) -> Result<bool, FollowerEnd> {
        let mut has_restarted = false;
        for line in lines {
            let taken = self.take(line).await.map_err(|error| {
                self.ctx.metrics.process().unreadable_lines.inc();
                warn!(namespace = &*self.namespace, %error, bytes = line.len(),
                    "standby cannot read an event stream line");
                FollowerEnd::Garbage
            })?;
            has_restarted |= taken == FeedOutcome::Restarted;
        }
        Ok(has_restarted)
    }

    /// Buffers a line. If its index is implausible, the tables are asked first. If none confirms it, the line is
    /// set aside.
    async fn take(&mut self, line: &Bytes) -> Result<FeedOutcome, line::Error> {
        let client = self.ctx.client.clone();
        let taken = self.feed.take(line, client.newest_index())?;
        let FeedOutcome::Implausible(index) = taken else { return Ok(taken) };
        self.line_pending = true;
        client.claim_index(index);
        for table in tables(&self.topics) {
            if let Err(error) = client.table_index(table, &self.namespace).await {
                debug!(%error, "cannot read the index of a table");
            }
            if index.is_plausible_after(client.newest_index()) {
                break;
            }
        }
        self.line_pending = false;
        match self.feed.take(line, client.newest_index())? {
            FeedOutcome::Implausible(index) => {
                warn!(namespace = &*self.namespace, %index, "standby set aside an implausible raft index");
                self.feed.set_aside(line)?;
                Ok(FeedOutcome::Buffered)
            }
            taken => Ok(taken),
        }
    }

    /// What a second stream would bring.
    fn comparison(&self) -> Comparison {
        self.feed.comparison(self.ctx.client.newest_index())
    }

    /// Removes what the leaders have passed. `true` if a leader went back to before the buffer: the server may still
    /// have what lies between.
    fn trim_to_leaders(&mut self) -> bool {
        let Some(leader) = self.slowest_leader() else { return false };
        let confirmed = self.ctx.client.newest_index().max(self.feed.read_to().unwrap_or_default());
        // Otherwise an absurd index would empty the buffer.
        if !leader.is_plausible_after(confirmed) {
            return false;
        }
        let went_back = self.leader.is_some_and(|before| leader < before);
        self.leader = Some(leader);
        if went_back && self.feed.buffer.complete_from().is_some_and(|from| leader.0 + 1 < from.0) {
            info!(namespace = &*self.namespace, %leader, reason = "the leader went back", "standby restarts its replay buffer");
            return true;
        }
        self.feed.buffer.trim(leader);
        false
    }

    /// The smallest of the leaders' positions; `None` unless all are known.
    fn slowest_leader(&mut self) -> Option<RaftIndex> {
        let leaders = self.leaders.borrow_and_update();
        let positions = self.kinds.iter().map(|kind| leaders.get(kind)?.get(&*self.namespace).copied());
        positions.collect::<Option<Vec<_>>>()?.into_iter().min()
    }
}
