//! Which of a task's events are new, and their text.
//!
//! A task keeps its last ten events, and each version of its allocation repeats them all. The events after the last
//! delivered one in the list's order are new, whatever their time: times come from the client's clock and can go back.

use std::{borrow::Cow, ops::Range};

use xxhash_rust::xxh3::xxh3_64;

use super::Unusable;
use crate::{
    json::{self, Scanner},
    task_cursors::EventHash,
};

/// How many events Nomad keeps of a task.
pub(super) const KEPT: usize = 10;

/// The fields of the original program's records, in their order: the text before each value, and the kind of value.
const FIELDS: [(&str, Sort); 25] = [
    (",\"Type\":", Sort::Text),
    (",\"Time\":", Sort::Number),
    (",\"DisplayMessage\":", Sort::Text),
    (",\"Details\":", Sort::Texts),
    (",\"FailsTask\":", Sort::Truth),
    (",\"RestartReason\":", Sort::Text),
    (",\"SetupError\":", Sort::Text),
    (",\"DriverError\":", Sort::Text),
    (",\"DriverMessage\":", Sort::Text),
    (",\"ExitCode\":", Sort::Number),
    (",\"Signal\":", Sort::Number),
    (",\"Message\":", Sort::Text),
    (",\"KillReason\":", Sort::Text),
    (",\"KillTimeout\":", Sort::Number),
    (",\"KillError\":", Sort::Text),
    (",\"StartDelay\":", Sort::Number),
    (",\"DownloadError\":", Sort::Text),
    (",\"ValidationError\":", Sort::Text),
    (",\"DiskLimit\":", Sort::Number),
    (",\"DiskSize\":", Sort::Number),
    (",\"FailedSibling\":", Sort::Text),
    (",\"VaultError\":", Sort::Text),
    (",\"TaskSignalReason\":", Sort::Text),
    (",\"TaskSignal\":", Sort::Text),
    (",\"GenericSource\":", Sort::Text),
];
/// The text around a name in [`FIELDS`].
const AROUND: (usize, usize) = (2, 2);
const TYPE: usize = 0;
const TIME: usize = 1;

/// The kind of value of a field.
#[derive(Clone, Copy)]
enum Sort {
    Text,
    Number,
    Truth,
    /// Texts by name.
    Texts,
}

impl Sort {
    /// Go's zero value.
    const fn zero(self) -> &'static str {
        match self {
            Sort::Text => "\"\"",
            Sort::Number => "0",
            Sort::Truth => "false",
            Sort::Texts => "null",
        }
    }
}

/// A task event.
#[derive(Clone, Debug)]
pub(super) struct TaskEvent {
    /// With exactly the fields of the original program's records, in their order: a part of [`New::bodies`].
    pub(super) body: Range<usize>,
    /// By the client's clock, in ns since 1970.
    pub(super) time: i64,
    pub(super) hash: EventHash,
}

/// A name and its value.
#[derive(Debug)]
struct Detail<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    /// As they came, the value with its quotes, the name without.
    raw: (&'a str, &'a str),
}

impl TaskEvent {
    fn of(text: &str, delivered: Option<EventHash>, bodies: &mut String) -> Result<Self, Unusable> {
        let mut scanner = Scanner::new(text);
        let event = TaskEvent::read(&mut scanner, delivered, bodies)?;
        scanner.end_of_text()?;
        Ok(event)
    }

    /// Reads an event, and writes its body after those of others; the body of the `delivered` one is not needed.
    fn read(scanner: &mut Scanner<'_>, delivered: Option<EventHash>, bodies: &mut String) -> Result<Self, Unusable> {
        let mut fields = FIELDS.map(|(_, sort)| sort.zero());
        let (mut details, mut time) = (None, 0);
        let mut names = FieldNames::default();
        scanner.object()?;
        while let Some(field) = names.next(scanner)? {
            let Some(number) = field else {
                scanner.skip()?;
                continue;
            };
            fields[number] = match FIELDS[number].1 {
                Sort::Text => scanner.quoted()?,
                Sort::Number => scanner.digits()?,
                Sort::Truth => match scanner.boolean()? {
                    true => "true",
                    false => "false",
                },
                Sort::Texts => {
                    details = Detail::all(scanner)?;
                    continue;
                }
            };
            if number == TIME {
                time = fields[TIME].parse().map_err(|_| Unusable::new("a task event's Time is no number of ns"))?;
            }
        }
        let kind = Scanner::new(fields[TYPE]).string()?;
        let hash = hash(time, &kind, details.as_deref().unwrap_or_default());
        let start = bodies.len();
        if Some(hash) != delivered {
            write(&fields, details.as_deref(), bodies);
        }
        Ok(TaskEvent { body: start..bodies.len(), time, hash })
    }
}

/// Appends an event with these fields.
fn write(fields: &[&str; FIELDS.len()], details: Option<&[Detail<'_>]>, body: &mut String) {
    body.push('{');
    let mut comma = 1;
    for ((name, sort), text) in FIELDS.iter().zip(fields) {
        body.push_str(&name[std::mem::take(&mut comma)..]);
        match (details, sort) {
            (Some(details), Sort::Texts) => Detail::write(details, body),
            _ => body.push_str(text),
        }
    }
    body.push('}');
}

/// [`FIELDS`] sorted by name, as lists have them; streams have them in an order of their own, and few of them.
const SORTED: [usize; FIELDS.len()] =
    [3, 18, 19, 2, 16, 7, 8, 9, 20, 4, 24, 14, 12, 13, 11, 5, 6, 10, 15, 23, 22, 1, 0, 17, 21];

/// Finds fields by their names.
#[derive(Default)]
struct FieldNames {
    /// The place in [`SORTED`] after the last one.
    next: usize,
}

impl FieldNames {
    /// Passes over the next name of an object. `None` at its end, `Some(None)` where it is none of [`FIELDS`].
    fn next(&mut self, scanner: &mut Scanner<'_>) -> Result<Option<Option<usize>>, json::Error> {
        if let Some(number) = SORTED.get(self.next)
            && scanner.passes(FIELDS[*number].0)
        {
            self.next += 1;
            return Ok(Some(Some(*number)));
        }
        Ok(scanner.name()?.map(|name| self.find(name)))
    }

    fn find(&mut self, name: &str) -> Option<usize> {
        let at = |place: usize| SORTED.get(place).map(|number| name_of(*number));
        let place = if at(self.next) == Some(name) {
            self.next
        } else {
            SORTED.binary_search_by(|number| name_of(*number).cmp(name)).ok()?
        };
        self.next = place + 1;
        Some(SORTED[place])
    }
}

fn name_of(number: usize) -> &'static str {
    let field = FIELDS[number].0;
    &field[AROUND.0..field.len() - AROUND.1]
}

impl<'a> Detail<'a> {
    /// In the order of their names, as Go writes a map, each name once.
    fn all(scanner: &mut Scanner<'a>) -> Result<Option<Vec<Self>>, Unusable> {
        if !scanner.object_or_null()? {
            return Ok(None);
        }
        let mut details: Vec<Self> = Vec::new();
        while let Some(raw) = scanner.name()? {
            let value = scanner.quoted()?;
            let detail = Detail { name: unescaped(raw)?, value: Scanner::new(value).string()?, raw: (raw, value) };
            match details.binary_search_by(|known| known.name.cmp(&detail.name)) {
                Ok(known) => details[known] = detail,
                Err(place) => details.insert(place, detail),
            }
        }
        Ok(Some(details))
    }

    fn write(details: &[Self], body: &mut String) {
        body.push('{');
        for (number, Detail { raw: (name, value), .. }) in details.iter().enumerate() {
            body.push_str(if number == 0 { "\"" } else { ",\"" });
            body.push_str(name);
            body.push_str("\":");
            body.push_str(value);
        }
        body.push('}');
    }
}

/// A name that may have escapes.
pub(super) fn unescaped(name: &str) -> Result<Cow<'_, str>, Unusable> {
    if !name.contains('\\') {
        return Ok(Cow::Borrowed(name));
    }
    serde_json::from_str(&format!("\"{name}\"")).map(Cow::Owned).map_err(Unusable::new)
}

/// The identity of a task event. Fields that the server adds later (`DisplayMessage`) are no part of it.
fn hash(time: i64, kind: &str, details: &[Detail<'_>]) -> EventHash {
    const WORD: usize = size_of::<u64>();
    let words = [time.cast_unsigned(), xxh3_64(kind.as_bytes())];
    let pairs = details.iter().flat_map(|Detail { name, value, .. }| [name, value]);
    let words = words.into_iter().chain(pairs.map(|text| xxh3_64(text.as_bytes())));
    let mut bytes = Vec::with_capacity((2 + 2 * details.len()) * WORD);
    words.for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    EventHash(xxh3_64(&bytes))
}

/// The events of one task that are new.
#[derive(Debug)]
pub(super) struct New {
    /// The new ones, in order.
    pub(super) events: Vec<TaskEvent>,
    /// Their bodies in records.
    pub(super) bodies: String,
    /// The last one of all; `None` where there is none.
    pub(super) last: Option<EventHash>,
    /// The last delivered event is no longer there, so that events between may be lost to the limit of ten.
    pub(super) overrun: bool,
}

/// The events of a task.
#[derive(Debug)]
pub(super) enum Events<'a> {
    /// All of them, with their bodies.
    Read(Vec<TaskEvent>, String),
    /// Their texts: usually only the last one has to be read.
    Raw(Vec<&'a str>),
}

impl<'a> Events<'a> {
    /// Reads the events of a task; where some are `known`, only to find their ends.
    ///
    /// # Errors
    /// It is no list of task events.
    pub(super) fn read(scanner: &mut Scanner<'a>, known: bool) -> Result<Self, Unusable> {
        /// Some events with all their fields.
        const ROOM: usize = 4 << 10;
        let mut events = match known {
            true => Events::Raw(Vec::with_capacity(KEPT)),
            false => Events::Read(Vec::with_capacity(KEPT), String::with_capacity(ROOM)),
        };
        if !scanner.array_or_null()? {
            return Ok(events);
        }
        while scanner.element()? {
            match &mut events {
                Events::Raw(texts) => texts.push(scanner.skip()?),
                Events::Read(events, bodies) => events.push(TaskEvent::read(scanner, None, bodies)?),
            }
        }
        Ok(events)
    }

    /// The events after `delivered`.
    ///
    /// # Errors
    /// An event that had to be read is no task event.
    pub(super) fn after(self, delivered: Option<EventHash>) -> Result<New, Unusable> {
        let (events, bodies, found) = match self {
            Events::Read(mut events, bodies) => {
                let known = events.iter().rposition(|event| Some(event.hash) == delivered);
                events.drain(..known.map_or(0, |known| known + 1));
                (events, bodies, known.is_some())
            }
            Events::Raw(texts) => {
                let (mut events, mut bodies, mut found) = (Vec::new(), String::new(), false);
                for text in texts.iter().rev() {
                    let event = TaskEvent::of(text, delivered, &mut bodies)?;
                    if Some(event.hash) == delivered {
                        found = true;
                        break;
                    }
                    events.push(event);
                }
                events.reverse();
                (events, bodies, found)
            }
        };
        let last = events.last().map(|event| event.hash).or(delivered.filter(|_| found));
        let overrun = delivered.is_some() && !found && !events.is_empty();
        Ok(New { events, bodies, last, overrun })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(time: i64) -> String {
        format!(r#"{{"Type":"Started","Time":{time},"Details":{{"a":"1","b":"2"}}}}"#)
    }

    /// The result is the same whether all are read at once or only those that are needed.
    fn new_events(texts: &[&str], delivered: Option<EventHash>) -> Result<New, Unusable> {
        let mut bodies = String::new();
        let read = texts.iter().map(|text| TaskEvent::of(text, None, &mut bodies)).collect::<Result<_, _>>()?;
        let one = Events::Read(read, bodies).after(delivered)?;
        let other = Events::Raw(texts.to_vec()).after(delivered)?;
        let body = |new: &New, event: &TaskEvent| (new.bodies[event.body.clone()].to_owned(), event.hash, event.time);
        let seen =
            |new: &New| (new.events.iter().map(|event| body(new, event)).collect::<Vec<_>>(), new.last, new.overrun);
        assert_eq!(seen(&one), seen(&other));
        Ok(one)
    }

    #[test]
    fn fields_are_found_in_any_order() {
        assert!(SORTED.is_sorted_by_key(|number| name_of(*number)));
        for number in SORTED.into_iter().chain(0..FIELDS.len()) {
            assert_eq!(FieldNames::default().find(name_of(number)), Some(number));
        }
        let mut names = FieldNames::default();
        assert!(
            SORTED.iter().all(|number| names.find("Nope").is_none() && names.find(name_of(*number)) == Some(*number))
        );
    }

    fn hash(text: &str) -> EventHash {
        TaskEvent::of(text, None, &mut String::new()).expect("a task event").hash
    }

    fn written(text: &str) -> String {
        let mut body = String::new();
        TaskEvent::of(text, None, &mut body).expect("a task event");
        body
    }

    #[test]
    fn the_order_of_the_details_does_not_matter() {
        let one = r#"{"Type":"T","Time":1,"Details":{"a":"1","b":"2"},"DisplayMessage":"x"}"#;
        let other = r#"{"Details":{"b":"2","a":"1"},"Time":1,"Type":"T"}"#;
        assert_eq!(hash(one), hash(other));
        assert_ne!(hash(one), hash(r#"{"Type":"T","Time":1,"Details":{"a":"2","b":"1"}}"#));
    }

    #[test]
    fn details_come_sorted_and_as_they_were_written() {
        let text = written(r#"{"Type":"a\u003cb","Details":{"b":"\u00e4\n","a":"1","b":"2","\u0061":null}}"#);
        assert!(
            text.starts_with(r#"{"Type":"a\u003cb","Time":0,"DisplayMessage":"","Details":{"\u0061":"","b":"2"},"#),
            "{text}"
        );
    }

    #[test]
    fn missing_fields_are_go_zero_values_in_the_original_order() {
        let text = written(r#"{"Time":5,"Type":"X","KillReason":null}"#);
        assert!(
            text.starts_with(r#"{"Type":"X","Time":5,"DisplayMessage":"","Details":null,"FailsTask":false"#),
            "{text}"
        );
        assert!(text.ends_with(r#""TaskSignal":"","GenericSource":""}"#), "{text}");
    }

    proptest! {
        /// However the versions are cut and whichever times they carry, a window of ten that moves by at most ten has
        /// each event once, in order.
        #[test]
        fn a_moving_window_gives_each_event_once(
            times in prop::collection::vec(0i64..50, 1..80),
            steps in prop::collection::vec(1usize..=9, 1..80),
        ) {
            // Equal times are made distinct by their details, as restarts of one second are.
            let texts: Vec<String> = times.iter().enumerate()
                .map(|(n, time)| format!(r#"{{"Type":"T","Time":{time},"Details":{{"n":"{n}"}}}}"#))
                .collect();
            let all: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut delivered = None;
            let mut got = Vec::new();
            let mut end = 0;
            for step in steps.iter().chain(std::iter::repeat(&9)) {
                end = (end + step).min(all.len());
                let new = new_events(&all[end.saturating_sub(10)..end], delivered).expect("task events");
                prop_assert!(!new.overrun);
                got.extend(new.events.iter().map(|event| event.hash));
                delivered = new.last;
                if end == all.len() { break }
            }
            let sent: Vec<EventHash> = texts.iter().map(|text| hash(text)).collect();
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn an_overrun_is_said_and_gives_all_ten(gap in 10usize..40) {
            let texts: Vec<String> = (0..gap as i64 + 10).map(text).collect();
            let all: Vec<&str> = texts.iter().map(String::as_str).collect();
            let new = new_events(&all[gap..], Some(hash(&texts[0]))).expect("task events");
            prop_assert!(new.overrun);
            prop_assert_eq!(new.events.len(), 10);
        }
    }
}
