//! Recording in terms of what happens. A metric that one step on one field records needs no method here.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::{
    Metrics, SinkMetrics, Transition, clamp, dead_letter_labels, declare::Labelled, lock, transition_labels, unix_now,
};
use crate::{
    kind::Kind,
    position::RaftIndex,
    telemetry::{lag::Backlog, latency::Latency},
};

impl Metrics {
    /// Counts records that the sink acknowledged, with `bytes` bytes of body.
    pub fn delivered(&self, kind: Kind, records: u64, bytes: u64) {
        let kind = self.of(kind);
        kind.records_delivered.inc_by(records);
        kind.bytes_delivered.inc_by(bytes);
        kind.last_delivered_timestamp_seconds.set(unix_now());
    }

    /// Counts dead letters. `reason` is [`REJECTED`](super::REJECTED) or [`INPUT`](super::INPUT).
    pub fn dead_letters(&self, kind: Kind, reason: &'static str, records: u64) {
        self.process().dead_letters.get_or_create(&dead_letter_labels(kind, reason)).inc_by(records);
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

    /// What takes in how long the lines of `kind` are on their way.
    pub fn latency(&self, kind: Kind) -> Latency {
        Latency(self.of(kind).delivery_latency_seconds.clone())
    }

    /// Counts a checkpoint that was stored, or could not be, and how long that took.
    pub fn checkpoint(&self, kind: Kind, stored: bool, elapsed: Duration) {
        self.process().checkpoint_duration_seconds.observe(elapsed.as_secs_f64());
        let kind = self.of(kind);
        match stored {
            true => kind.checkpoints.inc(),
            false => kind.checkpoint_failures.inc(),
        };
    }

    /// Counts a heartbeat that was written, or could not be.
    pub fn heartbeat(&self, written: bool) {
        if written {
            *lock(&self.0.heartbeat) = Some(Instant::now());
        }
        match written {
            true => self.process().heartbeats.inc(),
            false => self.process().heartbeat_failures.inc(),
        };
    }

    /// The lease of `kind` has changed.
    pub fn lease(&self, kind: Kind, direction: Transition) {
        let leads = direction == Transition::Acquired;
        self.of(kind).leader.set(i64::from(leads));
        *lock(&self.0.led[kind as usize]) = leads.then(Instant::now);
        self.process().lease_transitions.get_or_create(&transition_labels(kind, direction)).inc();
    }

    /// Sets what `kind` is doing: the word of its phase, and whether it is ready.
    pub fn state(&self, kind: Kind, state: &'static str, ready: bool) {
        one_of(&self.process().state, kind, &STATES, state);
        self.of(kind).ready.set(i64::from(ready));
    }

    /// Sets how `kind` is read; `None` while another replica leads.
    pub fn source(&self, kind: Kind, state: Option<&'static str>) {
        one_of(&self.process().stream_state, kind, &SOURCES, state.unwrap_or_default());
    }

    /// The numbers of the sink of this name, each from 0 on.
    pub(crate) fn sink(&self, name: &'static str, classes: &[&'static str]) -> SinkMetrics {
        SinkMetrics::new(self.process(), name, classes)
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

    /// Sets the bound on the bytes of a window.
    pub fn window(&self, bytes: usize) {
        self.process().window_bytes.set(clamp(bytes as u64));
    }

    /// Adds bytes that a replay buffer took in.
    pub fn standby_held(&self, bytes: usize) {
        self.process().replay_buffer_bytes.inc_by(clamp(bytes as u64));
    }

    /// Subtracts bytes that left a replay buffer, for the sink or for good.
    pub fn standby_freed(&self, bytes: usize) {
        self.process().replay_buffer_bytes.dec_by(clamp(bytes as u64));
    }
}

/// The words of the label `state` of `nomad_firehose_state`.
const STATES: [&str; 7] = ["starting", "standby", "connecting", "leader", "polling", "blocked", "stopped"];
/// The words of the label `state` of `nomad_firehose_stream_state`.
const SOURCES: [&str; 4] = ["connecting", "streaming", "polling", "blocked"];

/// Sets the series of the one state that holds to 1, and the others to 0.
fn one_of(family: &Labelled<2, Gauge>, kind: Kind, all: &[&'static str], holds: &str) {
    for state in all {
        let series = family.get_or_create(&[("kind", kind.name()), ("state", *state)]);
        series.set(i64::from(*state == holds));
    }
}

/// Lag: what is known of Nomad's newest index.
impl Metrics {
    /// Nomad has reached `index`, as a line or a table that concerns `kind` says. Smaller indexes change nothing.
    pub fn seen(&self, kind: Kind, index: RaftIndex) {
        self.0.lags[kind as usize].seen(index);
    }

    /// A line with `index` has arrived at `at` and waits to be read. It counts if the index is plausible.
    pub fn received(&self, kind: Kind, index: RaftIndex, at: Instant) {
        self.0.lags[kind as usize].received(index, at);
    }

    /// Tables of `kind` moved up to `index`, and lists showed that no event of it is missing.
    pub fn moved_without_event(&self, kind: Kind, index: RaftIndex) {
        self.0.lags[kind as usize].quiet(index);
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
