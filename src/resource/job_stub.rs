//! Job list stubs: the shape of `GET /v1/jobs`, made from the job of an event or from the list itself.

use bytes::Bytes;

use super::{
    Made, Unusable,
    object::{ObjectHead, Payload, draft, new_version, whole, with_deleted},
};
use crate::{json::Scanner, kind::Kind, nomad::line::Event, position::RaftIndex};

/// The fields of a stub in the order of the original program's.
const NAMES: [&str; 19] = [
    "ID",
    "ParentID",
    "Name",
    "Type",
    "Priority",
    "Periodic",
    "ParameterizedJob",
    "Stop",
    "Status",
    "StatusDescription",
    "JobSummary",
    "CreateIndex",
    "ModifyIndex",
    "JobModifyIndex",
    "SubmitTime",
    "Namespace",
    "Datacenters",
    "NodePool",
    "Multiregion",
];
const PERIODIC: usize = 5;
const PARAMETERIZED: usize = 6;
const SUMMARY: usize = 10;

/// The stub of an event's job, without its summary so far: no event carries it.
///
/// # Errors
/// The payload is no job.
pub(super) fn from_event(event: &Event<'_>) -> Result<Made, Unusable> {
    let Some(Payload { text, object: head, deleted }) = new_version(Kind::JobListStubs, event)? else {
        return Ok(Made::default());
    };
    let body = stub(text.as_bytes(), None)?;
    let body = if deleted { with_deleted(&body) } else { body };
    let draft = draft(Kind::JobListStubs, &head, event.index, event.occurrence, body);
    Ok(Made { lacks_summary: true, ..Made::one(draft, head.modify_index) })
}

/// A stub of an event with its summary.
///
/// # Errors
/// The summary is not JSON.
pub(super) fn with_summary(body: &Bytes, summary: &[u8]) -> Result<Bytes, Unusable> {
    let filled = stub(body, Some(whole(summary, |scanner| Ok(scanner.skip()?))?))?;
    // As the last field of the object it can only be that of a purge.
    let deleted = body.ends_with(b",\"Deleted\":true}");
    Ok(if deleted { with_deleted(&filled) } else { filled })
}

/// The stub as the list has it.
///
/// # Errors
/// It is no stub.
pub(super) fn from_object(object: &[u8]) -> Result<Made, Unusable> {
    let head = whole(object, ObjectHead::read)?;
    let draft = draft(Kind::JobListStubs, &head, RaftIndex(head.modify_index), 0, stub(object, None)?);
    Ok(Made::one(draft, head.modify_index))
}

/// The fields of a stub, from a job or from a listed stub. Copied values stay as they came.
fn stub(object: &[u8], summary: Option<&str>) -> Result<Bytes, Unusable> {
    let (mut values, dispatched) = whole(object, values)?;
    if let Some(summary) = summary {
        values[SUMMARY] = summary;
    }
    // Flags in a stub, the whole specification in a job; and a dispatched job is no longer parameterized.
    for (flag, is_set) in [(PERIODIC, true), (PARAMETERIZED, !dispatched)] {
        values[flag] = if is_set && !matches!(values[flag], "false" | "null") { "true" } else { "false" };
    }
    let mut body = String::with_capacity(512 + values[SUMMARY].len());
    for (number, (name, value)) in NAMES.iter().zip(values).enumerate() {
        body.push_str(if number == 0 { "{\"" } else { ",\"" });
        body.push_str(name);
        body.push_str("\":");
        body.push_str(value);
    }
    body.push('}');
    Ok(Bytes::from(body))
}

/// The texts of the fields in [`NAMES`], and whether the job was dispatched.
fn values<'a>(scanner: &mut Scanner<'a>) -> Result<([&'a str; NAMES.len()], bool), Unusable> {
    let (mut values, mut dispatched) = (["null"; NAMES.len()], false);
    scanner.object()?;
    while let Some(name) = scanner.name()? {
        if name == "Dispatched" {
            dispatched = scanner.boolean()?;
            continue;
        }
        let value = scanner.skip()?;
        if let Some(number) = NAMES.iter().position(|wanted| *wanted == name) {
            values[number] = value;
        }
    }
    Ok((values, dispatched))
}
