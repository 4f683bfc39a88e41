//! One publish of the event broker: the events of a line, and the cluster's objects in them.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::Members;
use crate::object::{Body, Object};

/// A line of the stream: one publish. A raft index can come in several.
#[derive(Debug)]
pub struct Line {
    /// The raft index of the publish.
    pub index: u64,
    /// The text as the stream sends it to a subscriber who sees every event of it, without the newline.
    pub raw: Bytes,
    /// The events in their order.
    pub events: Vec<Event>,
}

/// One event of a line.
#[derive(Debug)]
pub struct Event {
    /// The topic, such as `Allocation`.
    pub topic: Box<str>,
    /// The type, such as `AllocationUpdated`.
    pub kind: Box<str>,
    /// The key: the object's id for most topics.
    pub key: Box<str>,
    /// The namespace, empty for nodes and other objects without one.
    pub namespace: Box<str>,
    /// Further keys that a topic filter matches.
    pub filter_keys: Vec<Box<str>>,
    /// The event's own JSON text, a part of the line's.
    pub raw: Bytes,
    /// The object of the payload where the simulator keeps a table for its topic.
    pub object: Option<Arc<Object>>,
    /// The payload says that the object was purged.
    pub deleted: bool,
}

/// Why a text is no line of events.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not UTF-8.
    #[error("the line is not UTF-8")]
    Utf8(#[source] std::str::Utf8Error),
    /// Not JSON of the expected shape.
    #[error("the line is not an event publish")]
    Json(#[source] serde_json::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Publish<'a> {
    index: u64,
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<'a> {
    topic: Box<str>,
    #[serde(rename = "Type", default)]
    kind: Box<str>,
    #[serde(default)]
    key: Box<str>,
    #[serde(default)]
    namespace: Box<str>,
    #[serde(default)]
    filter_keys: Option<Vec<Box<str>>>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl Line {
    /// Reads a line as the stream carries it.
    ///
    /// # Errors
    /// When the text is not UTF-8, or not an object with `Index` and `Events`.
    pub fn parse(raw: impl Into<Bytes>) -> Result<Self, Error> {
        let raw = raw.into();
        let text = std::str::from_utf8(&raw).map_err(Error::Utf8)?;
        let publish: Publish<'_> = serde_json::from_str(text).map_err(Error::Json)?;
        let mut events = Vec::with_capacity(publish.events.len());
        for event in publish.events {
            events.push(Event::parse(&raw, event).map_err(Error::Json)?);
        }
        Ok(Self { index: publish.index, events, raw })
    }

    /// The item an empty buffer begins with: no index, no events.
    pub(crate) fn sentinel() -> Self {
        Self { index: 0, raw: Bytes::new(), events: Vec::new() }
    }
}

impl Event {
    fn parse(line: &Bytes, text: &RawValue) -> Result<Self, serde_json::Error> {
        let envelope: Envelope<'_> = serde_json::from_str(text.get())?;
        let payload = envelope.payload.and_then(|payload| serde_json::from_str::<Members<'_>>(payload.get()).ok());
        let deleted = payload.as_ref().and_then(|p| p.get("Deleted")).is_some_and(|v| v.get() == "true");
        let object = payload
            .as_ref()
            .and_then(|p| p.get(&envelope.topic))
            .and_then(|object| Object::from_json(Body::Raw(line.slice_ref(object.get().as_bytes()))))
            .map(Arc::new);
        Ok(Self {
            topic: envelope.topic,
            kind: envelope.kind,
            key: envelope.key,
            namespace: envelope.namespace,
            filter_keys: envelope.filter_keys.unwrap_or_default(),
            raw: line.slice_ref(text.get().as_bytes()),
            object,
            deleted,
        })
    }
}
