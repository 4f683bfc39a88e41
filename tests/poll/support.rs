//! What lists show, and whether a program has printed it.

#![allow(unreachable_pub, reason = "shared by the tests of one program")]

use std::collections::{BTreeMap, BTreeSet};

use nomad_sim::Sim;
use serde_json::{Value, json};

use crate::common::{
    Process, Setup, fixture,
    truth::{OBJECTS, Seen, expected, seen},
};
pub use crate::common::{ports::Ports, probe::get};

pub const RECORDING: &str = "stream-complete.ndjson";
pub const SIX: &str = "allocations,nodes,evaluations,jobs,jobliststubs,deployments";
pub const POLLING: &str = "polling lists instead of streaming";

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
    let sim = Sim::builder().recording(fixture(RECORDING)).buffer(1_000);
    sim.start().await.expect("the simulator starts")
}

/// The six kinds, looked for ten times a second.
pub fn setup(sim: &Sim) -> Setup {
    Setup::new(&["run", "--resources", SIX], &sim.url(0)).env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms")
}

/// What these records are; raw events are left out.
pub fn versions(records: &[impl AsRef<str>]) -> Vec<Version> {
    let objects = records.iter().map(AsRef::as_ref).filter(|record| !record.contains("\"Topic\":"));
    let version = |record: &str| {
        let Seen { kind, key, version } = seen(record);
        if kind == "allocations" {
            return Version { kind, key, version };
        }
        let mut object: Value = serde_json::from_str(record).expect("a record is JSON");
        // A Nomad without namespaces names none.
        let key = if kind == "jobliststubs" { key_in(&mut object, "default") } else { key };
        Version { kind, key, version: version_of(&object) }
    };
    objects.map(version).collect()
}

/// What lists of a namespace, or of all, show by now: the version of each object, the task events of each task.
pub async fn shown(sim: &Sim, namespace: &str) -> BTreeSet<Version> {
    let mut shown = BTreeSet::new();
    for kind in OBJECTS {
        let table = if kind == "jobliststubs" { "jobs" } else { kind };
        for mut object in list(sim, table, namespace).await {
            if kind == "allocations" {
                shown.extend(task_events(&object));
                continue;
            }
            let absent = if kind == "nodes" { "" } else { "default" };
            let key = key_in(&mut object, absent);
            shown.insert(Version { kind, key, version: version_of(&object) });
        }
    }
    shown
}

/// A list as the cluster has it now.
pub async fn list(sim: &Sim, table: &str, namespace: &str) -> Vec<Value> {
    let mut list = Vec::new();
    // Not every Nomad lists all of them at once.
    let all = ["default", "team-a", "team-b", "late"];
    let namespaces = if namespace == "*" && table != "nodes" { &all[..] } else { &[namespace] };
    for namespace in namespaces {
        let text = get(&format!("{}/v1/{table}?namespace={namespace}", sim.url(0))).await;
        list.extend(serde_json::from_str::<Vec<Value>>(&text).expect("a list"));
    }
    list
}

fn key_in(object: &mut Value, absent: &str) -> String {
    let id = object["ID"].as_str().expect("an id");
    format!("{} {id}", object["Namespace"].as_str().unwrap_or(absent))
}

fn task_events(allocation: &Value) -> Vec<Version> {
    let event = json!({"Topic": "Allocation", "Payload": {"Allocation": allocation}});
    let line = json!({"Index": 0, "Events": [event]});
    let seen = expected("allocations", &[line.to_string()]).into_iter();
    seen.map(|Seen { kind, key, version }| Version { kind, key, version }).collect()
}

/// Everything that the lines published so far bring, and how often a stream brings it: several events can leave an
/// object's `ModifyIndex`.
pub fn published(sim: &Sim) -> BTreeMap<Version, usize> {
    let lines: Vec<_> = sim.truth().iter().map(|line| String::from_utf8(line.raw.to_vec()).expect("UTF-8")).collect();
    let mut published = BTreeMap::new();
    for kind in OBJECTS {
        // Of a stub no more is told than its version.
        let of = if kind == "jobliststubs" { "jobs" } else { kind };
        for Seen { key, version, .. } in expected(of, &lines) {
            let version = match kind {
                "allocations" => version,
                _ => version_of(&serde_json::from_str(&version).expect("an object")),
            };
            *published.entry(Version { kind, key, version }).or_default() += 1;
        }
    }
    published
}

fn version_of(object: &Value) -> String {
    let deleted = if object["Deleted"] == true { " deleted" } else { "" };
    format!("{}{deleted}", object["ModifyIndex"])
}

/// Waits until everything that lists of a namespace, or of all, show now is printed, here or `before`.
pub async fn until_shown_of(sim: &Sim, process: &Process, before: &[Version], namespace: &str) {
    let shown = shown(sim, namespace).await;
    let all = || {
        let printed: BTreeSet<_> = versions(&process.printed()).into_iter().chain(before.iter().cloned()).collect();
        shown.is_subset(&printed)
    };
    process.until("everything that lists show is printed", all).await;
}

/// The same for all namespaces.
pub async fn until_shown(sim: &Sim, process: &Process, before: &[Version]) {
    until_shown_of(sim, process, before, "*").await;
}

/// The same of one kind alone.
pub async fn until_shown_of_kind(sim: &Sim, process: &Process, kind: &str) {
    let shown = shown(sim, "*").await.into_iter().filter(|version| version.kind == kind);
    let shown: BTreeSet<_> = shown.collect();
    let all = || shown.is_subset(&versions(&process.printed()).into_iter().collect());
    process.until("everything that lists show of the kind is printed", all).await;
}

/// Holds what was printed to the truth: nothing that never was, and of each object the versions in order.
pub fn assert_true(sim: &Sim, printed: &[Version]) {
    let published = published(sim);
    let strange: Vec<_> = printed.iter().filter(|version| !published.contains_key(*version)).collect();
    assert!(strange.is_empty(), "never published: {strange:#?}");
    let mut newest: BTreeMap<_, u64> = BTreeMap::new();
    for Version { kind, key, version } in printed.iter().filter(|version| version.kind != "allocations") {
        let version = version.trim_end_matches(" deleted").parse().expect("an index");
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

/// Nothing of it comes more often than a stream brings it.
pub fn assert_no_more_than_streamed(sim: &Sim, printed: &[Version]) {
    let published = published(sim);
    let mut times: BTreeMap<_, usize> = BTreeMap::new();
    printed.iter().for_each(|version| *times.entry(version).or_default() += 1);
    let repeated: Vec<_> = times.iter().filter(|(version, times)| **times > published[**version]).collect();
    assert!(repeated.is_empty(), "printed too often: {repeated:#?}");
}
