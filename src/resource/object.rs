//! Nodes, evaluations, jobs and deployments: the object as Nomad gives it, once for each new version.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DEFAULT_NAMESPACE, Draft, Made, Unusable};
use crate::{kind::Kind, position::RaftIndex, source::line::Event};

/// The payload of an event: the object under the name of its topic, and for a purge `Deleted`.
pub(super) struct Payload<'a> {
    pub(super) object: &'a RawValue,
    pub(super) deleted: bool,
}

impl<'a> Payload<'a> {
    /// Reads an event's payload. What else it carries, newer versions of Nomad may have added.
    pub(super) fn of(event: &'a Event) -> Result<Self, Unusable> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Members<'a> {
            #[serde(borrow)]
            job: Option<&'a RawValue>,
            #[serde(borrow)]
            node: Option<&'a RawValue>,
            #[serde(borrow)]
            evaluation: Option<&'a RawValue>,
            #[serde(borrow)]
            deployment: Option<&'a RawValue>,
            #[serde(borrow)]
            allocation: Option<&'a RawValue>,
            #[serde(default)]
            deleted: bool,
        }
        let members: Members<'_> = serde_json::from_slice(&event.payload).map_err(Unusable::new)?;
        let object = match &*event.topic {
            "Job" => members.job,
            "Node" => members.node,
            "Evaluation" => members.evaluation,
            "Deployment" => members.deployment,
            "Allocation" => members.allocation,
            _ => None,
        };
        let object = object.ok_or_else(|| Unusable::new(format!("the payload has no {}", event.topic)))?;
        Ok(Payload { object, deleted: members.deleted })
    }
}

/// The fields that every object has and that its identity and the new-version rule need.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(rename = "ID", borrow)]
    pub(super) id: std::borrow::Cow<'a, str>,
    #[serde(rename = "Namespace", borrow, default)]
    pub(super) namespace: Option<std::borrow::Cow<'a, str>>,
    #[serde(rename = "JobID", borrow, default)]
    pub(super) job: Option<std::borrow::Cow<'a, str>>,
    #[serde(rename = "ModifyIndex")]
    pub(super) modify_index: u64,
}

/// Whether the event is a new version of its object, or repeats a bystander of somebody else's transaction.
///
/// Seen on Nomad 2.0.5: jobs and deployments carry the transaction's index in `ModifyIndex` exactly when it changed them,
/// and a purge repeats the unchanged job with `Deleted`. Node events change the node without moving its `ModifyIndex`,
/// except that `AllocationUpdated` only moves `LastAllocUpdateIndex`. Evaluations are never bystanders.
fn is_new_version(kind: Kind, event: &Event, modify_index: u64, deleted: bool) -> bool {
    match kind {
        Kind::Nodes => &*event.kind != "AllocationUpdated",
        Kind::Evaluations => true,
        _ => deleted || RaftIndex(modify_index) == event.index,
    }
}

/// The payload of an event and the head of its object, if it is a new version.
///
/// # Errors
/// The payload is not what this topic carries.
pub(super) fn new_version(kind: Kind, event: &Event) -> Result<Option<(Payload<'_>, Head<'_>)>, Unusable> {
    let payload = Payload::of(event)?;
    let head: Head<'_> = serde_json::from_str(payload.object.get()).map_err(Unusable::new)?;
    let is_new = is_new_version(kind, event, head.modify_index, payload.deleted);
    Ok(is_new.then_some((payload, head)))
}

/// The record of an event, if it is a new version.
///
/// # Errors
/// The payload is not what this topic carries.
pub(super) fn from_event(kind: Kind, event: &Event) -> Result<Made, Unusable> {
    let Some((payload, head)) = new_version(kind, event)? else { return Ok(Made::default()) };
    let object = event.payload.slice_ref(payload.object.get().as_bytes());
    let body = if payload.deleted { with_deleted(&object) } else { object };
    // Evaluations change without moving their `ModifyIndex`, but never without moving their table's index.
    let value = if kind == Kind::Evaluations { event.index.0 } else { head.modify_index };
    Ok(Made::one(draft(kind, &head, event.index, event.occurrence, body), value))
}

/// The record of an object that a list or a single read gave, at the version it has there.
///
/// # Errors
/// The object lacks what an object of this kind has.
pub(super) fn from_object(kind: Kind, object: Bytes) -> Result<Made, Unusable> {
    let head: Head<'_> = serde_json::from_slice(&object).map_err(Unusable::new)?;
    let index = RaftIndex(head.modify_index);
    Ok(Made::one(draft(kind, &head, index, 0, object.clone()), index.0))
}

pub(super) fn draft(kind: Kind, head: &Head<'_>, index: RaftIndex, occurrence: u32, body: Bytes) -> Draft {
    let absent = if kind == Kind::Nodes { "" } else { DEFAULT_NAMESPACE };
    let namespace = head.namespace.as_deref().unwrap_or(absent);
    let job = match kind {
        Kind::Jobs | Kind::JobListStubs => Some(&*head.id),
        _ => head.job.as_deref(),
    };
    Draft {
        id: format!("{kind}/{index}/{occurrence}/{namespace}/{}", head.id).into(),
        key: format!("{namespace}/{}", head.id).into(),
        namespace: namespace.into(),
        job: job.unwrap_or_default().into(),
        body,
    }
}

/// The object with `"Deleted":true` as its last field.
pub(super) fn with_deleted(object: &Bytes) -> Bytes {
    let open = object.strip_suffix(b"}").unwrap_or(object).trim_ascii_end();
    let mut body = BytesMut::with_capacity(open.len() + 16);
    body.put_slice(open);
    if !open.ends_with(b"{") {
        body.put_u8(b',');
    }
    body.put_slice(b"\"Deleted\":true}");
    body.freeze()
}
