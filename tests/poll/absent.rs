//! What is not found for a moment: a proxy without a backend, a server that starts anew, an upgrade.

use std::collections::BTreeSet;

use nomad_sim::{Broker, Policy, Sim};

use crate::common::{Process, Setup, made, probe::readiness};
use crate::support::*;

const PERHAPS: &str = "event stream unavailable";
const BACK: &str = "event stream available again";
const LEFT: &str = "polled in place of the stream";

/// A program that has come to index 30 by the stream, and its place in a directory.
async fn begun(sim: &Sim, setup: &Setup) -> Vec<Version> {
    sim.play_to(30).await;
    let process = setup.spawn();
    until_shown(sim, &process, &[]).await;
    versions(&process.stop().await)
}

async fn until_published(sim: &Sim, process: &Process, before: &[Version]) {
    let published: BTreeSet<_> = published(sim).into_keys().collect();
    let all = || {
        let printed: BTreeSet<_> = versions(&process.printed()).into_iter().chain(before.iter().cloned()).collect();
        published.is_subset(&printed)
    };
    process.until("everything that was streamed is printed", all).await;
}

/// The stream is there again at once, with everything still in its buffer.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_missing_for_a_moment_costs_no_purge() {
    let (sim, dir) = (recorded().await, tempfile::tempdir().expect("a directory"));
    // The default, for time enough.
    let setup = setup(&sim).data_dir(dir.path()).env("NOMAD_FIREHOSE_POLL_INTERVAL", "1s");
    let before = begun(&sim, &setup).await;
    sim.set_broker(Broker::Missing);
    let process = setup.spawn();
    process.until_logged(PERHAPS).await;
    sim.set_broker(Broker::Enabled);
    while sim.step(11).await > 0 {}
    until_published(&sim, &process, &before).await;
    assert_eq!((process.logged(POLLING), process.logged("ERROR")), (0, 0), "{}", process.log());
    process.stop().await;
}

/// Nor are lists read of something that has no tables.
#[tokio::test(flavor = "multi_thread")]
async fn lists_do_not_take_over_where_none_can_be_read() {
    let (sim, dir) = (recorded().await, tempfile::tempdir().expect("a directory"));
    let setup = setup(&sim).data_dir(dir.path());
    let before = begun(&sim, &setup).await;
    sim.set_broker(Broker::Missing);
    sim.server(0).fail_lists(u32::MAX);
    let process = setup.spawn();
    process.until_logged("has no event stream").await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(process.logged(POLLING), 0, "{}", process.log());
    sim.server(0).fail_lists(0);
    sim.set_broker(Broker::Enabled);
    while sim.step(11).await > 0 {}
    until_shown(&sim, &process, &before).await;
    process.stop().await;
}

/// What lists could not show while they stood in is told once, when the stream is back; not where there never was one.
#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_lists_stood_in_for_is_reported() {
    let (sim, dir) = (recorded().await, tempfile::tempdir().expect("a directory"));
    let setup = setup(&sim).data_dir(dir.path());
    let before = begun(&sim, &setup).await;
    sim.set_broker(Broker::Missing);
    let process = setup.spawn();
    process.until_logged(POLLING).await;
    sim.play_to(60).await;
    until_shown(&sim, &process, &before).await;
    assert_eq!(process.logged(LEFT), 0, "{}", process.log());
    sim.set_broker(Broker::Enabled);
    process.until_logged(BACK).await;
    process.until_logged(LEFT).await;
    // Each kind tells its own.
    let is_told = |line: &str| line.contains(LEFT) && line.contains("jobs") && line.contains("30");
    process.until("the range of jobs is told", || process.log().lines().any(is_told)).await;
    process.stop().await;

    let sim = recorded().await;
    sim.set_broker(Broker::Missing);
    sim.play_to(60).await;
    let process = crate::support::setup(&sim).spawn();
    until_shown(&sim, &process, &[]).await;
    sim.set_broker(Broker::Enabled);
    process.until_logged(BACK).await;
    process.until_logged("subscribed to the event stream").await;
    assert_eq!(process.logged(LEFT), 0, "{}", process.log());
    process.stop().await;
}

/// All paths that old servers lack are missing for a while, from where a checkpoint goes on.
#[tokio::test(flavor = "multi_thread")]
async fn no_namespace_is_lost_over_a_moment_without_any() {
    let (sim, dir) = (recorded().await, tempfile::tempdir().expect("a directory"));
    let setup = setup(&sim).data_dir(dir.path());
    let before = begun(&sim, &setup).await;
    sim.set_old(true);
    let process = setup.spawn();
    process.until_logged(POLLING).await;
    process.until_logged("NOMAD_NAMESPACE=default").await;
    sim.set_old(false);
    sim.set_broker(Broker::Enabled);
    sim.play_to(100).await;
    until_shown(&sim, &process, &before).await;
    while sim.step(20).await > 0 {}
    until_shown(&sim, &process, &before).await;
    let printed = versions(&process.stop().await);
    assert_true(&sim, &printed);
}

/// A token for one namespace, and a table that is empty: there is nothing to complain of.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_is_no_failure_for_a_limited_token() {
    let sim = Sim::builder().token("t", Policy::read_jobs(&["team-a"])).start().await.expect("the simulator starts");
    sim.set_broker(Broker::Missing);
    sim.append_line(made::evaluation(11, 1)).await.expect("a line of a stream");
    let ports = Ports::reserve();
    let process = Setup::new(&["run", "--resources", "deployments"], &sim.url(0))
        .env("NOMAD_TOKEN", "t")
        .env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address())
        .spawn();
    process.until_logged(POLLING).await;
    let of_default = || sim.requests().iter().filter(|it| it.target.contains("deployments?namespace=default")).count();
    process.until("default was asked for twice", || of_default() > 1).await;
    let ready = readiness(ports.base).await;
    assert!(ready.as_ref().is_some_and(|(ready, _)| *ready), "{ready:?} {}", process.log());
    assert_eq!(process.logged("ERROR"), 0, "{}", process.log());
    process.stop().await;
}
