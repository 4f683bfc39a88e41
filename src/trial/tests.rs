//! Tests how lines become records.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::input::Reading;
use crate::kind::Kind;

/// The kinds and IDs of the records of a line.
fn read(kinds: &[Kind], line: &str) -> Result<Vec<(Kind, String)>, String> {
    let found = Reading::new(kinds).line(&Bytes::copy_from_slice(line.as_bytes()))?;
    Ok(found.into_iter().map(|found| (found.kind, found.draft.id.into())).collect())
}

fn objects() -> [(Kind, Value); 7] {
    [
        (Kind::Allocations, json!({"AllocationID": "a", "TaskName": "t", "TaskEvent": {}, "JobID": "web"})),
        (Kind::Nodes, json!({"ID": "n", "ModifyIndex": 7, "NodeResources": {}, "Name": "n1"})),
        (Kind::Evaluations, json!({"ID": "e", "ModifyIndex": 7, "TriggeredBy": "job-register", "JobID": "web"})),
        (Kind::Jobs, json!({"ID": "web", "ModifyIndex": 7, "TaskGroups": [], "Datacenters": []})),
        (Kind::JobListStubs, json!({"ID": "web", "ModifyIndex": 7, "JobSummary": {}})),
        (Kind::Deployments, json!({"ID": "d", "ModifyIndex": 7, "TaskGroups": {}, "JobVersion": 1, "JobID": "web"})),
        (Kind::Events, json!({"Topic": "Job", "Type": "T", "Key": "web", "Index": 7, "Payload": {"Job": {}}})),
    ]
}

#[test]
fn a_record_tells_its_kind() {
    for (kind, object) in objects() {
        let found = read(&[], &object.to_string()).expect("a record");
        assert_eq!(found.len(), 1, "{kind}");
        assert_eq!(found[0].0, kind);
        let id = &found[0].1;
        assert!(id.starts_with(kind.name()) && !id.contains("line-"), "{kind}: {id}");
        // Another pipeline has no place for it, and one of a single kind takes everything as that.
        let others: Vec<_> = Kind::ALL.into_iter().filter(|other| *other != kind).collect();
        assert!(read(&others, &object.to_string()).is_err(), "{kind}");
        assert_eq!(read(&others[..1], &object.to_string()).expect("a record")[0].0, others[0]);
    }
}

#[test]
fn any_json_is_a_record_where_the_kind_is_known() {
    for text in ["{\"a\":1}", "[1]", "\"text\"", "null"] {
        assert_eq!(read(&[Kind::Jobs], text), Ok(vec![(Kind::Jobs, "jobs/line-1".to_owned())]), "{text}");
        assert!(read(&[], text).is_err(), "{text}");
    }
    for text in ["", "  \n", "{}", r#"{"Index":7,"Events":[]}"#, r#"{"Index":7,"Events":null}"#] {
        assert_eq!(read(&[Kind::Jobs], text), Ok(Vec::new()), "{text}");
    }
    let input = r#"{"kind":"input","sink":"","reason":"r","attempts":0,"body":"x"}"#;
    assert_eq!(read(&[], input), Ok(Vec::new()), "no record could be made of it");
}

proptest! {
    #[test]
    fn arbitrary_lines_never_panic(
        bytes in prop::collection::vec(
            prop_oneof![prop::sample::select(b"{}[]\",:\\ 1n".to_vec()), any::<u8>()], 0..80,
        ),
        name in prop::sample::select(vec!["Events", "kind", "record", "Payload", "AllocationID", "ID"]),
    ) {
        let mut reading = Reading::new(&[]);
        let inside = [b"{\"kind\":\"jobs\",\"Topic\":\"Job\",\"", name.as_bytes(), b"\":", &bytes, b"}"].concat();
        for line in [Bytes::from(bytes), Bytes::from(inside)] {
            reading.line(&line).ok();
        }
    }
}
