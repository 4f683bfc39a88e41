//! Answers of any server, within a bound.

use std::time::Duration;

use nomad_sim::{Broker, Lag, Sim};

use crate::common::{Setup, fixture, made};
use crate::support::*;

/// Two servers, of which the second one is asked.
async fn two() -> (Sim, crate::common::Setup) {
    let sim = Sim::builder().servers(2).recording(fixture(RECORDING));
    let sim = sim.start().await.expect("the simulator starts");
    sim.set_broker(Broker::Missing);
    let setup = setup(&sim).env("NOMAD_ADDR", sim.url(1)).env("NOMAD_FIREHOSE_STALE", "2s");
    (sim, setup)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lags_is_waited_for() {
    let (sim, setup) = two().await;
    sim.play_to(80).await;
    let dir = tempfile::tempdir().expect("a directory");
    let setup = setup.data_dir(dir.path());
    let process = setup.spawn();
    until_shown(&sim, &process, &[]).await;
    let mut printed = versions(&process.stop().await);
    let asked = sim.requests();
    let is_list = |target: &str| target.contains("per_page=");
    assert!(
        asked.iter().filter(|request| is_list(&request.target)).all(|request| request.target.contains("stale=true"))
    );
    // What follows the second server does not have yet; then it is behind what the checkpoint has.
    sim.server(1).lag(Lag::At(80));
    sim.play_to(100).await;
    let process = setup.spawn();
    process.until_logged(POLLING).await;
    sim.server(1).lag(Lag::None);
    until_shown(&sim, &process, &printed).await;
    assert_eq!(process.logged("starting over"), 0, "{}", process.log());
    printed.extend(versions(&process.stop().await));
    assert_no_repeats(&printed);
    assert_true(&sim, &printed);
}

/// By what the first server said, the second one stands below: only the leader could call that another cluster.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_answer_is_no_regression() {
    let (sim, setup) = two().await;
    sim.server(1).lag(Lag::At(60));
    sim.play_to(100).await;
    let setup = setup.env("NOMAD_ADDR", format!("{},{}", sim.url(0), sim.url(1)));
    let process = setup.spawn();
    until_shown(&sim, &process, &[]).await;
    sim.server(0).refuse(true);
    process.until("the other one is asked", || sim.requests().iter().any(|request| request.server == 1)).await;
    // So long it takes to believe in another cluster, and more.
    tokio::time::sleep(Duration::from_secs(8)).await;
    sim.server(0).refuse(false);
    sim.server(1).lag(Lag::None);
    sim.play_to(120).await;
    until_shown(&sim, &process, &[]).await;
    assert_eq!(process.logged("starting over"), 0, "{}", process.log());
    let printed = versions(&process.stop().await);
    assert_no_repeats(&printed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_not_heard_of_its_leader_is_not_believed() {
    for contact in [Some(Duration::from_secs(3)), None] {
        let (sim, setup) = two().await;
        sim.server(1).last_contact(contact);
        sim.play_to(80).await;
        let process = setup.spawn();
        process.until_logged("heard of its leader").await;
        assert_eq!(process.count(), 0);
        sim.server(1).last_contact(Some(Duration::from_secs(1)));
        until_shown(&sim, &process, &[]).await;
        process.stop().await;
    }
}

/// What one page gave ahead moves the position: a page of a server that does not have all of that must not be taken for
/// the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_page_of_a_server_that_lags_passes_over_nothing() {
    let sim = Sim::builder().servers(2).start().await.expect("the simulator starts");
    sim.set_broker(Broker::Missing);
    sim.append_lines((1..=600).map(|n| made::evaluation(1_000 + n, n))).await.expect("lines");
    sim.server(1).lag(Lag::At(2_005));
    sim.server(0).slow_lists(Duration::from_millis(700));
    let process = Setup::new(&["evaluations"], &format!("{},{}", sim.url(0), sim.url(1)))
        .env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms")
        .env("NOMAD_FIREHOSE_STALE", "5s")
        .spawn();
    let listed = |server: usize| {
        let requests = sim.requests().into_iter();
        requests.filter(|request| request.server == server && request.target.contains("per_page=500")).count()
    };
    process.until("the first page is asked for", || listed(0) == 1).await;
    // One of the first page, and one of the second.
    let both = [made::evaluation(2_005, 1), made::evaluation(2_010, 600)];
    sim.append_lines(both).await.expect("lines");
    process.until("the first page is read", || listed(0) == 2).await;
    sim.server(0).refuse(true);
    process.until("the other server was asked", || listed(1) >= 3).await;
    sim.server(0).refuse(false);
    let listens = || std::net::TcpStream::connect(sim.server(0).addr()).is_ok();
    process.until("the first server is back", listens).await;
    sim.server(0).slow_lists(Duration::ZERO);
    sim.server(1).lag(Lag::None);
    sim.append_line(made::evaluation(2_020, 300)).await.expect("a line");
    until_shown_of_kind(&sim, &process, "evaluations").await;
    let printed = versions(&process.stop().await);
    assert_no_repeats(&printed);
    assert_true(&sim, &printed);
}
