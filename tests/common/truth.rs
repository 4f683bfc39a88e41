//! What must come, computed from a stream's lines with nothing of the program's own code.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The kinds of object.
pub const OBJECTS: [&str; 6] = ["allocations", "nodes", "evaluations", "jobs", "jobliststubs", "deployments"];

/// The kinds that `run --resources all` carries.
pub const ALL: [&str; 7] = ["allocations", "nodes", "evaluations", "jobs", "jobliststubs", "deployments", "events"];

/// One thing that must be printed, or was: in a form in which both can be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// `allocations`, `jobs` … or `events`.
    pub kind: &'static str,
    /// What it is about: order holds among those of one key.
    pub key: String,
    /// What makes it this one: bodies are compared whole, whatever the order of their members.
    pub version: String,
}

/// Everything that these lines of a stream must bring for a kind, in order.
pub fn expected(kind: &str, lines: &[impl AsRef<str>]) -> Vec<Seen> {
    expected_by_line(kind, lines).into_iter().flatten().collect()
}

/// The same, line by line.
pub fn expected_by_line(kind: &str, lines: &[impl AsRef<str>]) -> Vec<Vec<Seen>> {
    let mut task_events = BTreeSet::new();
    let by_line = lines.iter().map(|line| {
        let line: Value = serde_json::from_str(line.as_ref()).expect("a line of the stream is JSON");
        let events = line["Events"].as_array().cloned().unwrap_or_default();
        events.iter().flat_map(|event| of_event(kind, &line["Index"], event, &mut task_events)).collect()
    });
    by_line.collect()
}

fn of_event(kind: &str, index: &Value, event: &Value, task_events: &mut BTreeSet<Seen>) -> Vec<Seen> {
    if kind == "events" {
        return vec![seen_event(event)];
    }
    let object = |topic: &str| (event["Topic"] == topic).then(|| event["Payload"][topic].clone());
    let changed = |object: &Value| object["ModifyIndex"] == *index;
    let purged = event["Payload"]["Deleted"] == true;
    let with_deleted = |mut object: Value| {
        if purged {
            object["Deleted"] = Value::Bool(true);
        }
        object
    };
    let versioned = match kind {
        "allocations" => {
            let Some(allocation) = object("Allocation") else { return Vec::new() };
            return task_events_of(&allocation).into_iter().filter(|seen| task_events.insert(seen.clone())).collect();
        }
        "nodes" => object("Node").filter(|_| event["Type"] != "AllocationUpdated"),
        "evaluations" => object("Evaluation"),
        "jobs" | "jobliststubs" => object("Job").filter(|job| purged || changed(job)).map(with_deleted),
        "deployments" => object("Deployment").filter(changed),
        _ => panic!("no such kind: {kind}"),
    };
    versioned.iter().map(|object| seen_object(kind, object)).collect()
}

/// The task events of an allocation, in the order of their lists.
fn task_events_of(allocation: &Value) -> Vec<Seen> {
    let states = allocation["TaskStates"].as_object().into_iter().flatten();
    let of_task = states.flat_map(|(task, state)| {
        let events = state["Events"].as_array().into_iter().flatten();
        events.map(move |event| seen_task_event(&allocation["ID"], &Value::from(task.clone()), event))
    });
    of_task.collect()
}

fn seen_task_event(allocation: &Value, task: &Value, event: &Value) -> Seen {
    // An empty map and none at all are the same here.
    let details = event["Details"].as_object().filter(|details| !details.is_empty());
    Seen {
        kind: "allocations",
        key: format!("{} {}", text(allocation), text(task)),
        version: format!("{} {} {:?}", event["Time"], text(&event["Type"]), details),
    }
}

fn seen_object(kind: &str, object: &Value) -> Seen {
    let kind = ALL.into_iter().find(|known| *known == kind).expect("a kind");
    let version = match kind {
        // Their summary is read when the event is seen, and changes without one.
        "jobliststubs" => {
            format!("{} {} {}", object["ModifyIndex"], text(&object["Status"]), object["Deleted"] == true)
        }
        _ => object.to_string(),
    };
    let namespace = object["Namespace"].as_str().unwrap_or_default();
    Seen { kind, key: format!("{namespace} {}", text(&object["ID"])), version }
}

fn seen_event(event: &Value) -> Seen {
    let key = format!("{} {} {}", text(&event["Topic"]), text(&event["Namespace"]), text(&event["Key"]));
    Seen { kind: "events", key, version: event.to_string() }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// What a printed record is. The kinds are told apart by fields that only one of them has.
pub fn seen(record: &str) -> Seen {
    let record: Value = serde_json::from_str(record).unwrap_or_else(|error| panic!("not JSON: {error}: {record}"));
    let has = |field: &str| record.get(field).is_some();
    match () {
        () if has("Topic") => seen_event(&record),
        () if has("TaskEvent") => seen_task_event(&record["AllocationID"], &record["TaskName"], &record["TaskEvent"]),
        () if has("JobSummary") => seen_object("jobliststubs", &record),
        () if has("TaskGroups") && has("JobSpecModifyIndex") => seen_object("deployments", &record),
        () if has("TaskGroups") => seen_object("jobs", &record),
        () if has("TriggeredBy") => seen_object("evaluations", &record),
        () if has("SchedulingEligibility") => seen_object("nodes", &record),
        () => panic!("a record of no known kind: {record}"),
    }
}

/// What the printed records are.
pub fn all_seen(records: &[impl AsRef<str>]) -> Vec<Seen> {
    records.iter().map(|record| seen(record.as_ref())).collect()
}

/// The versions of each key, in order.
pub fn by_key(seen: &[Seen]) -> BTreeMap<(&str, &str), Vec<&str>> {
    let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for Seen { kind, key, version } in seen {
        keys.entry((*kind, &**key)).or_default().push(&**version);
    }
    keys
}

/// Holds what was printed to what must come: each once, and those of one key in order.
pub fn assert_exactly(printed: &[Seen], expected: &[Seen]) {
    let (printed, expected) = (by_key(printed), by_key(expected));
    for (key, versions) in &expected {
        let got = printed.get(key).cloned().unwrap_or_default();
        assert_eq!(&got, versions, "{key:?}: {} printed, {} expected", got.len(), versions.len());
    }
    let strange: Vec<_> = printed.keys().filter(|key| !expected.contains_key(*key)).collect();
    assert!(strange.is_empty(), "nobody expects {strange:?}");
}

/// What the original stores when it has seen all lists that these lines make: its rules, and none of our code.
pub fn original_value(kind: &str, lines: &[String]) -> u64 {
    let topic = topic(kind);
    let of_event = |event: &Value| {
        let object = &event["Payload"][topic];
        match kind {
            "allocations" => newest_time(object),
            "evaluations" => event["Index"].as_u64().expect("an index"),
            _ => object["ModifyIndex"].as_u64().expect("an index"),
        }
    };
    let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    let events = lines.flat_map(|line| line["Events"].as_array().cloned().unwrap_or_default());
    events.filter(|event| event["Topic"] == topic).map(|event| of_event(&event)).max().unwrap_or_default()
}

/// What a kind's events are called in the stream.
pub fn topic(kind: &str) -> &'static str {
    match kind {
        "allocations" => "Allocation",
        "nodes" => "Node",
        "evaluations" => "Evaluation",
        "jobs" | "jobliststubs" => "Job",
        "deployments" => "Deployment",
        _ => panic!("no such kind: {kind}"),
    }
}

/// The greatest time of its task events, ns.
pub fn newest_time(allocation: &Value) -> u64 {
    let states = allocation["TaskStates"].as_object().into_iter().flatten();
    let events = states.flat_map(|(_, state)| state["Events"].as_array().into_iter().flatten());
    events.map(|event| event["Time"].as_u64().expect("after 1970")).max().unwrap_or_default()
}
