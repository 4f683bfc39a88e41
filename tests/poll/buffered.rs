//! A proxy that buffers the event stream: a real nginx, configured as it is shipped.

use nomad_sim::Sim;

use crate::common::{Setup, made, nginx::Nginx, probe::until_ready};
use crate::support::*;

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
    process.until_printed(91).await;
    append(&sim, 1_091..=1_095).await;
    process.until_printed(96).await;
    process.until_logged(POLLING).await;
    until_ready(ports.base, true, "proxy_buffering off").await;
    append(&sim, 1_096..=1_097).await;
    process.until_printed(98).await;
    assert_no_repeats(&versions(&process.stop().await));
}
