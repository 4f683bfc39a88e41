//! The message of a record that no program has put into words: what happened, by its kind.

use serde_json::Value;

use super::{message::Message, severity::Severity, text::cut};
use crate::{
    headline::{self, Tone, text},
    kind::Kind,
    record::Record,
};

/// How much of a body is shown that is of no known form.
const SHOWN: usize = 2 << 10;

/// A readable message for `record`, whatever its body.
pub(super) fn of(record: &Record) -> Message {
    let Ok(body @ Value::Object(_)) = serde_json::from_slice::<Value>(&record.body) else { return unknown(record) };
    let message = match record.kind {
        Kind::Allocations => task_event(&body),
        Kind::Nodes => node(&body),
        Kind::Evaluations => evaluation(&body),
        Kind::Jobs | Kind::JobListStubs => job(&body),
        Kind::Deployments => deployment(&body),
        Kind::Events => raw_event(&body),
    };
    let mut message = message.unwrap_or_else(|| unknown(record));
    let has = |message: &Message, name: &str| message.fields.iter().any(|(given, _)| given == name);
    for (name, value) in [("Namespace", &record.namespace), ("Node", &record.node)] {
        if !value.is_empty() && !has(&message, name) {
            message.fields.push((name.to_owned(), value.to_string()));
        }
    }
    message
}

/// The start of the body itself.
fn unknown(record: &Record) -> Message {
    let body = &record.body[..record.body.len().min(SHOWN * 4)];
    let body = String::from_utf8_lossy(body.trim_ascii());
    let kind = record.kind;
    let text = if body.is_empty() { format!("an empty record of {kind}") } else { cut(&body, SHOWN).into_owned() };
    Message { text, ..Message::default() }
}

fn task_event(body: &Value) -> Option<Message> {
    let (what, tone) = headline::task_event(&body["TaskEvent"], body["TaskFailed"] == true)?;
    let name = text(body, "Name").or_else(|| text(body, "AllocationID")).unwrap_or("an allocation");
    let task = text(body, "TaskName").map(|task| format!(" task {task}")).unwrap_or_default();
    let severity = match tone {
        Tone::Bad => Severity::Error,
        Tone::Warning => Severity::Warning,
        Tone::Quiet | Tone::Good | Tone::Notice => Severity::Info,
    };
    let fields = fields(
        body,
        &[
            ("Job", "JobID"),
            ("Group", "GroupName"),
            ("Task", "TaskName"),
            ("Allocation", "AllocationID"),
            ("Status", "ClientStatus"),
        ],
    );
    // The parts of a headline stand apart; in a sentence, commas do that.
    let what = what.replacen("  ", ": ", 1).replace("  ", ", ");
    Some(Message { text: format!("{name}{task}: {what}"), severity, fields, ..Message::default() })
}

fn node(body: &Value) -> Option<Message> {
    let status = text(body, "Status")?;
    let name = text(body, "Name").or_else(|| text(body, "ID"))?;
    let draining = body["Drain"] == true || body["DrainStrategy"].is_object();
    let ineligible = text(body, "SchedulingEligibility").is_some_and(|state| state == "ineligible");
    let severity = match status {
        "down" | "disconnected" => Severity::Error,
        _ if draining || ineligible => Severity::Warning,
        "ready" => Severity::Ok,
        _ => Severity::Info,
    };
    let drain = if draining { ", draining" } else { "" };
    let eligible = if ineligible { ", not eligible for new allocations" } else { "" };
    let mut fields = fields(
        body,
        &[
            ("Datacenter", "Datacenter"),
            ("Pool", "NodePool"),
            ("Class", "NodeClass"),
            ("Node ID", "ID"),
            ("Index", "ModifyIndex"),
        ],
    );
    fields.insert(0, ("Node".to_owned(), name.to_owned()));
    Some(Message { text: format!("Node {name} is {status}{drain}{eligible}"), severity, fields, ..Message::default() })
}

fn evaluation(body: &Value) -> Option<Message> {
    let status = text(body, "Status")?;
    let job = text(body, "JobID").map(|job| format!(" of job {job}")).unwrap_or_default();
    let reason = text(body, "StatusDescription").map(|said| format!(": {said}")).unwrap_or_default();
    let unplaced = headline::unplaced(body).into_iter();
    let lines: Vec<_> = unplaced.map(|(group, why)| format!("group {group} is not placed: {why}")).collect();
    let severity = match status {
        "failed" => Severity::Error,
        "blocked" => Severity::Warning,
        _ if !lines.is_empty() => Severity::Warning,
        _ => Severity::Info,
    };
    let fields = fields(
        body,
        &[
            ("Job", "JobID"),
            ("Namespace", "Namespace"),
            ("Triggered by", "TriggeredBy"),
            ("Evaluation", "ID"),
            ("Index", "ModifyIndex"),
        ],
    );
    Some(Message {
        text: format!("Evaluation{job} is {status}{reason}"),
        severity,
        fields,
        lines,
        ..Message::default()
    })
}

fn job(body: &Value) -> Option<Message> {
    let status = text(body, "Status")?;
    let name = text(body, "ID").or_else(|| text(body, "Name"))?;
    let version = body["Version"].as_u64().map(|version| format!(" (version {version})")).unwrap_or_default();
    let state = match (body["Deleted"] == true, body["Stop"] == true) {
        (true, _) => "purged",
        (false, true) => "stopped",
        (false, false) => status,
    };
    let said = text(body, "StatusDescription").map(|said| format!(": {said}")).unwrap_or_default();
    let fields = fields(
        body,
        &[("Job", "ID"), ("Namespace", "Namespace"), ("Type", "Type"), ("Status", "Status"), ("Index", "ModifyIndex")],
    );
    Some(Message { text: format!("Job {name}{version} is {state}{said}"), fields, ..Message::default() })
}

fn deployment(body: &Value) -> Option<Message> {
    let status = text(body, "Status")?;
    let job = text(body, "JobID").unwrap_or("a job");
    let version = body["JobVersion"].as_u64().map(|version| format!(" version {version}")).unwrap_or_default();
    let said = text(body, "StatusDescription").map(|said| format!(": {said}")).unwrap_or_default();
    let severity = match status {
        "successful" => Severity::Ok,
        "failed" => Severity::Error,
        "blocked" | "paused" | "cancelled" | "unblocking" => Severity::Warning,
        _ => Severity::Info,
    };
    let groups = body["TaskGroups"].as_object().into_iter().flatten();
    let line = |(group, state): (&String, &Value)| {
        let count = |name: &str| state[name].as_u64().unwrap_or_default();
        let unhealthy = match count("UnhealthyAllocs") {
            0 => String::new(),
            unhealthy => format!(", {unhealthy} unhealthy"),
        };
        format!("group {group}: {} of {} healthy{unhealthy}", count("HealthyAllocs"), count("DesiredTotal"))
    };
    let lines = groups.map(line).collect();
    let fields =
        fields(body, &[("Job", "JobID"), ("Namespace", "Namespace"), ("Deployment", "ID"), ("Index", "ModifyIndex")]);
    let text = format!("Deployment of {job}{version} is {status}{said}");
    Some(Message { text, severity, fields, lines, ..Message::default() })
}

fn raw_event(body: &Value) -> Option<Message> {
    let topic = text(body, "Topic")?;
    let object = &body["Payload"][topic];
    let inner = match topic {
        "Node" => node(object),
        "Evaluation" => evaluation(object),
        "Job" => job(object),
        "Deployment" => deployment(object),
        _ => None,
    };
    let kind = text(body, "Type").unwrap_or("event");
    let mut message = inner.unwrap_or_else(|| {
        let name = text(object, "Name").or_else(|| text(body, "Key"));
        let name = name.map(|name| format!(": {name}")).unwrap_or_default();
        let severity = if topic == "Firehose" { Severity::Warning } else { Severity::Info };
        let fields = fields(body, &[("Key", "Key"), ("Namespace", "Namespace"), ("Index", "Index")]);
        Message { text: format!("{topic} {kind}{name}"), severity, fields, ..Message::default() }
    });
    message.fields.push(("Event".to_owned(), kind.to_owned()));
    Some(message)
}

/// The members of `object` that it has, each under the name that people see.
fn fields(object: &Value, names: &[(&str, &str)]) -> Vec<(String, String)> {
    let field = |(shown, member): &(&str, &str)| {
        let value = match &object[*member] {
            Value::String(text) if !text.is_empty() => text.clone(),
            number @ Value::Number(_) => number.to_string(),
            _ => return None,
        };
        Some(((*shown).to_owned(), value))
    };
    names.iter().filter_map(field).collect()
}
