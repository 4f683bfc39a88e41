use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    delivery::{Message, testing::Book},
    kind::Kind,
    meta::Origin,
    position::RaftIndex,
};

fn origin() -> Origin {
    Origin { cluster: Some("prod".into()), region: Some("global".into()) }
}

/// A record of each kind, with the fields that such a record has.
fn record(book: &Book, kind: Kind) -> Record {
    let (id, key, namespace, job, node, body) = match kind {
        Kind::Allocations => (
            "allocations/6c3246c2/server/1795243467162734850",
            "6c3246c2",
            "default",
            "web",
            "node-1",
            r#"{"JobID":"web","TaskEvent":{"Type":"Received","Time":1795243467162734850}}"#,
        ),
        Kind::Nodes => {
            ("nodes/8/0//b63b6b08", "/b63b6b08", "", "", "node-1", r#"{"ID":"b63b6b08","StatusUpdatedAt":1795243465}"#)
        }
        Kind::Evaluations => (
            "evaluations/8/0/team-a/f446ddad",
            "team-a/f446ddad",
            "team-a",
            "web",
            "",
            r#"{"ID":"f446ddad","ModifyTime":1795243467159667070}"#,
        ),
        Kind::Jobs | Kind::JobListStubs => {
            ("jobs/8/0/default/my job", "default/my job", "default", "my job", "", r#"{"ID":"my job"}"#)
        }
        Kind::Deployments => {
            ("deployments/8/0/default/4e96d87d", "default/4e96d87d", "default", "web", "", r#"{"ID":"4e96d87d"}"#)
        }
        Kind::Events => {
            ("events/8/0/Service/late/a", "Service/late/a", "late", "", "", r#"{"Topic":"Service","Payload":{}}"#)
        }
    };
    let mut record = book.record(key, body);
    (record.kind, record.id, record.index) = (kind, id.into(), RaftIndex(8));
    (record.namespace, record.job, record.node) = (namespace.into(), job.into(), node.into());
    record
}

fn wrapped(form: Form, kind: Kind) -> Record {
    let mut record = record(&Book::new(), kind);
    wrap(form, &origin(), &mut record);
    record
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("JSON")
}

#[test]
fn the_golden_messages_of_every_kind() {
    let mut shown = String::new();
    for kind in Kind::ALL {
        for form in [Form::Firehose, Form::CloudEvents] {
            let record = wrapped(form, kind);
            shown.push_str(std::str::from_utf8(&record.body).expect("UTF-8"));
            shown.push('\n');
        }
    }
    assert_eq!(shown, include_str!("golden.ndjson"));
}

#[test]
fn both_modes_of_a_cloud_event_say_the_same() {
    for kind in Kind::ALL {
        let (structured, binary) = (wrapped(Form::CloudEvents, kind), wrapped(Form::CloudEventsBinary, kind));
        let plain = record(&Book::new(), kind);
        assert_eq!((&binary.body, &structured.envelope), (&plain.body, &Envelope::CloudEvent));
        let Envelope::Attributes(attributes) = &binary.envelope else { panic!("{:?}", binary.envelope) };
        let mut expected = serde_json::to_value(attributes).expect("texts");
        expected["datacontenttype"] = json!("application/json");
        expected["data"] = parsed(&plain.body);
        assert_eq!(parsed(&structured.body), expected);
        assert_eq!((&binary.id, &binary.key, &structured.id), (&plain.id, &plain.key, &plain.id));
    }
}

/// The members of the specification's examples have to have the same types here.
#[test]
fn a_cloud_event_is_like_the_examples_of_the_specification() {
    // JSON event format 1.0.2, section 3.2, and CloudEvents 1.0.2, section "Example".
    let example = json!({
        "specversion": "1.0", "type": "com.github.pull_request.opened", "source": "https://github.com/cloudevents/spec/pull",
        "subject": "123", "id": "A234-1234-1234", "time": "2018-04-05T17:31:00Z", "comexampleextension1": "value",
        "datacontenttype": "application/json", "data": {"appinfoA": "abc", "appinfoB": 123, "appinfoC": true},
    });
    let event = parsed(&wrapped(Form::CloudEvents, Kind::Allocations).body);
    for (name, value) in example.as_object().expect("an object") {
        if name != "comexampleextension1" {
            assert_eq!(event[name].is_string(), value.is_string(), "{name}");
            assert_eq!(event[name].is_object(), value.is_object(), "{name}");
        }
    }
    assert_eq!(event["specversion"], example["specversion"]);
}

#[test]
fn a_body_that_is_no_json_becomes_a_text() {
    for (body, expected) in [
        (&b"plain"[..], json!("plain")),
        (b"", json!("")),
        (b"{\"a\":1", json!("{\"a\":1")),
        (b"1},\"id\":\"another\"", json!("1},\"id\":\"another\"")),
        (b"\xff", json!("\u{fffd}")),
        (b" 1 ", json!(1)),
    ] {
        for (form, name) in [(Form::Firehose, "record"), (Form::CloudEvents, "data")] {
            let mut record = Book::new().record("a", body.to_vec());
            wrap(form, &origin(), &mut record);
            assert_eq!(parsed(&record.body)[name], expected);
        }
    }
}

#[tokio::test]
async fn the_stage_wraps_what_it_passes_on_in_order_and_drains_behind_it() {
    let (next, mut intake) = delivery::stage(4);
    let way_in = spawn(Form::Firehose, origin(), next);
    let book = Book::new();
    way_in.submit(book.records(&["a", "b"])).await.expect("it runs");
    let drained = tokio::spawn(async move { way_in.drain().await });
    let Some(Message::Records(records)) = intake.next().await else { panic!("no records") };
    assert_eq!(records.iter().map(|record| &*record.id).collect::<Vec<_>>(), ["a/1", "b/2"]);
    assert!(records.iter().all(|record| parsed(&record.body)["record"] == json!({})));
    assert!(matches!(intake.next().await, Some(Message::Drain(_))), "a drain behind the records");
    assert_eq!(book.acknowledged(), 0, "the stage acknowledges nothing");
    records.into_iter().for_each(|record| record.ack.delivered());
    assert_eq!(book.acknowledged(), 2);
    assert!(drained.await.expect("no panic").is_err(), "a dropped drain is not drained");
}

#[tokio::test]
async fn the_stage_ends_with_what_is_behind_it() {
    let (next, intake) = delivery::stage(1);
    let way_in = spawn(Form::CloudEvents, origin(), next);
    drop(intake);
    let book = Book::new();
    while way_in.submit(book.records(&["a"])).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn without_an_envelope_there_is_no_stage() {
    let (next, mut intake) = delivery::stage(1);
    let way_in = spawn(Form::None, origin(), next);
    way_in.submit(Book::new().records(&["a"])).await.expect("it is the next one itself");
    let Some(Message::Records(records)) = intake.next().await else { panic!("no records") };
    assert_eq!((&*records[0].body, &records[0].envelope), (&b"{}"[..], &Envelope::None));
}

proptest! {
    #[test]
    fn any_body_gives_one_json_object(body in prop::collection::vec(any::<u8>(), 0..60), known in "[{}\\[\\]\",:a1 ]{0,30}") {
        for body in [body, known.into_bytes()] {
            let is_json = serde_json::from_slice::<Value>(&body).ok();
            for (form, name) in [(Form::Firehose, "record"), (Form::CloudEvents, "data")] {
                let mut record = Book::new().record("a", body.clone());
                wrap(form, &origin(), &mut record);
                // What is nested and damaged is passed on, as without an envelope.
                match (serde_json::from_slice::<Value>(&record.body), &is_json) {
                    (Ok(whole), Some(value)) => prop_assert_eq!(&whole[name], value),
                    (Ok(whole), None) => prop_assert!(whole[name].is_string(), "{}", whole),
                    (Err(_), _) => prop_assert!(is_json.is_none() && is_one_value(&body)),
                }
            }
        }
    }
}
