//! A message as an alert of Alertmanager.
//!
//! Labels say which alert it is: an alert with the same labels is the same one. So what changes from message to message, such as the text, is an
//! annotation.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use humantime::format_rfc3339_millis;
use serde_json::{Value, json};

use crate::{
    meta,
    notify::{Message, bounded, cut, merge},
    record::Record,
};

/// The most units of an annotation, and of a label.
const ANNOTATION: usize = 4 << 10;
const LABEL: usize = 255;

/// What all alerts have in common.
#[derive(Clone, Debug)]
pub(super) struct Alerts {
    /// Labels of every alert.
    pub(super) labels: Vec<(String, String)>,
    /// After what time an alert ends.
    pub(super) ttl: Duration,
}

impl Alerts {
    /// A list of one alert.
    pub(super) fn of(&self, record: &Record, now: SystemTime) -> Bytes {
        let message = Message::of(record);
        let time = meta::time(record).map(|time| UNIX_EPOCH + Duration::from_nanos(time.nanoseconds()));
        // Clocks of clients may be ahead of ours.
        let since = time.map_or(now, |time| time.min(now));
        let mut alert = json!({
            "labels": self.labels(record, &message),
            "annotations": annotations(&message),
            "startsAt": format_rfc3339_millis(since).to_string(),
            "endsAt": format_rfc3339_millis(now + self.ttl).to_string(),
        });
        if let Some(link) = &message.link {
            alert["generatorURL"] = link.clone().into();
        }
        if let Some(raw) = message.raw("alertmanager") {
            merge(&mut alert, raw);
        }
        Bytes::from(Value::Array(vec![alert]).to_string())
    }

    fn labels(&self, record: &Record, message: &Message) -> BTreeMap<String, String> {
        let name = message.title.clone().unwrap_or_else(|| format!("Nomad {}", record.kind));
        let mut labels = BTreeMap::from([
            ("alertname".to_owned(), name),
            ("severity".to_owned(), message.severity.name().to_owned()),
            ("kind".to_owned(), record.kind.name().to_owned()),
            ("namespace".to_owned(), record.namespace.to_string()),
            ("job".to_owned(), record.job.to_string()),
            ("node".to_owned(), record.node.to_string()),
            ("key".to_owned(), message.key.clone().unwrap_or_else(|| record.key.to_string())),
        ]);
        labels.extend(self.labels.iter().cloned());
        // An empty label is none.
        labels.retain(|_, value| !value.is_empty());
        labels.values_mut().for_each(|value| *value = bounded(value, LABEL));
        labels
    }
}

fn annotations(message: &Message) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    for (name, value) in &message.fields {
        annotations.insert(as_name(name), cut(value, ANNOTATION).into_owned());
    }
    let listed = message.listed(ANNOTATION);
    if !listed.is_empty() {
        annotations.insert("lines".to_owned(), listed);
    }
    annotations.insert("summary".to_owned(), message.headline(LABEL));
    annotations.insert("description".to_owned(), cut(&message.counted_text(), ANNOTATION).into_owned());
    annotations
}

/// Whether every version of Alertmanager takes this as the name of a label.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A name with `_` for all that a label's name cannot have.
fn as_name(text: &str) -> String {
    let name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if is_name(&name) { name } else { format!("_{name}") }
}

#[cfg(test)]
mod tests;
