//! A record as a log record of OpenTelemetry.

use std::time::UNIX_EPOCH;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value as Any},
    logs::v1::{LogRecord, SeverityNumber},
};
use serde_json::Value;

use super::Body;
use crate::{
    headline::Tone,
    meta,
    record::{Record, Time},
    sink::push::Sent,
};

/// How deep a body is taken apart. Some receivers refuse messages that are nested more than a hundred times, and each
/// level of JSON is three messages.
const DEEPEST: usize = 24;

pub(super) fn log_record(record: &Record, body: Body, sent: Sent) -> LogRecord {
    let (tone, body) = match body {
        Body::Text => (Tone::of_text(record.kind, &record.body), text(record)),
        Body::Map => match serde_json::from_slice::<Value>(&record.body) {
            Ok(value) => (Some(Tone::of(record.kind, &value)), any(value, 0)),
            Err(_) => (None, text(record)),
        },
    };
    let (severity, severity_text) = severity(tone.unwrap_or(Tone::Warning));
    let observed = sent.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    LogRecord {
        // Zero means that it is not known.
        time_unix_nano: meta::time(record).map_or(0, Time::nanoseconds),
        observed_time_unix_nano: u64::try_from(observed).unwrap_or(u64::MAX),
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        body: Some(body),
        attributes: attributes(record),
        ..LogRecord::default()
    }
}

fn text(record: &Record) -> AnyValue {
    string(String::from_utf8_lossy(&record.body))
}

/// How bad it is, as the status page and `tail` see it.
fn severity(tone: Tone) -> (SeverityNumber, &'static str) {
    match tone {
        Tone::Quiet => (SeverityNumber::Debug, "DEBUG"),
        Tone::Good => (SeverityNumber::Info, "INFO"),
        Tone::Notice => (SeverityNumber::Info2, "INFO2"),
        Tone::Warning => (SeverityNumber::Warn, "WARN"),
        Tone::Bad => (SeverityNumber::Error, "ERROR"),
    }
}

fn attributes(record: &Record) -> Vec<KeyValue> {
    let texts = [
        ("nomad.id", &*record.id),
        ("nomad.key", &*record.key),
        ("nomad.kind", record.kind.name()),
        ("nomad.namespace", &*record.namespace),
        ("nomad.job", &*record.job),
        ("nomad.node", &*record.node),
    ];
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let mut attributes: Vec<_> = texts.map(|(name, text)| attribute(name, string(text))).collect();
    let index = i64::try_from(record.index.0).unwrap_or(i64::MAX);
    attributes.push(attribute("nomad.index", AnyValue { value: Some(Any::IntValue(index)) }));
    attributes
}

pub(super) fn attribute(name: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(value), ..KeyValue::default() }
}

pub(super) fn string(text: impl Into<String>) -> AnyValue {
    AnyValue { value: Some(Any::StringValue(text.into())) }
}

/// The same value. What is nested too deeply becomes text.
fn any(value: Value, depth: usize) -> AnyValue {
    let value = match value {
        Value::Null => None,
        Value::Bool(value) => Some(Any::BoolValue(value)),
        Value::String(text) => Some(Any::StringValue(text)),
        Value::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Any::IntValue(number),
            // A number that neither type holds exactly stays as Nomad wrote it.
            (None, Some(float)) if number.is_f64() => Any::DoubleValue(float),
            _ => Any::StringValue(number.to_string()),
        }),
        deep if depth >= DEEPEST => Some(Any::StringValue(deep.to_string())),
        Value::Array(values) => {
            let values = values.into_iter().map(|value| any(value, depth + 1)).collect();
            Some(Any::ArrayValue(ArrayValue { values }))
        }
        Value::Object(members) => {
            let values = members.into_iter().map(|(name, value)| attribute(&name, any(value, depth + 1))).collect();
            Some(Any::KvlistValue(KeyValueList { values }))
        }
    };
    AnyValue { value }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn back(value: AnyValue) -> Value {
        match value.value {
            None => Value::Null,
            Some(Any::BoolValue(value)) => value.into(),
            Some(Any::IntValue(number)) => number.into(),
            Some(Any::DoubleValue(number)) => number.into(),
            Some(Any::StringValue(text)) => text.into(),
            Some(Any::ArrayValue(ArrayValue { values })) => values.into_iter().map(back).collect(),
            Some(Any::KvlistValue(KeyValueList { values })) => {
                values.into_iter().map(|pair| (pair.key, back(pair.value.expect("a value")))).collect()
            }
            Some(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_body_that_is_taken_apart_is_the_same() {
        let body: Value =
            serde_json::from_str(r#"{"a":[1,-2,2.5,null,true,"x",{"b":{}}],"c":9223372036854775807}"#).expect("JSON");
        assert_eq!(back(any(body.clone(), 0)), body);
        let large: Value = serde_json::from_str("18446744073709551615").expect("JSON");
        assert_eq!(back(any(large, 0)), "18446744073709551615");
    }

    #[test]
    fn a_deep_body_can_be_decoded() {
        let text = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let value = any(serde_json::from_str(&text).expect("JSON"), 0);
        AnyValue::decode(&value.encode_to_vec()[..]).expect("not too deep");
    }
}
