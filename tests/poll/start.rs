//! A first start elsewhere than at the beginning.

use std::collections::BTreeSet;

use nomad_sim::Broker;
use serde_json::json;

use crate::{common::truth::OBJECTS, support::*};

/// Of the objects what changed later, of the tasks what happened later.
#[tokio::test(flavor = "multi_thread")]
async fn at_now_nothing_older_comes() {
    let sim = recorded().await;
    sim.set_broker(Broker::Missing);
    sim.play_to(60).await;
    let before = shown(&sim, "*").await;
    let process = setup(&sim).env("NOMAD_FIREHOSE_START", "now").spawn();
    process.until_logged(POLLING).await;
    // By then the list is read that says which task events are old.
    process.until("the marks are there", || lists(&sim, "allocations") > 0).await;
    process.until("nothing is asked for but whether anything changed", || waits(&sim)).await;
    sim.play_to(100).await;
    let old: Vec<_> = before.into_iter().collect();
    until_shown(&sim, &process, &old).await;
    let printed = versions(&process.stop().await);
    let again: Vec<_> = printed.iter().filter(|version| old.contains(version)).collect();
    assert!(again.is_empty(), "{again:#?}");
    assert_true(&sim, &printed);
    assert_no_repeats(&printed);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_an_index_nothing_older_comes() {
    let sim = recorded().await;
    sim.set_broker(Broker::Missing);
    sim.play_to(60).await;
    let before: Vec<_> = shown(&sim, "*").await.into_iter().collect();
    sim.play_to(100).await;
    let process = setup(&sim).env("NOMAD_FIREHOSE_START", "61").spawn();
    until_shown(&sim, &process, &before).await;
    let printed = versions(&process.stop().await);
    // What an allocation that changed since had done before, no mark says.
    let again: Vec<_> =
        printed.iter().filter(|version| version.kind != "allocations" && before.contains(version)).collect();
    assert!(again.is_empty(), "{again:#?}");
    assert_true(&sim, &printed);
    assert_no_repeats(&printed);
}

/// The original program had led before: of objects its value is an index, of task events a time.
#[tokio::test(flavor = "multi_thread")]
async fn behind_the_original_nothing_that_it_had_sent_comes() {
    let sim = recorded().await;
    sim.set_broker(Broker::Missing);
    sim.play_to(60).await;
    let before = shown(&sim, "*").await;
    let first = |version: &Version| version.version.split(' ').next().and_then(|it| it.parse::<u64>().ok());
    let dir = tempfile::tempdir().expect("a directory");
    for kind in OBJECTS {
        let value = before.iter().filter(|version| version.kind == kind).filter_map(first).max();
        let stored = json!({"version": 1, "value": 0, "lanes": {}, "original": {"value": value}});
        let name = if kind == "jobliststubs" { "jobliststub" } else { kind };
        std::fs::write(dir.path().join(format!("{name}.json")), stored.to_string()).expect("a file");
    }
    sim.play_to(100).await;
    let process = setup(&sim).data_dir(dir.path()).spawn();
    let old: Vec<_> = before.iter().cloned().collect();
    until_shown(&sim, &process, &old).await;
    let printed: BTreeSet<_> = versions(&process.stop().await).into_iter().collect();
    let again = printed.intersection(&before);
    for Version { kind, key, version } in again {
        // The evaluations of its index the original sends with the next change, and a client's clock may be late.
        assert!(matches!(*kind, "evaluations" | "allocations"), "{kind} {key} {version}");
    }
}

fn lists(sim: &nomad_sim::Sim, table: &str) -> usize {
    let start = format!("/v1/{table}?");
    let is_list = |target: &str| target.starts_with(&start) && target.contains("per_page=500");
    sim.requests().iter().filter(|request| is_list(&request.target)).count()
}

/// Whether each of the five tables was asked for with a wait.
fn waits(sim: &nomad_sim::Sim) -> bool {
    ["allocations", "nodes", "evaluations", "jobs", "deployments"].iter().all(|table| {
        let start = format!("/v1/{table}?");
        let waits =
            |target: &str| target.starts_with(&start) && target.contains("per_page=1&") && target.contains("index=");
        sim.requests().iter().any(|request| waits(&request.target))
    })
}
