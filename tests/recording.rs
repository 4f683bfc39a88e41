//! Every kind, on the recording of a real cluster: each thing is printed exactly once, in order.

mod common;

use common::{
    Setup, fixture, fixture_lines,
    truth::{ALL, all_seen, assert_exactly, expected},
};
use nomad_sim::Sim;

const RECORDING: &str = "stream-complete.ndjson";
/// How many of its jobs are purged, each by one event.
const PURGES: usize = 11;

/// A cluster that has lived its whole recorded life, with all of it still in the server's buffer.
async fn lived() -> Sim {
    let sim = Sim::builder().recording(fixture(RECORDING)).buffer(1_000).preload(u64::MAX);
    sim.start().await.expect("the simulator starts")
}

async fn each_is_printed_once(kind: &str, count: usize) {
    let sim = lived().await;
    let expected = expected(kind, &fixture_lines(RECORDING));
    assert_eq!(expected.len(), count, "the recording holds something else");
    let process = Setup::new(&[kind], &sim.url(0)).spawn();
    process.until_printed(count).await;
    assert_exactly(&all_seen(&process.stop().await), &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_task_event_is_printed_once() {
    each_is_printed_once("allocations", 315).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_evaluation_version_is_printed_once() {
    each_is_printed_once("evaluations", 121).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_version_and_purge_is_printed_once() {
    each_is_printed_once("jobs", 47 + PURGES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_stub_is_printed_once() {
    each_is_printed_once("jobliststubs", 47 + PURGES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_version_is_printed_once() {
    each_is_printed_once("nodes", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_deployment_version_is_printed_once() {
    each_is_printed_once("deployments", 22).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_raw_event_is_printed_once() {
    each_is_printed_once("events", 476).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_in_one_process_share_one_connection() {
    let sim = lived().await;
    let lines = fixture_lines(RECORDING);
    let expected: Vec<_> = ALL.iter().flat_map(|kind| expected(kind, &lines)).collect();
    let process = Setup::new(&["run", "--resources", "all"], &sim.url(0)).spawn();
    process.until_printed(expected.len()).await;
    assert_exactly(&all_seen(&process.stop().await), &expected);
    let streams = sim.requests().iter().filter(|request| request.target.starts_with("/v1/event/stream")).count();
    assert_eq!(streams, 1);
}
