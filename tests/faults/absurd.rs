//! An index that no cluster has: the event is delivered, and the position stays where the cluster is.

use nomad_sim::{Broker, Sim};
use serde_json::Value;

use crate::common::Setup;
use crate::support::*;

const ABSURD: u64 = 1 << 63;

/// The index that each printed evaluation has.
fn indexes(printed: &[String]) -> Vec<u64> {
    let index = |record: &String| serde_json::from_str::<Value>(record).expect("JSON")["ModifyIndex"].as_u64();
    printed.iter().map(|record| index(record).expect("an index")).collect()
}

fn stray(sim: &Sim, index: u64) {
    sim.server(0).publish_stray(evaluation(index, 1_000)).expect("a line of events");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_index_is_delivered_once_and_does_not_move_the_position() {
    let sim = Sim::builder().start().await.expect("starts");
    append_evaluations(&sim, 10..=15).await;
    let (dir, ports) = (tempfile::tempdir().expect("a directory"), Ports::reserve());
    let setup = Setup::new(&["evaluations"], &sim.url(0)).data_dir(dir.path());
    let setup = setup.env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let process = setup.spawn();
    process.until_printed(6).await;
    stray(&sim, ABSURD);
    process.until_printed(7).await;
    append_evaluations(&sim, 16..=17).await;
    process.until_printed(9).await;
    process.until_logged("index of an event is implausible").await;
    // The next subscription brings it again.
    let asked = subscriptions(&sim);
    process.until("it subscribes again", || subscriptions(&sim) > 1).await;
    append_evaluations(&sim, 18..=19).await;
    process.until_printed(11).await;
    reconnect(&sim, &process).await;
    append_evaluations(&sim, 20..=20).await;
    process.until_printed(12).await;
    assert!(subscriptions(&sim) <= asked.max(2) + 1, "it subscribes again and again:\n{}", process.log());
    assert_eq!(process.logged("index of an event is implausible"), 1, "{}", process.log());
    assert_eq!(metric(ports.base, "nomad_firehose_implausible_indexes_total").await, 1);
    assert_eq!(metric(ports.base, "nomad_firehose_position_index{kind=\"evaluations\"}").await, 20);
    let first = process.stop().await;
    assert_eq!(indexes(&first), [10, 11, 12, 13, 14, 15, ABSURD, 16, 17, 18, 19, 20]);

    append_evaluations(&sim, 21..=22).await;
    let process = setup.spawn();
    process.until("what follows is printed", || indexes(&process.printed()).ends_with(&[22])).await;
    let second: Vec<_> = indexes(&process.stop().await).into_iter().filter(|index| *index != ABSURD).collect();
    assert_eq!(second, [21, 22]);
}

/// Behind a long outage, and on the first start on an old cluster, one look at the table is enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_way_that_the_cluster_has_gone_is_believed() {
    // Every five seconds at most the program looks at the table anyway, and a busy machine can let some of them pass.
    let begun = std::time::Instant::now();
    let watches = || usize::try_from(begun.elapsed().as_secs() / 5).expect("few");
    let sim = Sim::builder().buffer(4).start().await.expect("starts");
    append_evaluations(&sim, 5_000_000..=5_000_000).await;
    let process = Setup::new(&["evaluations"], &sim.url(0)).verbose().spawn();
    process.until_printed(1).await;
    process.until_logged("backfill finished").await;
    assert!(table_looks(&sim) <= 1 + watches(), "{:?}", sim.requests());
    append_evaluations(&sim, 5_000_001..=5_000_002).await;
    process.until_printed(3).await;
    refuse(&sim).await;
    append_evaluations(&sim, 7_100_000..=7_100_009).await;
    sim.server(0).refuse(false);
    process.until_printed(13).await;
    assert_eq!(process.logged("gap detected"), 1, "{}", process.log());
    assert!(table_looks(&sim) <= 2 + watches(), "{:?}", sim.requests());
    let mut printed = indexes(&process.stop().await);
    printed.sort_unstable();
    assert_eq!(printed, (5_000_000..=5_000_002).chain(7_100_000..=7_100_009).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_absurd_answer_of_a_table_is_not_where_a_start_at_now_begins() {
    let sim = Sim::builder().start().await.expect("starts");
    append_evaluations(&sim, 10..=15).await;
    sim.server(0).wrong_index(1, ABSURD);
    let process = Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_FIREHOSE_START", "now").spawn();
    process.until("it subscribes", || subscriptions(&sim) > 0).await;
    until_stream(&sim).await;
    append_evaluations(&sim, 16..=17).await;
    process.until_printed(2).await;
    assert_eq!(indexes(&process.stop().await), [16, 17]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_absurd_answer_of_a_table_does_not_move_what_polls() {
    let sim = Sim::builder().start().await.expect("starts");
    sim.set_broker(Broker::Missing);
    append_evaluations(&sim, 10..=15).await;
    let setup = Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_FIREHOSE_SOURCE", "poll");
    let process = setup.env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms").spawn();
    process.until_printed(6).await;
    for round in 0..3 {
        sim.server(0).wrong_index(1, ABSURD + round);
        append_evaluations(&sim, 20 + round..=20 + round).await;
        process.until_printed(7 + usize::try_from(round).expect("small")).await;
    }
    assert_eq!(process.logged("starting over"), 0, "{}", process.log());
    assert_eq!(indexes(&process.stop().await), [10, 11, 12, 13, 14, 15, 20, 21, 22]);
}

/// An object that says of itself that it was changed at an absurd index.
#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_index_of_a_listed_object_does_not_move_what_polls() {
    let sim = Sim::builder().start().await.expect("starts");
    sim.set_broker(Broker::Missing);
    append_evaluations(&sim, 10..=15).await;
    let odd = evaluation(16, 16).replace("\"ModifyIndex\":16", &format!("\"ModifyIndex\":{ABSURD}"));
    sim.append_lines([odd]).await.expect("a line of events");
    let setup = Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_FIREHOSE_SOURCE", "poll");
    let process = setup.env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms").spawn();
    process.until_printed(7).await;
    for index in 20..=22 {
        append_evaluations(&sim, index..=index).await;
        process.until("it is printed", || indexes(&process.printed()).contains(&index)).await;
    }
    let mut printed = indexes(&process.stop().await);
    printed.sort_unstable();
    assert_eq!(printed, [10, 11, 12, 13, 14, 15, 20, 21, 22, ABSURD]);
}

/// The times of the task events that are printed.
fn times(printed: &[String]) -> Vec<u64> {
    let time = |record: &String| serde_json::from_str::<Value>(record).expect("JSON")["TaskEvent"]["Time"].as_u64();
    printed.iter().map(|record| time(record).expect("a time")).collect()
}

/// What is noted of a task by an event of an absurd index must not make all its later versions look old.
#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_index_of_an_allocation_costs_none_of_its_later_task_events() {
    for absurd in [1 << 62, ABSURD, u64::MAX] {
        let sim = Sim::builder().start().await.expect("starts");
        sim.append_line(allocation(10, 10, 1..=1)).await.expect("a line of events");
        let process = Setup::new(&["allocations"], &sim.url(0)).spawn();
        process.until_printed(1).await;
        sim.server(0).publish_stray(allocation(absurd, 10, 1..=2)).expect("a line of events");
        sim.server(0).publish_stray(allocation(absurd, 11, 3..=3)).expect("a line of events");
        process.until_printed(3).await;
        process.until_logged("index of an event is implausible").await;
        sim.append_lines([allocation(20, 10, 1..=4), allocation(21, 11, 3..=5)]).await.expect("lines of events");
        // What comes behind them in the stream says that they have been read.
        sim.append_line(allocation(22, 12, 6..=6)).await.expect("a line of events");
        process.until("what follows is printed", || times(&process.printed()).contains(&6)).await;
        assert_eq!(times(&process.stop().await), [1, 2, 3, 3, 4, 4, 5, 6], "{absurd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_index_of_a_listed_allocation_costs_none_of_its_later_task_events() {
    let sim = Sim::builder().start().await.expect("starts");
    sim.set_broker(Broker::Missing);
    let odd = 1_u64 << 62;
    let line = allocation(10, 10, 1..=2).replace("\"ModifyIndex\":10", &format!("\"ModifyIndex\":{odd}"));
    sim.append_lines([line]).await.expect("a line of events");
    let setup = Setup::new(&["allocations"], &sim.url(0)).env("NOMAD_FIREHOSE_SOURCE", "poll");
    let process = setup.env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms").spawn();
    process.until_printed(2).await;
    sim.append_lines([allocation(20, 10, 1..=3), allocation(21, 11, 4..=4)]).await.expect("lines of events");
    process.until("what follows is printed", || times(&process.printed()).contains(&4)).await;
    let mut printed = times(&process.stop().await);
    printed.sort_unstable();
    assert_eq!(printed, [1, 2, 3, 4]);
}

/// A stray line less than a million above: it is believed, and must not cost what follows below it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_index_that_is_believed_costs_nothing_that_follows() {
    let sim = Sim::builder().start().await.expect("starts");
    append_evaluations(&sim, 10..=15).await;
    let process = Setup::new(&["evaluations"], &sim.url(0)).spawn();
    process.until_printed(6).await;
    stray(&sim, 500_000);
    process.until_printed(7).await;
    append_evaluations(&sim, 16..=20).await;
    process.until_printed(12).await;
    assert_eq!(process.logged("index of an event is implausible"), 1, "{}", process.log());
    let printed = indexes(&process.stop().await);
    assert_eq!(printed, [10, 11, 12, 13, 14, 15, 500_000, 16, 17, 18, 19, 20]);
}
