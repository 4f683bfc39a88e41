//! Nomad before 1.0: no pages, no namespaces, no stream.

use nomad_sim::Broker;

use crate::support::*;

/// Only the namespace `default` is there, and no page ends: what is not asked for must not be read.
async fn what_lists_show_is_printed_once(namespace: &str) {
    let sim = recorded().await;
    sim.set_old(true);
    let process = setup(&sim).env("NOMAD_NAMESPACE", namespace).spawn();
    while sim.step(11).await > 0 {
        until_shown_of(&sim, &process, &[], "default").await;
    }
    let printed = versions(&process.stop().await);
    assert_no_repeats(&printed);
    assert_true(&sim, &printed);
    // Job stubs do not name it.
    assert!(printed.iter().all(|version| !version.key.starts_with("team-")), "{printed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_namespaces() {
    what_lists_show_is_printed_once("*").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_one_namespace() {
    what_lists_show_is_printed_once("default").await;
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
