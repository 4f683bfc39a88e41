//! Another history under the same address: started over once, loudly, and then carried whole.

use std::time::{Duration, Instant};

use nomad_sim::Sim;

use crate::common::{
    PATIENCE, Process, Setup, fixture,
    truth::{ALL, all_seen, assert_exactly, expected},
};
use crate::support::*;

const OVER: &str = "starting over";

/// Whatever the new history has published is printed after `before` lines, each once.
async fn carries_the_new_history(sim: &Sim, process: Process, before: usize, old_lines: usize, kinds: &[&str]) {
    let want = |sim: &Sim| -> Vec<_> {
        let lines = texts(&sim.truth()[old_lines..]);
        kinds.iter().flat_map(|kind| expected(kind, &lines)).collect()
    };
    // A hole may be told of: between the two histories lies something that nobody can know.
    let printed = |process: &Process| without_gaps(&process.printed()[before..]);
    process.until("the new history", || printed(&process).len() >= want(sim).len()).await;
    sim.play_to(120).await;
    process.until("what follows", || printed(&process).len() >= want(sim).len()).await;
    assert_eq!(process.logged(OVER), 1, "{}", process.log());
    let printed = process.stop().await;
    assert_exactly(&all_seen(&without_gaps(&printed[before..])), &want(sim));
}

fn without_gaps(printed: &[String]) -> Vec<String> {
    printed.iter().filter(|record| !record.contains("\"Topic\":\"Firehose\"")).cloned().collect()
}

async fn recording(to: u64) -> Sim {
    let sim = Sim::builder().recording(fixture("stream-complete.ndjson")).buffer(1_000).preload(to);
    sim.start().await.expect("starts")
}

async fn restored_while_connected(arguments: &[&str], kinds: &[&str]) {
    let sim = recording(100).await;
    let process = Setup::new(arguments, &sim.url(0)).verbose().spawn();
    let before = expected_of(&sim, kinds).len();
    process.until_printed(before).await;
    // A list that is read half of one history and half of the other is another story.
    let lists = kinds.iter().filter(|kind| **kind != "events").count();
    process.until("the lists are read", || process.logged("backfill finished") >= lists).await;
    let old = sim.truth().len();
    sim.rebuild().await;
    sim.play_to(60).await;
    let old = if sim.truth().len() < old { 0 } else { old };
    carries_the_new_history(&sim, process, before, old, kinds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_start_over_once() {
    restored_while_connected(&["run", "--resources", "all"], &ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evaluations_start_over_once() {
    restored_while_connected(&["evaluations"], &["evaluations"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_start_over_once() {
    restored_while_connected(&["nodes"], &["nodes"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_events_start_over_once() {
    restored_while_connected(&["events"], &["events"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_restored_while_stopped_is_found_though_nothing_streams() {
    let sim = recording(100).await;
    let dir = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&["evaluations"], &sim.url(0)).verbose().data_dir(dir.path());
    let process = setup.spawn();
    process.until_printed(expected_of(&sim, &["evaluations"]).len()).await;
    process.stop().await;
    let old = sim.truth().len();
    sim.rebuild().await;
    sim.play_to(60).await;
    sim.server(0).restart();
    let old = if sim.truth().len() < old { 0 } else { old };
    let process = setup.spawn();
    process.until_logged(OVER).await;
    process.until("backfill finished", || process.logged("backfill finished") == 1).await;
    // Of each evaluation the final version, for nothing streams.
    let want = expected("evaluations", &texts(&sim.truth()[old..]));
    let want: std::collections::BTreeSet<_> = newest(&want).into_keys().map(|(_, key)| key.to_owned()).collect();
    process.until_printed(want.len()).await;
    let got = all_seen(&process.printed()).into_iter().map(|seen| seen.key);
    assert_eq!(got.collect::<std::collections::BTreeSet<_>>(), want);
    assert_eq!(process.count(), want.len());
    assert_eq!(process.logged(OVER), 1);
    let before = process.count();
    let old = sim.truth().len();
    sim.play_to(110).await;
    let fresh = expected("evaluations", &texts(&sim.truth()[old..]));
    process.until_printed(before + fresh.len()).await;
    assert_exactly(&all_seen(&process.stop().await[before..]), &fresh);
}

/// Lines of the new history come all the time, so that the connection is never quiet.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_cluster_that_is_busy_is_found() {
    let sim = Sim::builder().buffer(10_000).start().await.expect("starts");
    append_evaluations(&sim, 50_000..=50_010).await;
    let process = Setup::new(&["evaluations"], &sim.url(0)).verbose().spawn();
    process.until_printed(11).await;
    process.until_logged("backfill finished").await;
    sim.rebuild().await;
    let mut index = 10;
    let deadline = Instant::now() + PATIENCE;
    while process.logged(OVER) == 0 {
        assert!(Instant::now() < deadline, "never found; the log:\n{}", process.log());
        append_evaluations(&sim, index..=index).await;
        index += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    process.until_printed(11 + (index - 10) as usize).await;
    let new: Vec<String> = (10..index).map(|index| evaluation(index, index)).collect();
    assert_eq!(process.logged(OVER), 1);
    assert_exactly(&all_seen(&process.stop().await[11..]), &expected("evaluations", &new));
}
