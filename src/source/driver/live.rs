//! The life of one connection: its lines are delivered until it ends or is given up.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::OptionFuture;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tracing::{info, warn};

use super::{
    ConnectionEnd, Driver, beside,
    tables::{Probe, TableAnswer},
};
use crate::{
    kind::Kind,
    nomad::{
        self,
        line::{Line, Occurrences, Text},
    },
    source::{
        context::Stopped,
        resume::namespaces::{NamespaceWatch, Namespaces},
        stream::reader::LineReader,
        tracker::Tracker,
    },
    window::Share,
};

/// How long a connection may take to prove where it resumes before tables are asked. It doubles with each query.
const PROOF_WAIT: Duration = Duration::from_secs(2);
/// How often the watchdog compares the tables with the stream.
const WATCH_EVERY: Duration = Duration::from_secs(60);
/// The same on a connection that has to show that no proxy holds it back.
const WATCH_SOON: Duration = Duration::from_secs(10);
/// How often the tables are looked at while the stream brings nothing, so that the lag shows a stream that stands still.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a connection may be quiet before the index of its last line counts as whole.
const SETTLE_AFTER: Duration = Duration::from_secs(1);
/// How many waiting lines are delivered between two pieces of a page.
const LINES_PER_PIECE: usize = 16;

/// The state of a connection.
pub(super) struct LiveConnection {
    pub(super) reader: LineReader,
    pub(super) occurrences: Occurrences,
    new_namespaces: NamespaceWatch,
    /// A query to the tables that is under way.
    probe: Option<Probe>,
    proof_wait: Duration,
    proof_due: Instant,
    watch_timer: Interval,
    look_timer: Interval,
    settle_at: Instant,
    /// The tables were asked because half a line does not grow.
    asked_stalled: bool,
    /// The pipeline had no room for lines before the watchdog looked at the tables.
    held_up: bool,
    /// Lines delivered since the last piece of a page.
    lines: usize,
}

impl LiveConnection {
    fn new(reader: LineReader, new_namespaces: NamespaceWatch, watch_every: Duration) -> Self {
        let now = Instant::now();
        LiveConnection {
            reader,
            occurrences: Occurrences::default(),
            new_namespaces,
            probe: None,
            proof_wait: PROOF_WAIT,
            proof_due: now + PROOF_WAIT,
            watch_timer: every(watch_every),
            look_timer: every(LOOK_EVERY),
            settle_at: now + SETTLE_AFTER,
            asked_stalled: false,
            held_up: false,
            lines: 0,
        }
    }

    /// No line is under way that could still arrive.
    fn is_quiet(&self) -> bool {
        self.reader.is_quiet() || self.reader.is_stalled()
    }
}

impl Driver {
    /// Delivers what one connection brings.
    pub(super) async fn read_live(
        &mut self,
        reader: LineReader,
        namespaces: Namespaces,
    ) -> Result<ConnectionEnd, Stopped> {
        let watch_every = if self.suspicion.suspected { WATCH_SOON } else { WATCH_EVERY };
        let mut live = LiveConnection::new(reader, namespaces.watch(self.ctx.client.clone()), watch_every);
        if namespaces.are_all() && self.coverage.subscribed(namespaces.listed()) {
            self.store_watermark().await?;
        }
        loop {
            let look_at = self.unconfirmed.look_at();
            let holds = self.trackers.iter().any(Tracker::holds_stream);
            // While a line is unconfirmed, the newest version of its objects is not known.
            let may_list = (holds || live.reader.is_empty() || live.lines >= LINES_PER_PIECE) && look_at.is_none();
            let may_ask = live.probe.is_none();
            let end = tokio::select! {
                biased;
                () = self.ctx.stop.cancelled() => return Err(Stopped),
                created = live.new_namespaces.created() => {
                    self.coverage.catch_up(&created, self.newest_position());
                    Some(ConnectionEnd::Resubscribe)
                }
                () = sleep_until(live.proof_due), if may_ask && !self.is_proven() => {
                    self.proof_is_late(&mut live);
                    None
                }
                () = sleep_until(look_at.unwrap_or(live.proof_due)), if look_at.is_some() && may_ask => {
                    live.probe = Some(self.ask_for_confirmation());
                    None
                }
                _ = live.watch_timer.tick(), if may_ask => {
                    live.held_up = live.reader.take_held_up();
                    live.probe = Some(self.ask_for_watch(false));
                    None
                }
                _ = live.look_timer.tick(), if may_ask && self.is_proven() && live.is_quiet() => {
                    live.probe = Some(self.ask_for_look());
                    None
                }
                answer = async { OptionFuture::from(live.probe.as_mut()).await }, if !may_ask => {
                    self.tables_answered(&mut live, answer).await?
                }
                beside = beside::next_step(&mut self.trackers, self.last_turn), if may_list => {
                    live.lines = 0;
                    let (tracker, beside) = beside?;
                    self.take_beside_step(tracker, beside).await?;
                    None
                }
                () = sleep_until(live.settle_at) => {
                    self.check_silence(&mut live).await?;
                    None
                }
                line = live.reader.next(), if !holds && !self.unconfirmed.is_full() => self.take_next(&mut live, line).await?,
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// Nothing has proven the connection in time: asks the tables.
    fn proof_is_late(&mut self, live: &mut LiveConnection) {
        let is_quiet = live.is_quiet();
        if is_quiet {
            // The tables are asked less and less often for what they cannot prove.
            live.proof_wait = (2 * live.proof_wait).min(WATCH_EVERY);
        }
        // Even a busy stream can be another cluster's.
        if is_quiet || self.anchor().is_some() {
            live.probe = Some(self.ask_for_proof());
        }
        live.proof_due = Instant::now() + live.proof_wait;
    }

    async fn tables_answered(
        &mut self,
        live: &mut LiveConnection,
        answer: Option<TableAnswer>,
    ) -> Result<Option<ConnectionEnd>, Stopped> {
        let is_quiet = live.is_quiet();
        if let Some(answer) = answer
            && let Some(end) = self.take_tables(answer, is_quiet, live.held_up).await?
        {
            return Ok(Some(end));
        }
        live.probe = self.ask_lists();
        if !self.suspicion.suspected && live.watch_timer.period() != WATCH_EVERY {
            live.watch_timer = every(WATCH_EVERY);
        }
        Ok(None)
    }

    /// Checks every second whether the connection is quiet, or held back.
    async fn check_silence(&mut self, live: &mut LiveConnection) -> Result<(), Stopped> {
        if live.reader.is_quiet() {
            for tracker in &mut self.trackers {
                tracker.settle(&self.ctx).await?;
            }
        }
        self.ctx.metrics.reachable(Kind::Events);
        if live.reader.is_unbuffered() {
            self.flows_again();
        }
        if self.is_proven() && live.reader.is_stalled() && live.probe.is_none() && !live.asked_stalled {
            live.asked_stalled = true;
            live.probe = Some(self.ask_for_watch(true));
        }
        live.settle_at = Instant::now() + SETTLE_AFTER;
        Ok(())
    }

    /// Processes what the connection brings next: a line, its end, or a failure.
    async fn take_next(
        &mut self,
        live: &mut LiveConnection,
        next: Result<Option<(Bytes, Option<Share>)>, nomad::Error>,
    ) -> Result<Option<ConnectionEnd>, Stopped> {
        let namespace = &*self.namespace;
        let is_readable = match next {
            Ok(Some((line, share))) => self.take(line, share, &mut live.occurrences).await?,
            Err(nomad::Error::LongLine { line, .. }) => self.pass_over(&line, &mut live.occurrences).await?,
            Ok(None) => {
                info!(namespace, "event stream ended by the server");
                return Ok(Some(ConnectionEnd::Lost));
            }
            Err(error) => {
                warn!(namespace, %error, "event stream broke");
                return Ok(Some(ConnectionEnd::Lost));
            }
        };
        live.lines += 1;
        Ok((!is_readable).then_some(ConnectionEnd::Lost))
    }

    /// Delivers one line. `false` if it cannot be read, so that the connection cannot be trusted any further.
    async fn take(
        &mut self,
        text: Bytes,
        share: Option<Share>,
        occurrences: &mut Occurrences,
    ) -> Result<bool, Stopped> {
        let line = Text::new(text.clone());
        let line = match Line::parse(&line, occurrences) {
            Ok(line) => line,
            Err(error) => return self.take_garbage(&text, text.len() as u64, &error).await,
        };
        if !self.is_plausible(line.index) {
            return self.take_unconfirmed(line, text, share).await.map(|()| true);
        }
        self.take_confirmed(line.index).await?;
        if self.is_backward(line.index) {
            return self.take_backward(line, share).await.map(|()| true);
        }
        self.has_read_to(line.index);
        self.take_plausible(line, share).await.map(|()| true)
    }

    /// Delivers a line, and advances all positions by it.
    pub(super) async fn take_plausible(&mut self, mut line: Line<'_>, share: Option<Share>) -> Result<(), Stopped> {
        let identities = line.identities();
        if !self.first {
            line.events.retain(|event| !event.namespace.is_empty());
        }
        // A line without events has no place that could be known again.
        if identities.is_empty() {
            return Ok(());
        }
        if !self.unconfirmed.is_empty() {
            line.know(|event| self.unconfirmed.has_delivered(event));
        }
        for (raw, reason) in &line.unusable {
            self.ctx.dead_letter(Kind::Events, raw, reason).await?;
        }
        let gaps = self.coverage.observe(&line, &identities);
        self.book_namespaces(&gaps).await?;
        for tracker in &mut self.trackers {
            self.ctx.metrics.seen(tracker.kind, line.index);
            tracker.take_line(&self.ctx, (&line, &identities), &share, self.coverage.new_namespaces()).await?;
        }
        // One proof serves all: a stream that is complete from an earlier position is complete from a later one.
        if let Some(from) = self.trackers.iter().filter_map(|tracker| tracker.cursor.complete_from()).min() {
            self.trackers.iter_mut().for_each(|tracker| tracker.cursor.proven_from(from));
        }
        if self.coverage.advance(line.index, &identities, self.is_proven()) {
            self.store_watermark().await?;
        }
        Ok(())
    }
}

fn every(period: Duration) -> Interval {
    let mut timer = interval_at(Instant::now() + period, period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}
