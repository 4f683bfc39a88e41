//! Nodes, evaluations, jobs and deployments: the object as Nomad has it, once for each new version.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::{DEFAULT_NAMESPACE, Draft, Made, Unusable, secrets};
use crate::{
    json::{self, Scanner},
    kind::Kind,
    nomad::line::Event,
    position::RaftIndex,
};

/// The payload of an event: the object under the name of its topic, and for a purge `Deleted`. Newer versions of Nomad
/// may have added more.
pub(super) struct Payload<'a, T> {
    /// The object's text.
    pub(super) text: &'a str,
    /// The fields that were read of it.
    pub(super) object: T,
    pub(super) deleted: bool,
}

impl<'a, T> Payload<'a, T> {
    /// Reads an event's payload; `read` reads its object.
    pub(super) fn of(
        event: &Event<'a>,
        read: impl Fn(&mut Scanner<'a>) -> Result<T, Unusable>,
    ) -> Result<Self, Unusable> {
        let (mut found, mut deleted) = (None, false);
        let mut scanner = Scanner::new(event.payload);
        scanner.object()?;
        while let Some(name) = scanner.name()? {
            if name == event.topic {
                let start = scanner.clone();
                let object = read(&mut scanner)?;
                found = Some((object, scanner.since(&start)));
            } else if name == "Deleted" {
                deleted = scanner.boolean()?;
            } else {
                scanner.skip()?;
            }
        }
        scanner.end_of_text()?;
        let (object, text) = found.ok_or_else(|| Unusable::new(format!("the payload has no {}", event.topic)))?;
        Ok(Payload { text, object, deleted })
    }
}

/// Reads a text that is one value.
pub(super) fn whole<'a, T>(
    object: &'a [u8],
    read: impl Fn(&mut Scanner<'a>) -> Result<T, Unusable>,
) -> Result<T, Unusable> {
    let mut scanner = Scanner::new(std::str::from_utf8(object).map_err(Unusable::new)?);
    let value = read(&mut scanner)?;
    scanner.end_of_text()?;
    Ok(value)
}

impl From<json::Error> for Unusable {
    fn from(error: json::Error) -> Self {
        Unusable::new(error)
    }
}

/// The fields that every object has and that its identity and the new-version rule need.
pub(super) struct ObjectHead<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) namespace: Cow<'a, str>,
    pub(super) job: Cow<'a, str>,
    name: Cow<'a, str>,
    pub(super) modify_index: u64,
}

impl<'a> ObjectHead<'a> {
    pub(super) fn read(scanner: &mut Scanner<'a>) -> Result<Self, Unusable> {
        let (mut id, mut modify_index) = (None, None);
        let [mut namespace, mut job, mut object_name] = [const { Cow::Borrowed("") }; 3];
        scanner.object()?;
        while let Some(name) = scanner.name()? {
            match name {
                "ID" => id = Some(scanner.string()?),
                "Namespace" => namespace = scanner.string()?,
                "JobID" => job = scanner.string()?,
                "Name" => object_name = scanner.string()?,
                "ModifyIndex" => modify_index = Some(scanner.number()?),
                _ => drop(scanner.skip()?),
            }
        }
        let id = id.ok_or_else(|| Unusable::new("the object has no ID"))?;
        let modify_index = modify_index.ok_or_else(|| Unusable::new("the object has no ModifyIndex"))?;
        Ok(ObjectHead { id, namespace, job, name: object_name, modify_index })
    }

    /// The name of the node that the object is about. Only nodes say it.
    fn node(&self, kind: Kind) -> &str {
        if kind == Kind::Nodes { &self.name } else { "" }
    }
}

/// Whether the event is a new version of its object, or a bystander that a transaction about other objects repeats.
///
/// Seen on Nomad 2.0.5: jobs and deployments carry the transaction's index in `ModifyIndex` exactly when it changed
/// them, and a purge repeats the unchanged job with `Deleted`. Node events change the node without moving its
/// `ModifyIndex`, except that `AllocationUpdated` only moves `LastAllocUpdateIndex`. Evaluations are never bystanders.
fn is_new_version(kind: Kind, event: &Event<'_>, modify_index: u64, deleted: bool) -> bool {
    match kind {
        Kind::Nodes => &*event.kind != "AllocationUpdated",
        Kind::Evaluations => true,
        _ => deleted || RaftIndex(modify_index) == event.index,
    }
}

/// The payload of an event with the head of its object, if it is a new version.
///
/// # Errors
/// The payload does not belong to this topic.
pub(super) fn new_version<'a>(kind: Kind, event: &Event<'a>) -> Result<Option<Payload<'a, ObjectHead<'a>>>, Unusable> {
    let payload = Payload::of(event, ObjectHead::read)?;
    let is_new = is_new_version(kind, event, payload.object.modify_index, payload.deleted);
    Ok(is_new.then_some(payload))
}

/// The record of an event, if it is a new version.
///
/// # Errors
/// The payload does not belong to this topic.
pub(super) fn from_event(kind: Kind, event: &Event<'_>) -> Result<Made, Unusable> {
    let Some(Payload { text, object: head, deleted }) = new_version(kind, event)? else { return Ok(Made::default()) };
    let object = without_secrets(kind, event.raw.slice_ref(text.as_bytes()));
    let body = if deleted { with_deleted(&object) } else { object };
    // Evaluations change without moving their `ModifyIndex`, but never without moving their table's index.
    let value = if kind == Kind::Evaluations { event.index.0 } else { head.modify_index };
    Ok(Made::one(draft(kind, &head, event.index, event.occurrence, body), value))
}

/// The record of an object from a list or a single read, at the version it has there.
///
/// # Errors
/// The object lacks a field of its resource.
pub(super) fn from_object(kind: Kind, object: &Bytes) -> Result<Made, Unusable> {
    let head = whole(object, ObjectHead::read)?;
    let index = RaftIndex(head.modify_index);
    Ok(Made::one(draft(kind, &head, index, 0, without_secrets(kind, object.clone())), index.0))
}

/// Only nodes have a secret.
fn without_secrets(kind: Kind, object: Bytes) -> Bytes {
    if kind == Kind::Nodes { secrets::without_in_node(&object) } else { object }
}

pub(super) fn draft(kind: Kind, head: &ObjectHead<'_>, index: RaftIndex, occurrence: u32, body: Bytes) -> Draft {
    let id = &head.id;
    let namespace = match &*head.namespace {
        "" if kind != Kind::Nodes => DEFAULT_NAMESPACE,
        namespace => namespace,
    };
    let job = match kind {
        Kind::Jobs | Kind::JobListStubs => id,
        _ => &head.job,
    };
    Draft {
        id: format!("{kind}/{index}/{occurrence}/{namespace}/{id}").into(),
        key: format!("{namespace}/{id}").into(),
        namespace: namespace.into(),
        job: (**job).into(),
        node: head.node(kind).into(),
        index,
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
