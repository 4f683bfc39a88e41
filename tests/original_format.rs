//! Records have the shape that the original program gave them: compared with what it printed of the same cluster.

mod common;

use std::{collections::HashMap, fmt::Formatter};

use common::{Setup, fixture, fixture_lines, truth::expected};
use nomad_sim::Sim;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

const RECORDING: &str = "stream-complete.ndjson";

async fn printed(kind: &str) -> Vec<String> {
    let sim = Sim::builder().recording(fixture(RECORDING)).buffer(1_000).preload(u64::MAX).start().await;
    let sim = sim.expect("the simulator starts");
    let process = Setup::new(&[kind], &sim.url(0)).spawn();
    process.until_printed(expected(kind, &fixture_lines(RECORDING)).len()).await;
    process.stop().await
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("a record is JSON")
}

/// The names of an object's members, in their order.
fn member_names(object: &str) -> Vec<String> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
            let mut names = Vec::new();
            while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                names.push(name);
            }
            Ok(names)
        }
    }
    serde_json::Deserializer::from_str(object).deserialize_map(Names).expect("an object")
}

/// The names in a record and in its task event.
fn all_member_names(record: &str) -> (Vec<String>, Vec<String>) {
    #[derive(Deserialize)]
    struct Record<'a> {
        #[serde(rename = "TaskEvent", borrow)]
        task_event: &'a RawValue,
    }
    let event = serde_json::from_str::<Record<'_>>(record).expect("a record").task_event.get();
    (member_names(record), member_names(event))
}

type TaskEventKey = (String, String, String, String);

fn task_event_key(record: &Value) -> TaskEventKey {
    let event = &record["TaskEvent"];
    let texts = [&record["AllocationID"], &record["TaskName"], &event["Time"], &event["Type"]].map(Value::to_string);
    texts.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn allocation_records_are_the_originals_to_the_byte() {
    let printed = printed("allocations").await;
    let originals: HashMap<TaskEventKey, String> = fixture_lines("original-output/allocations.ndjson")
        .into_iter()
        .map(|line| (task_event_key(&json(&line)), line))
        .collect();
    let names = all_member_names(originals.values().next().expect("the original printed something"));
    let mut compared = 0;
    for record in &printed {
        assert_eq!(all_member_names(record), names);
        if let Some(original) = originals.get(&task_event_key(&json(record))) {
            assert_eq!(record, original);
            compared += 1;
        }
    }
    assert_eq!((printed.len(), compared), (315, 306), "records, and those that the original printed too");
}

/// Whether Go leaves the value out of JSON, where it is told to leave out what is empty.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0001-01-01T00:00:00Z",
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// Holds a record to the original's: it has everything that is not empty, and what both have is equal. Members that
/// differ from one answer to the next are looked at for their presence alone.
fn has_all_of(record: &Value, original: &Value, moving: &[&str], path: &str) {
    let (Value::Object(record), Value::Object(original)) = (record, original) else {
        assert_eq!(record, original, "{path}");
        return;
    };
    for (name, value) in original {
        let path = format!("{path}.{name}");
        match record.get(name) {
            None => assert!(is_zero(value), "{path} is missing; it is {value}"),
            Some(_) if moving.contains(&&**name) => {}
            Some(ours) => has_all_of(ours, value, moving, &path),
        }
    }
}

/// Compares each record of the original with ours of the same version; says how many there were.
async fn compare(kind: &str, moving: &[&str]) -> usize {
    let key = |record: &Value| (record["ID"].clone(), record["ModifyIndex"].clone(), record["Status"].clone());
    let mut ours: HashMap<_, Value> = HashMap::new();
    for record in printed(kind).await {
        let record = json(&record);
        // A purge repeats the last version.
        ours.entry(key(&record)).or_insert(record);
    }
    let originals: Vec<Value> =
        fixture_lines(&format!("original-output/{kind}.ndjson")).iter().map(|line| json(line)).collect();
    for original in &originals {
        let record = ours.get(&key(original)).unwrap_or_else(|| panic!("nobody printed {original}"));
        has_all_of(record, original, moving, kind);
    }
    originals.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn evaluations_have_what_the_originals_had() {
    assert_eq!(compare("evaluations", &[]).await, 48);
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_have_what_the_originals_had() {
    assert_eq!(compare("deployments", &["RequireProgressBy"]).await, 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_have_what_the_originals_had() {
    assert_eq!(compare("nodes", &[]).await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_stubs_have_what_the_originals_had() {
    assert_eq!(compare("jobliststubs", &["JobSummary"]).await, 47);
}
