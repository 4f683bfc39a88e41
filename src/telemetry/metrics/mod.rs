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

/// All metrics of one process. Cheap to clone; all clones share the same numbers.
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
    /// Metrics with a series for each of `kinds`. Those of other kinds count, but are not shown.
    pub fn new(kinds: &[Kind]) -> Self {
        let mut registry = Registry::default();
        let mut per_kind = <[PerKind; Kind::ALL.len()]>::default();
        PerKind::register(&mut per_kind, kinds, &mut registry);
        let process = Process::default();
        process.register(&mut registry);
        registry.register_collector(Box::new(Certificates));

        // Prometheus can compute an increase only from a series that existed before. A line of the stream that no event can be
        // made of belongs to no kind, and counts with `events`.
        let input = kinds.iter().copied().chain([Kind::Events]).map(|kind| (kind, INPUT));
        for (kind, reason) in kinds.iter().map(|kind| (*kind, REJECTED)).chain(input) {
            drop(process.dead_letters.get_or_create(&dead_letter_labels(kind, reason)));
        }
        process.build_info.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        Metrics(Arc::new(Inner { registry, per_kind, process, lags: Default::default() }))
    }

    /// The metrics of `kind`.
    pub(crate) fn of(&self, kind: Kind) -> &PerKind {
        &self.0.per_kind[kind as usize]
    }

    /// The metrics of the process as a whole.
    pub(crate) fn process(&self) -> &Process {
        &self.0.process
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

    /// What the status page shows of one kind.
    pub fn summary(&self, kind: Kind) -> Summary {
        self.refresh(kind);
        let kinds = self.of(kind);
        let dead_letters = [REJECTED, INPUT].map(|reason| {
            let counted = self.process().dead_letters.get(&dead_letter_labels(kind, reason));
            counted.map_or(0, |counter| counter.get())
        });
        Summary {
            position: kinds.position_index.get(),
            lag: kinds.lag_indexes.get(),
            oldest_seconds: kinds.oldest_undelivered_seconds.get(),
            delivered: kinds.records_delivered.get(),
            dead_letters: dead_letters.iter().sum(),
            gaps: kinds.gaps.get(),
        }
    }

    /// Computes position and lag anew.
    fn refresh(&self, kind: Kind) {
        let PerKind { position_index, lag_indexes, oldest_undelivered_seconds, .. } = self.of(kind);
        let behind = self.0.lags[kind as usize].behind();
        if let Some(Behind { position, .. }) = behind {
            position_index.set(clamp(position.0));
        }
        let Behind { indexes, oldest_seconds, .. } = behind.unwrap_or_default();
        lag_indexes.set(clamp(indexes));
        oldest_undelivered_seconds.set(oldest_seconds);
    }
}

/// Recording: what takes more than one step on one field. Everything else is counted at [`Metrics::of`] and
/// [`Metrics::process`].
impl Metrics {
    /// Counts records that the sink acknowledged, with `bytes` bytes of body.
    pub fn delivered(&self, kind: Kind, records: u64, bytes: u64) {
        self.of(kind).records_delivered.inc_by(records);
        self.of(kind).bytes_delivered.inc_by(bytes);
    }

    /// Counts dead letters. `reason` is [`REJECTED`] or [`INPUT`].
    pub fn dead_letters(&self, kind: Kind, reason: &'static str, records: u64) {
        self.process().dead_letters.get_or_create(&dead_letter_labels(kind, reason)).inc_by(records);
    }

    /// Records how long the sink took to answer for a batch.
    pub fn answered(&self, elapsed: Duration) {
        self.process().sink_response_seconds.observe(elapsed.as_secs_f64());
    }

    /// Counts a gap of `indexes` raft indexes.
    pub fn gap(&self, kind: Kind, indexes: u64) {
        self.of(kind).gaps.inc();
        self.of(kind).gap_indexes.inc_by(indexes);
    }

    /// Counts `indexes` raft indexes for which lists replaced the event stream. They are a new gap if `begins`, and otherwise
    /// extend the gap before.
    pub fn listed_instead(&self, kind: Kind, indexes: u64, begins: bool) {
        self.of(kind).gaps.inc_by(u64::from(begins));
        self.of(kind).gap_indexes.inc_by(indexes);
    }

    /// Records how long a poll took.
    pub fn polled(&self, elapsed: Duration) {
        self.process().poll_seconds.observe(elapsed.as_secs_f64());
    }

    /// Counts a checkpoint that was stored, or could not be.
    pub fn checkpoint(&self, kind: Kind, stored: bool) {
        let kind = self.of(kind);
        match stored {
            true => kind.checkpoints.inc(),
            false => kind.checkpoint_failures.inc(),
        };
    }

    /// Counts a heartbeat that was written, or could not be.
    pub fn heartbeat(&self, written: bool) {
        match written {
            true => self.process().heartbeats.inc(),
            false => self.process().heartbeat_failures.inc(),
        };
    }

    /// Sets whether this replica holds the lease of `kind`.
    pub fn leader(&self, kind: Kind, leads: bool) {
        self.of(kind).leader.set(i64::from(leads));
    }

    /// Sets how many tasks have a cursor.
    pub fn task_cursors(&self, kind: Kind, tasks: usize) {
        self.of(kind).task_cursors.set(clamp(tasks as u64));
    }

    /// Adds bytes that were taken into a window.
    pub fn in_flight_taken(&self, bytes: usize) {
        self.process().in_flight_bytes.inc_by(clamp(bytes as u64));
    }

    /// Subtracts bytes that left a window.
    pub fn in_flight_freed(&self, bytes: usize) {
        self.process().in_flight_bytes.dec_by(clamp(bytes as u64));
    }

    /// Adds bytes that a replay buffer took in.
    pub fn standby_held(&self, bytes: usize) {
        self.process().replay_buffer_bytes.inc_by(clamp(bytes as u64));
    }

    /// Subtracts bytes that left a replay buffer, for the sink or for good.
    pub fn standby_freed(&self, bytes: usize) {
        self.process().replay_buffer_bytes.dec_by(clamp(bytes as u64));
    }

    /// One event had more new task events than Nomad keeps.
    pub fn lost_mark(&self, kind: Kind) {
        self.of(kind).task_events_possibly_missed.inc();
    }

    pub fn listed(&self, kind: Kind, objects: u64) {
        self.of(kind).listed_objects.inc_by(objects);
    }

    pub fn reconcile(&self, kind: Kind) {
        self.of(kind).backfills.inc();
    }

    pub fn list_failed(&self, kind: Kind) {
        self.of(kind).list_failures.inc();
    }

    pub fn poll(&self, kind: Kind) {
        self.of(kind).polls.inc();
    }

    pub fn repeats_dropped(&self, kind: Kind, events: u64) {
        self.of(kind).duplicate_events_skipped.inc_by(events);
    }

    pub fn reconnect(&self) {
        self.process().stream_reconnects.inc();
    }

    pub fn takeover(&self, kind: Kind) {
        self.of(kind).takeovers.inc();
    }

    pub fn garbage_line(&self) {
        self.process().unreadable_lines.inc();
    }

    pub fn implausible_index(&self) {
        self.process().implausible_indexes.inc();
    }
}

/// Lag: what is known of Nomad's newest index.
impl Metrics {
    /// Nomad has reached `index`, as a line or a table that concerns `kind` says. Smaller indexes change nothing.
    pub fn seen(&self, kind: Kind, index: RaftIndex) {
        self.0.lags[kind as usize].seen(index);
    }

    /// A line with `index` has arrived and waits to be read. It counts if the index is plausible.
    pub fn received(&self, kind: Kind, index: RaftIndex) {
        self.0.lags[kind as usize].received(index);
    }

    /// Nomad has reached `index`, and `kind` cannot receive it: there is no event stream, and no list holds it.
    pub fn unreachable(&self, kind: Kind, index: RaftIndex) {
        self.0.lags[kind as usize].unreachable(index);
    }

    /// The event stream works for `kind` again.
    pub fn reachable(&self, kind: Kind) {
        self.0.lags[kind as usize].reachable();
    }

    /// The cluster was replaced by another one: the indexes of the old one do not count.
    pub fn forget_seen(&self, kind: Kind) {
        self.0.lags[kind as usize].forget();
    }

    /// Takes position and lag of `kind` from `backlog` from now on; `None` while another replica leads.
    pub fn follow(&self, kind: Kind, backlog: Option<Arc<dyn Backlog>>) {
        self.0.lags[kind as usize].follow(backlog);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What the status page shows of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The raft index up to which the stream is delivered.
    pub position: i64,
    /// Raft indexes between the newest one known and the last one delivered.
    pub lag: i64,
    /// Age of the oldest event that is not delivered yet.
    pub oldest_seconds: f64,
    /// Records delivered.
    pub delivered: u64,
    /// Dead letters, whatever their reason.
    pub dead_letters: u64,
    /// Ranges that cannot be proven complete.
    pub gaps: u64,
}

fn dead_letter_labels(kind: Kind, reason: &'static str) -> Labels<2> {
    [("kind", kind.name()), ("reason", reason)]
}

/// A gauge holds `i64`.
fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
