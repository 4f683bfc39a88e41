//! How bad a record is. It needs no words, so a sink can ask for it alone.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{time::object_of, words::text};
use crate::{json::Scanner, kind::Kind};

/// How bad it is, and so its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// A step on the way.
    Quiet,
    /// It went well.
    Good,
    /// Somebody or something changed the cluster.
    Notice,
    /// Something may go wrong.
    Warning,
    /// Something went wrong.
    Bad,
}

/// How each type of task event ends, unless its fields say otherwise. An exit code decides for `Terminated`.
const TONES: &[(&str, Tone)] = &[
    ("Received", Tone::Quiet),
    ("Task Setup", Tone::Quiet),
    ("Building Task Directory", Tone::Quiet),
    ("Downloading Artifacts", Tone::Quiet),
    ("Driver", Tone::Quiet),
    ("Task hook message", Tone::Quiet),
    ("Waiting for shutdown delay", Tone::Quiet),
    ("Skipping shutdown delay", Tone::Quiet),
    ("Leader Task Dead", Tone::Quiet),
    ("Main Tasks Dead", Tone::Quiet),
    ("Template", Tone::Quiet),
    ("Started", Tone::Good),
    ("Running", Tone::Good),
    ("Reconnected", Tone::Good),
    ("Plugin became healthy", Tone::Good),
    ("Killing", Tone::Notice),
    ("Killed", Tone::Notice),
    ("Pausing", Tone::Notice),
    ("Restarting", Tone::Notice),
    ("Restart Signaled", Tone::Notice),
    ("Signaling", Tone::Notice),
    ("Terminated", Tone::Notice),
    ("Setup Failure", Tone::Warning),
    ("Driver Failure", Tone::Warning),
    ("Failed Validation", Tone::Warning),
    ("Failed Artifact Download", Tone::Warning),
    ("Disk Resources Exceeded", Tone::Warning),
    ("Not Restarting", Tone::Warning),
    ("Sibling Task Failed", Tone::Warning),
    ("Task hook failed", Tone::Warning),
    ("Failed Restoring Task", Tone::Warning),
    ("Plugin became unhealthy", Tone::Warning),
    ("Alloc Unhealthy", Tone::Warning),
];

impl Tone {
    /// How bad it is, by the body of a record of this kind.
    pub(crate) fn of(kind: Kind, body: &Value) -> Tone {
        let known = match kind {
            Kind::Allocations => task_event(&body["TaskEvent"], body["TaskFailed"] == true),
            Kind::Nodes => node(body),
            Kind::Evaluations => evaluation(body),
            Kind::Jobs | Kind::JobListStubs => job(body),
            Kind::Deployments => deployment(body),
            Kind::Events => event(body),
        };
        known.unwrap_or(Tone::Notice)
    }

    /// The same of a body as text, of which only the members are parsed that decide. `None` if it is not JSON, as far as it is parsed.
    pub(crate) fn of_text(kind: Kind, body: &[u8]) -> Option<Tone> {
        let text = std::str::from_utf8(body).ok()?;
        let value = parsed(text, deciding(kind)).or_else(|| serde_json::from_str(text).ok())?;
        Some(Tone::of(kind, &value))
    }
}

/// The members of a body that [`Tone::of`] looks at.
fn deciding(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Allocations => &["TaskEvent", "TaskFailed"],
        Kind::Nodes => &["Name", "ID", "Status", "SchedulingEligibility", "Drain", "DrainStrategy", "Deleted"],
        Kind::Evaluations => &["Status", "FailedTGAllocs"],
        Kind::Jobs | Kind::JobListStubs => &["ID", "Name", "Status", "Stop", "Deleted"],
        Kind::Deployments => &["Status", "TaskGroups"],
        Kind::Events => &["Topic", "Payload"],
    }
}

/// The members of an object that have these names. What the others hold is not looked at.
fn parsed(text: &str, names: &[&str]) -> Option<Value> {
    let mut scanner = Scanner::new(text);
    scanner.object().ok()?;
    let mut members = Map::new();
    while let Some(name) = scanner.name().ok()? {
        let value = scanner.skip().ok()?;
        if names.contains(&name) {
            members.insert(name.to_owned(), serde_json::from_str(value).ok()?);
        }
    }
    scanner.end_of_text().ok()?;
    Some(Value::Object(members))
}

/// How bad a task event is. `None` without a type.
pub(super) fn task_event(event: &Value, has_failed: bool) -> Option<Tone> {
    let kind = text(event, "Type")?;
    let tone = TONES.iter().find(|(known, _)| *known == kind).map(|(_, tone)| *tone);
    Some(match tone.unwrap_or_else(|| guessed(kind)) {
        _ if event["FailsTask"] == true || event["Details"]["fails_task"] == "true" || is_oom_killed(event) => {
            Tone::Bad
        }
        Tone::Warning if has_failed => Tone::Bad,
        _ if exit_code(event).is_some_and(|code| code != 0) => {
            if has_failed {
                Tone::Bad
            } else {
                Tone::Warning
            }
        }
        tone => tone,
    })
}

/// How bad an unknown type is.
fn guessed(kind: &str) -> Tone {
    let is_trouble = ["fail", "unhealthy", "exceeded", "error"].iter().any(|word| kind.to_lowercase().contains(word));
    if is_trouble { Tone::Warning } else { Tone::Notice }
}

pub(super) fn is_oom_killed(event: &Value) -> bool {
    event["Details"]["oom_killed"] == "true"
}

pub(super) fn exit_code(event: &Value) -> Option<i64> {
    let told = || event["Details"]["exit_code"].as_str()?.parse().ok();
    event["ExitCode"].as_i64().filter(|code| *code != 0).or_else(told)
}

fn node(body: &Value) -> Option<Tone> {
    text(body, "Name").or_else(|| text(body, "ID"))?;
    let is_ineligible = || text(body, "SchedulingEligibility") == Some("ineligible");
    Some(match text(body, "Status")? {
        "down" | "disconnected" => Tone::Bad,
        _ if is_draining(body) || is_ineligible() => Tone::Warning,
        _ if body["Deleted"] == true => Tone::Notice,
        "ready" => Tone::Good,
        _ => Tone::Quiet,
    })
}

pub(super) fn is_draining(node: &Value) -> bool {
    node["Drain"] == true || node["DrainStrategy"].is_object()
}

fn evaluation(body: &Value) -> Option<Tone> {
    Some(match text(body, "Status")? {
        "failed" => Tone::Bad,
        "blocked" => Tone::Warning,
        _ if body["FailedTGAllocs"].as_object().is_some_and(|groups| !groups.is_empty()) => Tone::Warning,
        _ => Tone::Quiet,
    })
}

fn job(body: &Value) -> Option<Tone> {
    text(body, "ID").or_else(|| text(body, "Name"))?;
    Some(match text(body, "Status") {
        _ if body["Deleted"] == true || body["Stop"] == true => Tone::Notice,
        Some("running") => Tone::Good,
        Some("pending") => Tone::Quiet,
        status => status.map(|_| Tone::Notice)?,
    })
}

fn deployment(body: &Value) -> Option<Tone> {
    let is_unhealthy = |group: &Value| group["UnhealthyAllocs"].as_u64().unwrap_or_default() > 0;
    Some(match text(body, "Status")? {
        "successful" => Tone::Good,
        "failed" => Tone::Bad,
        "blocked" | "paused" | "cancelled" | "unblocking" => Tone::Warning,
        _ if body["TaskGroups"].as_object().is_some_and(|groups| groups.values().any(is_unhealthy)) => Tone::Warning,
        _ => Tone::Notice,
    })
}

/// A raw event is as bad as the object of its topic; a gap in the stream is bad.
fn event(body: &Value) -> Option<Tone> {
    let topic = text(body, "Topic")?;
    if topic == "Firehose" {
        return Some(Tone::Bad);
    }
    let object = object_of(body, topic)?;
    match topic {
        "Allocation" => allocation(object),
        "Node" => node(object),
        "Evaluation" => evaluation(object),
        "Job" => job(object),
        "Deployment" => deployment(object),
        _ => None,
    }
}

/// An allocation as the stream has it.
fn allocation(object: &Value) -> Option<Tone> {
    Some(match text(object, "ClientStatus")? {
        "failed" | "lost" => Tone::Bad,
        "unknown" => Tone::Warning,
        "running" => Tone::Good,
        "complete" => Tone::Notice,
        _ => Tone::Quiet,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// What decides, in all kinds and topics, and names that decide nothing.
    const NAMES: [&str; 24] = [
        "TaskEvent",
        "TaskFailed",
        "Name",
        "ID",
        "Status",
        "SchedulingEligibility",
        "Drain",
        "DrainStrategy",
        "Deleted",
        "FailedTGAllocs",
        "Stop",
        "TaskGroups",
        "Topic",
        "Payload",
        "ClientStatus",
        "Type",
        "Details",
        "ExitCode",
        "FailsTask",
        "Job",
        "Node",
        "Allocation",
        "Evaluation",
        "Deployment",
    ];

    fn value() -> impl Strategy<Value = Value> {
        let texts = [
            "failed",
            "down",
            "ready",
            "ineligible",
            "blocked",
            "running",
            "Terminated",
            "Not Restarting",
            "Node",
            "Job",
        ];
        let leaf = prop_oneof![
            prop::sample::select(texts.to_vec()).prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            (0..3_u64).prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(3, 64, 8, |inner| {
            prop::collection::btree_map(prop::sample::select(NAMES.to_vec()), inner, 0..12)
                .prop_map(|members| json!(members))
        })
    }

    proptest! {
        #[test]
        fn what_is_not_parsed_decides_nothing(body in value(), kind in prop::sample::select(Kind::ALL.to_vec())) {
            let text = serde_json::to_string_pretty(&body).expect("JSON");
            prop_assert_eq!(Tone::of_text(kind, text.as_bytes()), Some(Tone::of(kind, &body)));
        }
    }

    #[test]
    fn a_body_that_is_not_json_has_no_tone() {
        for body in [&b""[..], b"{", b"{} {}", b"words", b"\xff", br#"{"Status":"\ud800"}"#] {
            assert_eq!(Tone::of_text(Kind::Nodes, body), None, "{}", body.escape_ascii());
        }
    }
}
