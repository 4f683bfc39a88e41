//! One stream and the trackers that read it: the driver connects, proves where the stream resumes, delivers, and
//! reconnects after every failure.
//!
//! [`live`] is the life of a connection, [`poll`] reads lists if there is no stream. In either case [`beside`] reads
//! pages and summaries meanwhile.

mod beside;
mod buffered;
mod live;
mod missing;
mod poll;
mod tables;
mod take_over;
mod unconfirmed;
mod unreadable;

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{debug, info};

use self::{buffered::Suspicion, missing::Missing, unreadable::Unreadable};
use super::{
    context::{Context, Interrupted, Source, Stopped},
    resume::{coverage::Coverage, namespaces::Namespaces},
    standby::WarmStream,
    stream::{
        absence::Absence,
        reader::{HEALTHY_AFTER, LineReader, Received},
        subscription::Subscription,
        unconfirmed::UnconfirmedLines,
    },
    tracker::Tracker,
};
use crate::{
    backoff::Backoff,
    checkpoint::Gap,
    kind::Kind,
    nomad::{self, Namespace, StreamQuery, Topic},
    position::{Position, RaftIndex},
    telemetry::SourceState,
    throttle::Outage,
};

/// The stream of one namespace, or of all, and the state that outlives a connection.
#[derive(Debug)]
pub(super) struct Driver {
    /// `*`, or the name of a namespace.
    namespace: Arc<str>,
    /// It is the first stream. Events without a namespace belong to that one alone.
    first: bool,
    /// What it subscribes to: the topics of its trackers, and of the kinds that other replicas lead.
    topics: Vec<Topic>,
    trackers: Vec<Tracker>,
    ctx: Context,
    coverage: Coverage,
    unreadable: Unreadable,
    /// The last connection; `None` before the first.
    connection: Option<Connection>,
    /// How often in a row the anchor's table was below the anchor.
    strikes: u32,
    /// What a standby has buffered, until the first connection.
    warm: Option<WarmStream>,
    /// The tracker that was served last beside the stream.
    last_turn: usize,
    /// Lines with an implausible index.
    unconfirmed: UnconfirmedLines,
    /// Whether a proxy holds the stream back.
    suspicion: Suspicion,
}

/// How far one connection was read.
#[derive(Debug, Default)]
struct Connection {
    /// The address that streams.
    server: String,
    /// The greatest index that it has brought, without implausible ones.
    read_to: RaftIndex,
    /// It was reported that one of its lines is below the one before.
    went_back: bool,
}

/// Why a connection was given up.
pub(super) enum ConnectionEnd {
    /// It ended or failed.
    Lost,
    /// A new subscription is needed at once.
    Resubscribe,
    /// Lists have what it should have brought.
    HeldBack,
}

/// The lines of a connection, and its namespaces.
type Connected = (LineReader, Namespaces);

/// Why there is no connection.
type ConnectError = Interrupted<nomad::Error>;

impl From<nomad::Error> for ConnectError {
    fn from(error: nomad::Error) -> Self {
        Interrupted::Failed(error)
    }
}

/// Why and for how long subscribing has failed.
struct Attempts {
    backoff: Backoff,
    outage: Outage,
    absence: Absence,
}

impl Attempts {
    fn new() -> Self {
        let outage = Outage::new("reading the event stream").of_calls();
        Attempts { backoff: Backoff::default(), outage, absence: Absence::default() }
    }
}

impl Driver {
    pub(super) fn new(
        namespace: Arc<str>,
        first: bool,
        topics: Vec<Topic>,
        trackers: Vec<Tracker>,
        ctx: Context,
        warm: Option<WarmStream>,
    ) -> Self {
        let watermark = trackers.iter().filter_map(Tracker::stored_watermark).min().unwrap_or_default();
        Driver {
            namespace,
            first,
            topics,
            trackers,
            ctx,
            coverage: Coverage::from(watermark),
            unreadable: Unreadable::default(),
            connection: None,
            strikes: 0,
            warm,
            last_turn: 0,
            unconfirmed: UnconfirmedLines::default(),
            suspicion: Suspicion::default(),
        }
    }

    /// Reads the stream until the program stops.
    pub(super) async fn run(mut self) {
        if let Err(Stopped) = self.run_until_stopped().await {
            debug!(namespace = &*self.namespace, stopping = self.ctx.stop.is_cancelled(), "stream driver ended");
        }
        if let Err(Stopped) = self.finish_beside().await {
            debug!(namespace = &*self.namespace, "delivery has ended before the stream driver");
        }
    }

    async fn run_until_stopped(&mut self) -> Result<(), Stopped> {
        let mut attempts = Attempts::new();
        self.show(&SourceState::Connecting);
        self.resolve_start(&mut attempts.backoff, &mut attempts.outage).await?;
        for tracker in &mut self.trackers {
            tracker.report_new_topics(&self.ctx).await?;
        }
        if self.ctx.polling.source == Source::Poll {
            self.poll("NOMAD_FIREHOSE_SOURCE is poll", Absence::default()).await?;
        }
        loop {
            match self.connect().await {
                Ok((reader, namespaces)) => self.follow(reader, namespaces, &mut attempts).await?,
                Err(Interrupted::Failed(error)) => self.connect_failed(&error, &mut attempts).await?,
                Err(Interrupted::Stopped) => return Err(Stopped),
            }
        }
    }

    /// Reads a connection to its end, and pauses before the next one if a pause is due.
    async fn follow(
        &mut self,
        reader: LineReader,
        namespaces: Namespaces,
        attempts: &mut Attempts,
    ) -> Result<(), Stopped> {
        attempts.outage.over();
        attempts.absence = Absence::default();
        let (connected, before) = (Instant::now(), self.position());
        let end = self.read_live(reader, namespaces).await?;
        // If each connection brings something new, no pause is needed.
        if connected.elapsed() >= HEALTHY_AFTER || self.position() > before {
            attempts.backoff.reset();
        }
        self.ctx.metrics.process().stream_reconnects.inc();
        match end {
            ConnectionEnd::Resubscribe => Ok(()),
            ConnectionEnd::HeldBack if self.may_poll() => {
                self.poll(&buffered::reason(self.server()), Absence::default()).await?;
                attempts.backoff.reset();
                Ok(())
            }
            ConnectionEnd::Lost | ConnectionEnd::HeldBack => self.rest(attempts.backoff.failed()).await,
        }
    }

    /// The subscription failed: reads lists if the stream is missing, and otherwise pauses before the next try.
    async fn connect_failed(&mut self, error: &nomad::Error, attempts: &mut Attempts) -> Result<(), Stopped> {
        let was_missing = attempts.absence.has_begun();
        let missing = self.is_missing(error, &mut attempts.absence).await?;
        if matches!(error, nomad::Error::HeldBack { .. }) {
            self.begin_without_stream().await?;
            self.suspicion.held_back |= missing == Missing::Surely;
        }
        if missing == Missing::Surely && self.may_poll() {
            let Attempts { absence, .. } = std::mem::replace(attempts, Attempts::new());
            return self.poll(&error.to_string(), absence).await;
        }
        self.show(&SourceState::Blocked { reason: error.to_string() });
        if missing == Missing::Perhaps && matches!(error, nomad::Error::NoStream { .. }) {
            if !was_missing {
                info!(namespace = &*self.namespace, %error, "event stream unavailable");
            }
        } else {
            attempts.outage.log(error);
        }
        let pause = attempts.backoff.failed();
        let longest = Absence::pause(&self.ctx.polling);
        self.rest(if missing == Missing::Perhaps { pause.min(longest) } else { pause }).await
    }

    /// Whether lists may replace a missing stream.
    fn may_poll(&self) -> bool {
        self.ctx.polling.source != Source::Stream && self.trackers.iter().any(|tracker| tracker.table().is_some())
    }

    /// Subscribes, or takes over what a standby has buffered.
    async fn connect(&mut self) -> Result<Connected, ConnectError> {
        if let Some(taken) = self.take_over() {
            return Ok(taken);
        }
        loop {
            let (client, namespace) = (self.ctx.client.clone(), Arc::clone(&self.namespace));
            let namespaces = self.meanwhile(async move { Namespaces::find(&client, &namespace).await }).await?;
            let query = self.prepare(namespaces.listed());
            let (client, index) = (self.ctx.client.clone(), query.index);
            let opened = async move { Subscription::open(&client, &query, namespaces).await };
            let Some(Subscription { stream, namespaces }) = self.meanwhile(opened).await? else {
                info!("namespace created while subscribing");
                continue;
            };
            info!(namespace = &*self.namespace, %index, server = stream.server(), "subscribed to the event stream");
            self.connection = Some(Connection { server: stream.server().to_owned(), ..Connection::default() });
            self.show_stream();
            return Ok((LineReader::new(stream, self.ctx.window.clone(), self.received()), namespaces));
        }
    }

    /// Prepares for a new connection, and returns what to subscribe to.
    fn prepare(&mut self, found: &[Namespace]) -> StreamQuery {
        self.find_uncovered(found);
        let asks = self.trackers.iter().map(|tracker| tracker.cursor.ask());
        let index = asks.chain(self.coverage.new_namespaces().map(|new| new.ask())).min().unwrap_or_default();
        self.coverage.reconnected();
        self.trackers.iter_mut().for_each(|tracker| tracker.cursor.reconnected());
        self.unconfirmed.reconnected();
        self.query(index)
    }

    /// The subscription from `index` on.
    fn query(&self, index: RaftIndex) -> StreamQuery {
        StreamQuery { namespace: self.namespace.to_string(), topics: self.topics.clone(), index }
    }

    /// The address of the last connection, for the log.
    fn server(&self) -> &str {
        self.connection.as_ref().map_or("", |connection| &connection.server)
    }

    /// The position of the kind that has read least.
    fn position(&self) -> RaftIndex {
        self.trackers.iter().map(|tracker| tracker.cursor.position().index).min().unwrap_or_default()
    }

    /// The position of the kind that has read most.
    fn newest_position(&self) -> Position {
        let positions = self.trackers.iter().map(|tracker| tracker.cursor.position());
        positions.max_by_key(|position| position.index).cloned().unwrap_or_default()
    }

    fn is_proven(&self) -> bool {
        self.trackers.iter().all(|tracker| tracker.cursor.is_proven())
    }

    /// Records how far the received lines reach.
    fn received(&self) -> Received {
        let kinds = self.trackers.iter().map(|tracker| tracker.kind).collect();
        Received { metrics: self.ctx.metrics.clone(), kinds }
    }

    /// Shows in the status how all kinds of the stream are read.
    fn show(&self, state: &SourceState) {
        self.trackers.iter().for_each(|tracker| tracker.show(&self.ctx, state.clone()));
    }

    /// Catches up with namespaces that were created at or below the position, and that no subscription had.
    fn find_uncovered(&mut self, found: &[Namespace]) {
        let newest_position = self.newest_position();
        let uncovered = self.coverage.uncovered(found, newest_position.index);
        if !uncovered.is_empty() {
            self.coverage.catch_up(&uncovered, newest_position);
        }
    }

    /// Books what namespaces could have had, if their events are no longer in the buffer.
    async fn book_namespaces(&mut self, gaps: &[(String, Gap)]) -> Result<(), Stopped> {
        let affected = |tracker: &&mut Tracker| !tracker.start_mode.is_first_start() && tracker.kind != Kind::Nodes;
        for tracker in self.trackers.iter_mut().filter(affected).filter(|_| !gaps.is_empty()) {
            tracker.book_namespaces(&self.ctx, gaps).await?;
        }
        Ok(())
    }

    async fn store_watermark(&mut self) -> Result<(), Stopped> {
        for tracker in &mut self.trackers {
            tracker.store_watermark(&self.ctx, self.coverage.watermark()).await?;
        }
        Ok(())
    }
}
