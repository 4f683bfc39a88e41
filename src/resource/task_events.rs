//! Which of a task's events are new, and their text.
//!
//! A task keeps its last ten events, and each version of its allocation repeats them all. What follows the last
//! delivered one in the list's order is new, whatever its time: times are the client's clock and can go back.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::marks::EventHash;

/// How many events Nomad keeps of a task.
pub(super) const KEPT: usize = 10;

/// The part of a task event that makes it itself. What the server adds later (`DisplayMessage`) is no part of it.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "Type", borrow, default)]
    kind: Text<'a>,
    #[serde(rename = "Time", default)]
    time: i64,
    #[serde(rename = "Details", borrow, default)]
    details: Option<BTreeMap<Cow<'a, str>, Text<'a>>>,
}

impl Head<'_> {
    fn hash(&self) -> EventHash {
        let mut hasher = Xxh3Default::new();
        hasher.update(&self.time.to_le_bytes());
        hasher.update(&xxh3_64(self.kind.0.as_bytes()).to_le_bytes());
        for (name, value) in self.details.iter().flatten() {
            hasher.update(&xxh3_64(name.as_bytes()).to_le_bytes());
            hasher.update(&xxh3_64(value.0.as_bytes()).to_le_bytes());
        }
        EventHash(hasher.digest())
    }
}

/// The events of one task that are new.
#[derive(Debug)]
pub(super) struct New<'a> {
    /// The new ones in order, each with its hash and its time in ns.
    pub(super) events: Vec<(&'a RawValue, EventHash, i64)>,
    /// The last one of all; `None` where there is none.
    pub(super) last: Option<EventHash>,
    /// The last delivered one is no longer there, so that events between may be lost to the limit of ten.
    pub(super) overrun: bool,
}

/// What follows `delivered` in `events`.
///
/// # Errors
/// An event that had to be looked at is no task event.
pub(super) fn new_events<'a>(
    events: &[&'a RawValue],
    delivered: Option<EventHash>,
) -> Result<New<'a>, serde_json::Error> {
    let mut new = Vec::new();
    let mut found = false;
    for event in events.iter().rev() {
        let head: Head<'_> = serde_json::from_str(event.get())?;
        let hash = head.hash();
        if Some(hash) == delivered {
            found = true;
            break;
        }
        new.push((*event, hash, head.time));
    }
    new.reverse();
    let last = new.last().map(|(_, hash, _)| *hash).or(if found { delivered } else { None });
    Ok(New { events: new, last, overrun: delivered.is_some() && !found && !events.is_empty() })
}

/// A string that may be missing or `null`, as Go reads one.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        let text = Option::<Borrowed<'a>>::deserialize(deserializer)?;
        Ok(Text(text.map(|text| text.0).unwrap_or_default()))
    }
}

/// A task event with exactly the fields of the original's records, in their order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
pub(super) struct TaskEvent<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    pub(super) time: i64,
    #[serde(borrow)]
    display_message: Text<'a>,
    #[serde(borrow)]
    details: Option<BTreeMap<Cow<'a, str>, Text<'a>>>,
    fails_task: bool,
    #[serde(borrow)]
    restart_reason: Text<'a>,
    #[serde(borrow)]
    setup_error: Text<'a>,
    #[serde(borrow)]
    driver_error: Text<'a>,
    #[serde(borrow)]
    driver_message: Text<'a>,
    exit_code: i64,
    signal: i64,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    kill_reason: Text<'a>,
    kill_timeout: i64,
    #[serde(borrow)]
    kill_error: Text<'a>,
    start_delay: i64,
    #[serde(borrow)]
    download_error: Text<'a>,
    #[serde(borrow)]
    validation_error: Text<'a>,
    disk_limit: i64,
    disk_size: i64,
    #[serde(borrow)]
    failed_sibling: Text<'a>,
    #[serde(borrow)]
    vault_error: Text<'a>,
    #[serde(borrow)]
    task_signal_reason: Text<'a>,
    #[serde(borrow)]
    task_signal: Text<'a>,
    #[serde(borrow)]
    generic_source: Text<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(texts: &[String]) -> Vec<Box<RawValue>> {
        texts.iter().map(|text| RawValue::from_string(text.clone()).expect("valid JSON")).collect()
    }

    fn text(time: i64) -> String {
        format!(r#"{{"Type":"Started","Time":{time},"Details":{{"a":"1","b":"2"}}}}"#)
    }

    fn hash(text: &str) -> EventHash {
        serde_json::from_str::<Head<'_>>(text).expect("a task event").hash()
    }

    #[test]
    fn the_order_of_the_details_does_not_matter() {
        let one = r#"{"Type":"T","Time":1,"Details":{"a":"1","b":"2"},"DisplayMessage":"x"}"#;
        let other = r#"{"Details":{"b":"2","a":"1"},"Time":1,"Type":"T"}"#;
        assert_eq!(hash(one), hash(other));
        assert_ne!(hash(one), hash(r#"{"Type":"T","Time":1,"Details":{"a":"2","b":"1"}}"#));
    }

    #[test]
    fn missing_fields_are_go_zero_values_in_the_original_order() {
        let event: TaskEvent<'_> = serde_json::from_str(r#"{"Time":5,"Type":"X","KillReason":null}"#).expect("event");
        let text = serde_json::to_string(&event).expect("plain data");
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
            let all = events(&texts);
            let mut delivered = None;
            let mut got = Vec::new();
            let mut end = 0;
            for step in steps.iter().chain(std::iter::repeat(&9)) {
                end = (end + step).min(all.len());
                let window: Vec<&RawValue> = all[end.saturating_sub(10)..end].iter().map(|raw| &**raw).collect();
                let new = new_events(&window, delivered).expect("task events");
                prop_assert!(!new.overrun);
                got.extend(new.events.iter().map(|(raw, ..)| raw.get().to_owned()));
                delivered = new.last;
                if end == all.len() { break }
            }
            prop_assert_eq!(got, texts);
        }

        #[test]
        fn an_overrun_is_said_and_gives_all_ten(gap in 10usize..40) {
            let texts: Vec<String> = (0..gap as i64 + 10).map(text).collect();
            let all = events(&texts);
            let window: Vec<&RawValue> = all[gap..].iter().map(|raw| &**raw).collect();
            let new = new_events(&window, Some(hash(&texts[0]))).expect("task events");
            prop_assert!(new.overrun);
            prop_assert_eq!(new.events.len(), 10);
        }
    }
}
