//! Refusals: each names what is missing, the program goes on trying, and works once it is there.

use std::time::Duration;

use nomad_sim::{Broker, Policy, Sim};

use crate::common::{
    Setup,
    truth::{all_seen, assert_exactly},
};
use crate::support::*;

/// Four evaluations, access by tokens, and refusals that take no time.
async fn cluster(policy: Policy) -> Sim {
    let sim = Sim::builder().token("root", Policy::management()).token("ours", policy);
    let sim = sim.refusal(Duration::from_millis(100)).start().await.expect("starts");
    append_evaluations(&sim, 10..=13).await;
    sim
}

/// It says so, and tries again; with `mend` it works.
async fn is_told_and_mended(sim: &Sim, setup: Setup, said: &[&str], mend: impl FnOnce(&Sim)) {
    let process = setup.spawn();
    for text in said {
        process.until_logged(text).await;
    }
    assert_eq!(process.logged("operation failing"), 1, "once is enough: {}", process.log());
    let asked = sim.requests().len();
    process.until("it tries again", || sim.requests().len() > asked).await;
    assert_eq!(process.count(), 0);
    mend(sim);
    process.until_printed(4).await;
    process.until_logged("operation recovered").await;
    assert_exactly(&all_seen(&process.stop().await), &expected_of(sim, &["evaluations"]));
}

fn evaluations(sim: &Sim, token: &str) -> Setup {
    Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_TOKEN", token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_not_read_jobs() {
    let sim = cluster(Policy::default().and_nodes()).await;
    is_told_and_mended(&sim, evaluations(&sim, "ours").env("NOMAD_NAMESPACE", "default"), &["read-job"], |sim| {
        sim.set_token("ours", Policy::read_jobs(&["default"]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_not_read_all_namespaces() {
    let sim = cluster(Policy::read_jobs(&["default"])).await;
    sim.add_namespace("hidden", None).await;
    is_told_and_mended(&sim, evaluations(&sim, "ours"), &["read-job", "NOMAD_NAMESPACE"], |sim| {
        sim.set_token("ours", Policy::read_jobs(&["*"]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_does_not_exist() {
    let sim = cluster(Policy::default()).await;
    is_told_and_mended(&sim, evaluations(&sim, "unknown"), &["ACL token not found"], |sim| {
        sim.set_token("unknown", Policy::read_jobs(&["*"]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_at_all() {
    let sim = cluster(Policy::default()).await;
    let process = Setup::new(&["evaluations"], &sim.url(0)).spawn();
    process.until_logged("NOMAD_TOKEN").await;
    process.until_logged("read-job").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_does_not_exist() {
    let sim = Sim::builder().start().await.expect("starts");
    sim.append_lines((10..=13).map(|index| evaluation_in("team", index, index))).await.expect("lines");
    let setup = Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_NAMESPACE", "team");
    let process = setup.spawn();
    process.until_logged("no namespace").await;
    process.until_logged("team").await;
    sim.add_namespace("team", None).await;
    process.until_printed(4).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_permission() {
    let sim = cluster(Policy::read_jobs(&["*"])).await;
    let setup = Setup::new(&["run", "--resources", "evaluations,nodes"], &sim.url(0)).env("NOMAD_TOKEN", "ours");
    is_told_and_mended(&sim, setup, &["Node: permission denied", "needs node { policy"], |sim| {
        sim.set_token("ours", Policy::read_jobs(&["*"]).and_nodes());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_topics_without_a_management_token() {
    let sim = cluster(Policy::read_jobs(&["*"]).and_nodes()).await;
    let process = Setup::new(&["events"], &sim.url(0)).env("NOMAD_TOKEN", "ours").spawn();
    process.until_logged("management").await;
    sim.set_token("ours", Policy::management());
    process.until_printed(4).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_and_closes() {
    for (broker, said) in [(Broker::Disabled, "enable_event_broker"), (Broker::Missing, "404")] {
        let sim = Sim::builder().refusal(Duration::from_millis(100)).start().await.expect("starts");
        append_evaluations(&sim, 10..=13).await;
        sim.set_broker(broker);
        let setup = Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_FIREHOSE_SOURCE", "stream");
        is_told_and_mended(&sim, setup, &[said], |sim| {
            sim.set_broker(Broker::Enabled);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_narrowed_and_widened_again_loses_nothing() {
    let sim = cluster(Policy::read_jobs(&["*"])).await;
    let process = evaluations(&sim, "ours").spawn();
    process.until_printed(4).await;
    sim.set_token("ours", Policy::default());
    process.until_logged("read-job").await;
    append_evaluations(&sim, 20..=29).await;
    sim.set_token("ours", Policy::read_jobs(&["*"]));
    process.until_printed(14).await;
    assert_eq!(process.logged("gap detected"), 0);
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
}
