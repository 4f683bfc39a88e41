//! Job list stubs: the shape of `GET /v1/jobs`, made from the job that an event carries or from the list itself.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Made, Unusable,
    object::{Head, draft, new_version, with_deleted},
};
use crate::{kind::Kind, position::RaftIndex, source::line::Event};

/// A stub, with the original's fields first and in its order. What is copied stays as it came.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stub<'a> {
    #[serde(rename = "ID", borrow)]
    id: &'a RawValue,
    #[serde(rename = "ParentID", borrow, default)]
    parent_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    priority: Option<&'a RawValue>,
    /// A flag in a stub, the whole specification in a job.
    #[serde(deserialize_with = "is_given", default)]
    periodic: bool,
    #[serde(deserialize_with = "is_given", default)]
    parameterized_job: bool,
    #[serde(borrow, default)]
    stop: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status_description: Option<&'a RawValue>,
    #[serde(borrow, default)]
    job_summary: Option<&'a RawValue>,
    #[serde(borrow, default)]
    create_index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    modify_index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    job_modify_index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    submit_time: Option<&'a RawValue>,
    #[serde(borrow, default)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow, default)]
    datacenters: Option<&'a RawValue>,
    #[serde(borrow, default)]
    node_pool: Option<&'a RawValue>,
    #[serde(borrow, default)]
    multiregion: Option<&'a RawValue>,
    /// Only in a job: a dispatched one is no longer parameterized.
    #[serde(default, skip_serializing)]
    dispatched: bool,
}

/// `true` for `true` and for any specification, `false` for `false` and `null`.
fn is_given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(!matches!(raw.get(), "false" | "null"))
}

/// The job's id and namespace, if the event is a new version that a stub is due for.
///
/// # Errors
/// The payload is no job.
pub(super) fn due(event: &Event) -> Result<Option<(String, String)>, Unusable> {
    let version = new_version(Kind::JobListStubs, event)?;
    Ok(version.map(|(_, head)| (head.namespace.unwrap_or_default().into_owned(), head.id.into_owned())))
}

/// The stub of an event's job, with its summary where there is one: no event carries it.
///
/// # Errors
/// The payload is no job, or the summary is not JSON.
pub(super) fn from_event(event: &Event, summary: Option<&[u8]>) -> Result<Made, Unusable> {
    let Some((payload, head)) = new_version(Kind::JobListStubs, event)? else { return Ok(Made::default()) };
    let summary: Option<&RawValue> = summary.map(serde_json::from_slice).transpose().map_err(Unusable::new)?;
    let body = stub(payload.object.get(), summary)?;
    let body = if payload.deleted { with_deleted(&body) } else { body };
    Ok(Made::one(draft(Kind::JobListStubs, &head, event.index, event.occurrence, body), head.modify_index))
}

/// The stub as the list gave it.
///
/// # Errors
/// It is no stub.
pub(super) fn from_object(object: &[u8]) -> Result<Made, Unusable> {
    let head: Head<'_> = serde_json::from_slice(object).map_err(Unusable::new)?;
    let text = std::str::from_utf8(object).map_err(Unusable::new)?;
    let draft = draft(Kind::JobListStubs, &head, RaftIndex(head.modify_index), 0, stub(text, None)?);
    Ok(Made::one(draft, head.modify_index))
}

fn stub(object: &str, summary: Option<&RawValue>) -> Result<Bytes, Unusable> {
    let mut stub: Stub<'_> = serde_json::from_str(object).map_err(Unusable::new)?;
    stub.job_summary = summary.or(stub.job_summary);
    stub.parameterized_job &= !stub.dispatched;
    Ok(Bytes::from(serde_json::to_vec(&stub).map_err(Unusable::new)?))
}
