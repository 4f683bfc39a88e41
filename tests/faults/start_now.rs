//! A start at `now` begins in the midst of what happens: what lies before it is no gap.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nomad_sim::Sim;
use serde_json::Value;

use crate::{
    common::{Setup, made},
    support::*,
};

/// Appends an evaluation each few milliseconds until it is told to end: the index after the last one.
async fn busy(sim: Arc<Sim>, first: u64, goes_on: Arc<AtomicBool>) -> u64 {
    let mut index = first;
    while goes_on.load(Ordering::SeqCst) {
        append_evaluations(&sim, index..=index).await;
        index += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    index
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_busy_cluster_it_reports_no_gap() {
    let sim = Arc::new(Sim::builder().buffer(100_000).start().await.expect("starts"));
    append_evaluations(&sim, 10..=59).await;
    let goes_on = Arc::new(AtomicBool::new(true));
    let appending = tokio::spawn(busy(Arc::clone(&sim), 60, Arc::clone(&goes_on)));
    let process = Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_FIREHOSE_START", "now").spawn();
    process.until_printed(50).await;
    goes_on.store(false, Ordering::SeqCst);
    let end = appending.await.expect("no panic");
    let indexes = |printed: &[String]| -> Vec<u64> {
        let index = |record: &String| serde_json::from_str::<Value>(record).expect("JSON")["ModifyIndex"].as_u64();
        printed.iter().map(|record| index(record).expect("an index")).collect()
    };
    process.until("the last is printed", || indexes(&process.printed()).last() == Some(&(end - 1))).await;
    assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
    assert_eq!(process.logged("backfill"), 0, "{}", process.log());
    // Each once, from the start on, in order.
    let printed = indexes(&process.stop().await);
    assert!(printed[0] >= 60, "{printed:?}");
    assert_eq!(printed, (printed[0]..end).collect::<Vec<_>>());
}

/// The oldest line that Nomad still has is newer than everything of the quiet kind.
#[tokio::test(flavor = "multi_thread")]
async fn a_kind_in_which_nothing_happened_for_long_has_no_gap() {
    let sim = Sim::builder().buffer(20).start().await.expect("starts");
    sim.append_line(made::job(10, 1, 20)).await.expect("a line of events");
    append_evaluations(&sim, 11..=59).await;
    let setup = Setup::new(&["run", "--resources", "jobs,evaluations"], &sim.url(0));
    let process = setup.env("NOMAD_FIREHOSE_START", "now").spawn();
    until_stream(&sim).await;
    append_evaluations(&sim, 60..=69).await;
    sim.append_line(made::job(70, 1, 20)).await.expect("a line of events");
    process.until_printed(11).await;
    assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
    let printed = process.stop().await;
    assert_eq!(printed.len(), 11, "{printed:?}");
}

/// What happens after the start and is gone when the stream begins is a gap still.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_buffer_lost_after_it_is_a_gap() {
    let sim = Sim::builder().buffer(5).start().await.expect("starts");
    append_evaluations(&sim, 10..=20).await;
    let process = Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_FIREHOSE_START", "now").spawn();
    until_stream(&sim).await;
    refuse(&sim).await;
    append_evaluations(&sim, 21..=40).await;
    sim.server(0).refuse(false);
    process.until_logged("gap detected").await;
    process.until_printed(20).await;
    process.stop().await;
}
