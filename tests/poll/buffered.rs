//! A proxy that buffers the event stream: a real nginx, configured as it is shipped.

use std::time::Duration;

use nomad_sim::Sim;

use crate::common::{
    Setup, Signal, made,
    nginx::Nginx,
    probe::{metric, readiness, until_ready, until_value},
};
use crate::support::*;

/// Often, so that a stream that is not held back any more is noticed soon.
const HEARTBEAT: Duration = Duration::from_secs(1);

fn setup(nginx: &Nginx) -> Setup {
    Setup::new(&["evaluations"], &nginx.url()).env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms")
}

async fn append(sim: &Sim, indexes: std::ops::RangeInclusive<u64>) {
    sim.append_lines(indexes.map(|index| made::evaluation(index, index))).await.expect("lines of events");
}

/// Not even the first line comes: nginx ends the connection after its read time-out, which is a minute unless it is set.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_which_nothing_comes_is_replaced_by_lists() {
    let sim = Sim::builder().start().await.expect("the simulator starts");
    append(&sim, 10..=15).await;
    let (nginx, ports) = (Nginx::start(sim.addr(0), "proxy_read_timeout 2s;").await, Ports::reserve());
    let process = setup(&nginx).env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn();
    process.until_printed(6).await;
    process.until_logged(POLLING).await;
    until_ready(ports.base, true, "proxy_buffering off").await;
    append(&sim, 16..=17).await;
    process.until_printed(8).await;
    assert_no_repeats(&versions(&process.stop().await));
}

/// The buffer is passed on whenever it is full, and the rest waits for more: half a line, which never grows.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_at_the_edge_of_a_buffer_is_replaced_by_lists() {
    let sim = Sim::builder().start().await.expect("the simulator starts");
    append(&sim, 1_000..=1_000).await;
    let (nginx, ports) = (Nginx::start(sim.addr(0), "").await, Ports::reserve());
    append(&sim, 1_001..=1_090).await;
    let process = setup(&nginx).env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn();
    until_ready(ports.base, false, "proxy_buffering off").await;
    process.until_printed(91).await;
    append(&sim, 1_091..=1_095).await;
    process.until_printed(96).await;
    process.until_logged(POLLING).await;
    until_ready(ports.base, true, "proxy_buffering off").await;
    append(&sim, 1_096..=1_097).await;
    process.until_printed(98).await;
    assert_no_repeats(&versions(&process.stop().await));
}

/// No list has raw events: they are behind for as long as lists stand in, and come when there is a stream again.
#[tokio::test(flavor = "multi_thread")]
async fn raw_events_lag_while_lists_stand_in_for_the_stream() {
    const LAG: &str = "nomad_firehose_lag_indexes{kind=\"events\"}";
    const OLDEST: &str = "nomad_firehose_lag_seconds{kind=\"events\"}";
    let sim = Sim::builder().heartbeat(HEARTBEAT).start().await.expect("the simulator starts");
    append(&sim, 10..=15).await;
    let (mut nginx, ports) = (Nginx::start(sim.addr(0), "proxy_read_timeout 2s;").await, Ports::reserve());
    let process = Setup::new(&["run", "--resources", "evaluations,events"], &nginx.url())
        .env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address())
        .spawn();
    process.until_logged(POLLING).await;
    append(&sim, 16..=17).await;
    process.until_printed(8).await;
    until_value(ports.base, LAG, |lag| lag >= 17.0).await;
    until_value(ports.base, OLDEST, |age| age > 0.1).await;
    assert_eq!(metric(ports.base, "nomad_firehose_lag_indexes{kind=\"evaluations\"}").await, 0);
    nginx.restart("proxy_buffering off;").await;
    process.until_logged("event stream available again").await;
    process.until_printed(16).await;
    until_value(ports.base, LAG, |lag| lag == 0.0).await;
    until_value(ports.base, OLDEST, |age| age == 0.0).await;
    append(&sim, 18..=18).await;
    process.until_printed(18).await;
    let printed = process.stop().await;
    assert_eq!(printed.iter().filter(|record| record.contains("\"Topic\":")).count(), 9);
    assert_no_repeats(&versions(&printed));
}

/// Lists show no versions in between: what they stand in for is told at once, and after a restart as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_lists_stand_in_for_is_counted_as_it_happens() {
    const GAPS: &str = "nomad_firehose_gaps_total{kind=\"evaluations\"}";
    const INDEXES: &str = "nomad_firehose_gap_indexes_total{kind=\"evaluations\"}";
    let sim = Sim::builder().start().await.expect("the simulator starts");
    append(&sim, 10..=15).await;
    let nginx = Nginx::start(sim.addr(0), "proxy_read_timeout 2s;").await;
    let data = tempfile::tempdir().expect("a temporary directory");
    let with_data = || {
        let ports = Ports::reserve();
        let setup = setup(&nginx).data_dir(data.path()).env("NOMAD_FIREHOSE_LISTEN", ports.address());
        (setup.spawn(), ports)
    };
    let (process, ports) = with_data();
    process.until_printed(6).await;
    process.until_logged(POLLING).await;
    assert_eq!(
        (metric(ports.base, GAPS).await, metric(ports.base, INDEXES).await),
        (0, 0),
        "a first list misses nothing"
    );
    // Two versions of one object, of which a list has the second.
    let versions = [16, 17].map(|index| made::evaluation(index, 7));
    sim.append_lines(versions).await.expect("lines of events");
    until_value(ports.base, INDEXES, |indexes| indexes == 2.0).await;
    assert_eq!(metric(ports.base, GAPS).await, 1);
    process.end_by(Signal::KILL).await;
    append(&sim, 18..=19).await;
    let (process, ports) = with_data();
    process.until_logged(POLLING).await;
    until_value(ports.base, INDEXES, |indexes| indexes >= 2.0).await;
    assert_eq!(metric(ports.base, GAPS).await, 1);
    process.stop().await;
}

/// Where lists are not to take over, the kind is blocked until the stream flows; that a full buffer was passed on is not
/// that.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_held_back_stays_blocked_where_lists_are_not_wanted() {
    let sim = Sim::builder().heartbeat(HEARTBEAT).start().await.expect("the simulator starts");
    append(&sim, 1_000..=1_000).await;
    let (mut nginx, ports) = (Nginx::start(sim.addr(0), "").await, Ports::reserve());
    append(&sim, 1_001..=1_090).await;
    let setup = setup(&nginx).env("NOMAD_FIREHOSE_SOURCE", "stream").env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let process = setup.spawn();
    process.until_logged("a proxy probably buffers it").await;
    until_ready(ports.base, false, "proxy_buffering off").await;
    // What fills the buffer comes through, so that the stream is never far behind; for longer than until the next look at
    // the tables.
    let next = 1_091 + 30 * 15;
    for first in (1_091..next).step_by(30) {
        append(&sim, first..=first + 29).await;
        for _ in 0..20 {
            let (ready, said) = readiness(ports.base).await.expect("it listens");
            assert!(!ready, "{said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    nginx.restart("proxy_buffering off;").await;
    until_ready(ports.base, true, "leader").await;
    process.until_logged("event stream is no longer held back").await;
    process.until_printed(usize::try_from(next - 1_000).expect("few")).await;
    assert_no_repeats(&versions(&process.stop().await));
}
