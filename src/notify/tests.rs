use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{delivery::testing::Book, kind::Kind, record::Record};

fn record(kind: Kind, body: impl Into<bytes::Bytes>) -> Record {
    let mut record = Book::new().record("key", body);
    record.kind = kind;
    record
}

fn message(body: &serde_json::Value) -> Message {
    Message::of(&record(Kind::Jobs, body.to_string()))
}

/// The message of an object of this kind.
fn default_of(kind: Kind, body: &serde_json::Value) -> (String, Severity) {
    let message = Message::of(&record(kind, body.to_string()));
    (message.text, message.severity)
}

#[test]
fn a_text_is_a_message() {
    let message = message(&json!("node drained\nby hand"));
    assert_eq!(message, Message { text: "node drained\nby hand".to_owned(), ..Message::default() });
    assert_eq!(message.headline(100), "node drained");
}

#[test]
fn an_object_with_a_text_is_a_message() {
    let body = json!({
        "text": "a", "title": "t", "severity": "Critical", "fields": {"z": 1, "a": "x", "n": null, "o": {"p": [1]}},
        "link": "https://example.com/x", "key": "k", "count": 5, "within": "10m", "lines": ["one", 2],
        "slack": {"username": "me"}, "pagerduty": "no object", "else": 1,
    });
    // A member's place is the one in the text.
    let body = body.to_string().replace("\"a\":\"x\"", "\"b\":\"x\"");
    let message = Message::of(&record(Kind::Jobs, body));
    assert_eq!((message.title.as_deref(), message.severity), (Some("t"), Severity::Critical));
    let fields =
        [("b", "x"), ("o", "{\"p\":[1]}"), ("z", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(message.fields, fields);
    assert_eq!(message.lines, ["one", "2"]);
    assert_eq!(message.counted_text(), "a (5 times in 10m)");
    assert_eq!(message.raw("slack"), Some(&json!({"username": "me"})));
    assert_eq!(message.raw("pagerduty"), None);
    assert_eq!((message.link.as_deref(), message.key.as_deref()), (Some("https://example.com/x"), Some("k")));
}

#[test]
fn the_order_of_fields_is_that_of_the_text() {
    let message = Message::of(&record(Kind::Jobs, r#"{"fields":{"z":"1","a":"2","m":"3"},"text":"t"}"#));
    let names: Vec<_> = message.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["z", "a", "m"]);
    assert_eq!(Message::of(&record(Kind::Jobs, message.to_body())), message);
}

#[test]
fn what_cannot_be_used_is_shown_as_it_was_written() {
    let message = message(&json!({"text": 7, "severity": "fatal", "link": "javascript:alert(1)", "fields": [1]}));
    assert_eq!((message.text.as_str(), message.severity, message.link), ("7", Severity::Info, None));
    for (name, value) in [("severity", "fatal"), ("link", "javascript:alert(1)"), ("fields", "[1]")] {
        assert!(message.fields.contains(&(name.to_owned(), value.to_owned())), "{name}: {:?}", message.fields);
    }
}

#[test]
fn counts_are_words() {
    for (body, text) in [
        (json!({"text": "a", "count": 1, "within": "10m"}), "a (once in 10m)"),
        (json!({"text": "a", "count": 3}), "a (3 times)"),
        (json!({"text": "a", "count": 1}), "a"),
        (json!({"text": "a", "within": "10m"}), "a"),
        (json!({"text": "a", "count": "x", "within": "10m"}), "a"),
    ] {
        assert_eq!(message(&body).counted_text(), text);
    }
}

#[test]
fn controls_are_visible_and_have_no_effect() {
    let message = message(&json!({"text": "a\u{1b}[31m\r\nb\u{0}\tc\u{7f}\u{9b}", "title": "x\r\ny", "key": "k\n"}));
    assert_eq!(message.text, "a\u{241b}[31m\nb\u{2400}\tc\u{2421}\u{fffd}");
    assert_eq!(message.title.as_deref(), Some("x y"));
    assert!(message.key.is_some_and(|key| !key.contains('\n') && key.starts_with("k")));
}

#[test]
fn long_keys_stay_different() {
    let key = |last: &str| message(&json!({"text": "a", "key": "ä".repeat(300) + last})).key.expect("a key");
    assert_ne!(key("a"), key("b"));
    assert_eq!(key("a"), key("a"));
    assert!(key("a").len() <= 255);
}

#[test]
fn a_list_says_how_many_it_leaves_out() {
    let lines: Vec<_> = (0..1000).map(|n| format!("line {n}")).collect();
    let message = message(&json!({"text": "a", "lines": lines}));
    assert_eq!(message.lines.len(), 256);
    assert_eq!(message.lines[255], "and 745 more");
    let listed = message.listed(60);
    assert!(listed.starts_with("• line 0\n• line 1\n") && listed.ends_with(" more"), "{listed}");
    assert!(listed.chars().count() <= 60);
    let short = Message { lines: vec!["a".to_owned(), "b".to_owned()], ..Message::default() };
    assert_eq!(short.listed(1000), "• a\n• b");
}

#[test]
fn each_kind_has_its_words() {
    for (kind, body, text, severity) in [
        (
            Kind::Allocations,
            json!({"Name": "web.frontend[0]", "TaskName": "server", "TaskFailed": false, "TaskEvent":
                {"Type": "Driver Failure", "DisplayMessage": "no such binary", "FailsTask": false}}),
            "web.frontend[0] task server: Driver Failure: no such binary",
            Severity::Warning,
        ),
        (
            Kind::Allocations,
            json!({"Name": "a", "TaskName": "t", "TaskEvent": {"Type": "Started", "ExitCode": 0}}),
            "a task t: Started",
            Severity::Info,
        ),
        (
            Kind::Allocations,
            json!({"Name": "a", "TaskName": "t", "TaskEvent": {"Type": "Terminated", "ExitCode": 1}, "TaskFailed": true}),
            "a task t: Terminated: exit 1",
            Severity::Error,
        ),
        (
            Kind::Nodes,
            json!({"Name": "n1", "Status": "ready", "Drain": true, "SchedulingEligibility": "ineligible"}),
            "Node n1 is ready, draining, not eligible for new allocations",
            Severity::Warning,
        ),
        (Kind::Nodes, json!({"Name": "n1", "Status": "down"}), "Node n1 is down", Severity::Error),
        (
            Kind::Evaluations,
            json!({"JobID": "web", "Status": "blocked", "StatusDescription": "waits"}),
            "Evaluation of job web is blocked: waits",
            Severity::Warning,
        ),
        (
            Kind::Jobs,
            json!({"ID": "web", "Status": "running", "Version": 3}),
            "Job web (version 3) is running",
            Severity::Info,
        ),
        (Kind::Jobs, json!({"ID": "web", "Status": "dead", "Stop": true}), "Job web is stopped", Severity::Info),
        (
            Kind::JobListStubs,
            json!({"ID": "web", "Status": "dead", "Deleted": true}),
            "Job web is purged",
            Severity::Info,
        ),
        (
            Kind::Deployments,
            json!({"JobID": "web", "JobVersion": 2, "Status": "failed", "StatusDescription": "progress deadline"}),
            "Deployment of web version 2 is failed: progress deadline",
            Severity::Error,
        ),
        (
            Kind::Events,
            json!({"Topic": "Node", "Type": "NodeDrain", "Payload": {"Node": {"Name": "n1", "Status": "down"}}}),
            "Node n1 is down",
            Severity::Error,
        ),
        (
            Kind::Events,
            json!({"Topic": "Service", "Type": "ServiceRegistration", "Key": "web", "Payload": {"Service": null}}),
            "Service ServiceRegistration: web",
            Severity::Info,
        ),
        (Kind::Nodes, json!({"x": 1}), "{\"x\":1}", Severity::Info),
    ] {
        assert_eq!(default_of(kind, &body), (text.to_owned(), severity));
    }
}

#[test]
fn a_blocked_evaluation_says_why() {
    let metric = |members: &serde_json::Value| {
        let body = json!({"Status": "blocked", "FailedTGAllocs": {"g": members}});
        Message::of(&record(Kind::Evaluations, body.to_string())).lines.join("\n")
    };
    for (members, line) in [
        (
            json!({"DimensionExhausted": {"memory": 1}, "NodesEvaluated": 1}),
            "group g is not placed: 1 node without enough memory",
        ),
        (
            json!({"ConstraintFiltered": {"${attr.kernel.name} = linux": 2}, "CoalescedFailures": 3}),
            "group g is not placed: 2 nodes filtered by the constraint ${attr.kernel.name} = linux (and 3 more of the group)",
        ),
        (json!({"NodesEvaluated": 0}), "group g is not placed: no node is available"),
        (json!({"NodesEvaluated": 4}), "group g is not placed: none of 4 nodes fits"),
        (json!({"QuotaExhausted": ["cpu"]}), "group g is not placed: quota exhausted: cpu"),
    ] {
        assert_eq!(metric(&members), line);
    }
}

#[test]
fn a_patch_merges_replaces_and_removes() {
    let mut target = json!({"a": {"b": 1, "c": 2}, "d": [1]});
    merge(&mut target, &json!({"a": {"b": null, "e": {"f": null}}, "d": [2], "g": 1}));
    assert_eq!(target, json!({"a": {"c": 2, "e": {}}, "d": [2], "g": 1}));
}

/// JSON of any shape, with the names that a message knows among its members.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        ".{0,30}".prop_map(|value| json!(value)),
    ];
    let name = prop_oneof![
        "(text|title|severity|fields|link|key|count|within|lines|slack|name|value)",
        "(Status|Name|ID|Topic|Type|Payload|Node|TaskEvent|FailedTGAllocs|TaskGroups|Drain)",
        ".{0,5}",
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| json!(values)),
            prop::collection::vec((name.clone(), inner), 0..8)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn assert_bounded(message: &Message) {
    assert!(!message.text.trim().is_empty() || message.text.contains(char::is_whitespace), "no text");
    assert!(message.text.chars().count() <= 16 << 10);
    assert!(!message.text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')));
    assert!(message.fields.len() <= 64 && message.lines.len() <= 256);
    let shorts = message.title.iter().chain(&message.within).chain(message.fields.iter().map(|(name, _)| name));
    shorts.for_each(|text| assert!(text.chars().count() <= 256 && !text.contains(char::is_control)));
    assert!(message.key.as_ref().is_none_or(|key| key.len() <= 255));
    assert!(message.link.as_ref().is_none_or(|link| link.starts_with("http")));
    assert!(message.headline(50).chars().count() <= 50);
}

proptest! {
    #[test]
    fn any_json_is_a_message(body in any_json(), kind in 0..7_usize) {
        let message = Message::of(&record(Kind::ALL[kind], body.to_string()));
        assert_bounded(&message);
        let again = Message::of(&record(Kind::ALL[kind], message.to_body()));
        prop_assert_eq!(again, message);
    }

    #[test]
    fn any_bytes_are_a_message(body in prop::collection::vec(any::<u8>(), 0..200), kind in 0..7_usize) {
        assert_bounded(&Message::of(&record(Kind::ALL[kind], body)));
    }

    #[test]
    fn a_cut_text_is_a_start(text in "\\PC{0,40}", most in 0..50_usize) {
        let short = cut(&text, most);
        prop_assert!(units(&short) <= most);
        prop_assert!(text.starts_with(short.trim_end_matches('…')));
    }

    #[test]
    fn a_list_stays_within_its_bound(lines in prop::collection::vec("[a-z ]{0,30}", 0..20), most in 0..200_usize) {
        let message = Message { lines, ..Message::default() };
        prop_assert!(units(&message.listed(most)) <= most);
    }

    #[test]
    fn a_patch_is_merged_once(mut target in any_json(), patch in any_json()) {
        merge(&mut target, &patch);
        let once = target.clone();
        merge(&mut target, &patch);
        prop_assert_eq!(target, once);
    }
}
