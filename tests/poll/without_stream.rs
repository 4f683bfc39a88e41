//! A cluster that streams nothing, whatever it says of that.

use nomad_sim::Broker;

use crate::common::{Setup, made};
use crate::support::*;

async fn what_lists_show_is_printed_once(broker: Broker) {
    let sim = recorded().await;
    sim.set_broker(broker);
    let process = setup(&sim).spawn();
    process.until_logged(POLLING).await;
    while sim.step(7).await > 0 {
        until_shown(&sim, &process, &[]).await;
    }
    let log = process.log();
    let printed = versions(&process.stop().await);
    assert_no_repeats(&printed);
    assert_true(&sim, &printed);
    assert_eq!(log.matches(POLLING).count(), 1, "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_1_0() {
    what_lists_show_is_printed_once(Broker::Missing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_broker_off_before_1_11_2() {
    what_lists_show_is_printed_once(Broker::Failing).await;
}

/// The agent's own settings say so.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_broker_off() {
    what_lists_show_is_printed_once(Broker::Disabled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_order_the_stream_is_not_asked_for() {
    let sim = recorded().await;
    sim.play_all().await;
    let process = setup(&sim).env("NOMAD_FIREHOSE_SOURCE", "poll").spawn();
    until_shown(&sim, &process, &[]).await;
    assert_no_repeats(&versions(&process.stop().await));
    assert!(sim.requests().iter().all(|request| !request.target.starts_with("/v1/event/stream")));
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_events_cannot_be_polled() {
    for arguments in [&["events"][..], &["run", "--resources", "all"], &["run", "--resources", "jobs,events"]] {
        let (code, _, log) = Setup::new(arguments, "http://127.0.0.1:1").env("NOMAD_FIREHOSE_SOURCE", "poll").output();
        assert_eq!(code, Some(2), "{log}");
        assert!(log.contains("NOMAD_FIREHOSE_SOURCE") && log.contains("--resources"), "{log}");
    }
}

/// By order of the settings nothing takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn by_order_lists_are_not_read() {
    let sim = recorded().await;
    sim.play_all().await;
    sim.set_broker(Broker::Missing);
    let process = setup(&sim).env("NOMAD_FIREHOSE_SOURCE", "stream").spawn();
    process.until_logged("has no event stream").await;
    sim.set_broker(Broker::Enabled);
    until_shown(&sim, &process, &[]).await;
    assert_eq!(process.logged(POLLING), 0);
    process.stop().await;
}

/// Few of many allocations changed: the list goes without the states of their tasks, and the few are asked for.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_allocations_the_changed_ones_are_asked_for() {
    let sim = nomad_sim::Sim::builder().start().await.expect("the simulator starts");
    sim.set_broker(Broker::Missing);
    let (allocation, process) = (made::allocation, setup(&sim).spawn());
    sim.append_lines((1..=600).map(|n| allocation(10 + n, n, 1..=1))).await.expect("lines of a stream");
    until_shown(&sim, &process, &[]).await;
    let before = sim.requests().len();
    sim.append_lines((1..=10).map(|n| allocation(1_000 + n, n, 1..=2))).await.expect("lines of a stream");
    until_shown(&sim, &process, &[]).await;
    let requests = || sim.requests().into_iter().skip(before).map(|request| request.target);
    assert!(requests().filter(|target| target.starts_with("/v1/allocation/")).count() >= 10);
    assert!(requests().filter(|target| target.contains("per_page=500")).all(|it| it.contains("task_states=false")));
    // Of many it is better to list them whole.
    let before = sim.requests().len();
    sim.append_lines((1..=600).map(|n| allocation(2_000 + n, n, 1..=3))).await.expect("lines of a stream");
    until_shown(&sim, &process, &[]).await;
    let asked = sim.requests().into_iter().skip(before).filter(|it| it.target.starts_with("/v1/allocation/")).count();
    assert!(asked < 300, "{asked}");
    let printed = versions(&process.stop().await);
    assert_eq!(printed.len(), 600 + 10 + 600 + 590);
    assert_no_repeats(&printed);
    assert_true(&sim, &printed);
}
