use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::{
    http::Secret,
    notify::units,
    sink::{
        secret::SecretSource,
        webhook::testing::{any_message, full, record},
    },
};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn payload_of(record: &Record) -> Value {
    let sink = PagerDuty {
        source: SecretSource::Fixed(Secret::new(KEY)),
        routing_key: Mutex::new(Secret::new(KEY)),
        cluster: Some("blue".to_owned()),
    };
    serde_json::from_slice(&of(record, &sink)).expect("JSON")
}

#[test]
fn a_whole_message() {
    let mut record = record(&full());
    record.job = "web".into();
    record.node = "n-1".into();
    let expected = json!({
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": "web/failed",
        "client": "nomad-firehose",
        "links": [{"href": "https://nomad.example.com/ui/jobs/web?a=1&b=2", "text": "Open"}],
        "payload": {
            "summary": "Task failed: web <1> & more (5 times in 10m)",
            "severity": "error",
            "source": "n-1",
            "class": "jobs",
            "component": "web",
            "group": "default",
            "custom_details": {
                "Job": "web", "Node": "n-1", "text": "web <1> & more", "lines": ["one", "two"], "count": 5, "within": "10m",
            },
        },
    });
    assert_eq!(payload_of(&record), expected);
}

#[test]
fn the_key_is_that_of_the_message_or_the_id() {
    let of = |message: &Message| {
        let payload = payload_of(&record(message));
        (
            payload["dedup_key"].as_str().expect("a key").to_owned(),
            payload["event_action"].as_str().expect("text").to_owned(),
        )
    };
    let message = |severity, key: Option<&str>| Message {
        text: "a".to_owned(),
        severity,
        key: key.map(str::to_owned),
        ..Message::default()
    };
    let pair = |key: &str, action: &str| (key.to_owned(), action.to_owned());
    assert_eq!(of(&message(Severity::Error, None)), pair("key/1", "trigger"));
    assert_eq!(of(&message(Severity::Ok, None)), pair("key/1", "trigger"));
    assert_eq!(of(&message(Severity::Error, Some("k"))), pair("k", "trigger"));
    assert_eq!(of(&message(Severity::Ok, Some("k"))), pair("k", "resolve"));
}

#[test]
fn the_message_may_acknowledge_and_resolve() {
    let mut message = full();
    message
        .raw
        .insert("pagerduty".to_owned(), json!({"event_action": "acknowledge", "payload": {"severity": "critical"}}));
    let payload = payload_of(&record(&message));
    assert_eq!(
        (&payload["event_action"], &payload["payload"]["severity"]),
        (&json!("acknowledge"), &json!("critical"))
    );
}

#[test]
fn the_source_is_never_empty() {
    let mut record = record(&full());
    (record.job, record.node) = ("".into(), "".into());
    assert_eq!(payload_of(&record)["payload"]["source"], "blue");
    record.job = "web".into();
    assert_eq!(payload_of(&record)["payload"]["source"], "default/web");
}

/// The schema of an event, as PagerDuty publishes it, and the limits of its reference.
fn assert_valid(payload: &Value) {
    let text = |value: &Value, most: usize| {
        let length = units(value.as_str().expect("a text"));
        assert!((1..=most).contains(&length), "{length} of {most}");
    };
    text(&payload["routing_key"], 32);
    text(&payload["dedup_key"], 255);
    assert!(["trigger", "acknowledge", "resolve"].contains(&payload["event_action"].as_str().expect("text")));
    let event = &payload["payload"];
    text(&event["summary"], 1024);
    text(&event["source"], 255);
    assert!(["info", "warning", "error", "critical"].contains(&event["severity"].as_str().expect("text")));
    assert!(event["custom_details"].is_object());
    for link in payload["links"].as_array().into_iter().flatten() {
        assert!(link["href"].as_str().expect("text").starts_with("http"));
    }
    assert!(payload.to_string().len() <= 512 << 10, "{}", payload.to_string().len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_message_follows_the_rules_of_pagerduty(message in any_message()) {
        assert_valid(&payload_of(&record(&message)));
    }
}
