use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::delivery::testing::Book;

const RECORDING: &str = "tests/fixtures/nomad-2.0.5";

fn lines(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{RECORDING}/{file}")).expect("the recording is there");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Every event of the recorded stream.
fn events() -> Vec<Value> {
    let lines = lines("stream-complete.ndjson");
    lines.iter().flat_map(|line| line["Events"].as_array().cloned().unwrap_or_default()).collect()
}

fn at(kind: Kind, body: &Value) -> Option<String> {
    of_body(kind, body.to_string().as_bytes()).map(|time| time.to_string())
}

/// The same by a parser that knows nothing of this module.
fn expected(nanoseconds: &Value) -> Option<String> {
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.as_i64()?.into()).expect("in range");
    let seconds = time.format(&time::format_description::well_known::Rfc3339).expect("a year of four digits");
    let seconds = seconds.split(['.', 'Z']).next()?.to_owned();
    Some(format!("{seconds}.{:09}Z", time.nanosecond()))
}

#[test]
fn every_recorded_task_event_has_its_own_time() {
    let records = lines("original-output/allocations.ndjson");
    let mut seen = 0;
    for record in records.iter().filter(|record| record["TaskEvent"].is_object()) {
        seen += 1;
        assert_eq!(at(Kind::Allocations, record), expected(&record["TaskEvent"]["Time"]), "{record}");
    }
    assert_eq!(seen, 306);
}

#[test]
fn every_recorded_object_has_the_time_of_its_change_also_within_its_event() {
    let mut seen = std::collections::BTreeMap::new();
    for event in events() {
        let topic = event["Topic"].as_str().expect("it has one");
        let object = &event["Payload"][topic];
        let (kind, field) = match topic {
            "Evaluation" => (Some(Kind::Evaluations), "ModifyTime"),
            "Deployment" => (Some(Kind::Deployments), "ModifyTime"),
            "Job" => (Some(Kind::Jobs), "SubmitTime"),
            "Allocation" => (None, "ModifyTime"),
            "Variable" => (None, "ModifyTime"),
            _ => continue,
        };
        // A variable's object is not under the name of its topic.
        let object = if topic == "Variable" { &event["Payload"]["Metadata"] } else { object };
        *seen.entry(topic.to_owned()).or_insert(0) += 1;
        let expected = expected(&object[field]);
        assert!(expected.is_some());
        assert_eq!(at(Kind::Events, &event), expected, "{topic}");
        if let Some(kind) = kind {
            assert_eq!(at(kind, object), expected, "{topic}");
        }
        if topic == "Job" {
            assert_eq!(at(Kind::JobListStubs, object), expected, "{topic}");
        }
    }
    let seen: Vec<(&str, i32)> = seen.iter().map(|(topic, count)| (&**topic, *count)).collect();
    assert_eq!(seen, [("Allocation", 190), ("Deployment", 22), ("Evaluation", 121), ("Job", 58), ("Variable", 1)]);
}

#[test]
fn a_recorded_node_has_the_time_of_its_newest_change() {
    let nodes: Vec<Value> = events().into_iter().filter(|event| event["Topic"] == "Node").collect();
    let times: Vec<_> = ["NodeRegistration", "NodeEligibility", "NodeDrain"]
        .map(|kind| {
            let event = nodes.iter().rfind(|event| event["Type"] == kind).expect("recorded");
            assert_eq!(at(Kind::Events, event), at(Kind::Nodes, &event["Payload"]["Node"]));
            at(Kind::Events, event).expect("a time")
        })
        .into();
    assert_eq!(
        times,
        ["2026-11-21T06:44:26.000000000Z", "2026-11-21T06:45:30.495716549Z", "2026-11-21T06:45:30.347263916Z",]
    );
}

#[test]
fn what_has_no_time_is_null() {
    let service = json!({"Topic": "Service", "Payload": {"Service": {"ID": "a", "ModifyIndex": 5}}});
    let gap = json!({"Topic": "Firehose", "Type": "Gap", "Payload": {"Gap": {"FromIndex": 1, "UntilIndex": 2}}});
    for (kind, body) in [
        (Kind::Events, service),
        (Kind::Events, gap),
        (Kind::Events, json!({"Topic": "Job", "Payload": null})),
        (Kind::Deployments, json!({"ID": "a", "CreateTime": 5})),
        (Kind::Evaluations, json!({"ModifyTime": 0})),
        (Kind::Evaluations, json!({"ModifyTime": -5})),
        (Kind::Evaluations, json!("text")),
        (Kind::Jobs, json!({"SubmitTime": "yesterday"})),
        (Kind::Nodes, json!({"StatusUpdatedAt": u64::MAX, "Events": null, "LastDrain": null})),
        (Kind::Allocations, json!({"TaskEvent": {"Time": null}})),
    ] {
        assert_eq!(at(kind, &body), None, "{kind}: {body}");
    }
}

#[test]
fn a_time_in_another_zone_is_shown_in_utc() {
    for (text, expected) in [
        ("2026-11-21T07:44:25+01:00", "2026-11-21T06:44:25.000000000Z"),
        ("2026-11-21T01:14:25.5-05:30", "2026-11-21T06:44:25.500000000Z"),
        ("2026-11-21T06:44:25.000000001Z", "2026-11-21T06:44:25.000000001Z"),
    ] {
        assert_eq!(rfc3339(text).map(|time| time.to_string()).as_deref(), Some(expected));
    }
    for wrong in ["", "Z", "0001-01-01T00:00:00Z", "1970-01-01T00:30:00+01:00", "2026-11-21", "\u{e9}:\u{e9}00:00"] {
        assert_eq!(rfc3339(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_record_says_what_is_known_and_null_for_the_rest() {
    let book = Book::new();
    let mut record = book.record("default/web", r#"{"ID":"web","SubmitTime":1795243467146639047}"#);
    record.job = "web".into();
    let origin = Origin { cluster: Some("prod".into()), region: None };
    let shown = serde_json::to_string(&Meta::of(&record, &origin)).expect("plain data");
    let expected = concat!(
        r#"{"kind":"jobs","id":"default/web/1","namespace":"default","job":"web","node":null,"index":1,"#,
        r#""cluster":"prod","region":null,"time":"2026-11-21T06:44:27.146639047Z"}"#
    );
    assert_eq!(shown, expected);
}

#[test]
fn the_time_of_a_record_outlives_its_body() {
    let mut record = Book::new().record("a", r#"{"SubmitTime":1795243467146639047}"#);
    let before = time(&record);
    record.time = before;
    record.body = Bytes::from_static(b"\"a text\"");
    assert_eq!(time(&record), before);
    assert!(before.is_some());
}

/// Words and numbers as they occur in bodies, in any order.
fn body() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"Topic\"",
        "\"Payload\"",
        "\"Node\"",
        "\"Job\"",
        "\"TaskEvent\"",
        "\"Time\"",
        "\"ModifyTime\"",
        "\"SubmitTime\"",
        "\"Events\"",
        "\"Timestamp\"",
        "\"LastDrain\"",
        "\"StatusUpdatedAt\"",
        "\"2026-11-21T06:44:25Z\"",
        "\"9999-12-31T23:59:59-23:59\"",
        "\"+99:99\"",
        "18446744073709551615",
        "-1",
        "9223372036854775807",
        "1e400",
        "null",
        " ",
        "\"\u{e9}\"",
        "\"",
    ]);
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

fn object() -> impl Strategy<Value = Value> {
    let time = prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[0-9:TZ.+-]{0,30}".prop_map(Value::from),
        "[0-9]{4}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](Z|[+-][0-9]{2}:[0-9]{2})"
            .prop_map(Value::from),
    ];
    let names = ["ModifyTime", "SubmitTime", "StatusUpdatedAt", "CreateTime", "Time", "Timestamp", "UpdatedAt"];
    prop::collection::btree_map(prop::sample::select(names.to_vec()), time, 0..5).prop_map(|fields| json!(fields))
}

proptest! {
    #[test]
    fn any_body_gives_a_meta(body in prop_oneof![
        body().prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..200),
    ]) {
        let mut record = Book::new().record("a", body);
        for kind in Kind::ALL {
            record.kind = kind;
            let shown = serde_json::to_value(Meta::of(&record, &Origin::default())).expect("plain data");
            prop_assert_eq!(&shown["kind"], kind.name());
        }
    }

    #[test]
    fn a_time_is_shown_so_that_another_parser_reads_it(object in object(), topic in "(Node|Job|Allocation|Variable)") {
        let nested = json!({
            "Topic": topic, "Payload": {topic: object}, "TaskEvent": object, "Events": [object, object], "LastDrain": object,
        });
        for kind in Kind::ALL {
            for body in [&object, &nested] {
                let Some(found) = of_body(kind, body.to_string().as_bytes()) else { continue };
                let text = found.to_string();
                let read = time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339);
                let read = read.expect("RFC 3339").unix_timestamp_nanos();
                prop_assert_eq!(read, i128::from(found.nanoseconds()), "{}", text);
            }
        }
    }
}
