//! A variable and its lock, as the state store keeps them and the API writes them.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::duration;

const SECOND: i64 = 1_000_000_000;
/// What a lock without a TTL or delay gets (`nomad/structs/variables.go`).
const DEFAULT: i64 = 15 * SECOND;
const SHORTEST_TTL: i64 = 10 * SECOND;
const LONGEST_TTL: i64 = 24 * 3600 * SECOND;
/// Bytes of all keys and values.
pub(super) const MAX_ITEMS: usize = 65_536;

pub(crate) type Items = BTreeMap<String, String>;

/// A variable; with `items` left out where Nomad answers its metadata alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Variable {
    pub(crate) create_index: u64,
    /// Nanoseconds since 1970.
    pub(crate) create_time: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) items: Items,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lock: Option<Lock>,
    pub(crate) modify_index: u64,
    pub(crate) modify_time: u64,
    pub(crate) namespace: String,
    pub(crate) path: String,
}

/// A lock. Times are nanoseconds with a sign, as requests can carry them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Lock {
    #[serde(rename = "TTL", serialize_with = "time")]
    pub(crate) ttl: i64,
    #[serde(rename = "LockDelay", serialize_with = "time")]
    pub(crate) delay: i64,
    #[serde(rename = "ID")]
    pub(crate) id: String,
}

fn time<S: Serializer>(nanos: &i64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&if *nanos == 0 { String::new() } else { duration::print(*nanos) })
}

impl Variable {
    /// What a refusal shows of a variable that it must not show, or that does not exist.
    pub(crate) fn unseen(namespace: &str, path: &str) -> Self {
        Self { namespace: namespace.to_owned(), path: path.to_owned(), ..Self::default() }
    }

    pub(crate) fn without_items(&self) -> Self {
        Self { items: Items::new(), ..self.clone() }
    }

    pub(crate) fn lock_id(&self) -> Option<&str> {
        self.lock.as_ref().map(|lock| lock.id.as_str())
    }

    /// As JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Lock {
    /// Fills in an id and the default times.
    pub(crate) fn complete(&mut self) {
        if self.id.is_empty() {
            self.id = uuid();
        }
        for time in [&mut self.ttl, &mut self.delay] {
            if *time == 0 {
                *time = DEFAULT;
            }
        }
    }

    /// # Errors
    /// What is wrong with its times, in Nomad's words.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        if self.delay < 0 || self.ttl < 0 {
            wrong.push("Lock delay and TTL must be positive");
        }
        if !(SHORTEST_TTL..=LONGEST_TTL).contains(&self.ttl) {
            wrong.push("TTL must be between 10 seconds and 24 hours");
        }
        if wrong.is_empty() { Ok(()) } else { Err(several(&wrong)) }
    }
}

/// How Nomad lists errors.
pub(crate) fn several(errors: &[&str]) -> String {
    let heading =
        if errors.len() == 1 { "1 error occurred:".to_owned() } else { format!("{} errors occurred:", errors.len()) };
    let lines: String = errors.iter().map(|error| format!("\n\t* {error}")).collect();
    format!("{heading}{lines}\n\n")
}

fn uuid() -> String {
    let text = format!("{:032x}", fastrand::u128(..));
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}
