//! One stream connection and the kinds that read it: connect, prove, deliver, and go on after every failure.

mod beside;
mod buffered;
mod coverage;
mod doubtful;
mod poll;
mod tables;
mod take_over;
mod unreadable;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::OptionFuture;
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until},
};
use tracing::{debug, info, warn};

use self::{buffered::Suspicion, poll::Missing, tables::Probe};
use super::{
    Context, HEALTHY_AFTER, Source, Stopped,
    absence::Absence,
    catch_up::{CatchUp, History},
    namespaces,
    plausible::Doubts,
    reader::{Reader, Received},
    standby::WarmLane,
    tracker::{Batch, Tracker},
    union,
};
use crate::{
    backoff::Backoff,
    kind::Kind,
    nomad::{
        self, EventStream, Namespace, StreamQuery,
        line::{Garbage, Line, Occurrences, Text},
    },
    position::RaftIndex,
    telemetry::SourceState,
    throttle::{Outage, Throttle},
    window::Share,
};

/// How long a connection may take to prove that it goes on before tables are asked. It doubles with each question.
const PROOF_WAIT: Duration = Duration::from_secs(2);
/// How often the watchdog compares the tables with the stream.
const WATCH_EVERY: Duration = Duration::from_secs(60);
/// The same on a connection that has to show that nothing holds it back.
const WATCH_SOON: Duration = Duration::from_secs(10);
/// How long a connection may be quiet before the index of its last line is taken for whole.
const SETTLE_AFTER: Duration = Duration::from_secs(1);
/// How many lines that are there already are delivered between two pieces of a list's page.
const LINES_PER_PIECE: usize = 16;

/// A stream of one namespace, or of all, and what it needs to go on.
#[derive(Debug)]
pub(super) struct Lane {
    /// `*`, or the name of a namespace.
    namespace: Arc<str>,
    /// Events without a namespace belong to the first lane alone.
    first: bool,
    trackers: Vec<Tracker>,
    ctx: Context,
    history: History,
    catch_up: Option<CatchUp>,
    /// Namespaces up to this index are in the subscription.
    covered: RaftIndex,
    /// The last line that could not be read.
    garbage: Garbage,
    /// When such lines are logged: one can come with each connection.
    garbage_log: Throttle,
    /// Whether the log has the line that came last and could not be read.
    garbage_is_logged: bool,
    /// The address that streams.
    server: String,
    /// How often the anchor's table was seen below the anchor.
    strikes: u32,
    /// What a standby has held, until the first connection.
    warm: Option<WarmLane>,
    /// There was a stream.
    streamed: bool,
    /// The member that had the last turn beside the stream.
    last_turn: usize,
    /// Lines whose index nothing confirms.
    doubts: Doubts,
    /// The greatest index that the connection has brought, but for those in doubt.
    read_to: RaftIndex,
    /// It was said that a line of it stands below one before.
    went_back: bool,
    /// Whether something holds the stream back.
    suspicion: Suspicion,
}

/// What a lane begins to deliver from: the lines of a subscription, and the namespaces that it has.
type Connected = (Reader, Option<Vec<Namespace>>);

/// Why there is no connection.
#[derive(Debug)]
enum Unconnected {
    Stopped,
    Failed(nomad::Error),
}

impl From<Stopped> for Unconnected {
    fn from(Stopped: Stopped) -> Self {
        Unconnected::Stopped
    }
}

impl From<nomad::Error> for Unconnected {
    fn from(error: nomad::Error) -> Self {
        Unconnected::Failed(error)
    }
}

/// Why a connection was given up.
enum End {
    /// It ended or failed.
    Lost,
    /// A new subscription is needed at once.
    Resubscribe,
    /// Lists have what it should have brought.
    HeldBack,
}

impl Lane {
    pub(super) fn new(
        namespace: Arc<str>,
        first: bool,
        trackers: Vec<Tracker>,
        ctx: Context,
        warm: Option<WarmLane>,
    ) -> Self {
        let covered =
            trackers.iter().filter_map(|tracker| tracker.ledger().stream(&namespace)).map(|lane| lane.namespaces);
        let covered = RaftIndex(covered.min().unwrap_or(0));
        Lane {
            namespace,
            first,
            trackers,
            ctx,
            history: History::default(),
            catch_up: None,
            covered,
            garbage: Garbage::default(),
            garbage_log: Throttle::default(),
            garbage_is_logged: false,
            server: String::new(),
            strikes: 0,
            warm,
            streamed: false,
            last_turn: 0,
            doubts: Doubts::default(),
            read_to: RaftIndex(0),
            went_back: false,
            suspicion: Suspicion::default(),
        }
    }

    /// Reads the lane until it is stopped.
    pub(super) async fn run(mut self) {
        if let Err(Stopped) = self.run_until_stopped().await {
            debug!(namespace = &*self.namespace, stopping = self.ctx.stop.is_cancelled(), "lane ended");
        }
        if let Err(Stopped) = self.leave_beside().await {
            debug!(namespace = &*self.namespace, "nothing is delivered any more");
        }
    }

    async fn run_until_stopped(&mut self) -> Result<(), Stopped> {
        let mut backoff = Backoff::default();
        let mut outage = Outage::new("reading the event stream").of_calls();
        self.show(&SourceState::Connecting);
        self.resolve_start(&mut backoff, &mut outage).await?;
        for tracker in &mut self.trackers {
            tracker.report_new_topics(&self.ctx).await?;
        }
        if self.ctx.polling.source == Source::Poll {
            self.poll("NOMAD_FIREHOSE_SOURCE is poll", Absence::default()).await?;
        }
        let mut absence = Absence::default();
        loop {
            match self.connect().await {
                Err(Unconnected::Stopped) => return Err(Stopped),
                Ok((reader, found)) => {
                    outage.over();
                    absence = Absence::default();
                    let (connected, before) = (Instant::now(), self.position());
                    let end = self.session(reader, found).await?;
                    // Where each connection brings something new, there is no storm to avoid.
                    if connected.elapsed() >= HEALTHY_AFTER || self.position() > before {
                        backoff.reset();
                    }
                    self.ctx.metrics.reconnect();
                    if matches!(end, End::Resubscribe) {
                        continue;
                    }
                    if matches!(end, End::HeldBack) && self.takes_lists() {
                        self.poll(&buffered::reason(&self.server), Absence::default()).await?;
                        backoff.reset();
                        continue;
                    }
                }
                Err(Unconnected::Failed(error)) => {
                    let before = absence.has_begun();
                    let missing = self.is_missing(&error, &mut absence).await?;
                    if matches!(error, nomad::Error::HeldBack { .. }) {
                        self.begin_without_stream().await?;
                        self.suspicion.held_back |= missing == Missing::Surely;
                    }
                    if missing == Missing::Surely && self.takes_lists() {
                        self.poll(&error.to_string(), std::mem::take(&mut absence)).await?;
                        outage = Outage::new("reading the event stream").of_calls();
                        backoff.reset();
                        continue;
                    }
                    self.show(&SourceState::Blocked { reason: error.to_string() });
                    if missing == Missing::Perhaps && matches!(error, nomad::Error::NoStream { .. }) {
                        if !before {
                            info!(namespace = &*self.namespace, %error, "no event stream; if that lasts, lists are read");
                        }
                    } else {
                        outage.log(&error);
                    }
                    if missing == Missing::Perhaps {
                        let pause = backoff.failed().min(Absence::pause(&self.ctx.polling));
                        self.meanwhile(sleep(pause)).await?;
                        continue;
                    }
                }
            }
            self.meanwhile(sleep(backoff.failed())).await?;
        }
    }

    /// Whether lists take the stream's place where there is none.
    fn takes_lists(&self) -> bool {
        self.ctx.polling.source != Source::Stream && self.trackers.iter().any(|tracker| tracker.table().is_some())
    }

    /// Subscribes, and says which namespaces the subscription has that were not covered before.
    async fn connect(&mut self) -> Result<Connected, Unconnected> {
        if let Some(taken) = self.take_over() {
            return Ok(taken);
        }
        loop {
            let (client, namespace) = (self.ctx.client.clone(), Arc::clone(&self.namespace));
            let found = self.meanwhile(async move { namespaces::of(&client, &namespace).await }).await??;
            let stream = self.subscribe(found.as_deref().unwrap_or_default()).await?;
            if let Some(found) = &found {
                let (client, found) = (self.ctx.client.clone(), found.clone());
                if self.meanwhile(async move { namespaces::created_since(&client, &found).await }).await?? {
                    info!("a namespace was created in the meantime; subscribing again");
                    continue;
                }
            }
            self.server = stream.server().to_owned();
            self.show_stream();
            return Ok((Reader::new(stream, self.ctx.window.clone(), self.received()), found));
        }
    }

    async fn subscribe(&mut self, found: &[Namespace]) -> Result<EventStream, Unconnected> {
        self.find_uncovered(found);
        let asks = self.trackers.iter().map(|tracker| tracker.cursor.ask());
        let index = asks.chain(self.catch_up.as_ref().map(CatchUp::ask)).min().unwrap_or_default();
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.reconnected();
        }
        for tracker in &mut self.trackers {
            tracker.cursor.reconnected();
        }
        self.doubts.reconnected();
        let query = StreamQuery {
            namespace: self.namespace.to_string(),
            topics: union(self.trackers.iter().flat_map(Tracker::topics)),
            index,
        };
        let client = self.ctx.client.clone();
        let stream = self.meanwhile(async move { client.stream(&query).await }).await??;
        info!(namespace = &*self.namespace, %index, server = stream.server(), "subscribed to the event stream");
        Ok(stream)
    }

    /// Where the kind that has read least has read to.
    fn position(&self) -> RaftIndex {
        self.trackers.iter().map(|tracker| tracker.cursor.position().index).min().unwrap_or_default()
    }

    fn is_proven(&self) -> bool {
        self.trackers.iter().all(|tracker| tracker.cursor.is_proven())
    }

    /// What notes how far the lines that have come reach.
    fn received(&self) -> Received {
        let kinds = self.trackers.iter().map(|tracker| tracker.kind).collect();
        Received { metrics: self.ctx.metrics.clone(), kinds }
    }

    /// Shows how all kinds of the lane are read.
    fn show(&self, state: &SourceState) {
        self.trackers.iter().for_each(|tracker| tracker.show(&self.ctx, state.clone()));
    }

    /// Delivers what one connection brings.
    async fn session(&mut self, mut reader: Reader, found: Option<Vec<Namespace>>) -> Result<End, Stopped> {
        let mut occurrences = Occurrences::default();
        let mut proof_wait = PROOF_WAIT;
        let mut proof_due = Instant::now() + proof_wait;
        let mut watch_timer = every(if self.suspicion.suspected { WATCH_SOON } else { WATCH_EVERY });
        let mut asked_stalled = false;
        let mut probe: Option<Probe> = None;
        let mut settle_at = Instant::now() + SETTLE_AFTER;
        let mut lines = 0;
        let all = found.is_some();
        let (mut new_namespaces, _watch) = match &found {
            Some(found) => namespaces::watch(self.ctx.client.clone(), namespaces::newest(found)),
            None => (mpsc::channel(1).1, None),
        };
        self.streamed = true;
        (self.read_to, self.went_back) = (RaftIndex(0), false);
        self.list_unlisted().await?;
        if let Some(found) = found {
            self.cover(found).await?;
        }
        loop {
            let look_at = self.doubts.look_at();
            let holds = self.trackers.iter().any(Tracker::holds_stream);
            // While an index is in doubt, it is not known which is the newest version of its objects.
            let its_turn = (holds || reader.is_empty() || lines >= LINES_PER_PIECE) && look_at.is_none();
            tokio::select! {
                biased;
                () = self.ctx.stop.cancelled() => return Err(Stopped),
                Some(found) = new_namespaces.recv(), if all => {
                    self.begin_catch_up(found);
                    return Ok(End::Resubscribe);
                }
                () = sleep_until(proof_due), if probe.is_none() && !self.is_proven() => {
                    let quiet = reader.is_quiet() || reader.is_stalled();
                    if quiet {
                        // What the tables cannot prove, they need not be asked every time.
                        proof_wait = (2 * proof_wait).min(WATCH_EVERY);
                    }
                    // Lines without end can be another cluster's.
                    if quiet || self.anchor().is_some() {
                        probe = Some(self.ask_for_proof());
                    }
                    proof_due = Instant::now() + proof_wait;
                }
                () = sleep_until(look_at.unwrap_or(proof_due)), if look_at.is_some() && probe.is_none() => {
                    probe = Some(self.ask_for_doubts());
                }
                _ = watch_timer.tick(), if probe.is_none() => probe = Some(self.ask_for_watch(false)),
                answer = async { OptionFuture::from(probe.as_mut()).await }, if probe.is_some() => {
                    if let Some(answer) = answer
                        && let Some(end) = self.take_tables(answer, reader.is_quiet() || reader.is_stalled()).await?
                    {
                        return Ok(end);
                    }
                    probe = self.ask_lists();
                    if !self.suspicion.suspected && watch_timer.period() != WATCH_EVERY {
                        watch_timer = every(WATCH_EVERY);
                    }
                }
                beside = beside::next(&mut self.trackers, self.last_turn), if its_turn => {
                    lines = 0;
                    let (tracker, beside) = beside?;
                    self.go_on_beside(tracker, beside).await?;
                }
                () = sleep_until(settle_at) => {
                    if reader.is_quiet() {
                        self.settle().await?;
                    }
                    self.ctx.metrics.reachable(Kind::Events);
                    if reader.is_unbuffered() {
                        self.flows_again();
                    }
                    if self.is_proven() && reader.is_stalled() && probe.is_none() && !asked_stalled {
                        asked_stalled = true;
                        probe = Some(self.ask_for_watch(true));
                    }
                    settle_at = Instant::now() + SETTLE_AFTER;
                }
                line = reader.next(), if !holds && !self.doubts.is_full() => match line {
                    Ok(Some((line, share))) => {
                        lines += 1;
                        if !self.take(line, share, &mut occurrences).await? {
                            return Ok(End::Lost);
                        }
                    }
                    Ok(None) => {
                        info!(namespace = &*self.namespace, "the event stream has ended; subscribing again");
                        return Ok(End::Lost);
                    }
                    Err(nomad::Error::LongLine { line, .. }) => {
                        lines += 1;
                        if !self.pass_over(&line, &mut occurrences).await? {
                            return Ok(End::Lost);
                        }
                    }
                    Err(error) => {
                        warn!(namespace = &*self.namespace, %error, "the event stream broke; subscribing again");
                        return Ok(End::Lost);
                    }
                },
            }
        }
    }

    /// Delivers one line. `false` when it cannot be read, so that the connection is not to be trusted further.
    async fn take(
        &mut self,
        text: Bytes,
        share: Option<Share>,
        occurrences: &mut Occurrences,
    ) -> Result<bool, Stopped> {
        let line = Text::new(text.clone());
        let line = match Line::parse(&line, occurrences) {
            Ok(line) => line,
            Err(error) => return self.garbage(&text, text.len() as u64, &error).await,
        };
        if !self.is_plausible(line.index) {
            return self.take_doubtful(line, text, share).await.map(|()| true);
        }
        self.take_confirmed(line.index).await?;
        if line.index < self.read_to && self.is_proven() {
            return self.take_backward(line, share).await.map(|()| true);
        }
        self.read_to = self.read_to.max(line.index);
        self.take_plausible(line, share).await.map(|()| true)
    }

    /// Delivers a line, and takes in its place.
    async fn take_plausible(&mut self, mut line: Line<'_>, share: Option<Share>) -> Result<(), Stopped> {
        let identities = line.identities();
        if !self.first {
            line.events.retain(|event| !event.namespace.is_empty());
        }
        // A line of nothing has no place that could be known again.
        if identities.is_empty() {
            return Ok(());
        }
        if !self.doubts.is_empty() {
            line.know(|event| self.doubts.has_delivered(event));
        }
        for (raw, reason) in &line.unusable {
            self.ctx.dead_letter(Kind::Events, raw, reason).await?;
        }
        if let Some(catch_up) = &mut self.catch_up {
            let mut gap = catch_up.observe(&line, &identities);
            gap.extend(line.passed_over.iter().flat_map(|line_is| catch_up.missed(line.index, line_is)));
            self.owe_namespaces(gap).await?;
        }
        for tracker in &mut self.trackers {
            self.ctx.metrics.seen(tracker.kind, line.index);
            tracker.take_line(&self.ctx, &line, &identities, &share, self.catch_up.as_ref()).await?;
        }
        // One proof serves all: what is complete from an earlier position is complete from a later one.
        if let Some(from) = self.trackers.iter().filter_map(|tracker| tracker.cursor.complete_from()).min() {
            self.trackers.iter_mut().for_each(|tracker| tracker.cursor.proven_from(from));
        }
        if self.is_proven() {
            self.history.push(line.index);
        }
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.advance(line.index, &identities);
        }
        if self.catch_up.as_ref().is_some_and(|catch_up| catch_up.is_done_at(line.index))
            && let Some(done) = self.catch_up.take()
        {
            self.covered = self.covered.max(done.newest);
            self.mark_covered().await?;
        }
        Ok(())
    }

    /// The connection is quiet: no further line of the last index is to be expected, so that a table that stands there
    /// proves the next connection.
    async fn settle(&mut self) -> Result<(), Stopped> {
        for tracker in &mut self.trackers {
            if tracker.cursor.settle() {
                let mut batch = Batch::default();
                batch.effect.whole = true;
                tracker.submit(&self.ctx, batch, None).await?;
            }
        }
        Ok(())
    }
}

fn every(period: Duration) -> Interval {
    let mut timer = interval_at(Instant::now() + period, period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}
