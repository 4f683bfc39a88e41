//! Another cluster under the same address.

use std::time::Duration;

use nomad_sim::Broker;

use crate::support::*;

const OVER: &str = "starting over";

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_restored_below_is_started_over_with() {
    let sim = recorded().await;
    sim.set_broker(Broker::Missing);
    sim.play_to(100).await;
    let process = setup(&sim).spawn();
    until_shown(&sim, &process, &[]).await;
    let before = process.count();
    sim.rebuild().await;
    sim.play_to(60).await;
    process.until_logged(OVER).await;
    until_shown(&sim, &process, &[]).await;
    sim.play_to(120).await;
    until_shown(&sim, &process, &[]).await;
    assert_eq!(process.logged(OVER), 1, "{}", process.log());
    let printed = process.stop().await;
    assert_no_repeats(&versions(&printed[before..]));
}

/// The cluster is another one when the program starts again.
async fn restored_while_stopped(first: Broker, second: Broker) {
    let sim = recorded().await;
    sim.set_broker(first);
    sim.play_to(100).await;
    let dir = tempfile::tempdir().expect("a directory");
    let setup = setup(&sim).data_dir(dir.path());
    let process = setup.spawn();
    until_shown(&sim, &process, &[]).await;
    process.stop().await;
    sim.rebuild().await;
    sim.set_broker(second);
    sim.play_to(60).await;
    let process = setup.spawn();
    process.until_logged(OVER).await;
    until_shown(&sim, &process, &[]).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_restored_while_stopped_is_found() {
    restored_while_stopped(Broker::Missing, Broker::Missing).await;
}

/// What the stream has left in the checkpoint tells lists of another cluster, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_source_has_stored_the_other_one_uses() {
    for (first, second) in [(Broker::Enabled, Broker::Missing), (Broker::Missing, Broker::Enabled)] {
        restored_while_stopped(first, second).await;
    }
}

/// An answer of a server that lags is no restore.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_started_over_for_a_leader_that_changes() {
    let sim = recorded().await;
    sim.set_broker(Broker::Missing);
    sim.play_to(100).await;
    let process = setup(&sim).spawn();
    until_shown(&sim, &process, &[]).await;
    for _ in 0..5 {
        sim.server(0).reset_connections();
        sim.step(3).await;
        until_shown(&sim, &process, &[]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(process.logged(OVER), 0, "{}", process.log());
    let printed = versions(&process.stop().await);
    assert_no_repeats(&printed);
    assert_true(&sim, &printed);
}
