//! One JSON object a line, for programs.

use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    super::outcome::{Outcome, Tried},
    is_same,
};
use crate::redact;

#[derive(Serialize)]
struct Line<'a> {
    /// Counted from one.
    record: usize,
    outcome: &'static str,
    kind: &'static str,
    id: &'a str,
    #[serde(rename = "in")]
    input: Option<Box<RawValue>>,
    out: Vec<Output>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    variables: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Output {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    body: Option<Box<RawValue>>,
}

pub(super) fn tried(record: usize, tried: &Tried) -> String {
    let (outcome, reason, outputs) = match &tried.outcome {
        Outcome::Filtered => ("filtered", None, &[][..]),
        Outcome::Failed(reason) => ("error", Some(redact::shown(reason, redact::LINE)), &[][..]),
        Outcome::Outputs(outputs) if is_same(tried, outputs) => ("unchanged", None, &outputs[..]),
        Outcome::Outputs(outputs) => ("output", None, &outputs[..]),
    };
    let out = outputs.iter().map(|output| Output {
        id: output.id.to_string(),
        group: output.group.as_deref().map(str::to_owned),
        body: raw(&output.body),
    });
    let variables = tried.variables.iter().filter_map(|(name, value)| {
        Some((name.trim_start_matches('$').to_owned(), serde_json::from_slice(value).ok()?))
    });
    line(&Line {
        record,
        outcome,
        kind: tried.kind.name(),
        id: &tried.id,
        input: raw(&tried.body),
        out: out.collect(),
        variables: variables.collect(),
        reason,
    })
}

pub(super) fn unreadable(line_number: usize, reason: &str) -> String {
    line(&serde_json::json!({"line": line_number, "outcome": "unreadable", "reason": reason}))
}

fn raw(json: &[u8]) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(json.to_vec()).ok()?).ok()
}

fn line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    redact::escaped_json(&redact::without_known(&text)) + "\n"
}
