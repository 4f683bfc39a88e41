//! What the recordings do not happen to hold, but real clusters do: made from them by hand.

mod common;

use common::{
    Setup, fixture_lines,
    truth::{ALL, all_seen, assert_exactly, expected},
};
use nomad_sim::Sim;
use serde_json::{Map, Value, json};

const RECORDING: &str = "stream-complete.ndjson";

/// Publishes lines in two halves with a clean stop between them; all that they must bring comes once.
async fn comes_once(lines: &[String], shuffled: bool) -> Vec<String> {
    let sim =
        ["team-a", "team-b", "late"].iter().fold(Sim::builder().buffer(1_000), |sim, name| sim.namespace(name, 1));
    let sim = sim.start().await.expect("the simulator starts");
    sim.shuffle(shuffled);
    let data_dir = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&["run", "--resources", "all"], &sim.url(0)).data_dir(data_dir.path());
    let due = |lines: &[String]| ALL.iter().flat_map(|kind| expected(kind, lines)).collect::<Vec<_>>();
    let all = due(lines);
    let mut printed = Vec::new();
    for (half, total) in
        lines.chunks(lines.len().div_ceil(2)).zip([due(&lines[..lines.len().div_ceil(2)]).len(), all.len()])
    {
        sim.append_lines(half.iter().cloned()).await.expect("lines of a stream");
        let process = setup.spawn();
        process.until_printed(total - printed.len()).await;
        printed.extend(process.stop().await);
    }
    assert_exactly(&all_seen(&printed), &all);
    printed
}

fn recorded() -> Vec<Value> {
    fixture_lines(RECORDING).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn texts(lines: &[Value]) -> Vec<String> {
    lines.iter().map(Value::to_string).collect()
}

fn events(line: &mut Value) -> &mut Vec<Value> {
    line["Events"].as_array_mut().expect("events")
}

fn line(index: u64, topic: &str, kind: &str, object: &Value) -> Value {
    let namespace = object["Namespace"].as_str().unwrap_or_default();
    let mut payload = Map::new();
    payload.insert(topic.to_owned(), object.clone());
    json!({"Index": index, "Events": [{"Topic": topic, "Type": kind, "Key": object["ID"], "Namespace": namespace,
        "FilterKeys": null, "Index": index, "Payload": payload}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_members_does_not_matter() {
    // Each connection gets another order, so that what is sent again looks different.
    comes_once(&fixture_lines(RECORDING), true).await;
}

/// Changes each task event of the recording, wherever it is repeated.
fn with_task_events(change: impl Fn(&mut Value)) -> Vec<String> {
    let mut lines = recorded();
    let allocations = lines.iter_mut().flat_map(events).filter_map(|event| event["Payload"].get_mut("Allocation"));
    let states = allocations.filter_map(|allocation| allocation.get_mut("TaskStates")?.as_object_mut());
    let events = states.flat_map(Map::values_mut).filter_map(|state| state["Events"].as_array_mut());
    events.flatten().for_each(change);
    texts(&lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn task_times_that_go_back_lose_nothing() {
    let lines = with_task_events(|event| {
        // Later ones get earlier times, as with a clock that runs backwards.
        event["Time"] = json!(3_600_000_000_000_000_000_u64 - event["Time"].as_u64().expect("a time"));
    });
    comes_once(&lines, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_task_times_lose_nothing() {
    let lines = with_task_events(|event| {
        // What makes it itself is then in its details alone.
        event["Details"] = json!({"was": event["Time"].to_string()});
        event["Time"] = json!(1_795_243_467_162_734_850_u64);
    });
    comes_once(&lines, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_nomad_adds_to_payloads_does_no_harm() {
    let mut lines = recorded();
    for event in lines.iter_mut().flat_map(events) {
        event["New"] = json!({"Member": [1, "two"]});
        let payload = event["Payload"].as_object_mut().expect("a payload");
        for topic in ["Allocation", "Deployment", "Evaluation", "Job", "Node", "Novelty"] {
            payload.entry(topic).or_insert_with(|| json!({"ID": 7}));
        }
    }
    comes_once(&texts(&lines), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_events_that_leave_the_modify_index_are_versions() {
    let mut lines = recorded();
    let node =
        lines.iter_mut().flat_map(events).find(|event| event["Topic"] == "Node").expect("a node")["Payload"]["Node"]
            .clone();
    let last = lines.last().expect("lines")["Index"].as_u64().expect("an index");
    let mut changed = node.clone();
    for (n, kind) in ["NodeStreamEvent", "NodeStreamEvent", "AllocationUpdated"].into_iter().enumerate() {
        changed["Events"] = json!([{"Message": format!("Driver came up {n} times"), "Subsystem": "Driver"}]);
        lines.push(line(last + 1 + n as u64, "Node", kind, &changed));
    }
    let printed = comes_once(&texts(&lines), false).await;
    let nodes = printed.iter().filter(|record| record.contains("Driver came up") && !record.contains("Topic"));
    assert_eq!(nodes.count(), 2, "AllocationUpdated is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_bodies_of_a_job_at_one_index_are_two_versions() {
    let mut lines = recorded();
    let job = lines.iter_mut().flat_map(events).find(|event| event["Topic"] == "Job").expect("a job")["Payload"]["Job"]
        .clone();
    let index = lines.last().expect("lines")["Index"].as_u64().expect("an index") + 1;
    for status in ["dead", "pending"] {
        let mut job = job.clone();
        job["Status"] = json!(status);
        job["ModifyIndex"] = json!(index);
        lines.push(line(index, "Job", "JobRegistered", &job));
    }
    comes_once(&texts(&lines), false).await;
}
