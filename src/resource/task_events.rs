//! Which of a task's events are new, and their text.
//!
//! A task keeps its last ten events, and each version of its allocation repeats them all. What follows the last
//! delivered one in the list's order is new, whatever its time: times are the client's clock and can go back.

use std::borrow::Cow;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::Unusable;
use crate::{json::Cursor, marks::EventHash};

/// How many events Nomad keeps of a task.
pub(super) const KEPT: usize = 10;

/// The fields of the original's records, in their order, with what Go has in the place of a missing one.
const FIELDS: [(&str, Sort); 25] = [
    ("Type", Sort::Text),
    ("Time", Sort::Number),
    ("DisplayMessage", Sort::Text),
    ("Details", Sort::Texts),
    ("FailsTask", Sort::Truth),
    ("RestartReason", Sort::Text),
    ("SetupError", Sort::Text),
    ("DriverError", Sort::Text),
    ("DriverMessage", Sort::Text),
    ("ExitCode", Sort::Number),
    ("Signal", Sort::Number),
    ("Message", Sort::Text),
    ("KillReason", Sort::Text),
    ("KillTimeout", Sort::Number),
    ("KillError", Sort::Text),
    ("StartDelay", Sort::Number),
    ("DownloadError", Sort::Text),
    ("ValidationError", Sort::Text),
    ("DiskLimit", Sort::Number),
    ("DiskSize", Sort::Number),
    ("FailedSibling", Sort::Text),
    ("VaultError", Sort::Text),
    ("TaskSignalReason", Sort::Text),
    ("TaskSignal", Sort::Text),
    ("GenericSource", Sort::Text),
];
const TYPE: usize = 0;
const TIME: usize = 1;

/// What a field holds.
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

/// A task event, read as far as its record needs it.
#[derive(Debug)]
pub(super) struct TaskEvent<'a> {
    /// The texts of [`FIELDS`], but for the details.
    fields: [&'a str; FIELDS.len()],
    details: Option<Vec<Detail<'a>>>,
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

impl<'a> TaskEvent<'a> {
    fn read(text: &'a str) -> Result<Self, Unusable> {
        let mut fields = FIELDS.map(|(_, sort)| sort.zero());
        let (mut details, mut time) = (None, 0);
        let mut cursor = Cursor::new(text);
        cursor.object()?;
        while let Some(name) = cursor.name()? {
            let Some(number) = FIELDS.iter().position(|(wanted, _)| *wanted == name) else {
                cursor.skip()?;
                continue;
            };
            fields[number] = match FIELDS[number].1 {
                Sort::Text => cursor.quoted()?,
                Sort::Number => cursor.digits()?,
                Sort::Truth => {
                    if cursor.boolean()? {
                        "true"
                    } else {
                        "false"
                    }
                }
                Sort::Texts => {
                    details = Detail::all(&mut cursor)?;
                    continue;
                }
            };
            if number == TIME {
                time = fields[TIME].parse().map_err(|_| Unusable::new("a task event's Time is no number of ns"))?;
            }
        }
        cursor.end_of_text()?;
        let kind = Cursor::new(fields[TYPE]).string()?;
        let hash = hash(time, &kind, details.as_deref().unwrap_or_default());
        Ok(TaskEvent { fields, details, time, hash })
    }

    /// Appends the event with exactly the fields of the original's records, in their order.
    pub(super) fn write(&self, body: &mut String) {
        for (number, ((name, _), text)) in FIELDS.iter().zip(self.fields).enumerate() {
            body.push_str(if number == 0 { "{\"" } else { ",\"" });
            body.push_str(name);
            body.push_str("\":");
            match (&self.details, FIELDS[number].1) {
                (Some(details), Sort::Texts) => Detail::write(details, body),
                _ => body.push_str(text),
            }
        }
        body.push('}');
    }

    /// How much [`TaskEvent::write`] appends, about.
    pub(super) fn len(&self) -> usize {
        const NAMES: usize = 400;
        let details = self.details.iter().flatten().map(|detail| detail.raw.0.len() + detail.raw.1.len() + 4);
        NAMES + self.fields.iter().map(|text| text.len()).sum::<usize>() + details.sum::<usize>()
    }
}

impl<'a> Detail<'a> {
    /// In the order of their names, as Go writes a map, each name once.
    fn all(cursor: &mut Cursor<'a>) -> Result<Option<Vec<Self>>, Unusable> {
        if !cursor.object_or_null()? {
            return Ok(None);
        }
        let mut details: Vec<Self> = Vec::new();
        while let Some(raw) = cursor.name()? {
            let value = cursor.quoted()?;
            let detail = Detail { name: unescaped(raw)?, value: Cursor::new(value).string()?, raw: (raw, value) };
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

/// What makes a task event itself. What the server adds later (`DisplayMessage`) is no part of it.
fn hash(time: i64, kind: &str, details: &[Detail<'_>]) -> EventHash {
    let mut hasher = Xxh3Default::new();
    hasher.update(&time.to_le_bytes());
    hasher.update(&xxh3_64(kind.as_bytes()).to_le_bytes());
    for Detail { name, value, .. } in details {
        hasher.update(&xxh3_64(name.as_bytes()).to_le_bytes());
        hasher.update(&xxh3_64(value.as_bytes()).to_le_bytes());
    }
    EventHash(hasher.digest())
}

/// The events of one task that are new.
#[derive(Debug)]
pub(super) struct New<'a> {
    /// The new ones, in order.
    pub(super) events: Vec<TaskEvent<'a>>,
    /// The last one of all; `None` where there is none.
    pub(super) last: Option<EventHash>,
    /// The last delivered one is no longer there, so that events between may be lost to the limit of ten.
    pub(super) overrun: bool,
}

/// What follows `delivered` in `events`.
///
/// # Errors
/// An event that had to be looked at is no task event.
pub(super) fn new_events<'a>(events: &[&'a str], delivered: Option<EventHash>) -> Result<New<'a>, Unusable> {
    let mut new = Vec::new();
    let mut found = false;
    for event in events.iter().rev() {
        let event = TaskEvent::read(event)?;
        if Some(event.hash) == delivered {
            found = true;
            break;
        }
        new.push(event);
    }
    new.reverse();
    let last = new.last().map(|event| event.hash).or(if found { delivered } else { None });
    Ok(New { events: new, last, overrun: delivered.is_some() && !found && !events.is_empty() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(time: i64) -> String {
        format!(r#"{{"Type":"Started","Time":{time},"Details":{{"a":"1","b":"2"}}}}"#)
    }

    fn hash(text: &str) -> EventHash {
        TaskEvent::read(text).expect("a task event").hash
    }

    fn written(text: &str) -> String {
        let mut body = String::new();
        TaskEvent::read(text).expect("a task event").write(&mut body);
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
        /// However the versions are cut and whichever times they carry, a window of ten that moves by at most ten
        /// gives each event once, in order.
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
