//! What is counted and measured. `table` declares every metric, and [`Metrics`] is what the rest of the program counts with: at a
//! field of `Metrics::of` or `Metrics::process`, or with a method of `recording`.

mod certificates;
mod declare;
mod merge;
mod recording;
mod sink;
mod table;
mod usage;

pub(crate) use self::{merge::merge, sink::SinkMetrics};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{encoding::text, registry::Registry};
use tokio::time::Instant;

use self::{
    certificates::Certificates,
    declare::Labels,
    table::{PerKind, Process},
    usage::Used,
};
use super::lag::{Behind, Lag};
use crate::kind::Kind;

/// The reason of a dead letter that the sink rejected.
pub const REJECTED: &str = "rejected";
/// The reason of a dead letter that never became a record.
pub const INPUT: &str = "input";

/// How a lease changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// This replica became the leader.
    Acquired,
    /// It gave the lease back.
    Released,
    /// It lost the lease.
    Lost,
}

impl Transition {
    const ALL: [Transition; 3] = [Transition::Acquired, Transition::Released, Transition::Lost];

    const fn name(self) -> &'static str {
        match self {
            Transition::Acquired => "acquired",
            Transition::Released => "released",
            Transition::Lost => "lost",
        }
    }
}

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
    /// In the order of [`Kind::ALL`]: since when this replica leads; `None` while it does not.
    led: [Mutex<Option<Instant>>; Kind::ALL.len()],
    /// When the last heartbeat was written.
    heartbeat: Mutex<Option<Instant>>,
}

impl Metrics {
    /// Metrics with a series for each of `kinds`. Those of other kinds count, but are not shown.
    pub fn new(kinds: &[Kind]) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Certificates));
        registry.register_collector(Box::new(Used));
        Metrics::with(registry, kinds)
    }

    /// The same for a pipeline: all series have its name as the label `pipeline`. Those of the process are in
    /// [`of_process()`].
    pub fn of_pipeline(name: &str, kinds: &[Kind]) -> Self {
        let label = ("pipeline".into(), name.to_owned().into());
        Metrics::with(Registry::with_labels([label].into_iter()), kinds)
    }

    fn with(mut registry: Registry, kinds: &[Kind]) -> Self {
        let mut per_kind = <[PerKind; Kind::ALL.len()]>::default();
        PerKind::register(&mut per_kind, kinds, &mut registry);
        let process = Process::default();
        process.register(&mut registry);
        // Prometheus can compute an increase only from a series that existed before. A line of the stream that no event can be
        // made of belongs to no kind, and counts with `events`.
        let input = kinds.iter().copied().chain([Kind::Events]).map(|kind| (kind, INPUT));
        for (kind, reason) in kinds.iter().map(|kind| (*kind, REJECTED)).chain(input) {
            drop(process.dead_letters.get_or_create(&dead_letter_labels(kind, reason)));
        }
        for kind in kinds {
            for direction in Transition::ALL {
                drop(process.lease_transitions.get_or_create(&transition_labels(*kind, direction)));
            }
        }
        process.build_info.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        Metrics(Arc::new(Inner {
            registry,
            per_kind,
            process,
            lags: Default::default(),
            led: Default::default(),
            heartbeat: Mutex::default(),
        }))
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
        self.refresh_leases();
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
        let seconds = |gauge: f64| (gauge > 0.0).then_some(gauge);
        Summary {
            position: kinds.position_index.get(),
            lag_indexes: kinds.lag_indexes.get(),
            lag_seconds: kinds.lag_seconds.get(),
            last_received: seconds(kinds.last_received_timestamp_seconds.get()),
            last_delivered: seconds(kinds.last_delivered_timestamp_seconds.get()),
            delivered: kinds.records_delivered.get(),
            retries: kinds.retries.get(),
            dead_letters: dead_letters.iter().sum(),
            gaps: kinds.gaps.get(),
            in_flight_bytes: self.process().in_flight_bytes.get(),
            window_bytes: self.process().window_bytes.get(),
        }
    }

    /// Computes what depends on the moment again.
    fn refresh(&self, kind: Kind) {
        let PerKind { position_index, lag_indexes, lag_seconds, checkpoint_age_seconds, .. } = self.of(kind);
        let lag = &self.0.lags[kind as usize];
        let behind = lag.behind();
        if let Some(Behind { position, .. }) = behind {
            position_index.set(clamp(position.0));
        }
        let Behind { indexes, oldest_seconds, unsaved_seconds, .. } = behind.unwrap_or_default();
        lag_indexes.set(clamp(indexes));
        lag_seconds.set(oldest_seconds);
        checkpoint_age_seconds.set(unsaved_seconds);
        if let Some(ago) = lag.since_received() {
            self.of(kind).last_received_timestamp_seconds.set(unix_now() - ago.as_secs_f64());
        }
    }

    /// Computes the ages of leases again.
    fn refresh_leases(&self) {
        let led = Kind::ALL.map(|kind| *lock(&self.0.led[kind as usize]));
        let seconds = |since: Option<Instant>| since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        for (kind, since) in Kind::ALL.into_iter().zip(led) {
            self.of(kind).leadership_seconds.set(seconds(since));
        }
        // A coordinator without heartbeats has none that could be late.
        let (first, last) = (led.into_iter().flatten().min(), *lock(&self.0.heartbeat));
        let renewed = first.and_then(|first| last.map(|last| last.max(first)));
        self.process().heartbeat_age_seconds.set(seconds(renewed));
    }
}

/// The time of the machine's clock, in seconds since 1970.
fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
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
    pub lag_indexes: i64,
    /// Age of the oldest event that is not delivered yet.
    pub lag_seconds: f64,
    /// When the stream brought the last line of events, in Unix seconds.
    pub last_received: Option<f64>,
    /// When the sink acknowledged the last record, in Unix seconds.
    pub last_delivered: Option<f64>,
    /// Records delivered.
    pub delivered: u64,
    /// Records sent again because the sink failed.
    pub retries: u64,
    /// Dead letters, whatever their reason.
    pub dead_letters: u64,
    /// Ranges that cannot be proven complete.
    pub gaps: u64,
    /// Bytes of the whole pipeline that are read and not delivered.
    pub in_flight_bytes: i64,
    /// The bound on them.
    pub window_bytes: i64,
}

/// The certificates of this process and what it uses, as OpenMetrics text, where no [`Metrics::new`] has them.
///
/// # Errors
/// A metric could not be written as text.
pub fn of_process() -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Certificates));
    registry.register_collector(Box::new(Used));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

fn dead_letter_labels(kind: Kind, reason: &'static str) -> Labels<2> {
    [("kind", kind.name()), ("reason", reason)]
}

fn transition_labels(kind: Kind, direction: Transition) -> Labels<2> {
    [("kind", kind.name()), ("direction", direction.name())]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves plain data behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A gauge holds `i64`.
fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
