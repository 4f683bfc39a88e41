//! What is counted and measured. [`table`] declares every metric; [`Metrics`] is what the rest of the program counts with.

mod certificates;
mod declare;
mod table;

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{encoding::text, registry::Registry};

use self::{
    certificates::Certificates,
    declare::Labels,
    table::{PerKind, Process},
};
use super::lag::{Backlog, Behind, Lag};
use crate::{kind::Kind, position::RaftIndex};

/// The reason of a dead letter that the sink rejected.
pub const REJECTED: &str = "rejected";
/// The reason of a dead letter that never became a record.
pub const INPUT: &str = "input";

/// All metrics of one process. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// In the order of [`Kind::ALL`].
    per_kind: [PerKind; Kind::ALL.len()],
    process: Process,
    /// In the order of [`Kind::ALL`].
    lags: [Lag; Kind::ALL.len()],
}

impl Metrics {
    /// Metrics with a series for each of `kinds`; those of other kinds count, and are not shown.
    pub fn new(kinds: &[Kind]) -> Self {
        let mut registry = Registry::default();
        let mut per_kind = <[PerKind; Kind::ALL.len()]>::default();
        PerKind::register(&mut per_kind, kinds, &mut registry);
        let process = Process::default();
        process.register(&mut registry);
        registry.register_collector(Box::new(Certificates));

        // An increase can only be computed from a series that was there before. A line of the stream that no event can be
        // made of is of no kind, and counts with `events`.
        let input = kinds.iter().copied().chain([Kind::Events]).map(|kind| (kind, INPUT));
        for (kind, reason) in kinds.iter().map(|kind| (*kind, REJECTED)).chain(input) {
            drop(process.dead_letters.get_or_create(&dead_letter_labels(kind, reason)));
        }
        process.build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        Metrics(Arc::new(Inner { registry, per_kind, process, lags: Default::default() }))
    }

    /// The sink acknowledged `records` records with `bytes` bytes of body.
    pub fn delivered(&self, kind: Kind, records: u64, bytes: u64) {
        self.of(kind).records.inc_by(records);
        self.of(kind).bytes.inc_by(bytes);
    }

    /// `records` records are sent again.
    pub fn retried(&self, kind: Kind, records: u64) {
        self.of(kind).retries.inc_by(records);
    }

    /// `records` records went to the dead-letter place. `reason` is one of a few fixed words, never a text from elsewhere.
    pub fn dead_letters(&self, kind: Kind, reason: &'static str, records: u64) {
        self.0.process.dead_letters.get_or_create(&dead_letter_labels(kind, reason)).inc_by(records);
    }

    /// `records` records were given up undelivered because the lease was lost.
    pub fn dropped(&self, kind: Kind, records: u64) {
        self.of(kind).dropped.inc_by(records);
    }

    /// The sink answered for a batch, `elapsed` after it was given it.
    pub fn answered(&self, elapsed: Duration) {
        self.0.process.sink_seconds.observe(elapsed.as_secs_f64());
    }

    /// In `indexes` raft indexes an event may have been missed.
    pub fn gap(&self, kind: Kind, indexes: u64) {
        self.of(kind).gaps.inc();
        self.of(kind).unprovable.inc_by(indexes);
    }

    /// Lists stood in for `indexes` raft indexes of the event stream. `begins` says that they did not for those before.
    pub fn listed_instead(&self, kind: Kind, indexes: u64, begins: bool) {
        self.of(kind).gaps.inc_by(u64::from(begins));
        self.of(kind).unprovable.inc_by(indexes);
    }

    /// The last delivered event of a task was no longer among those that Nomad keeps.
    pub fn lost_mark(&self, kind: Kind) {
        self.of(kind).lost_marks.inc();
    }

    /// A list had so many objects more.
    pub fn listed(&self, kind: Kind, objects: u64) {
        self.of(kind).listed.inc_by(objects);
    }

    /// A list is read to make up for what the stream could not prove.
    pub fn reconcile(&self, kind: Kind) {
        self.of(kind).reconciles.inc();
    }

    /// A page of a list could not be read.
    pub fn list_failed(&self, kind: Kind) {
        self.of(kind).list_failures.inc();
    }

    /// A list is read because there is no event stream.
    pub fn poll(&self, kind: Kind) {
        self.of(kind).polls.inc();
    }

    /// Such a list took `elapsed`.
    pub fn polled(&self, elapsed: Duration) {
        self.0.process.poll_seconds.observe(elapsed.as_secs_f64());
    }

    /// `events` events came again and were dropped.
    pub fn repeats_dropped(&self, kind: Kind, events: u64) {
        self.of(kind).repeats.inc_by(events);
    }

    /// A checkpoint was stored, or not.
    pub fn checkpoint(&self, kind: Kind, stored: bool) {
        let kind = self.of(kind);
        if stored {
            kind.checkpoints.inc()
        } else {
            kind.checkpoint_failures.inc()
        };
    }

    /// The stream was connected again.
    pub fn reconnect(&self) {
        self.0.process.reconnects.inc();
    }

    /// A heartbeat of this process was written, or could not be.
    pub fn heartbeat(&self, written: bool) {
        match written {
            true => self.0.process.heartbeats.inc(),
            false => self.0.process.heartbeat_failures.inc(),
        };
    }

    /// A lease was taken from a leader that had stood still.
    pub fn takeover(&self, kind: Kind) {
        self.of(kind).takeovers.inc();
    }

    /// A line of the stream could not be read.
    pub fn garbage_line(&self) {
        self.0.process.garbage_lines.inc();
    }

    /// An event has a raft index that no table confirms.
    pub fn implausible_index(&self) {
        self.0.process.implausible_indexes.inc();
    }

    /// Nomad has come to `index`, by a line or a table that concerns `kind`. Older ones change nothing.
    pub fn seen(&self, kind: Kind, index: RaftIndex) {
        self.0.lags[kind as usize].seen(index);
    }

    /// A line with `index` has come, and waits to be read: it counts if it can be true.
    pub fn received(&self, kind: Kind, index: RaftIndex) {
        self.0.lags[kind as usize].received(index);
    }

    /// Nomad has come to `index`, and nothing brings it to `kind`: there is no event stream, and no list that has it.
    pub fn unreachable(&self, kind: Kind, index: RaftIndex) {
        self.0.lags[kind as usize].unreachable(index);
    }

    /// The stream brings whatever there is for `kind`.
    pub fn reachable(&self, kind: Kind) {
        self.0.lags[kind as usize].reachable();
    }

    /// The cluster is another one: what was seen of the old one does not count.
    pub fn forget_seen(&self, kind: Kind) {
        self.0.lags[kind as usize].forget();
    }

    /// Position and lag of `kind` are those of `backlog` from here on; `None` while it is not led.
    pub fn follow(&self, kind: Kind, backlog: Option<Arc<dyn Backlog>>) {
        self.0.lags[kind as usize].follow(backlog);
    }

    /// Brings position and lag up to date.
    fn refresh(&self, kind: Kind) {
        let PerKind { position, lag, oldest, .. } = self.of(kind);
        let behind = self.0.lags[kind as usize].behind();
        if let Some(Behind { position: delivered, .. }) = behind {
            position.set(clamp(delivered.0));
        }
        let Behind { indexes, oldest_seconds, .. } = behind.unwrap_or_default();
        lag.set(clamp(indexes));
        oldest.set(oldest_seconds);
    }

    /// Whether this process holds the lease of `kind`.
    pub fn leader(&self, kind: Kind, leads: bool) {
        self.of(kind).leader.set(i64::from(leads));
    }

    /// How many tasks are remembered.
    pub fn task_cursors(&self, kind: Kind, tasks: usize) {
        self.of(kind).task_cursors.set(clamp(tasks as u64));
    }

    /// `bytes` bytes were taken into a window.
    pub fn in_flight_taken(&self, bytes: usize) {
        self.0.process.in_flight.inc_by(clamp(bytes as u64));
    }

    /// `bytes` bytes left a window.
    pub fn in_flight_freed(&self, bytes: usize) {
        self.0.process.in_flight.dec_by(clamp(bytes as u64));
    }

    /// A standby holds `bytes` bytes more.
    pub fn standby_held(&self, bytes: usize) {
        self.0.process.standby.inc_by(clamp(bytes as u64));
    }

    /// A standby let `bytes` bytes go, or they are on their way to the sink.
    pub fn standby_freed(&self, bytes: usize) {
        self.0.process.standby.dec_by(clamp(bytes as u64));
    }

    /// All metrics as OpenMetrics text, which Prometheus reads.
    ///
    /// # Errors
    /// A metric could not be written as text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        Kind::ALL.into_iter().for_each(|kind| self.refresh(kind));
        let mut out = String::new();
        text::encode(&mut out, &self.0.registry)?;
        Ok(out)
    }

    /// What a person wants to know of one kind.
    pub fn summary(&self, kind: Kind) -> Summary {
        self.refresh(kind);
        let PerKind { records, gaps, position, lag, oldest, .. } = self.of(kind);
        let dead_letters = [REJECTED, INPUT].map(|reason| {
            let counted = self.0.process.dead_letters.get(&dead_letter_labels(kind, reason));
            counted.map_or(0, |counter| counter.get())
        });
        Summary {
            position: position.get(),
            lag: lag.get(),
            oldest_seconds: oldest.get(),
            delivered: records.get(),
            dead_letters: dead_letters.iter().sum(),
            gaps: gaps.get(),
        }
    }

    fn of(&self, kind: Kind) -> &PerKind {
        &self.0.per_kind[kind as usize]
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What a person wants to know of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The raft index up to which the stream is delivered.
    pub position: i64,
    /// How many raft indexes delivery is behind the newest one known.
    pub lag: i64,
    /// How long the oldest event that was received waits for the sink.
    pub oldest_seconds: f64,
    /// Records delivered.
    pub delivered: u64,
    /// Records in the dead-letter place.
    pub dead_letters: u64,
    /// Stretches in which an event may have been missed.
    pub gaps: u64,
}

fn dead_letter_labels(kind: Kind, reason: &'static str) -> Labels<2> {
    [("kind", kind.name()), ("reason", reason)]
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
