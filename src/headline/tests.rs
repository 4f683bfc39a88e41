use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn line(kind: Kind, body: &Value) -> String {
    Headline::of(kind, body.to_string().as_bytes()).to_string()
}

fn task(event: &Value) -> (String, Tone) {
    let body = json!({"JobID": "web", "GroupName": "api", "TaskName": "nginx", "TaskEvent": event});
    let line = Headline::of(Kind::Allocations, body.to_string().as_bytes());
    (line.text, line.tone)
}

#[test]
fn a_task_event_is_one_line() {
    let body = json!({
        "JobID": "web", "GroupName": "api", "TaskName": "nginx", "NodeID": "b63b6b08-34a6-3963-0f11-318e403ae9d0",
        "AllocationID": "3f2a81c0-5e36-5a1a-36c3-2886e3936197", "TaskFailed": false,
        "TaskEvent": {"Type": "Terminated", "Time": 1_795_243_467_162_734_850_u64, "ExitCode": 137,
            "Details": {"oom_killed": "true", "exit_code": "137", "signal": "0"}, "Message": "OOM Killed"},
    });
    let line = Headline::of(Kind::Allocations, body.to_string().as_bytes());
    assert_eq!(
        line.to_string(),
        "2026-11-21T06:44:27.162Z web/api 3f2a81c0 nginx  Terminated  exit 137  OOM killed  on b63b6b08"
    );
    assert_eq!(line.tone, Tone::Bad);
    assert_eq!(line.on("node-7").on("").place.as_deref(), Some("node-7"));
}

#[test]
fn task_events_say_what_matters() {
    for (event, text, tone) in [
        (json!({"Type": "Received", "DisplayMessage": "Task received by client"}), "Received", Tone::Quiet),
        (json!({"Type": "Started", "DisplayMessage": "Task started by client"}), "Started", Tone::Good),
        (
            json!({"Type": "Task Setup", "DisplayMessage": "Building Task Directory", "Message": "Building Task Directory"}),
            "Task Setup  Building Task Directory",
            Tone::Quiet,
        ),
        (json!({"Type": "Terminated", "ExitCode": 0}), "Terminated  exit 0", Tone::Notice),
        (
            json!({"Type": "Terminated", "ExitCode": 130, "Signal": 2, "DisplayMessage": "Exit Code: 130, Signal: 2"}),
            "Terminated  exit 130  signal 2",
            Tone::Warning,
        ),
        (
            json!({"Type": "Terminated", "Details": {"exit_code": "1", "exit_message": "Docker container exited with non-zero exit code: 1"}}),
            "Terminated  exit 1",
            Tone::Warning,
        ),
        (json!({"Type": "Killing", "KillTimeout": 5_000_000_000_u64}), "Killing  forced after 5s", Tone::Notice),
        (json!({"Type": "Killed", "DisplayMessage": "Task successfully killed"}), "Killed", Tone::Notice),
        (
            json!({"Type": "Restarting", "StartDelay": 16_112_573_097_u64, "RestartReason": "Restart within policy"}),
            "Restarting  in 16s",
            Tone::Notice,
        ),
        (
            json!({"Type": "Restarting", "Details": {"start_delay": "300000000", "restart_reason": "because"}}),
            "Restarting  in 300ms  because",
            Tone::Notice,
        ),
        (
            json!({"Type": "Not Restarting", "FailsTask": true, "RestartReason": "Policy allows no restarts"}),
            "Not Restarting  Policy allows no restarts",
            Tone::Bad,
        ),
        (
            json!({"Type": "Signaling", "DisplayMessage": "Task being sent a signal", "Details": {"signal": "SIGHUP"}}),
            "Signaling  SIGHUP",
            Tone::Notice,
        ),
        (json!({"Type": "Sibling Task Failed", "FailedSibling": "db"}), "Sibling Task Failed  db", Tone::Warning),
        (
            json!({"Type": "Driver Failure", "DriverError": "no such binary", "DisplayMessage": "x"}),
            "Driver Failure  no such binary",
            Tone::Warning,
        ),
        (json!({"Type": "Alloc Unhealthy", "Message": "dead task"}), "Alloc Unhealthy  dead task", Tone::Warning),
        (json!({"Type": "Levitating", "Details": {"height": "3m", "mood": ""}}), "Levitating  height=3m", Tone::Notice),
        (
            json!({"Type": "Levitation Failed", "DisplayMessage": "too heavy"}),
            "Levitation Failed  too heavy",
            Tone::Warning,
        ),
    ] {
        assert_eq!(task(&event), (text.to_owned(), tone), "{event}");
    }
}

#[test]
fn objects_are_one_line_each() {
    for (kind, body, text) in [
        (
            Kind::Nodes,
            json!({"Name": "node-7", "Status": "ready", "Drain": true, "SchedulingEligibility": "ineligible", "ModifyIndex": 7,
                "Events": [{"CreateIndex": 7, "Message": "Node drain strategy set"}]}),
            "node node-7  ready  draining  not eligible for new allocations  Node drain strategy set",
        ),
        (Kind::Nodes, json!({"Name": "node-7", "Status": "down", "Deleted": true}), "node node-7  removed"),
        (
            Kind::Evaluations,
            json!({"ID": "f446ddad-ab78-3977-d5a6-39a82a132739", "JobID": "web", "Status": "blocked", "TriggeredBy": "job-register",
                "FailedTGAllocs": {"api": {"NodesEvaluated": 1, "DimensionExhausted": {"memory": 1}}}}),
            "web evaluation f446ddad  blocked  by job-register  api not placed: 1 node without enough memory",
        ),
        (Kind::Jobs, json!({"ID": "web", "Status": "running", "Version": 3}), "job web  running  version 3"),
        (Kind::Jobs, json!({"ID": "web", "Status": "dead", "Deleted": true}), "job web  purged"),
        (
            Kind::Deployments,
            json!({"ID": "4e96d87d-01d3-0a94-f19f-bfe6c28dbd1a", "JobID": "web", "JobVersion": 2, "Status": "running",
                "StatusDescription": "Deployment is running", "TaskGroups": {"api": {"HealthyAllocs": 1, "DesiredTotal": 3, "UnhealthyAllocs": 1}}}),
            "web deployment 4e96d87d  running  version 2  api 1 of 3 healthy, 1 unhealthy",
        ),
        (
            Kind::Events,
            json!({"Topic": "Node", "Type": "NodeDrain", "Payload": {"Node": {"Name": "n1", "Status": "down"}}}),
            "node n1  NodeDrain  down",
        ),
        (
            Kind::Events,
            json!({"Topic": "Service", "Type": "ServiceRegistration", "Key": "k", "Payload": {"Service": {"ServiceName": "web", "Address": "::1", "Port": 80}}}),
            "service web  ServiceRegistration  at ::1:80",
        ),
        (
            Kind::Events,
            json!({"Topic": "Firehose", "Type": "Gap", "Key": "*", "Payload": {"Gap": {"FromIndex": 3, "UntilIndex": 9}}}),
            "stream *  gap: events of the raft indexes 3–9 may be missing",
        ),
        (Kind::Jobs, json!({"text": "said by a program"}), "jobs  said by a program"),
        (Kind::Jobs, json!({"Env": {"KEY": "secret"}}), "jobs  an object with Env"),
    ] {
        assert_eq!(line(kind, &body), text);
    }
    assert_eq!(Headline::of(Kind::Jobs, b"{").to_string(), "jobs  1 bytes that are no JSON");
}

#[test]
fn a_hostile_name_stays_one_bounded_line() {
    let huge = json!({"ID": "w".repeat(10 << 20), "Status": "running"}).to_string();
    assert_safe(&Headline::of(Kind::Jobs, huge.as_bytes()));
    for name in ["\u{1b}]0;x\u{7}\u{1b}[31mweb\r\nweb".to_owned(), "\u{202e}".repeat(9), "w".repeat(1 << 16)] {
        for kind in Kind::ALL {
            let body = json!({
                "ID": name, "Name": name, "JobID": name, "TaskName": name, "GroupName": name, "AllocationID": name, "Status": name,
                "NodeID": name, "StatusDescription": name, "TriggeredBy": name, "TaskEvent": {"Type": name, "Message": name},
                "FailedTGAllocs": {&name: {}}, "TaskGroups": {&name: {}}, "Topic": name, "Type": name, "Key": name,
            });
            assert_safe(&Headline::of(kind, body.to_string().as_bytes()));
        }
    }
}

fn assert_safe(line: &Headline) {
    let text = line.to_string();
    assert!(text.len() < 1024, "{} bytes", text.len());
    assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    assert!(!line.subject.is_empty() && !line.text.is_empty(), "{line:?}");
}

/// JSON of any shape, with the names that headlines read among its members.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<u64>().prop_map(|value| json!(value)),
        any::<String>().prop_map(|value| json!(value)),
        "(Edited|Added|Deleted|ready|down|Terminated|Killing|Restarting|Signaling|Job|Node|Allocation|Firehose|true)"
            .prop_map(|value| json!(value)),
    ];
    let name = prop_oneof![
        "(Status|Name|ID|Topic|Type|Payload|Node|Allocation|Job|Gap|TaskEvent|FailedTGAllocs|TaskGroups|Drain|Events)",
        "(TaskName|JobID|GroupName|AllocationID|Details|ExitCode|StartDelay|KillTimeout|SubmitTime|ModifyTime|Time|text)",
        "(Tasks|Config|Fields|Objects|Old|New|Env|image|Count|Version|Meta|Templates|Services|Constraints|StatusUpdatedAt|DimensionExhausted)",
        any::<String>(),
    ];
    leaf.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| json!(values)),
            prop::collection::vec((name.clone(), inner), 0..10)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_one_safe_line(body in any_json(), kind in 0..7_usize) {
        let line = Headline::of(Kind::ALL[kind], body.to_string().as_bytes()).on("n");
        let text = line.to_string();
        prop_assert!(text.len() < 1024 && !text.contains(char::is_control), "{:?}", text);
    }

    #[test]
    fn any_bytes_are_one_safe_line(body in prop::collection::vec(any::<u8>(), 0..200), kind in 0..7_usize) {
        let text = Headline::of(Kind::ALL[kind], &body).to_string();
        prop_assert!(text.len() < 1024 && !text.contains(char::is_control), "{:?}", text);
    }
}
