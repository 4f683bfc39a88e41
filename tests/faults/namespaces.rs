//! Namespaces: those created after the subscription, and those that alone are wanted.

use std::time::Duration;

use nomad_sim::Sim;

use crate::common::{
    Process, Setup, fixture, fixture_lines,
    truth::{ALL, Seen, all_seen, assert_exactly, expected},
};
use crate::support::*;

const RECORDING: &str = "stream-complete.ndjson";
/// The index of the recording's first event in namespace `late`, and of the namespace's creation.
const LATE: u64 = 43;
const CREATED: u64 = 42;

async fn recording(buffer: usize) -> Sim {
    let sim = Sim::builder().recording(fixture(RECORDING)).namespace("late", CREATED).buffer(buffer).preload(20);
    sim.start().await.expect("starts")
}

fn run(sim: &Sim) -> Setup {
    Setup::new(&["run", "--resources", "all"], &sim.url(0)).verbose()
}

/// Subscribed, first lists read.
async fn subscribed(sim: &Sim, setup: &Setup) -> Process {
    let process = setup.spawn();
    process.until_printed(expected_of(sim, &ALL).len()).await;
    process.until("the lists are read", || process.logged("backfill finished") == LISTS).await;
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_created_later_is_delivered_once() {
    let sim = recording(1_000).await;
    let process = subscribed(&sim, &run(&sim)).await;
    let lists = full_lists(&sim).len();
    for index in [LATE - 2, LATE, LATE + 1, 60, 100, u64::MAX] {
        sim.play_to(index).await;
        process.until_printed(expected_of(&sim, &ALL).len()).await;
    }
    assert_eq!(full_lists(&sim).len(), lists, "{:#?}", full_lists(&sim));
    assert_eq!(process.logged("gap detected"), 0);
    let lines = fixture_lines(RECORDING);
    let all: Vec<_> = ALL.iter().flat_map(|kind| expected(kind, &lines)).collect();
    assert_exactly(&all_seen(&process.stop().await), &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_first_events_come_before_anyone_could_have_subscribed_again() {
    let sim = recording(1_000).await;
    let process = subscribed(&sim, &run(&sim)).await;
    sim.play_all().await;
    process.until_printed(expected_of(&sim, &ALL).len()).await;
    assert_eq!(process.logged("gap detected"), 0);
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &ALL));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_created_while_the_program_was_stopped_is_delivered_once() {
    let sim = recording(1_000).await;
    let dir = tempfile::tempdir().expect("a directory");
    let setup = run(&sim).data_dir(dir.path());
    let mut printed = subscribed(&sim, &setup).await.stop().await;
    sim.play_to(60).await;
    let process = setup.spawn();
    process.until_printed(expected_of(&sim, &ALL).len() - printed.len()).await;
    sim.play_all().await;
    process.until_printed(expected_of(&sim, &ALL).len() - printed.len()).await;
    assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
    printed.extend(process.stop().await);
    assert_exactly(&all_seen(&printed), &expected_of(&sim, &ALL));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_at_once_and_a_cut_connection_lose_and_repeat_nothing() {
    let sim = Sim::builder().buffer(1_000).start().await.expect("starts");
    append_evaluations(&sim, 10..=30).await;
    let process = Setup::new(&["evaluations"], &sim.url(0)).spawn();
    process.until_printed(21).await;
    let mut index = 40;
    for round in 0..8 {
        for name in ["a", "b", "c"] {
            let name = format!("{name}-{round}");
            sim.add_namespace(&name, Some(index)).await;
            let lines = (1..=5).map(|step| evaluation_in(&name, index + step, index + step));
            sim.append_lines(lines.chain([evaluation(index + 6, index + 6)])).await.expect("lines");
            index += 10;
        }
        if round % 2 == 1 {
            sim.server(0).drop_connections();
        }
    }
    process.until_printed(expected_of(&sim, &["evaluations"]).len()).await;
    append_evaluations(&sim, index + 1..=index + 1).await;
    process.until_printed(expected_of(&sim, &["evaluations"]).len()).await;
    assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
}

/// The list lacks it, and the subscription has it.
#[tokio::test(flavor = "multi_thread")]
async fn one_created_between_the_list_and_the_subscription_is_delivered_once() {
    let sim = Sim::builder().buffer(1_000).start().await.expect("starts");
    append_evaluations(&sim, 10..=12).await;
    let process = Setup::new(&["evaluations"], &sim.url(0)).verbose().spawn();
    process.until_printed(3).await;
    process.until("backfill finished", || process.logged("backfill finished") == 1).await;
    let lists = || sim.requests().iter().filter(|request| request.target == "/v1/namespaces").count();
    let before = lists();
    sim.server(0).slow_namespaces(Duration::from_millis(300));
    sim.server(0).drop_connections();
    process.until("it lists namespaces", || lists() > before).await;
    let subscribed = subscriptions(&sim);
    sim.add_namespace("late", Some(20)).await;
    assert_eq!(subscriptions(&sim), subscribed, "too late");
    sim.append_lines((21..=25).map(|index| evaluation_in("late", index, index))).await.expect("lines");
    process.until_printed(8).await;
    // When it has heard of the namespace, too.
    process.until("it has subscribed again", || subscriptions(&sim) >= subscribed + 2).await;
    append_evaluations(&sim, 26..=26).await;
    process
        .until("the last is printed", || process.printed().iter().any(|line| line.contains("\"ModifyIndex\":26")))
        .await;
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_at_an_index_brings_nothing_older_of_namespaces_that_there_were() {
    let sim = Sim::builder().namespace("team", 12).buffer(1_000).start().await.expect("starts");
    append_evaluations(&sim, 10..=12).await;
    sim.append_lines((13..=30).map(|index| evaluation_in("team", index, index))).await.expect("lines");
    let dir = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&["evaluations"], &sim.url(0)).data_dir(dir.path()).env("NOMAD_FIREHOSE_START", "25");
    let process = setup.spawn();
    process.until_printed(6).await;
    append_evaluations(&sim, 31..=31).await;
    process
        .until("the last is printed", || process.printed().iter().any(|line| line.contains("\"ModifyIndex\":31")))
        .await;
    let mut printed = process.stop().await;
    let process = setup.spawn();
    append_evaluations(&sim, 32..=32).await;
    process
        .until("the last is printed", || process.printed().iter().any(|line| line.contains("\"ModifyIndex\":32")))
        .await;
    printed.extend(process.stop().await);
    let is_wanted = |line: &String| {
        (25..=32).any(|index| {
            line.contains(&format!("\"Index\":{index},")) || line.ends_with(&format!("\"Index\":{index}}}"))
        })
    };
    let wanted: Vec<_> = texts(&sim.truth()).into_iter().filter(is_wanted).collect();
    assert_exactly(&all_seen(&printed), &expected("evaluations", &wanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_buffer_has_passed_its_creation_its_list_is_read() {
    let sim = Sim::builder().buffer(20).start().await.expect("starts");
    append_evaluations(&sim, 10..=12).await;
    let process = Setup::new(&["run", "--resources", "evaluations,events"], &sim.url(0)).spawn();
    process.until_printed(6).await;
    // The namespace is known of only now, and its creation lies far behind.
    let late = (20..=29).map(|index| evaluation_in("late", index, index));
    sim.append_lines(late).await.expect("lines");
    append_evaluations(&sim, 30..=31).await;
    process.until_printed(6 + 4).await;
    let more: Vec<_> = (32..=60).map(|index| evaluation(index, index)).collect();
    for line in more {
        let printed = process.count();
        sim.append_line(line).await.expect("a line");
        process.until_printed(printed + 2).await;
    }
    let printed = process.count();
    sim.add_namespace("late", Some(19)).await;
    // Each of its evaluations from the list, and for the raw events the record of the hole.
    process.until_printed(printed + 10 + 1).await;
    sim.append_line(evaluation_in("late", 70, 70)).await.expect("a line");
    process.until_printed(printed + 10 + 1 + 2).await;
    assert_eq!(process.logged("gap detected"), 2, "{}", process.log());
    let mut seen = all_seen(&process.stop().await);
    seen.retain(|record| record.kind == "evaluations");
    assert_exactly(&seen, &expected_of(&sim, &["evaluations"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn named_namespaces_alone_are_delivered_and_nodes_once() {
    let sim = Sim::builder().recording(fixture(RECORDING)).buffer(1_000).preload(100).start().await.expect("starts");
    let setup = run(&sim).env("NOMAD_NAMESPACE", "team-a,default");
    let process = setup.spawn();
    let wanted = |sim: &Sim| -> Vec<Seen> {
        let all = expected_of(sim, &ALL).into_iter();
        // Keys begin with the namespace, but those of allocations and events.
        all.filter(|seen| belongs(seen, sim)).collect()
    };
    process.until_printed(wanted(&sim).len()).await;
    assert_eq!(sim.server(0).open_streams(), 2);
    for index in [140, 141, u64::MAX] {
        sim.play_to(index).await;
        process.until_printed(wanted(&sim).len()).await;
    }
    assert_exactly(&all_seen(&process.stop().await), &wanted(&sim));
}

fn belongs(seen: &Seen, sim: &Sim) -> bool {
    let foreign = ["team-b", "late"];
    match seen.kind {
        "allocations" => {
            let id = seen.key.split(' ').next().unwrap_or_default();
            let truth = sim.truth();
            let mut events = truth.iter().flat_map(|line| &line.events);
            events.any(|event| &*event.key == id && !foreign.contains(&&*event.namespace))
        }
        "events" => !foreign.contains(&seen.key.split(' ').nth(1).unwrap_or_default()),
        _ => !foreign.contains(&seen.key.split(' ').next().unwrap_or_default()),
    }
}

/// Its list was read for a gap before anyone told of the namespace: what its stream then brings is older.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "what a list has given of a namespace is not known to its catch-up"]
async fn no_version_comes_after_a_newer_one_that_a_list_gave_before_the_namespace_was_known() {
    let sim = Sim::builder().buffer(1_000).start().await.expect("starts");
    append_evaluations(&sim, 10..=12).await;
    let process = Setup::new(&["evaluations"], &sim.url(0)).spawn();
    process.until_printed(3).await;
    process.until("backfill finished", || process.logged("backfill finished") == 1).await;
    let waits = || sim.requests().iter().filter(|request| request.target.starts_with("/v1/namespaces?index=")).count();
    process.until("it waits for namespaces", || waits() > 0).await;
    let before = waits();
    // The buffer is empty now, so that nothing proves that the stream goes on.
    sim.server(0).restart();
    process.until("it subscribes again", || subscriptions(&sim) > 1).await;
    process.until("it waits for namespaces", || waits() > before).await;
    sim.server(0).slow_namespaces(Duration::from_secs(5));
    sim.add_namespace("late", Some(20)).await;
    sim.append_lines((21..=23).map(|index| evaluation_in("late", index, 21))).await.expect("lines");
    process.until("the list has given the newest", || process.count() >= 4).await;
    sim.server(0).slow_namespaces(Duration::ZERO);
    process.until("it has subscribed again", || subscriptions(&sim) > 2).await;
    append_evaluations(&sim, 30..=30).await;
    process
        .until("the last is printed", || {
            process.printed().last().is_some_and(|last| last.contains("\"ModifyIndex\":30"))
        })
        .await;
    let printed = process.stop().await;
    let versions: Vec<u64> = printed
        .iter()
        .map(|record| {
            serde_json::from_str::<serde_json::Value>(record).expect("JSON")["ModifyIndex"].as_u64().expect("an index")
        })
        .collect();
    assert!(versions.is_sorted(), "an older version after a newer one: {versions:?}");
}
