//! One line of the event stream, taken apart as far as delivery needs it and no further.
//!
//! A line is `{"Events":[{Topic,Type,Key,Namespace,FilterKeys,Index,Payload}],"Index":N}`, keys in any order (Nomad
//! 2.0.5, `nomad/stream/ndjson.go`). Payloads are left as the bytes that came.

use std::{borrow::Cow, collections::HashMap};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use crate::position::{Identity, RaftIndex};

/// One event of a line.
#[derive(Debug, Clone)]
pub struct Event {
    /// `Job`, `Node`, `Allocation` …
    pub topic: Box<str>,
    /// `JobRegistered`, `PlanResult` …
    pub kind: Box<str>,
    /// The id of the object.
    pub key: Box<str>,
    /// Other keys under which the event can be asked for.
    pub filter_keys: Vec<Box<str>>,
    /// The namespace of the object; empty where it has none.
    pub namespace: Box<str>,
    /// The transaction that published it.
    pub index: RaftIndex,
    /// How often the same object came before at this index.
    pub occurrence: u32,
    /// What makes it itself.
    pub identity: Identity,
    /// The whole event as it came.
    pub raw: Bytes,
    /// The payload as it came; empty where there was none.
    pub payload: Bytes,
}

/// A line that could be read.
#[derive(Debug)]
pub struct Line {
    /// The transaction.
    pub index: RaftIndex,
    /// Its events that could be read, in order.
    pub events: Vec<Event>,
    /// Its events that could not be read, with the reason.
    pub unusable: Vec<(Bytes, String)>,
}

/// The line is no line of events.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON, or cut short. Nomad also reports errors of the stream as a plain text line.
    #[error("not a line of events: {0}")]
    Garbage(#[source] serde_json::Error),
    /// JSON, but with neither an index of its own nor an event that has one.
    #[error("a line without an index")]
    NoIndex,
}

#[derive(Deserialize)]
struct RawLine<'a> {
    #[serde(rename = "Events", borrow, default)]
    events: Option<Vec<&'a RawValue>>,
    #[serde(rename = "Index", borrow, default)]
    index: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(rename = "Topic", borrow)]
    topic: Cow<'a, str>,
    #[serde(rename = "Type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(rename = "Key", borrow, default)]
    key: Cow<'a, str>,
    #[serde(rename = "FilterKeys", borrow, default)]
    filter_keys: Option<Vec<Cow<'a, str>>>,
    #[serde(rename = "Namespace", borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(rename = "Index", default)]
    index: Option<u64>,
    #[serde(rename = "Payload", borrow, default)]
    payload: Option<&'a RawValue>,
}

/// Counts how often an object was seen at the current index, across the lines of that index.
#[derive(Debug, Default)]
pub struct Occurrences {
    index: RaftIndex,
    seen: HashMap<u64, u32>,
}

impl Occurrences {
    fn next(&mut self, index: RaftIndex, topic: &str, namespace: &str, key: &str) -> u32 {
        if self.index != index {
            self.index = index;
            self.seen.clear();
        }
        let object = Identity::new(topic, namespace, key, RaftIndex(0), 0).0;
        let count = self.seen.entry(object).or_insert(0);
        *count += 1;
        *count - 1
    }
}

/// A line that cannot be read, and how often it came at the same place.
#[derive(Debug, Default)]
pub struct Garbage {
    hash: u64,
    place: RaftIndex,
    times: u32,
}

impl Garbage {
    /// What came so often at one place is the server's own, and no damage on the wire.
    pub const PASSED_OVER: u32 = 3;

    /// Such a line came after `place`: how often it has come there by now.
    pub fn seen(&mut self, hash: u64, place: RaftIndex) -> u32 {
        let again = self.hash == hash && self.place == place;
        let times = if again { self.times.saturating_add(1) } else { 1 };
        *self = Garbage { hash, place, times };
        times
    }
}

impl Line {
    /// Reads one line. `occurrences` goes with the connection: one for each, fed with every line in order.
    ///
    /// Text that is not UTF-8 is mended with U+FFFD, for records must be JSON and JSON is UTF-8.
    ///
    /// # Errors
    /// The whole line is unusable; the connection it came on is not to be trusted further.
    pub fn parse(line: &Bytes, occurrences: &mut Occurrences) -> Result<Line, Error> {
        let line = valid_utf8(line);
        let raw: RawLine<'_> = serde_json::from_slice(&line).map_err(Error::Garbage)?;
        let raw_events = raw.events.unwrap_or_default();
        let own_index = raw.index.and_then(|raw| raw.get().parse::<u64>().ok());
        let mut parsed = Vec::with_capacity(raw_events.len());
        let mut unusable = Vec::new();
        for raw_event in raw_events {
            let bytes = line.slice_ref(raw_event.get().as_bytes());
            match serde_json::from_str::<RawEvent<'_>>(raw_event.get()) {
                Ok(event) => parsed.push((event, bytes)),
                Err(error) => unusable.push((bytes, error.to_string())),
            }
        }
        let index = own_index
            .or_else(|| parsed.iter().find_map(|(event, _)| event.index))
            .map(RaftIndex)
            .ok_or(Error::NoIndex)?;
        let events = parsed
            .into_iter()
            .map(|(event, bytes)| {
                let namespace = event.namespace.unwrap_or_default();
                let occurrence = occurrences.next(index, &event.topic, &namespace, &event.key);
                Event {
                    identity: Identity::new(&event.topic, &namespace, &event.key, index, occurrence),
                    topic: event.topic.into(),
                    kind: event.kind.into(),
                    key: event.key.into(),
                    filter_keys: event.filter_keys.into_iter().flatten().map(Into::into).collect(),
                    namespace: namespace.into(),
                    index,
                    occurrence,
                    raw: bytes,
                    payload: event.payload.map(|raw| line.slice_ref(raw.get().as_bytes())).unwrap_or_default(),
                }
            })
            .collect();
        Ok(Line { index, events, unusable })
    }

    /// The identities of the events, in order.
    pub fn identities(&self) -> Vec<Identity> {
        let unusable = self.unusable.iter().map(|(raw, _)| Identity::new("", "", "", self.index, xxh3_64(raw) as u32));
        self.events.iter().map(|event| event.identity).chain(unusable).collect()
    }
}

fn valid_utf8(line: &Bytes) -> Bytes {
    match String::from_utf8_lossy(line) {
        Cow::Borrowed(_) => line.clone(),
        Cow::Owned(mended) => Bytes::from(mended),
    }
}
