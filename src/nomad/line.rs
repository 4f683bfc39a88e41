//! Parses one line of the event stream, as far as delivery needs it.
//!
//! A line is `{"Events":[{Topic,Type,Key,Namespace,FilterKeys,Index,Payload}],"Index":N}`, keys in any order (Nomad
//! 2.0.5, `nomad/stream/ndjson.go`). Payloads keep the bytes that came.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
};

use bytes::Bytes;
use bytestring::ByteString;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    json::{self, Scanner},
    nomad::LongLine,
    position::{Identity, RaftIndex},
    throttle::{Class, Classified},
};

/// The text of one line.
#[derive(Debug, Clone)]
pub struct Text(ByteString);

impl Text {
    /// The line as it came. Bytes that are not UTF-8 become U+FFFD, because records must be JSON, and JSON is UTF-8.
    pub fn new(line: Bytes) -> Self {
        let repaired = |line: &Bytes| String::from_utf8_lossy(line).into_owned().into();
        Text(ByteString::try_from(line.clone()).unwrap_or_else(|_| repaired(&line)))
    }
}

/// One event of a line.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// `Job`, `Node`, `Allocation` …
    pub topic: Cow<'a, str>,
    /// `JobRegistered`, `PlanResult` …
    pub kind: Cow<'a, str>,
    /// The id of the object.
    pub key: Cow<'a, str>,
    /// Other keys that a subscription can filter by.
    pub filter_keys: Vec<Cow<'a, str>>,
    /// The namespace of the object; empty if it has none.
    pub namespace: Cow<'a, str>,
    /// The transaction that published it.
    pub index: RaftIndex,
    /// How often the same object came before at this index.
    pub occurrence: u32,
    /// Distinguishes this event from every other one.
    pub identity: Identity,
    /// The whole event as it came.
    pub raw: Bytes,
    /// The payload as it came; empty if there was none.
    pub payload: &'a str,
    /// It is delivered already, at a time when the index of its line was in doubt.
    pub delivered: bool,
}

/// A line that could be read.
#[derive(Debug)]
pub struct Line<'a> {
    /// The transaction.
    pub index: RaftIndex,
    /// Its events that could be read, in order.
    pub events: Vec<Event<'a>>,
    /// Its events that could not be read, with the reason.
    pub unusable: Vec<(Bytes, String)>,
    /// The identity of a line that was too long to be held. Such a line has no events.
    pub passed_over: Option<Identity>,
}

/// The line is not a line of events.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON, or cut short. Nomad also reports errors of the stream as a plain text line.
    #[error("not a line of events: {0}")]
    Garbage(#[from] json::Error),
    /// JSON, but neither the line nor any event has an index.
    #[error("a line without an index")]
    NoIndex,
    /// Too long to be held, and without a plausible index.
    #[error("a line of {bytes} bytes is too long, and has no plausible index at its start or end")]
    TooLong {
        /// How long it was.
        bytes: u64,
    },
}

impl Classified for Error {
    fn class(&self) -> Class {
        match self {
            Error::Garbage(_) => "garbage".into(),
            Error::NoIndex => "no index".into(),
            Error::TooLong { .. } => "too long".into(),
        }
    }
}

/// The value is not an event.
#[derive(Debug, thiserror::Error)]
enum BadEvent {
    #[error(transparent)]
    Json(#[from] json::Error),
    #[error("it has no Topic")]
    NoTopic,
}

/// An event's members.
#[derive(Default)]
struct Members<'a> {
    topic: Option<Cow<'a, str>>,
    kind: Cow<'a, str>,
    key: Cow<'a, str>,
    filter_keys: Vec<Cow<'a, str>>,
    namespace: Cow<'a, str>,
    index: u64,
    payload: &'a str,
}

impl<'a> Members<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, BadEvent> {
        let mut members = Members::default();
        scanner.object()?;
        while let Some(name) = scanner.name()? {
            match name {
                "Topic" => members.topic = Some(scanner.string()?),
                "Type" => members.kind = scanner.string()?,
                "Key" => members.key = scanner.string()?,
                "Namespace" => members.namespace = scanner.string()?,
                "FilterKeys" if scanner.array_or_null()? => {
                    while scanner.element()? {
                        members.filter_keys.push(scanner.string()?);
                    }
                }
                "FilterKeys" => {}
                "Index" => members.index = scanner.number()?,
                "Payload" => members.payload = scanner.skip()?,
                _ => drop(scanner.skip()?),
            }
        }
        if members.topic.is_none() { Err(BadEvent::NoTopic) } else { Ok(members) }
    }
}

/// Counts how often an object was seen at an index, across the lines of that index. Stray lines of other indexes between
/// them do not begin the count again.
#[derive(Debug, Default)]
pub struct Occurrences {
    current: IndexCounts,
    /// The counts of earlier indexes, the latest one first.
    others: VecDeque<IndexCounts>,
}

#[derive(Debug, Default)]
struct IndexCounts {
    index: RaftIndex,
    seen: HashMap<u64, u32>,
}

impl Occurrences {
    /// How many other indexes are remembered.
    const OTHERS: usize = 8;

    fn next(&mut self, index: RaftIndex, topic: &str, namespace: &str, key: &str) -> u32 {
        if self.current.index != index {
            self.turn_to(index);
        }
        let object = Identity::new(topic, namespace, key, RaftIndex(0), 0).0;
        let count = self.current.seen.entry(object).or_insert(0);
        *count += 1;
        *count - 1
    }

    fn turn_to(&mut self, index: RaftIndex) {
        let known = self.others.iter().position(|counts| counts.index == index);
        let next = known.and_then(|at| self.others.remove(at));
        let next = next.unwrap_or_else(|| IndexCounts { index, ..IndexCounts::default() });
        self.others.push_front(std::mem::replace(&mut self.current, next));
        self.others.truncate(Self::OTHERS);
    }

    /// Takes back the counts of the last line, because it will be read again.
    pub fn forget(&mut self, line: &Line<'_>) {
        for event in &line.events {
            let object = Identity::new(&event.topic, &event.namespace, &event.key, RaftIndex(0), 0).0;
            self.current.seen.entry(object).and_modify(|count| *count = count.saturating_sub(1));
        }
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
    /// A line that came this often at one place comes from the server, and is not damage on the wire.
    pub const PASSED_OVER: u32 = 3;

    /// Counts such a line after `place`, and returns how often it has come there.
    pub fn seen(&mut self, hash: u64, place: RaftIndex) -> u32 {
        let again = self.hash == hash && self.place == place;
        let times = if again { self.times.saturating_add(1) } else { 1 };
        *self = Garbage { hash, place, times };
        times
    }
}

/// The member that a line begins or ends with.
const INDEX: &[u8] = b"\"Index\":";

/// The index of a line, from the last member of its object, where Nomad writes it, or from the first. Nothing else is read. Use
/// it for metrics only; `None` if the index is elsewhere.
pub(crate) fn index_of(line: &[u8]) -> Option<RaftIndex> {
    index_at_end(line).or_else(|| index_at_start(line))
}

/// The index of a line that was too long to be held.
pub(crate) fn index_of_long(line: &LongLine) -> Option<RaftIndex> {
    index_at_end(&line.tail).or_else(|| index_at_start(&line.head))
}

fn index_at_end(line: &[u8]) -> Option<RaftIndex> {
    let head = line.trim_ascii_end().strip_suffix(b"}")?;
    let start = head.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
    if head[..start].ends_with(INDEX) { number(&head[start..]) } else { None }
}

fn index_at_start(line: &[u8]) -> Option<RaftIndex> {
    let rest = line.strip_prefix(b"{")?.strip_prefix(INDEX)?;
    number(&rest[..rest.iter().position(|byte| !byte.is_ascii_digit())?])
}

fn number(digits: &[u8]) -> Option<RaftIndex> {
    std::str::from_utf8(digits).ok()?.parse().ok().map(RaftIndex)
}

impl<'a> Line<'a> {
    /// Reads one line. `occurrences` belongs to the connection, and must see every line in order.
    ///
    /// # Errors
    /// The whole line is unusable. Do not trust the connection that it came on any further.
    pub fn parse(text: &'a Text, occurrences: &mut Occurrences) -> Result<Self, Error> {
        let bytes = |part: &str| text.0.as_bytes().slice_ref(part.as_bytes());
        let (mut own_index, mut read, mut unusable) = (None, Vec::new(), Vec::new());
        let mut scanner = Scanner::new(&text.0);
        scanner.object()?;
        while let Some(name) = scanner.name()? {
            match name {
                "Events" if scanner.array_or_null()? => {
                    while scanner.element()? {
                        let start = scanner.clone();
                        match Members::read(&mut scanner) {
                            Ok(members) => read.push((members, scanner.since(&start))),
                            Err(reason) => {
                                scanner = start;
                                unusable.push((bytes(scanner.skip()?), reason.to_string()));
                            }
                        }
                    }
                }
                "Events" => {}
                "Index" => own_index = scanner.skip()?.parse().ok(),
                _ => drop(scanner.skip()?),
            }
        }
        scanner.end_of_text()?;
        let first_index = || read.iter().map(|(event, _)| event.index).find(|index| *index > 0);
        let index = own_index.or_else(first_index).map(RaftIndex).ok_or(Error::NoIndex)?;
        let events = read
            .into_iter()
            .map(|(members, raw)| {
                let Members { topic, kind, key, filter_keys, namespace, payload, .. } = members;
                let topic = topic.unwrap_or_default();
                let occurrence = occurrences.next(index, &topic, &namespace, &key);
                Event {
                    identity: Identity::new(&topic, &namespace, &key, index, occurrence),
                    topic,
                    kind,
                    key,
                    filter_keys,
                    namespace,
                    index,
                    occurrence,
                    raw: bytes(raw),
                    payload: if payload == "null" { "" } else { payload },
                    delivered: false,
                }
            })
            .collect();
        Ok(Line { index, events, unusable, passed_over: None })
    }

    /// The line at `index` that was too long to be held. `occurrences` is as for [`Line::parse`].
    pub fn passed_over(index: RaftIndex, occurrences: &mut Occurrences) -> Self {
        // No event is without a topic, so no event has this identity.
        let identity = Identity::new("", "", "", index, occurrences.next(index, "", "", ""));
        Line { index, events: Vec::new(), unusable: Vec::new(), passed_over: Some(identity) }
    }

    /// Marks the events that are delivered already, and drops those that could not be read.
    pub fn know(&mut self, is_delivered: impl Fn(&Identity) -> bool) {
        self.events.iter_mut().for_each(|event| event.delivered = is_delivered(&event.identity));
        let index = self.index;
        self.unusable.retain(|(raw, _)| !is_delivered(&of_unusable(index, raw)));
    }

    /// The identities of the events, in order.
    pub fn identities(&self) -> Vec<Identity> {
        let unusable = self.unusable.iter().map(|(raw, _)| of_unusable(self.index, raw));
        self.events.iter().map(|event| event.identity).chain(unusable).chain(self.passed_over).collect()
    }
}

fn of_unusable(index: RaftIndex, raw: &Bytes) -> Identity {
    Identity::new("", "", "", index, xxh3_64(raw) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stray lines between those of one index, whichever they are, do not change the counts.
    #[test]
    fn stray_lines_between_those_of_an_index_do_not_begin_its_count_again() {
        let line = |index: u64| {
            let event = format!(r#"{{"Topic":"Job","Type":"t","Key":"web","Namespace":"d","Index":{index}}}"#);
            Text::new(format!(r#"{{"Index":{index},"Events":[{event}]}}"#).into())
        };
        for strays in 0..3 {
            let mut occurrences = Occurrences::default();
            let mut read = |index: u64| {
                let text = line(index);
                Line::parse(&text, &mut occurrences).expect("a line").events[0].occurrence
            };
            assert_eq!(read(10), 0);
            (0..strays).for_each(|stray| assert_eq!(read((1 << 40) + stray), 0));
            assert_eq!(read(10), 1, "{strays} strays");
            assert_eq!(read(11), 0);
        }
    }

    #[test]
    fn the_index_of_a_line_is_its_own() {
        for (line, index) in [
            (r#"{"Events":[{"Index":7,"Payload":{"Index":8}}],"Index":9}"#, Some(9)),
            (r#"{"Index":9,"Events":[{"Index":7}]}"#, Some(9)),
            (r#"{"Events":[{"Index":7}]}"#, None),
            (r#"{"Events":[{"Index":7}],"Index":99999999999999999999999}"#, None),
            ("{}", None),
            ("", None),
            ("9}", None),
        ] {
            assert_eq!(index_of(line.as_bytes()), index.map(RaftIndex), "{line}");
        }
    }

    #[test]
    fn the_index_of_a_long_line_is_at_one_of_its_ends() {
        for (head, tail, index) in [
            (r#"{"Events":[{"Index":7,"#, r#""Payload":{"Index":8}}],"Index":9}"#, Some(9)),
            (r#"{"Index":9,"Events":[{"Index":7,"#, r#""Payload":{"Index":8}}]}"#, Some(9)),
            // The end of the held start is not the end of the line.
            (r#"{"Events":[{"Index":7}"#, r#""Payload":{"Index":8}}]}"#, None),
            ("upstream says", "no", None),
            ("", "", None),
        ] {
            let part = |text: &'static str| Bytes::from_static(text.as_bytes());
            let line = LongLine { bytes: 1, head: part(head), tail: part(tail) };
            assert_eq!(index_of_long(&line), index.map(RaftIndex), "{head} {tail}");
        }
    }

    #[test]
    fn a_line_that_is_passed_over_is_known_by_its_place() {
        let known = |indexes: &[u64]| {
            let mut occurrences = Occurrences::default();
            let lines = indexes.iter().map(|index| Line::passed_over(RaftIndex(*index), &mut occurrences).identities());
            lines.flatten().collect::<Vec<_>>()
        };
        let (first, again) = (known(&[20, 20, 21]), known(&[20, 20, 21]));
        assert_eq!(first, again);
        assert!(first.len() == 3 && first[0] != first[1] && first[1] != first[2]);
    }
}
