//! What cannot be used goes to the dead-letter file with its reason, and everything else flows.

mod common;

use std::path::Path;

use common::{
    Process, Setup, fixture_lines,
    truth::{OBJECTS, Seen, all_seen, assert_exactly, expected, expected_by_line},
};
use nomad_sim::Sim;
use serde_json::{Value, json};

async fn cluster() -> Sim {
    let names = ["team-a", "team-b", "late"];
    let sim = names.iter().fold(Sim::builder().buffer(1_000), |sim, name| sim.namespace(name, 1));
    sim.start().await.expect("the simulator starts")
}

fn letters(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a letter is JSON")).collect()
}

fn setup(sim: &Sim, resources: &str, dead: &Path) -> Setup {
    let place = format!("file:{}", dead.display());
    Setup::new(&["run", "--resources", resources], &sim.url(0)).env("NOMAD_FIREHOSE_DEAD_LETTER", place)
}

/// Puts a line into the open stream between two of the recording; all of the recording must come once.
async fn flows_around(resources: &str, kinds: &[&str], bad: &[u8], letters_due: usize) -> Vec<Value> {
    let (sim, directory) = (cluster().await, tempfile::tempdir().expect("a directory"));
    let dead = directory.path().join("dead.ndjson");
    let lines = fixture_lines("stream-complete.ndjson");
    let (first, second) = lines.split_at(lines.len() / 2);
    let due = |lines: &[String]| kinds.iter().flat_map(|kind| expected(kind, lines)).collect::<Vec<Seen>>();
    let process = setup(&sim, resources, &dead).spawn();
    sim.append_lines(first.iter().cloned()).await.expect("lines of a stream");
    process.until_printed(due(first).len()).await;
    sim.server(0).inject([bad, b"\n"].concat());
    process.until("the letters are written", || letters(&dead).len() >= letters_due).await;
    sim.append_lines(second.iter().cloned()).await.expect("lines of a stream");
    process.until_printed(due(&lines).len()).await;
    assert_exactly(&all_seen(&process.stop().await), &due(&lines));
    let letters = letters(&dead);
    assert_eq!(letters.len(), letters_due, "{letters:?}");
    for letter in &letters {
        assert!(letter["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{letter}");
    }
    letters
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_wrong_shape_are_put_away_one_by_one() {
    // Above the half of the recording, below its next line.
    let index = {
        let lines = fixture_lines("stream-complete.ndjson");
        serde_json::from_str::<Value>(&lines[lines.len() / 2 - 1]).expect("JSON")["Index"].clone()
    };
    let event = |topic: Value, payload: Value| json!({"Topic": topic, "Type": "X", "Key": "k", "Namespace": "default", "FilterKeys": null, "Index": index, "Payload": payload});
    let bad = [
        event(json!(7), json!({})),
        json!("no object"),
        event(json!("Job"), json!(null)),
        event(json!("Job"), json!({"Job": "a text"})),
        event(json!("Evaluation"), json!({"Evaluation": {"ID": 7, "ModifyIndex": index}})),
        event(json!("Node"), json!({"Node": {"ID": "n", "ModifyIndex": "1"}})),
        event(json!("Deployment"), json!({"Job": {}})),
        event(json!("Allocation"), json!({"Allocation": {"ID": "a", "TaskStates": {"t": {"Events": "none"}}}})),
    ];
    // The two that are no events at all belong to no kind. A job that is none is none for jobs and for stubs.
    let letters = flows_around(
        &OBJECTS.join(","),
        &OBJECTS,
        json!({"Index": index, "Events": bad}).to_string().as_bytes(),
        2 + 2 * 2 + 4,
    )
    .await;
    for bad in &bad {
        let text = bad.to_string();
        assert!(letters.iter().any(|letter| letter["body"] == *text), "nobody put away {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_strange_but_no_error_disturbs_nothing() {
    for line in [r#"{"Index":1,"Events":null}"#, r#"{"Index":1,"Events":[]}"#, r#"{"Index":1}"#, "", " {} "] {
        flows_around("jobs,events", &["jobs", "events"], line.as_bytes(), 0).await;
    }
}

/// Nomad streams in order: an event below the one before it has a wrong index, and is an event none the less.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_strange_kind_and_index_is_passed_on() {
    for strange in [
        r#"{"Topic":"Novelty","Type":"New","Key":"k","Namespace":"","Index":1,"Payload":[]}"#,
        r#"{"Topic":"Job","Type":"Unknown","Key":"k","Namespace":"default","Index":1}"#,
    ] {
        let (sim, lines) = (cluster().await, fixture_lines("stream-complete.ndjson"));
        let process = Setup::new(&["run", "--resources", "events"], &sim.url(0)).spawn();
        let line = format!(r#"{{"Events":[{strange}],"Index":1,"New":{{}}}}"#);
        publish_around(&sim, &process, &lines, &["events"], line.as_bytes()).await;
        process.until("the strange one is printed", || process.printed().iter().any(|record| record == strange)).await;
        process.until_logged("index of an event is implausible").await;
        let printed = process.stop().await;
        let known: Vec<_> = printed.iter().filter(|record| *record != strange).collect();
        assert_eq!(known.len(), printed.len() - 1);
        assert_exactly(&all_seen(&known), &expected("events", &lines));
    }
}

/// The line is cut, so that the connection is given up, and the lines that follow it come on the next one.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_the_connection_and_nothing_else() {
    for bad in
        [&b"!garbage, not JSON {["[..], b"rpc error: Permission denied", b"{\"Events\":[", b"\xff\xfe\x00", b"[]", b"7"]
    {
        let (sim, lines) = (cluster().await, fixture_lines("stream-complete.ndjson"));
        let process = Setup::new(&["run", "--resources", "evaluations,events"], &sim.url(0)).spawn();
        let kinds = ["evaluations", "events"];
        publish_around(&sim, &process, &lines, &kinds, bad).await;
        process.until_logged("cannot read an event stream line").await;
        let all: Vec<_> = kinds.iter().flat_map(|kind| expected(kind, &lines)).collect();
        assert_exactly(&all_seen(&process.stop().await), &all);
    }
}

async fn publish_around(sim: &Sim, process: &Process, lines: &[String], kinds: &[&str], bad: &[u8]) {
    let by_line: Vec<usize> = {
        let by_kind = kinds.iter().map(|kind| expected_by_line(kind, lines));
        by_kind.fold(vec![0; lines.len()], |sums, seen| {
            sums.iter().zip(seen).map(|(sum, seen)| sum + seen.len()).collect()
        })
    };
    let (first, second) = lines.split_at(lines.len() / 2);
    sim.append_lines(first.iter().cloned()).await.expect("lines of a stream");
    process.until_printed(by_line[..first.len()].iter().sum()).await;
    sim.server(0).inject([bad, b"\n"].concat());
    sim.append_lines(second.iter().cloned()).await.expect("lines of a stream");
    process.until_printed(by_line.iter().sum()).await;
}
