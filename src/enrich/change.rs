//! `$diff`: what a new version of a job changed.
//!
//! A job's `Version` and `JobModifyIndex` move together, when somebody registers, scales, reverts or stops the job. After
//! that, each new status of the job makes a record too, with the same version and a greater `ModifyIndex` (Nomad 2.0.5:
//! `upsertJobImpl`, `setJobStatus`). So the record of a change is the one whose two indexes are equal, and only this one
//! gets the diff: a job that starts, finishes or is scheduled again tells nobody a second time what was changed in it.
//!
//! Nomad's list of versions holds each with its newest status. So a version is found there by its number and by its
//! `JobModifyIndex`, which is this record's `ModifyIndex`; a job that was purged and registered again has another one.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use serde_json::Value;

use super::{
    Key,
    cache::{Bounds, Cache},
    lookup::{Cell, Lookup, cell, keep},
    subject::{Subject, member, namespace},
};
use crate::{
    json::Scanner,
    kind::Kind,
    nomad::{Client, JobVersion},
    position::RaftIndex,
    record::Record,
};

/// The bounds of the diffs that are kept. Versions of one job often come together.
const BOUNDS: Bounds = Bounds { entries: 256, bytes: 4 << 20 };
/// How often a Nomad that has not stored a version yet is asked. Each time, it waits some seconds for it.
const TRIES: u32 = 3;
/// What stands in place of a value that is not passed on.
const HIDDEN: &str = "[redacted]";

/// A new version of a job that has one before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JobChange {
    key: Key,
    version: u64,
    made_at: RaftIndex,
}

impl JobChange {
    /// `None` if the record is no change of a job, is its purge, or its first version.
    pub(super) fn of(record: &Record, subject: &Subject<'_>) -> Option<Self> {
        if subject.kind != Kind::Jobs || subject.is_deleted {
            return None;
        }
        let number = |name| Scanner::new(member(subject.text, name)?).number().ok();
        let (version, modified): (u64, u64) = (number("Version")?, number("ModifyIndex")?);
        let is_change = number("JobModifyIndex")? == modified;
        // The stream repeats jobs in other transactions; `jobs` leaves these out, and `events` does not.
        let is_bystander = record.kind == Kind::Events && record.index.0 != modified;
        let id = Scanner::new(member(subject.text, "ID")?).string().ok()?;
        let has_path = !matches!(&*id, "" | "." | "..");
        let key = (namespace(record), Arc::from(&*id));
        (is_change && !is_bystander && version > 0 && has_path).then_some(JobChange {
            key,
            version,
            made_at: RaftIndex(modified),
        })
    }

    fn is(&self, version: &JobVersion) -> bool {
        version.version == self.version && version.made_at == self.made_at
    }
}

/// The versions of jobs that were read last.
pub(super) struct Changes {
    lookup: Lookup,
    cells: Mutex<Cache<Key, Cell<Vec<JobVersion>>>>,
}

impl Changes {
    pub(super) fn new(lookup: Lookup) -> Self {
        Changes { lookup, cells: Mutex::new(Cache::new(BOUNDS)) }
    }

    pub(super) fn lookup(&mut self) -> &mut Lookup {
        &mut self.lookup
    }

    /// Nomad's diff of the change; `None` if it does not keep this version or the one before any more.
    pub(super) async fn diff(&self, client: &Client, record: &Record, change: &JobChange) -> Option<Bytes> {
        let cell = cell(&self.cells, &change.key);
        let mut held = cell.lock().await;
        // Whatever came before the newest version in an answer is in it, or gone.
        if let Some(versions) = held.as_ref().filter(|versions| reach(versions, change.made_at)) {
            return diff_of(versions, change);
        }
        let versions = self.read(client, record, change).await?;
        let diff = diff_of(&versions, change);
        let bytes =
            versions.iter().map(|version| size_of::<JobVersion>() + version.diff.as_ref().map_or(0, Bytes::len));
        let bytes = bytes.sum();
        *held = Some(versions);
        drop(held);
        keep(&self.cells, &change.key, cell, bytes);
        diff
    }

    async fn read(&self, client: &Client, record: &Record, change: &JobChange) -> Option<Vec<JobVersion>> {
        let (namespace, id) = &change.key;
        let ask = || client.job_versions(namespace, id, change.made_at);
        for _ in 0..TRIES {
            let mut versions = self.lookup.ask(client, record, ask).await?;
            // No version at all: the job is purged.
            if versions.is_empty() || reach(&versions, change.made_at) {
                versions.iter_mut().for_each(|version| version.diff = version.diff.take().map(without_values));
                return Some(versions);
            }
        }
        let reason = format!("Nomad does not know version {} yet; was an older snapshot restored?", change.version);
        self.lookup.give_up(record, &reason);
        None
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("lookup", &self.lookup).finish_non_exhaustive()
    }
}

fn reach(versions: &[JobVersion], index: RaftIndex) -> bool {
    versions.iter().any(|version| version.made_at >= index)
}

fn diff_of(versions: &[JobVersion], change: &JobChange) -> Option<Bytes> {
    versions.iter().find(|version| change.is(version))?.diff.clone()
}

/// The diff without the values of environment variables, which are often secrets. It keeps their names, and whether one was
/// added, edited or deleted.
fn without_values(diff: Bytes) -> Bytes {
    if memchr::memmem::find(&diff, b"\"Env[").is_none() {
        return diff;
    }
    let Ok(mut value) = serde_json::from_slice(&diff) else { return diff };
    hide_values(&mut value);
    serde_json::to_vec(&value).map_or(diff, Bytes::from)
}

fn hide_values(value: &mut Value) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(hide_values),
        Value::Object(members) => {
            let names_variable =
                members.get("Name").and_then(Value::as_str).is_some_and(|name| name.starts_with("Env["));
            for (name, value) in members {
                match name.as_str() {
                    "Old" | "New" if names_variable && value.as_str() != Some("") => *value = HIDDEN.into(),
                    _ => hide_values(value),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_diff_names_variables_and_not_their_values() {
        let field = |name: &str, old: &str, new: &str| json!({"Name": name, "Old": old, "New": new, "Type": "Edited"});
        let diff = json!({"TaskGroups": [{"Tasks": [{
            "Fields": [field("Env[TOKEN]", "hush", "hush2"), field("Env[NEW]", "", "hush"), field("Driver", "a", "b")],
            "Objects": [{"Name": "Config", "Fields": [field("image", "web:1", "web:2")]}],
        }]}]});
        let shown: Value = serde_json::from_slice(&without_values(diff.to_string().into())).expect("JSON");
        let expected = diff.to_string().replace("hush2", HIDDEN).replace("hush", HIDDEN);
        assert_eq!(shown.to_string(), serde_json::from_str::<Value>(&expected).expect("JSON").to_string());
        let plain = Bytes::from_static(br#"{"Fields": null}"#);
        assert_eq!(without_values(plain.clone()).as_ptr(), plain.as_ptr());
    }
}
