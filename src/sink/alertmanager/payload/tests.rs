use proptest::prelude::*;

use super::*;
use crate::{
    kind::Kind,
    sink::webhook::testing::{any_message, full, record},
};

/// 2026-11-28T20:00:00Z.
const NOW: Duration = Duration::from_secs(1_795_896_000);

fn alert(record: &Record) -> Value {
    let alerts = Alerts { labels: vec![("team".to_owned(), "web".to_owned())], ttl: Duration::from_secs(300) };
    let alerts: Value = serde_json::from_slice(&alerts.of(record, UNIX_EPOCH + NOW)).expect("JSON");
    let Value::Array(mut alerts) = alerts else { panic!("{alerts}") };
    assert_eq!(alerts.len(), 1);
    alerts.remove(0)
}

#[test]
fn a_whole_message() {
    let mut record = record(&full());
    record.job = "web".into();
    let expected = json!({
        "labels": {
            "alertname": "Task failed", "severity": "error", "kind": "jobs", "namespace": "default", "job": "web",
            "key": "web/failed", "team": "web",
        },
        "annotations": {
            "summary": "Task failed", "description": "web <1> & more (5 times in 10m)", "lines": "• one\n• two",
            "Job": "web", "Node": "n-1",
        },
        "startsAt": "2026-11-28T20:00:00.000Z",
        "endsAt": "2026-11-28T20:05:00.000Z",
        "generatorURL": "https://nomad.example.com/ui/jobs/web?a=1&b=2",
    });
    assert_eq!(alert(&record), expected);
}

#[test]
fn an_alert_starts_when_it_happened_and_never_in_the_future() {
    let at = |seconds: u64| {
        let body = json!({"Name": "n", "Status": "down", "StatusUpdatedAt": seconds});
        let mut record = crate::delivery::testing::Book::new().record("key", body.to_string());
        record.kind = Kind::Nodes;
        alert(&record)["startsAt"].as_str().expect("a time").to_owned()
    };
    assert_eq!(at(NOW.as_secs() - 60), "2026-11-28T19:59:00.000Z");
    assert_eq!(at(NOW.as_secs() + 60), "2026-11-28T20:00:00.000Z");
}

#[test]
fn what_the_message_says_for_alertmanager_is_merged() {
    let mut message = full();
    message.raw.insert("alertmanager".to_owned(), json!({"labels": {"key": null, "team": "ops"}}));
    let alert = alert(&record(&message));
    assert_eq!((alert["labels"].get("key"), &alert["labels"]["team"]), (None, &json!("ops")));
}

#[test]
fn names_are_those_that_prometheus_takes() {
    for (text, name) in [("Triggered by", "Triggered_by"), ("a-b.c", "a_b_c"), ("1a", "_1a"), ("", "_"), ("ä", "_")] {
        assert_eq!(as_name(text), name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_message_follows_the_rules_of_alertmanager(message in any_message()) {
        let alert = alert(&record(&message));
        for member in ["labels", "annotations"] {
            for (name, value) in alert[member].as_object().expect("an object") {
                prop_assert!(is_name(name), "{}", name);
                prop_assert!(value.is_string());
            }
        }
        let labels = alert["labels"].as_object().expect("an object");
        prop_assert!(labels.contains_key("alertname") && labels.values().all(|value| value != ""));
        prop_assert!(alert["startsAt"].as_str() < alert["endsAt"].as_str());
    }
}
