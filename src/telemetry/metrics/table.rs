//! Every metric: one line is all that declares one, and its field is its name. `docs/monitoring.md` says what each means for an
//! operator; a test compares the two.

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
use crate::{kind::Kind, telemetry::latency::Latency};

/// From one record to the largest batches.
fn batch_records() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 4.0, 7))
}

/// From half a millisecond, a local pipe, to half a minute, a sink in trouble.
fn response_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 4.0, 9))
}

/// A gauge of seconds.
type Seconds = Gauge<f64, AtomicU64>;

metrics! {
    /// The metrics of one resource kind.
    struct PerKind, for each kind;
    records_delivered: Counter, "Records that the sink has acknowledged";
    records_filtered: Counter, "Records that the jq program or a counting rule dropped";
    bytes_delivered: Counter, "Bytes of record bodies that the sink has acknowledged";
    retries: Counter, "Records sent again because the sink failed or did not answer";
    records_summarized: Counter, "Records that a summary stands for";
    summaries: Counter, "Summaries of messages, each of which is one message to the sink";
    records_unsent_at_lease_loss: Counter, "Records read but not sent because the lease was lost; the next leader sends them";
    gaps: Counter, "Gaps: ranges of raft indexes that cannot be proven complete, so that events may be missing";
    gap_indexes: Counter, "Raft indexes inside gaps";
    task_events_possibly_missed: Counter, "Times a task may have had more new events than the ten that Nomad keeps, so that the oldest are missing";
    backfills: Counter, "Lists read at a first start, and to fill gaps in the event stream";
    polls: Counter, "Lists read because there is no event stream";
    listed_objects: Counter, "Objects in the lists that were read, by backfills and polls";
    list_failures: Counter, "Pages of lists that could not be read; each is tried again";
    duplicate_events_skipped: Counter, "Events that Nomad sent again after their delivery, and that were not delivered again";
    lookups_failed: Counter, "Records whose $diff, $node or $job is null because Nomad fails for the object that it comes from";
    checkpoints: Counter, "Checkpoints stored";
    checkpoint_failures: Counter, "Checkpoints that could not be stored; a crash now would repeat more records";
    takeovers: Counter, "Leases taken over from a leader that had stopped renewing them";
    position_index: Gauge, "Raft index up to which the event stream is delivered";
    lag_indexes: Gauge, "Raft indexes that Nomad has reached and that are not delivered yet";
    lag_seconds: Seconds, "Age in seconds of the oldest event that is not delivered yet";
    last_received_timestamp_seconds: Seconds, "Unix time at which the event stream brought the last line of events; 0 before the first";
    last_delivered_timestamp_seconds: Seconds, "Unix time at which the sink acknowledged the last record; 0 before the first";
    delivery_latency_seconds: Histogram = Latency::default().0, "Time in seconds from the arrival of a line or object until its last record was acknowledged";
    checkpoint_age_seconds: Seconds, "Seconds since something was delivered that no checkpoint holds yet; 0 while everything is stored";
    ready: Gauge, "1 if the kind is led by this replica, or this replica is ready to take over";
    leadership_seconds: Seconds, "Seconds since this replica became the leader; 0 while it is not";
    leader: Gauge, "1 if this replica holds the lease, otherwise 0";
    task_cursors: Gauge, "Tasks whose last delivered event is remembered";
}

metrics! {
    /// The metrics of the process as a whole.
    struct Process, once;
    dead_letters: Labelled<2, Counter>, "Dead letters: records that the sink rejected (reason rejected), and input that no record can be made of (reason input)";
    state: Labelled<2, Gauge>, "1 for the state in which the kind is, otherwise 0";
    stream_state: Labelled<2, Gauge>, "1 for the state of the connection to Nomad by which the kind is read, otherwise 0; 0 for all while another replica leads";
    lease_transitions: Labelled<2, Counter>, "Leases that this replica acquired, released or lost";
    sink_requests: Labelled<1, Counter>, "Batches that the sink has answered for, well or not";
    sink_errors: Labelled<2, Counter>, "Answers of the sink with a failure, by the kind of failure";
    stream_reconnects: Counter, "Connections to the event stream after the first";
    unreadable_lines: Counter, "Lines of the event stream that are not events: an error message in their place, or damage on the way";
    implausible_indexes: Counter, "Events with a raft index that no table of Nomad confirms";
    rule_groups_forgotten: Counter, "Groups of counting rules that were forgotten because there were too many";
    heartbeats: Counter, "Lease heartbeats written to the coordinator";
    heartbeat_failures: Counter, "Lease heartbeats that could not be written to the coordinator";
    in_flight_bytes: Gauge, "Bytes read from Nomad and not delivered yet";
    window_bytes: Gauge, "The most bytes that may be read from Nomad and not delivered yet";
    replay_buffer_bytes: Gauge, "Bytes of the event stream that a standby holds in its replay buffer, ready to take over";
    heartbeat_age_seconds: Seconds, "Seconds since the last lease heartbeat was written; 0 while nothing is led";
    sink_batch_records: Labelled<1, Histogram> = Labelled::new_with_constructor(batch_records), "Records in the batches that the sink has answered for";
    sink_response_seconds: Labelled<1, Histogram> = Labelled::new_with_constructor(response_seconds), "Time in seconds that the sink took to answer for a batch";
    // From two milliseconds, a disk, to half a minute, a coordinator in trouble.
    checkpoint_duration_seconds: Histogram = Histogram::new(exponential_buckets(0.002, 4.0, 8)), "Time in seconds that storing a checkpoint took, with the wait for the heartbeat that carries it";
    // From ten milliseconds, a page, to a minute and more, a huge cluster.
    poll_seconds: Histogram = Histogram::new(exponential_buckets(0.01, 4.0, 8)), "Time in seconds that a poll took, from its first page to its last record";
    build_info: Labelled<1, Gauge>, "Version of this program, as a label; the value is always 1";
}
