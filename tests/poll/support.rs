//! What lists show, and whether a program has printed it.

#![allow(unreachable_pub, reason = "shared by the tests of one program")]

use std::collections::{BTreeMap, BTreeSet};

use nomad_sim::Sim;
use serde_json::Value;

pub use crate::common::probe::get;
use crate::common::{
    Process, Setup, fixture,
    truth::{OBJECTS, Seen, all_seen, expected},
};

pub const RECORDING: &str = "stream-complete.ndjson";
pub const SIX: &str = "allocations,nodes,evaluations,jobs,jobliststubs,deployments";
pub const POLLING: &str = "records come from lists";
/// The namespaces of the recording that are not there from the beginning.
pub const NAMESPACES: [&str; 3] = ["team-a", "team-b", "late"];

/// What was printed, or is to be: of an object its `ModifyIndex` is the version, for a list gives of other changes what
/// it happens to hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub kind: &'static str,
    pub key: String,
    pub version: String,
}

/// The recorded cluster, at its beginning.
pub async fn recorded() -> Sim {
    let sim = NAMESPACES.iter().fold(Sim::builder().buffer(1_000), |sim, name| sim.namespace(name, 1));
    sim.recording(fixture(RECORDING)).start().await.expect("the simulator starts")
}

/// The six kinds, looked for ten times a second.
pub fn setup(sim: &Sim) -> Setup {
    Setup::new(&["run", "--resources", SIX], &sim.url(0)).env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms")
}

/// What these records are.
pub fn versions(records: &[impl AsRef<str>]) -> Vec<Version> {
    let of_record = |(record, seen): (&Value, Seen)| {
        let Seen { kind, key, version } = seen;
        let version = if kind == "allocations" { version } else { record["ModifyIndex"].to_string() };
        Version { kind, key, version }
    };
    let values: Vec<Value> =
        records.iter().map(|record| serde_json::from_str(record.as_ref()).expect("a record is JSON")).collect();
    values.iter().zip(all_seen(records)).map(of_record).collect()
}

/// What lists show by now of each key: the version of an object, the task events of a task.
pub async fn shown(sim: &Sim) -> BTreeSet<Version> {
    let mut shown = BTreeSet::new();
    for kind in OBJECTS {
        let table = if kind == "jobliststubs" { "jobs" } else { kind };
        let text = get(&format!("{}/v1/{table}?namespace=*", sim.url(0))).await;
        let list: Vec<Value> = serde_json::from_str(&text).expect("a list");
        for object in list {
            if kind == "allocations" {
                shown.extend(task_events(&object));
                continue;
            }
            let key = format!(
                "{} {}",
                object["Namespace"].as_str().unwrap_or_default(),
                object["ID"].as_str().expect("an id")
            );
            shown.insert(Version { kind, key, version: object["ModifyIndex"].to_string() });
        }
    }
    shown
}

fn task_events(allocation: &Value) -> Vec<Version> {
    let event = serde_json::json!({"Index": 0, "Events": [
        {"Topic": "Allocation", "Payload": {"Allocation": allocation}}
    ]});
    let seen = expected("allocations", &[event.to_string()]).into_iter();
    seen.map(|Seen { kind, key, version }| Version { kind, key, version }).collect()
}

/// Everything that the lines published so far bring.
pub fn published(sim: &Sim) -> BTreeSet<Version> {
    let mut published = BTreeSet::new();
    for line in sim.truth() {
        let text = String::from_utf8(line.raw.to_vec()).expect("UTF-8");
        let line: Value = serde_json::from_str(&text).expect("a line is JSON");
        for event in line["Events"].as_array().into_iter().flatten() {
            let object =
                event["Topic"].as_str().map(|topic| &event["Payload"][topic]).filter(|object| object.is_object());
            let Some(object) = object else { continue };
            published.extend(task_events(object));
            let key = format!(
                "{} {}",
                object["Namespace"].as_str().unwrap_or_default(),
                object["ID"].as_str().unwrap_or_default()
            );
            let kinds: &[&'static str] = match event["Topic"].as_str() {
                Some("Job") => &["jobs", "jobliststubs"],
                Some("Node") => &["nodes"],
                Some("Evaluation") => &["evaluations"],
                Some("Deployment") => &["deployments"],
                _ => &[],
            };
            let version = object["ModifyIndex"].to_string();
            published.extend(kinds.iter().map(|kind| Version { kind, key: key.clone(), version: version.clone() }));
        }
    }
    published
}

/// Waits until everything that lists show now is printed, here or `before`.
pub async fn until_shown(sim: &Sim, process: &Process, before: &[Version]) {
    let shown = shown(sim).await;
    let missing = || {
        let printed: BTreeSet<_> = versions(&process.printed()).into_iter().chain(before.iter().cloned()).collect();
        shown.difference(&printed).next().is_none()
    };
    process.until("everything that lists show is printed", missing).await;
}

/// Holds what was printed to the truth: nothing that never was, and of each object the versions in order.
pub fn assert_true(sim: &Sim, printed: &[Version]) {
    let published = published(sim);
    let strange: Vec<_> = printed.iter().filter(|version| !published.contains(*version)).collect();
    assert!(strange.is_empty(), "never published: {strange:#?}");
    let mut newest: BTreeMap<_, u64> = BTreeMap::new();
    for Version { kind, key, version } in printed.iter().filter(|version| version.kind != "allocations") {
        let version = version.parse().expect("an index");
        let before = newest.insert((kind, key), version);
        assert!(before <= Some(version), "{kind} {key}: {version} after {before:?}");
    }
}

/// Nothing of it comes twice.
pub fn assert_no_repeats(printed: &[Version]) {
    let mut seen = BTreeSet::new();
    let repeated: Vec<_> = printed.iter().filter(|record| !seen.insert(*record)).collect();
    assert!(repeated.is_empty(), "printed twice: {repeated:#?}");
}
