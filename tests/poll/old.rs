//! Nomad before 1.0: no pages, no namespaces, no stream.

use nomad_sim::Broker;

use crate::{
    common::{
        Setup, Signal, made,
        probe::until_ready,
        server::{Reply, Server},
        until,
    },
    support::*,
};

/// Only the namespace `default` is there, and no page ends: what is not asked for must not be read.
#[tokio::test(flavor = "multi_thread")]
async fn what_lists_show_of_the_one_namespace_is_printed_once() {
    let sim = recorded().await;
    sim.set_old(true);
    let process = setup(&sim).env("NOMAD_NAMESPACE", "default").spawn();
    while sim.step(11).await > 0 {
        until_shown_of(&sim, &process, &[], "default").await;
    }
    let printed = versions(&process.stop().await);
    assert_no_repeats(&printed);
    assert_true(&sim, &printed);
    // Job stubs do not name it.
    assert!(printed.iter().all(|version| !version.key.starts_with("team-")), "{printed:#?}");
}

/// Its lists of all namespaces are empty: that must not be taken for a cluster without objects.
#[tokio::test(flavor = "multi_thread")]
async fn all_namespaces_of_a_nomad_without_them_are_refused_with_the_setting_to_change() {
    let (sim, ports) = (recorded().await, Ports::reserve());
    sim.set_old(true);
    let process = setup(&sim).env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn();
    process.until_logged("set NOMAD_NAMESPACE=default").await;
    until_ready(ports.base, false, "set NOMAD_NAMESPACE=default").await;
    assert!(process.stop().await.is_empty());
}

/// From 1.0 to 1.2.3 there are namespaces, and some lists of all of them are empty: that is not to be taken for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_of_all_namespaces_is_not_believed() {
    let sim = recorded().await;
    sim.set_broker(Broker::Missing);
    sim.set_wildcards(false);
    sim.play_to(60).await;
    let process = setup(&sim).spawn();
    process.until_logged("name the namespaces in NOMAD_NAMESPACE").await;
    let process = setup(&sim).env("NOMAD_NAMESPACE", "default,team-a,team-b,late").spawn();
    until_shown(&sim, &process, &[]).await;
    assert_no_repeats(&versions(&process.stop().await));
}

/// Everything is one page, and the sink takes its time: a stop does not wait for the end of it, and what was sent does not
/// come again.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_pages_is_left_in_its_midst() {
    const EVALUATIONS: u64 = 6_000;
    let sim = nomad_sim::Sim::builder().start().await.expect("the simulator starts");
    sim.set_old(true);
    sim.append_lines((1..=EVALUATIONS).map(|n| made::evaluation(10 + n, n))).await.expect("lines of a stream");
    let server = Server::start(|_| {
        std::thread::sleep(std::time::Duration::from_millis(2));
        Reply::Take
    });
    let (server, dir) = (server.await, tempfile::tempdir().expect("a directory"));
    let setup = Setup::new(&["evaluations"], &sim.url(0))
        .data_dir(dir.path())
        .env("NOMAD_NAMESPACE", "default")
        .env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", "64KiB")
        .env("SINK_TYPE", "http")
        .env("SINK_WORKER_COUNT", "1")
        .env("SINK_HTTP_ADDRESS", server.url());
    let process = setup.spawn();
    until("some are delivered", || server.keys().len() > 1_000).await;
    let ended = process.end_by(Signal::TERM).await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let first = server.keys().len();
    assert!(first < EVALUATIONS as usize, "it was too quick");
    let process = setup.spawn();
    until("all are delivered", || server.keys().len() >= EVALUATIONS as usize).await;
    process.stop().await;
    let mut keys = server.keys();
    keys.sort();
    keys.dedup();
    assert_eq!((keys.len(), server.keys().len()), (EVALUATIONS as usize, EVALUATIONS as usize), "{first} came first");
}
