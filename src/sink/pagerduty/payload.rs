//! A message as an event of PagerDuty. The limits are those of the reference of the Events API v2: 1024 characters of `summary`, 255 of
//! `dedup_key`, 512 KB in all.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::PagerDuty;
use crate::{
    meta,
    notify::{Message, Severity, bounded, cut, merge},
    record::Record,
};

/// The most units of the summary.
const SUMMARY: usize = 1024;
/// The most bytes of the key.
const KEY: usize = 255;
/// The most units of what says where the event comes from.
const SOURCE: usize = 255;

pub(super) fn of(record: &Record, sink: &PagerDuty) -> Bytes {
    let message = Message::of(record);
    let key = message.key.as_deref().unwrap_or(&record.id);
    // What is well again resolves the alert that was opened with the same key.
    let is_over = message.severity == Severity::Ok && message.key.is_some();
    let mut payload = json!({
        "routing_key": sink.routing_key().expose(),
        "event_action": if is_over { "resolve" } else { "trigger" },
        "dedup_key": bounded(key, KEY),
        "client": "nomad-firehose",
        "payload": event(record, &message, sink.cluster.as_deref()),
    });
    if let Some(link) = &message.link {
        payload["links"] = json!([{"href": link, "text": "Open"}]);
    }
    if let Some(raw) = message.raw("pagerduty") {
        merge(&mut payload, raw);
    }
    Bytes::from(payload.to_string())
}

fn event(record: &Record, message: &Message, cluster: Option<&str>) -> Value {
    let mut event = Map::new();
    event.insert("summary".to_owned(), summary(message).into());
    event.insert("severity".to_owned(), severity(message.severity).into());
    event.insert("source".to_owned(), source(record, cluster).into());
    event.insert("class".to_owned(), record.kind.name().into());
    for (name, value) in [("component", &record.job), ("group", &record.namespace)] {
        if !value.is_empty() {
            event.insert(name.to_owned(), cut(value, SOURCE).into());
        }
    }
    if let Some(time) = meta::time(record) {
        event.insert("timestamp".to_owned(), time.to_string().into());
    }
    event.insert("custom_details".to_owned(), details(message).into());
    event.into()
}

/// The title and the text on one line.
fn summary(message: &Message) -> String {
    let text = message.counted_text().split_whitespace().collect::<Vec<_>>().join(" ");
    let whole = message.title.as_ref().map_or_else(|| text.clone(), |title| format!("{title}: {text}"));
    cut(&whole, SUMMARY).into_owned()
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok | Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
        Severity::Critical => "critical",
    }
}

/// The node, or else the job, or the cluster.
fn source(record: &Record, cluster: Option<&str>) -> String {
    let job = if record.job.is_empty() { String::new() } else { format!("{}/{}", record.namespace, record.job) };
    let all = [&*record.node, &*job, cluster.unwrap_or_default(), "nomad"];
    cut(all.into_iter().find(|text| !text.is_empty()).unwrap_or("nomad"), SOURCE).into_owned()
}

fn details(message: &Message) -> Map<String, Value> {
    let mut details = Map::new();
    for (name, value) in &message.fields {
        details.insert(name.clone(), value.clone().into());
    }
    details.insert("text".to_owned(), message.text.clone().into());
    if !message.lines.is_empty() {
        details.insert("lines".to_owned(), message.lines.clone().into());
    }
    if let Some(count) = message.count {
        details.insert("count".to_owned(), count.into());
    }
    if let Some(within) = &message.within {
        details.insert("within".to_owned(), within.clone().into());
    }
    details
}

#[cfg(test)]
mod tests;
