//! Lists that change while they are read, and that take their time.

use std::time::{Duration, Instant};

use nomad_sim::{Broker, Hanging, Sim};
use serde_json::json;

use crate::common::Setup;
use crate::support::*;

/// The version of evaluation `n` that raft index `index` brings.
fn version(n: u64, created: u64, index: u64) -> String {
    let id = format!("{n:08x}-0000-0000-0000-000000000000");
    let evaluation = json!({
        "ID": id, "Namespace": "default", "JobID": "web", "Type": "service", "TriggeredBy": "job-register",
        "Status": "complete", "CreateIndex": created, "ModifyIndex": index,
    });
    let event = json!({
        "Topic": "Evaluation", "Type": "EvaluationUpdated", "Key": id, "Namespace": "default", "FilterKeys": ["web"],
        "Index": index, "Payload": {"Evaluation": evaluation},
    });
    json!({"Index": index, "Events": [event]}).to_string()
}

/// 1,200 evaluations, which are three pages.
const EVALUATIONS: u64 = 1_200;

async fn many() -> Sim {
    let sim = Sim::builder().start().await.expect("the simulator starts");
    sim.set_broker(Broker::Missing);
    let lines = (1..=EVALUATIONS).map(|n| version(n, 100 + n, 100 + n));
    sim.append_lines(lines).await.expect("lines of a stream");
    sim
}

fn evaluations(sim: &Sim) -> Setup {
    Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms")
}

/// The last object of the list is changed each time it is looked at: left to the next list, it would never come.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changes_all_the_time_comes_all_the_time() {
    let sim = many().await;
    sim.server(0).slow_lists(Duration::from_millis(150));
    let process = evaluations(&sim).spawn();
    let mut index = 10_000;
    let restless = || {
        let last = format!("{EVALUATIONS:08x}-");
        versions(&process.printed()).iter().filter(|version| version.key.contains(&last)).count()
    };
    let began = Instant::now();
    while restless() < 5 {
        assert!(began.elapsed() < crate::common::PATIENCE, "it does not come: {}", process.log());
        index += 1;
        sim.append_line(version(EVALUATIONS, 100 + EVALUATIONS, index)).await.expect("a line");
        // The first object changes as well, behind the page that has it.
        index += 1;
        sim.append_line(version(1, 101, index)).await.expect("a line");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sim.server(0).slow_lists(Duration::ZERO);
    until_shown(&sim, &process, &[]).await;
    let printed = versions(&process.stop().await);
    assert_no_repeats(&printed);
    assert_true(&sim, &printed);
}

/// Three pages of 300 ms each are followed by 900 ms of rest: the first pages of four lists come three times that apart,
/// or further where the machine is busy.
#[tokio::test(flavor = "multi_thread")]
async fn lists_take_no_more_than_half_of_the_time() {
    const PAGE: Duration = Duration::from_millis(300);
    let sim = many().await;
    let process = evaluations(&sim).spawn();
    process.until_printed(1_200).await;
    sim.server(0).slow_lists(PAGE);
    let (before, began) = (first_pages(&sim), Instant::now());
    let mut index = 10_000;
    while first_pages(&sim) < before + 4 {
        assert!(began.elapsed() < crate::common::PATIENCE, "no list is read: {}", process.log());
        index += 1;
        sim.append_line(version(7, 107, index)).await.expect("a line");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    println!("four lists began within {took:?}");
    assert!(took >= 3 * 2 * 3 * PAGE, "{took:?}");
    process.stop().await;
}

/// Killed in the midst of a list, it goes on with the page.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_with_its_page() {
    let sim = many().await;
    let dir = tempfile::tempdir().expect("a directory");
    let setup = evaluations(&sim).data_dir(dir.path());
    sim.server(0).hang_after(1);
    let process = setup.spawn();
    process.until_printed(500).await;
    let mut printed = versions(&process.stop().await);
    assert_eq!(printed.len(), 500, "the second page is not answered");
    // Once it has read all, it asks for the first page again, to see whether something has changed. So the third is not answered yet.
    let (before, asked) = (first_pages(&sim), pages(&sim));
    let process = setup.spawn();
    process.until("the second page is asked for", || pages(&sim) > asked).await;
    sim.server(0).hang_after(1);
    process.until_printed(500).await;
    assert_eq!(first_pages(&sim), before, "it began anew");
    sim.server(0).hang(Hanging::default());
    process.until_printed(1_200 - printed.len()).await;
    printed.extend(versions(&process.stop().await));
    assert_no_repeats(&printed);
}

/// Nothing changes, and nothing is asked for but whether something did.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_changes_nothing_is_listed() {
    let sim = many().await;
    let process = evaluations(&sim).spawn();
    process.until_printed(1_200).await;
    sim.append_line(version(3, 103, 10_000)).await.expect("a line");
    process.until_printed(1_201).await;
    process.until("the second list is read", || pages(&sim) == 6).await;
    // A list that follows would follow at once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(pages(&sim), 6);
    process.stop().await;
}

/// It comes with each list, and is told once.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_used_is_put_away_once() {
    let sim = Sim::builder().start().await.expect("the simulator starts");
    sim.set_broker(Broker::Missing);
    let nameless = version(2, 102, 102).replace("00000002-0000-0000-0000-000000000000", "");
    sim.append_lines([version(1, 101, 101), nameless]).await.expect("lines of a stream");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("dead.ndjson");
    let letters = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
    let process = evaluations(&sim).env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display())).spawn();
    for index in 110..115 {
        sim.append_line(version(1, 101, index)).await.expect("a line");
        let printed = || versions(&process.printed()).iter().any(|printed| printed.version == index.to_string());
        process.until("the change is printed", printed).await;
    }
    assert_eq!(letters(), 1);
    // Another version of it is another matter.
    let changed = version(2, 102, 120).replace("00000002-0000-0000-0000-000000000000", "");
    sim.append_line(changed).await.expect("a line");
    process.until("it is put away", || letters() == 2).await;
    process.stop().await;
}

fn pages(sim: &Sim) -> usize {
    sim.requests().iter().filter(|request| request.target.contains("per_page=500")).count()
}

fn first_pages(sim: &Sim) -> usize {
    let first = |target: &str| target.contains("per_page=500") && !target.contains("next_token");
    sim.requests().iter().filter(|request| first(&request.target)).count()
}
