//! Every metric: one line is all that declares one. What each means for an operator is in `docs/metrics.md`; a test compares the
//! two.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::declare::{Labelled, metrics};
use crate::kind::Kind;

/// A gauge of seconds.
type Seconds = Gauge<f64, AtomicU64>;

metrics! {
    /// The metrics of one resource kind.
    struct PerKind, for each kind;
    records: Counter, "nomad_firehose_records_delivered_total", "Records that the sink has acknowledged";
    bytes: Counter, "nomad_firehose_bytes_delivered_total", "Bytes of the bodies that the sink has acknowledged";
    retries: Counter, "nomad_firehose_retries_total", "Sends of a record after the first";
    dropped: Counter, "nomad_firehose_dropped_total", "Records read but not sent because the lease was lost; the next leader sends them";
    gaps: Counter, "nomad_firehose_gaps_total", "Ranges of raft indexes in which an event may be missing";
    unprovable: Counter, "nomad_firehose_unprovable_indexes_total", "Raft indexes in the ranges that nomad_firehose_gaps_total counts";
    lost_marks: Counter, "nomad_firehose_lost_marks_total", "Times that a task may have had more new events than the ten that Nomad keeps, so that some are missing";
    listed: Counter, "nomad_firehose_listed_objects_total", "Objects in the lists that were read";
    reconciles: Counter, "nomad_firehose_reconciles_total", "Backfills: lists read because the event stream cannot be proven complete";
    list_failures: Counter, "nomad_firehose_list_failures_total", "Pages of lists that could not be read";
    polls: Counter, "nomad_firehose_polls_total", "Lists read because there is no event stream";
    repeats: Counter, "nomad_firehose_repeats_dropped_total", "Events that Nomad sent again after they were delivered, and that were not sent again";
    checkpoints: Counter, "nomad_firehose_checkpoints_total", "Checkpoints stored";
    checkpoint_failures: Counter, "nomad_firehose_checkpoint_failures_total", "Checkpoints that could not be stored";
    takeovers: Counter, "nomad_firehose_takeovers_total", "Leases taken over from a leader that had stopped renewing them";
    position: Gauge, "nomad_firehose_position_index", "Raft index up to which the stream is delivered";
    lag: Gauge, "nomad_firehose_lag_indexes", "Raft indexes that are known and not delivered";
    oldest: Seconds, "nomad_firehose_oldest_undelivered_seconds", "Age of the oldest event that waits for the sink";
    leader: Gauge, "nomad_firehose_leader", "1 while this process holds the lease";
    task_cursors: Gauge, "nomad_firehose_marks", "Tasks whose last delivered event is remembered";
}

metrics! {
    /// The metrics of the process as a whole.
    struct Process, once;
    dead_letters: Labelled<2, Counter>, "nomad_firehose_dead_letters_total", "Records that the sink rejected, and input that no record can be made of (reason input), put into the dead-letter place";
    reconnects: Counter, "nomad_firehose_reconnects_total", "Connections to the event stream after the first";
    heartbeats: Counter, "nomad_firehose_heartbeats_total", "Heartbeats that this process has written to the coordinator";
    heartbeat_failures: Counter, "nomad_firehose_heartbeat_failures_total", "Heartbeats that this process could not write to the coordinator";
    implausible_indexes: Counter, "nomad_firehose_implausible_indexes_total", "Events with a raft index that none of the tables of Nomad confirmed";
    garbage_lines: Counter, "nomad_firehose_garbage_lines_total", "Lines of the event stream that are no events: an error message in its place, or damage on the way";
    in_flight: Gauge, "nomad_firehose_in_flight_bytes", "Bytes read and not yet delivered";
    standby: Gauge, "nomad_firehose_standby_bytes", "Bytes of the stream held for a take-over";
    // From half a millisecond, a local pipe, to half a minute, a sink in trouble.
    sink_seconds: Histogram = Histogram::new(exponential_buckets(0.0005, 4.0, 9)), "nomad_firehose_sink_answer_seconds", "Time the sink took to answer for a batch";
    // From ten milliseconds, a page, to a minute and more, a huge cluster.
    poll_seconds: Histogram = Histogram::new(exponential_buckets(0.01, 4.0, 8)), "nomad_firehose_poll_seconds", "Time a list took where there is no stream";
    build: Labelled<1, Gauge>, "nomad_firehose_build_info", "Always 1";
}
