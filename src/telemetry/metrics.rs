//! Every metric, with its name.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry},
};

use super::lag::{Backlog, Behind, Lag};
use crate::{kind::Kind, position::RaftIndex, tls};

/// The names as they are scraped.
pub mod names {
    /// Records that the sink has acknowledged.
    pub const RECORDS: &str = "nomad_firehose_records_delivered_total";
    /// Bytes of their bodies.
    pub const BYTES: &str = "nomad_firehose_bytes_delivered_total";
    /// Sends of a record after the first.
    pub const RETRIES: &str = "nomad_firehose_retries_total";
    /// Records that ended in the dead-letter place.
    pub const DEAD_LETTERS: &str = "nomad_firehose_dead_letters_total";
    /// Records given up undelivered because the lease was lost; the next holder sends them.
    pub const DROPPED: &str = "nomad_firehose_dropped_total";
    /// How long the sink took to answer for a batch, in seconds.
    pub const SINK_SECONDS: &str = "nomad_firehose_sink_answer_seconds";
    /// Stretches of the raft log in which an event may have been missed.
    pub const GAPS: &str = "nomad_firehose_gaps_total";
    /// The raft indexes in those stretches.
    pub const UNPROVABLE: &str = "nomad_firehose_unprovable_indexes_total";
    /// Tasks whose last delivered event was no longer among the ten that Nomad keeps.
    pub const LOST_MARKS: &str = "nomad_firehose_lost_marks_total";
    /// Lists read to make up for what the stream could not prove.
    pub const LISTED: &str = "nomad_firehose_listed_objects_total";
    pub const RECONCILES: &str = "nomad_firehose_reconciles_total";
    /// Pages of lists that could not be read; each is asked for again.
    pub const LIST_FAILURES: &str = "nomad_firehose_list_failures_total";
    /// Lists read because there is no event stream.
    pub const POLLS: &str = "nomad_firehose_polls_total";
    /// How long such a list took, from its first page to its last record, in seconds.
    pub const POLL_SECONDS: &str = "nomad_firehose_poll_seconds";
    /// Events that came again, were known, and were dropped.
    pub const REPEATS: &str = "nomad_firehose_repeats_dropped_total";
    /// Checkpoints stored.
    pub const CHECKPOINTS: &str = "nomad_firehose_checkpoints_total";
    /// Checkpoints that could not be stored.
    pub const CHECKPOINT_FAILURES: &str = "nomad_firehose_checkpoint_failures_total";
    /// Connections to the event stream after the first.
    pub const RECONNECTS: &str = "nomad_firehose_reconnects_total";
    /// Raft indexes of events that no table confirmed.
    pub const IMPLAUSIBLE: &str = "nomad_firehose_implausible_indexes_total";
    /// Lines of the stream that could not be read.
    pub const GARBAGE: &str = "nomad_firehose_garbage_lines_total";
    /// The raft index up to which the stream is delivered.
    pub const POSITION: &str = "nomad_firehose_position_index";
    /// How many raft indexes delivery is behind the newest one known.
    pub const LAG: &str = "nomad_firehose_lag_indexes";
    /// How long the oldest event that was received waits for the sink.
    pub const OLDEST: &str = "nomad_firehose_oldest_undelivered_seconds";
    /// Whether this process holds the lease.
    pub const LEADER: &str = "nomad_firehose_leader";
    /// Leases taken from a leader that had stood still.
    pub const TAKEOVERS: &str = "nomad_firehose_takeovers_total";
    /// Heartbeats that the coordinator has.
    pub const HEARTBEATS: &str = "nomad_firehose_heartbeats_total";
    /// Heartbeats that could not be written.
    pub const HEARTBEAT_FAILURES: &str = "nomad_firehose_heartbeat_failures_total";
    /// Tasks whose last delivered event is remembered.
    pub const MARKS: &str = "nomad_firehose_marks";
    /// Bytes read and not yet delivered.
    pub const IN_FLIGHT: &str = "nomad_firehose_in_flight_bytes";
    /// Bytes of the stream that a standby holds, ready to take over.
    pub const STANDBY: &str = "nomad_firehose_standby_bytes";
    /// Days until a certificate in use expires; negative once it has.
    pub const CERTIFICATES: &str = "nomad_firehose_certificate_expiry_days";
    /// Always 1, with the version as its label.
    pub const BUILD: &str = "nomad_firehose_build_info";
}

/// The reason of a dead letter that the sink rejected.
pub const REJECTED: &str = "rejected";
/// The reason of a dead letter that never became a record.
pub const INPUT: &str = "input";

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// All metrics of one process. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// In the order of [`Kind::ALL`].
    kinds: [PerKind; Kind::ALL.len()],
    /// In the same order.
    lags: [Lag; Kind::ALL.len()],
    dead_letters: Family<Labels<2>, Counter>,
    reconnects: Counter,
    heartbeats: Counter,
    heartbeat_failures: Counter,
    garbage_lines: Counter,
    implausible_indexes: Counter,
    in_flight: Gauge,
    standby: Gauge,
    sink_seconds: Histogram,
    poll_seconds: Histogram,
}

/// The certificates in use, as they are when they are scraped: days pass, and files are renewed.
#[derive(Debug)]
struct Certificates;

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let expiries = tls::expiries();
        if expiries.is_empty() {
            return Ok(());
        }
        let help = "Days until a certificate in use expires";
        let mut metric = encoder.encode_descriptor(names::CERTIFICATES, help, None, MetricType::Gauge)?;
        for expiry in expiries {
            let file = expiry.path.display().to_string();
            let labels = [("role", expiry.role), ("variable", expiry.variable), ("file", &file)];
            ConstGauge::new(expiry.days_left()).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
struct PerKind {
    records: Counter,
    bytes: Counter,
    retries: Counter,
    dropped: Counter,
    gaps: Counter,
    unprovable: Counter,
    lost_marks: Counter,
    listed: Counter,
    reconciles: Counter,
    list_failures: Counter,
    polls: Counter,
    repeats: Counter,
    checkpoints: Counter,
    checkpoint_failures: Counter,
    takeovers: Counter,
    position: Gauge,
    lag: Gauge,
    oldest: Gauge<f64, AtomicU64>,
    leader: Gauge,
    task_cursors: Gauge,
    /// The sum over all reasons, for the status page alone.
    dead_letters: Counter,
}

impl Metrics {
    /// Metrics with a series for each of `kinds`; those of other kinds count, and are not shown.
    pub fn new(kinds: &[Kind]) -> Self {
        let mut registry = Registry::default();
        let mut per_kind = <[PerKind; Kind::ALL.len()]>::default();
        let mut all = Kinds { registry: &mut registry, wanted: kinds, per_kind: &mut per_kind };
        all.counter(names::RECORDS, "Records that the sink has acknowledged", |it| &mut it.records);
        all.counter(names::BYTES, "Bytes of the bodies that the sink has acknowledged", |it| &mut it.bytes);
        all.counter(names::RETRIES, "Sends of a record after the first", |it| &mut it.retries);
        all.counter(
            names::DROPPED,
            "Records read but not sent because the lease was lost; the next leader sends them",
            |it| &mut it.dropped,
        );
        all.counter(names::GAPS, "Ranges of raft indexes in which an event may be missing", |it| &mut it.gaps);
        all.counter(names::UNPROVABLE, "Raft indexes in the ranges that nomad_firehose_gaps_total counts", |it| {
            &mut it.unprovable
        });
        let help =
            "Times that a task may have had more new events than the ten that Nomad keeps, so that some are missing";
        all.counter(names::LOST_MARKS, help, |it| &mut it.lost_marks);
        all.counter(names::LISTED, "Objects in the lists that were read", |it| &mut it.listed);
        let help = "Backfills: lists read because the event stream cannot be proven complete";
        all.counter(names::RECONCILES, help, |it| &mut it.reconciles);
        all.counter(names::LIST_FAILURES, "Pages of lists that could not be read", |it| &mut it.list_failures);
        all.counter(names::POLLS, "Lists read because there is no event stream", |it| &mut it.polls);
        all.counter(
            names::REPEATS,
            "Events that Nomad sent again after they were delivered, and that were not sent again",
            |it| &mut it.repeats,
        );
        all.counter(names::CHECKPOINTS, "Checkpoints stored", |it| &mut it.checkpoints);
        all.counter(names::CHECKPOINT_FAILURES, "Checkpoints that could not be stored", |it| {
            &mut it.checkpoint_failures
        });
        all.counter(names::TAKEOVERS, "Leases taken over from a leader that had stopped renewing them", |it| {
            &mut it.takeovers
        });
        all.gauge(names::POSITION, "Raft index up to which the stream is delivered", |it| &mut it.position);
        all.gauge(names::LAG, "Raft indexes that are known and not delivered", |it| &mut it.lag);
        all.gauge(names::OLDEST, "Age of the oldest event that waits for the sink", |it| &mut it.oldest);
        all.gauge(names::LEADER, "1 while this process holds the lease", |it| &mut it.leader);
        all.gauge(names::MARKS, "Tasks whose last delivered event is remembered", |it| &mut it.task_cursors);

        let dead_letters = Family::<Labels<2>, Counter>::default();
        // An increase can only be computed from a series that was there before. A line of the stream that no event can be
        // made of is of no kind, and counts with `events`.
        let input = kinds.iter().copied().chain([Kind::Events]).map(|kind| (kind, INPUT));
        for (kind, reason) in kinds.iter().map(|kind| (*kind, REJECTED)).chain(input) {
            drop(dead_letters.get_or_create(&[("kind", kind.name()), ("reason", reason)]));
        }
        let (reconnects, garbage_lines) = (Counter::default(), Counter::default());
        let (in_flight, standby) = (Gauge::default(), Gauge::default());
        // From half a millisecond, a local pipe, to half a minute, a sink in trouble.
        let sink_seconds = Histogram::new(exponential_buckets(0.0005, 4.0, 9));
        // From ten milliseconds, a page, to a minute and more, a huge cluster.
        let poll_seconds = Histogram::new(exponential_buckets(0.01, 4.0, 8));
        let build = Family::<Labels<1>, Gauge>::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        register(
            &mut registry,
            names::DEAD_LETTERS,
            "Records that the sink rejected, and input that no record can be made of (reason input), put into the dead-letter place",
            &dead_letters,
        );
        register(&mut registry, names::RECONNECTS, "Connections to the event stream after the first", &reconnects);
        let (heartbeats, heartbeat_failures) = (Counter::default(), Counter::default());
        register(
            &mut registry,
            names::HEARTBEATS,
            "Heartbeats that this process has written to the coordinator",
            &heartbeats,
        );
        register(
            &mut registry,
            names::HEARTBEAT_FAILURES,
            "Heartbeats that this process could not write to the coordinator",
            &heartbeat_failures,
        );
        let implausible_indexes = Counter::default();
        let help = "Events with a raft index that none of the tables of Nomad confirmed";
        register(&mut registry, names::IMPLAUSIBLE, help, &implausible_indexes);
        register(
            &mut registry,
            names::GARBAGE,
            "Lines of the event stream that are no events: an error message in its place, or damage on the way",
            &garbage_lines,
        );
        register(&mut registry, names::IN_FLIGHT, "Bytes read and not yet delivered", &in_flight);
        register(&mut registry, names::STANDBY, "Bytes of the stream held for a take-over", &standby);
        register(&mut registry, names::SINK_SECONDS, "Time the sink took to answer for a batch", &sink_seconds);
        register(&mut registry, names::POLL_SECONDS, "Time a list took where there is no stream", &poll_seconds);
        register(&mut registry, names::BUILD, "Always 1", &build);
        registry.register_collector(Box::new(Certificates));
        Metrics(Arc::new(Inner {
            registry,
            kinds: per_kind,
            lags: Default::default(),
            dead_letters,
            reconnects,
            heartbeats,
            heartbeat_failures,
            garbage_lines,
            implausible_indexes,
            in_flight,
            standby,
            sink_seconds,
            poll_seconds,
        }))
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
        self.of(kind).dead_letters.inc_by(records);
        self.0.dead_letters.get_or_create(&[("kind", kind.name()), ("reason", reason)]).inc_by(records);
    }

    /// `records` records were given up undelivered because the lease was lost.
    pub fn dropped(&self, kind: Kind, records: u64) {
        self.of(kind).dropped.inc_by(records);
    }

    /// The sink answered for a batch, `elapsed` after it was given it.
    pub fn answered(&self, elapsed: Duration) {
        self.0.sink_seconds.observe(elapsed.as_secs_f64());
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
        self.0.poll_seconds.observe(elapsed.as_secs_f64());
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
        self.0.reconnects.inc();
    }

    /// A heartbeat of this process was written, or could not be.
    pub fn heartbeat(&self, written: bool) {
        match written {
            true => self.0.heartbeats.inc(),
            false => self.0.heartbeat_failures.inc(),
        };
    }

    /// A lease was taken from a leader that had stood still.
    pub fn takeover(&self, kind: Kind) {
        self.of(kind).takeovers.inc();
    }

    /// A line of the stream could not be read.
    pub fn garbage_line(&self) {
        self.0.garbage_lines.inc();
    }

    /// An event has a raft index that no table confirms.
    pub fn implausible_index(&self) {
        self.0.implausible_indexes.inc();
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
        self.0.in_flight.inc_by(clamp(bytes as u64));
    }

    /// `bytes` bytes left a window.
    pub fn in_flight_freed(&self, bytes: usize) {
        self.0.in_flight.dec_by(clamp(bytes as u64));
    }

    /// A standby holds `bytes` bytes more.
    pub fn standby_held(&self, bytes: usize) {
        self.0.standby.inc_by(clamp(bytes as u64));
    }

    /// A standby let `bytes` bytes go, or they are on their way to the sink.
    pub fn standby_freed(&self, bytes: usize) {
        self.0.standby.dec_by(clamp(bytes as u64));
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
        let PerKind { records, gaps, position, lag, oldest, dead_letters, .. } = self.of(kind);
        Summary {
            position: position.get(),
            lag: lag.get(),
            oldest_seconds: oldest.get(),
            delivered: records.get(),
            dead_letters: dead_letters.get(),
            gaps: gaps.get(),
        }
    }

    fn of(&self, kind: Kind) -> &PerKind {
        &self.0.kinds[kind as usize]
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

/// Registers a family of each metric, and hands each kind its own series.
struct Kinds<'a> {
    registry: &'a mut Registry,
    wanted: &'a [Kind],
    per_kind: &'a mut [PerKind; Kind::ALL.len()],
}

impl Kinds<'_> {
    fn counter(&mut self, name: &str, help: &str, place: impl Fn(&mut PerKind) -> &mut Counter) {
        let family = Family::<Labels<1>, Counter>::default();
        for kind in self.wanted {
            *place(&mut self.per_kind[*kind as usize]) = family.get_or_create_owned(&[("kind", kind.name())]);
        }
        register(self.registry, name, help, &family);
    }

    fn gauge<N, A>(&mut self, name: &str, help: &str, place: impl Fn(&mut PerKind) -> &mut Gauge<N, A>)
    where
        Gauge<N, A>: Metric + Clone + Default,
    {
        let family = Family::<Labels<1>, Gauge<N, A>>::default();
        for kind in self.wanted {
            *place(&mut self.per_kind[*kind as usize]) = family.get_or_create_owned(&[("kind", kind.name())]);
        }
        register(self.registry, name, help, &family);
    }
}

/// The library adds `_total` to a counter and a point to the help by itself.
fn register(registry: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    registry.register(name.strip_suffix("_total").unwrap_or(name), help, metric.clone());
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Front;

    struct At15;

    impl Backlog for At15 {
        fn front(&self) -> Front {
            Front { position: RaftIndex(15), ..Front::default() }
        }
    }

    #[test]
    fn what_is_counted_is_scraped_under_its_name() {
        let metrics = Metrics::new(&[Kind::Jobs]);
        metrics.delivered(Kind::Jobs, 3, 300);
        metrics.retried(Kind::Jobs, 2);
        metrics.gap(Kind::Jobs, 17);
        metrics.lost_mark(Kind::Jobs);
        metrics.reconcile(Kind::Jobs);
        metrics.listed(Kind::Jobs, 2);
        metrics.repeats_dropped(Kind::Jobs, 5);
        metrics.checkpoint(Kind::Jobs, true);
        metrics.checkpoint(Kind::Jobs, false);
        metrics.dead_letters(Kind::Jobs, "refused", 1);
        metrics.dropped(Kind::Jobs, 8);
        metrics.answered(Duration::from_millis(30));
        metrics.reconnect();
        metrics.garbage_line();
        metrics.implausible_index();
        metrics.seen(Kind::Jobs, RaftIndex(19));
        metrics.follow(Kind::Jobs, Some(Arc::new(At15)));
        metrics.leader(Kind::Jobs, true);
        metrics.task_cursors(Kind::Jobs, 6);
        metrics.in_flight_taken(10);
        metrics.in_flight_freed(3);
        metrics.standby_held(20);
        metrics.standby_freed(9);
        let text = metrics.encode().expect("it can be encoded");
        for (name, value) in [
            (names::RECORDS, 3),
            (names::BYTES, 300),
            (names::RETRIES, 2),
            (names::DROPPED, 8),
            (names::GAPS, 1),
            (names::UNPROVABLE, 17),
            (names::LOST_MARKS, 1),
            (names::RECONCILES, 1),
            (names::REPEATS, 5),
            (names::CHECKPOINTS, 1),
            (names::CHECKPOINT_FAILURES, 1),
            (names::POSITION, 15),
            (names::LAG, 4),
            (names::LEADER, 1),
            (names::MARKS, 6),
        ] {
            let line = format!("\n{name}{{kind=\"jobs\"}} {value}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        for line in [
            format!("{}{{kind=\"jobs\",reason=\"refused\"}} 1", names::DEAD_LETTERS),
            format!("{}_count 1", names::SINK_SECONDS),
            format!("{} 1", names::RECONNECTS),
            format!("{} 1", names::GARBAGE),
            format!("{} 1", names::IMPLAUSIBLE),
            format!("{} 7", names::IN_FLIGHT),
            format!("{} 11", names::STANDBY),
            format!("{}{{version=\"{}\"}} 1", names::BUILD, env!("CARGO_PKG_VERSION")),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n") && !text.contains("nodes"), "{text}");
        let expected = Summary { position: 15, lag: 4, oldest_seconds: 0.0, delivered: 3, dead_letters: 1, gaps: 1 };
        assert_eq!(metrics.summary(Kind::Jobs), expected);
    }

    #[test]
    fn dead_letters_have_their_series_before_the_first_one() {
        let text = Metrics::new(&[Kind::Jobs]).encode().expect("text");
        for reason in ["rejected", "input"] {
            let line = format!("\n{}{{kind=\"jobs\",reason=\"{reason}\"}} 0\n", names::DEAD_LETTERS);
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(!text.contains("nodes"), "{text}");
    }

    #[test]
    fn kinds_stand_where_their_number_says() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
