//! When a record's event happened, as its body says it. The fields are those of [`crate::meta`], where they have the time of
//! this very change.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use crate::kind::Kind;

/// The time in RFC 3339, in UTC.
pub(super) fn of(kind: Kind, body: &Value) -> Option<String> {
    let nanoseconds = match kind {
        Kind::Events => {
            let topic = body["Topic"].as_str()?;
            of_object(topic, object_of(body, topic)?)
        }
        kind => of_object(kind.topic()?, body),
    }?;
    // Go counts time in 63 bits.
    let nanoseconds = u64::try_from(nanoseconds).ok().filter(|time| *time > 0 && i64::try_from(*time).is_ok())?;
    Some(humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(nanoseconds)).to_string())
}

/// The object of an event: the payload has it under the name of its topic, or else under another one.
pub(super) fn object_of<'a>(event: &'a Value, topic: &str) -> Option<&'a Value> {
    let payload = event["Payload"].as_object()?;
    payload.get(topic).or_else(|| payload.values().find(|value| value.is_object()))
}

/// Nanoseconds since 1970.
fn of_object(topic: &str, object: &Value) -> Option<u128> {
    match topic {
        "Allocation" => value(&object["TaskEvent"]["Time"]).or_else(|| value(&object["ModifyTime"])),
        // Only the record of a new version has the time of its change: Nomad keeps none of a job's status.
        "Job" if object["JobModifyIndex"] != object["ModifyIndex"] || object["Deleted"] == true => None,
        "Job" => value(&object["SubmitTime"]),
        "Node" => {
            let events = object["Events"].as_array().into_iter().flatten();
            let status = object["StatusUpdatedAt"].as_u64().map(|seconds| u128::from(seconds) * 1_000_000_000);
            let drain = value(&object["LastDrain"]["UpdatedAt"]);
            events.filter_map(|event| value(&event["Timestamp"])).chain(status).chain(drain).max()
        }
        _ => value(&object["ModifyTime"]).or_else(|| value(&object["CreateTime"])),
    }
}

/// A time as Nomad writes it: nanoseconds, or a text as of RFC 3339. Zero means that Nomad knows none.
fn value(value: &Value) -> Option<u128> {
    match value {
        Value::Number(number) => number.as_u64().filter(|time| *time > 0).map(u128::from),
        Value::String(text) => {
            let time = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            Some(time.as_nanos()).filter(|time| *time > 0)
        }
        _ => None,
    }
}
