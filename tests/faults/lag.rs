//! How far delivery is behind, while the sink takes nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nomad_sim::Sim;

use crate::common::{
    Setup,
    probe::{until_value, value},
    server::{Reply, Server},
};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_received_and_not_delivered_is_lag() {
    const LAG: &str = "nomad_firehose_lag_indexes{kind=\"evaluations\"}";
    const OLDEST: &str = "nomad_firehose_lag_seconds{kind=\"evaluations\"}";
    const POSITION: &str = "nomad_firehose_position_index{kind=\"evaluations\"}";
    let sim = Sim::builder().start().await.expect("starts");
    let takes = Arc::new(AtomicBool::new(true));
    let decide = Arc::clone(&takes);
    let reply = move |_: &str| if decide.load(Ordering::SeqCst) { Reply::Take } else { Reply::Status(503) };
    let (server, ports) = (Server::start(reply).await, Ports::reserve());
    let process = Setup::new(&["evaluations"], &sim.url(0))
        .env("SINK_TYPE", "http")
        .env("SINK_HTTP_ADDRESS", server.url())
        .env("NOMAD_FIREHOSE_LISTEN", ports.address())
        .spawn();
    process.until_logged("subscribed").await;
    append_evaluations(&sim, 10..=15).await;
    process.until("the first are delivered", || server.taken().len() == 6).await;
    takes.store(false, Ordering::SeqCst);
    append_evaluations(&sim, 16..=165).await;
    process.until_logged("delivery failed").await;
    let port = ports.base;
    until_value(port, LAG, |lag| lag >= 150.0).await;
    assert_eq!((value(port, LAG).await, value(port, POSITION).await), (Some(150.0), Some(15.0)));
    until_value(port, OLDEST, |age| age > 0.1).await;
    let page = get(&format!("http://{}/", ports.address())).await;
    assert!(page.lines().any(|line| line.starts_with("evaluations") && line.contains(" 150 ")), "{page}");
    takes.store(true, Ordering::SeqCst);
    until_value(port, LAG, |lag| lag == 0.0).await;
    assert_eq!((value(port, OLDEST).await, value(port, POSITION).await), (Some(0.0), Some(165.0)));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_room_in_the_window_ages() {
    const AGE: &str = "nomad_firehose_lag_seconds{kind=\"nodes\"}";
    let sim = Sim::builder().start().await.expect("starts");
    let takes = Arc::new(AtomicBool::new(false));
    let decide = Arc::clone(&takes);
    let reply = move |_: &str| if decide.load(Ordering::SeqCst) { Reply::Take } else { Reply::Status(503) };
    let (server, ports) = (Server::start(reply).await, Ports::reserve());
    let process = Setup::new(&["run", "--resources", "evaluations,nodes"], &sim.url(0))
        .env("NOMAD_FIREHOSE_START", "now")
        .env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", "1MiB")
        .env("SINK_TYPE", "http")
        .env("SINK_HTTP_ADDRESS", server.url())
        .env("NOMAD_FIREHOSE_LISTEN", ports.address())
        .spawn();
    process.until("it subscribes", || sim.server(0).open_streams() > 0).await;
    // They fill the window. The node waits behind them, and no ledger knows it.
    let mut lines: Vec<_> = (10..=20).map(|index| large_evaluation(index, index, 200_000)).collect();
    lines.push(node(21, 21));
    sim.append_lines(lines).await.expect("lines of events");
    process.until_logged("delivery failed").await;
    until_value(ports.base, AGE, |age| age > 1.0).await;
    takes.store(true, Ordering::SeqCst);
    until_value(ports.base, AGE, |age| age == 0.0).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stands_still_while_tables_move_is_lag() {
    const LAG: &str = "nomad_firehose_lag_indexes{kind=\"evaluations\"}";
    const AGE: &str = "nomad_firehose_lag_seconds{kind=\"evaluations\"}";
    let (sim, ports) = (Sim::builder().start().await.expect("starts"), Ports::reserve());
    append_evaluations(&sim, 10..=12).await;
    let process = Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn();
    process.until_printed(3).await;
    until_value(ports.base, LAG, |lag| lag == 0.0).await;
    sim.server(0).stall_all();
    append_evaluations(&sim, 13..=17).await;
    until_value(ports.base, AGE, |age| age > 1.0).await;
    assert_eq!(value(ports.base, LAG).await, Some(5.0));
    sim.server(0).unstall();
    process.until_printed(8).await;
    until_value(ports.base, AGE, |age| age == 0.0).await;
    process.stop().await;
}
