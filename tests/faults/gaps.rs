//! The server's buffer turned over while nobody read: final versions come from the lists, and the hole is told of.

use std::collections::BTreeSet;

use nomad_sim::Sim;
use serde_json::Value;

use crate::common::{
    Setup, fixture,
    truth::{ALL, Seen, all_seen, assert_exactly, expected, seen},
};
use crate::support::*;

/// Up to here the buffer holds everything; what follows until the end, which lies before a garbage collection, turns it
/// over.
const MIDDLE: u64 = 59;
const END: u64 = 180;
const BUFFER: usize = 70;

/// Of each object that the lists have: kind, id, and its newest `ModifyIndex` or task event.
async fn listed(sim: &Sim, above: u64) -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    for name in ["allocations", "nodes", "evaluations", "jobs", "deployments"] {
        for object in list(sim, name).await {
            if object["ModifyIndex"].as_u64() > Some(above) {
                all.extend(newest_of(name, &object));
            }
        }
    }
    all
}

fn newest_of(name: &str, object: &Value) -> Vec<(String, String, String)> {
    let id = object["ID"].as_str().unwrap_or_default();
    if name != "allocations" {
        let key = format!("{} {id}", object["Namespace"].as_str().filter(|_| name != "nodes").unwrap_or_default());
        return vec![(name.to_owned(), key, object["ModifyIndex"].to_string())];
    }
    let states = object["TaskStates"].as_object().into_iter().flatten();
    let last = states.filter_map(|(task, state)| Some((task, state["Events"].as_array()?.last()?)));
    last.map(|(task, event)| (name.to_owned(), format!("{id} {task}"), event["Time"].to_string())).collect()
}

fn printed_facts(records: &[String]) -> BTreeSet<(String, String, String)> {
    let facts = records.iter().map(|record| {
        let Seen { kind, key, .. } = seen(record);
        let record: Value = serde_json::from_str(record).expect("JSON");
        let version = if kind == "allocations" { &record["TaskEvent"]["Time"] } else { &record["ModifyIndex"] };
        (kind.to_owned(), key, version.to_string())
    });
    facts.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_stopped_comes_from_the_lists_and_is_told_of() {
    let sim = Sim::builder().recording(fixture("stream-complete.ndjson")).buffer(BUFFER).preload(MIDDLE);
    let sim = sim.start().await.expect("starts");
    let dir = tempfile::tempdir().expect("a directory");
    let ports = Ports::reserve();
    let setup = Setup::new(&["run", "--resources", "all"], &sim.url(0)).verbose().data_dir(dir.path());
    let setup = setup.env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let before = expected_of(&sim, &ALL);
    let process = setup.spawn();
    process.until_printed(before.len()).await;
    // Those of the first start: what a stop leaves of them, the next run is through with.
    process.until("the lists are read", || process.logged("backfill finished") == LISTS).await;
    let first = process.stop().await;
    assert_exactly(&all_seen(&first), &before);

    sim.play_to(END).await;
    let published = sim.truth().len();
    assert!(published > 2 * BUFFER, "the buffer did not turn over");
    let process = setup.spawn();
    let owed = listed(&sim, MIDDLE).await;
    assert!(owed.len() > 20, "too little happened: {}", owed.len());
    process.until("the lists are read", || process.logged("backfill finished") >= LISTS).await;
    let all = || [&first[..], &process.printed()].concat();
    process.until("final versions are printed", || owed.is_subset(&printed_facts(&all()))).await;
    for kind in ALL {
        assert_eq!(metric(ports.base, &format!("nomad_firehose_gaps_total{{kind=\"{kind}\"}}")).await, 1, "{kind}");
    }
    assert_eq!(process.logged("gap detected"), ALL.len());
    assert_eq!(process.logged("backfill finished"), LISTS, "a list was read twice:\n{}", process.log());
    let second = process.stop().await;

    let together = all_seen(&[first, second].concat());
    assert_no_repeats(&together);
    let streamed: Vec<_> = texts(&sim.truth());
    let streamed: Vec<_> = streamed[streamed.len() - BUFFER..].to_vec();
    let still_held: Vec<_> = ["evaluations", "deployments"].iter().flat_map(|kind| expected(kind, &streamed)).collect();
    let printed: BTreeSet<_> = together.iter().collect();
    let missing: Vec<_> = still_held.iter().filter(|seen| !printed.contains(seen)).collect();
    assert!(missing.is_empty(), "the buffer still held {missing:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_events_carry_a_record_of_the_hole() {
    let sim = Sim::builder().buffer(20).start().await.expect("starts");
    append_evaluations(&sim, 10..=15).await;
    let ports = Ports::reserve();
    let setup = Setup::new(&["events", "--topic", "Evaluation"], &sim.url(0));
    let process = setup.env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn();
    process.until_printed(6).await;
    refuse(&sim).await;
    append_evaluations(&sim, 20..=79).await;
    sim.server(0).refuse(false);
    let held = 21;
    process.until_printed(6 + 1 + held).await;
    assert_eq!(metric(ports.base, "nomad_firehose_gaps_total{kind=\"events\"}").await, 1);
    assert_eq!(process.logged("gap detected"), 1);
    let printed = process.stop().await;
    let records: Vec<Value> = printed.iter().map(|record| serde_json::from_str(record).expect("JSON")).collect();
    let indexes: Vec<_> = records.iter().filter_map(|record| record["Index"].as_u64()).collect();
    let first_held = 79 + 1 - held as u64;
    let all: Vec<u64> = (10..=15).chain([first_held + 1]).chain(first_held..=79).collect();
    assert_eq!(indexes, all, "the hole is told of before what follows it");
    let gap = &records[6];
    assert_eq!((&gap["Topic"], &gap["Type"]), (&"Firehose".into(), &"Gap".into()));
    assert_eq!(gap["Payload"]["Gap"]["FromIndex"], 15, "the last known index may hold more");
    assert!(gap["Payload"]["Gap"]["UntilIndex"].as_u64() >= Some(first_held));
}

#[tokio::test(flavor = "multi_thread")]
async fn task_events_that_nomad_still_keeps_come_after_an_overrun() {
    let sim = Sim::builder().buffer(10).start().await.expect("starts");
    sim.append_lines([allocation(10, 1, 1..=5), allocation(11, 2, 1..=5)]).await.expect("lines");
    let process = Setup::new(&["allocations"], &sim.url(0)).spawn();
    process.until_printed(10).await;
    refuse(&sim).await;
    // One more each: of the first more than ten are lost, of the second all are still there.
    let busy = (20..=49).map(|index| allocation(index, 1, 1..=index - 14));
    sim.append_lines(busy).await.expect("lines");
    sim.append_lines([allocation(50, 2, 1..=12)]).await.expect("a line");
    append_evaluations(&sim, 51..=80).await;
    sim.server(0).refuse(false);
    process.until_printed(10 + 10 + 7).await;
    process.until_logged("more than ten happened").await;
    let times = |printed: &[String], n: u64| -> Vec<u64> {
        let records = printed.iter().map(|record| serde_json::from_str::<Value>(record).expect("JSON"));
        let own = records.filter(|record| record["AllocationID"] == id(n));
        own.map(|record| record["TaskEvent"]["Time"].as_u64().expect("a time")).collect()
    };
    let printed = process.stop().await;
    assert_eq!(times(&printed, 1), (1..=5).chain(26..=35).collect::<Vec<_>>());
    assert_eq!(times(&printed, 2), (1..=12).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_buffer_is_made_up_for_by_the_lists_though_nothing_streams() {
    let sim = Sim::builder().start().await.expect("starts");
    append_evaluations(&sim, 10..=15).await;
    let process = Setup::new(&["evaluations"], &sim.url(0)).spawn();
    process.until_printed(6).await;
    refuse(&sim).await;
    append_evaluations(&sim, 20..=29).await;
    sim.server(0).restart();
    sim.server(0).refuse(false);
    process.until_printed(16).await;
    assert!(process.logged("gap detected") > 0);
    append_evaluations(&sim, 30..=31).await;
    process.until_printed(18).await;
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
}
