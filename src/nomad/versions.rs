//! The versions of a job, and Nomad's own diff of each against the one before.
//!
//! `/v1/job/ID/versions?diffs=true` answers with two lists, newest first. The diff at a place is that of the version at this
//! place against the version at the next one, so there is one diff less (`Job.GetJobVersions` of Nomad 2.0.5). The next one
//! is not always the one before: Nomad keeps six versions, and besides these each version with a tag, and the last stable
//! one.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{client::Client, error::Error, object::job_call};
use crate::position::RaftIndex;

/// The largest answer that is read. It holds each version as a whole.
const MAX_VERSIONS: usize = 32 << 20;
/// How long Nomad waits for a version that it has announced and not stored yet.
const WAIT: Duration = Duration::from_secs(5);

/// A version of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobVersion {
    /// Its number. The first one is 0.
    pub version: u64,
    /// The raft index that made it. A new status of the job keeps it, and moves `ModifyIndex` alone.
    pub made_at: RaftIndex,
    /// What changed since the version before; `None` if Nomad does not keep that one.
    pub diff: Option<Bytes>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(rename = "Diffs", borrow, default)]
    diffs: Option<Vec<&'a RawValue>>,
    #[serde(rename = "Versions", borrow, default)]
    versions: Option<Vec<Head<'a>>>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "ID", borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "Namespace", borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(rename = "Version")]
    version: u64,
    #[serde(rename = "JobModifyIndex")]
    made_at: u64,
}

impl Client {
    /// The versions of a job that Nomad keeps, newest first; none if there is no such job. It takes any ID but `.` and
    /// `..`.
    ///
    /// Nomad publishes an event before it stores the change. So it answers when it has stored `index`, or after five
    /// seconds: check that the answer reaches it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn job_versions(&self, namespace: &str, id: &str, index: RaftIndex) -> Result<Vec<JobVersion>, Error> {
        let mut call = job_call(namespace, id, "/versions");
        call.what = format!("the versions of {}", call.what);
        call.query.push(("diffs", "true".to_owned()));
        let past = index.0.saturating_sub(1);
        if past > 0 {
            call.query.extend([("index", past.to_string()), ("wait", format!("{}ms", WAIT.as_millis()))]);
        }
        let (what, deadline) = (call.what.clone(), self.deadline() + WAIT + WAIT / 16);
        let Some(body) = self.object_within(call, deadline, MAX_VERSIONS).await? else { return Ok(Vec::new()) };
        let garbage = |text: String| Error::Garbage { address: self.address().to_owned(), what: what.clone(), text };
        parse(&body, namespace, id).map_err(garbage)
    }
}

/// The versions in the answer. Each diff is a copy, so that it does not keep the answer in memory.
fn parse(body: &[u8], namespace: &str, id: &str) -> Result<Vec<JobVersion>, String> {
    let Answer { diffs, versions } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let (diffs, versions) = (diffs.unwrap_or_default(), versions.unwrap_or_default());
    if diffs.len() + 1 != versions.len() {
        return Err(format!("it has {} versions and {} diffs", versions.len(), diffs.len()));
    }
    // A Nomad without namespaces writes none.
    let is_its = |head: &Head<'_>| head.id == id && (head.namespace == namespace || head.namespace.is_empty());
    if !versions.iter().all(is_its) {
        return Err("it is about another job".to_owned());
    }
    let diff_of = |at: usize| {
        let before = versions.get(at + 1)?;
        let is_next = before.version.checked_add(1) == Some(versions[at].version);
        is_next.then(|| Bytes::copy_from_slice(diffs[at].get().as_bytes()))
    };
    let made = |(at, head): (usize, &Head<'_>)| JobVersion {
        version: head.version,
        made_at: RaftIndex(head.made_at),
        diff: diff_of(at),
    };
    Ok(versions.iter().enumerate().map(made).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// An answer of Nomad 2.0.5 with these versions.
    fn answer(versions: &[(u64, u64)]) -> Value {
        let diff =
            |pair: &[(u64, u64)]| json!({"ID": "a/versions", "Type": "Edited", "of": pair[0].0, "to": pair[1].0});
        let diffs: Vec<_> = versions.windows(2).map(diff).collect();
        let version = |&(version, made_at): &(u64, u64)| {
            json!({"ID": "a/versions", "JobModifyIndex": made_at, "ModifyIndex": made_at + 1, "Namespace": "n",
                   "Version": version, "TaskGroups": [{"Version": 9}]})
        };
        let versions: Vec<_> = versions.iter().map(version).collect();
        json!({"Diffs": if diffs.is_empty() { Value::Null } else { diffs.into() }, "Index": 9, "KnownLeader": true,
               "LastContact": 0, "NextToken": "", "Versions": versions})
    }

    fn read(answer: &Value) -> Result<Vec<JobVersion>, String> {
        parse(answer.to_string().as_bytes(), "n", "a/versions")
    }

    #[test]
    fn a_diff_belongs_to_the_newer_of_two_neighbours() {
        let versions = read(&answer(&[(2, 30), (1, 20), (0, 10)])).expect("an answer");
        let of = |version: &JobVersion| version.diff.as_ref().map(|diff| serde_json::from_slice(diff).expect("JSON"));
        let diffs: Vec<Option<Value>> = versions.iter().map(of).collect();
        assert_eq!(diffs[0].as_ref().map(|diff| (&diff["of"], &diff["to"])), Some((&json!(2), &json!(1))));
        assert_eq!(diffs[1].as_ref().map(|diff| (&diff["of"], &diff["to"])), Some((&json!(1), &json!(0))));
        assert_eq!(diffs[2], None);
        assert_eq!(versions.iter().map(|version| version.made_at.0).collect::<Vec<_>>(), [30, 20, 10]);
    }

    #[test]
    fn a_diff_over_a_version_that_is_gone_is_none() {
        let versions = read(&answer(&[(7, 70), (6, 60), (3, 30)])).expect("an answer");
        assert_eq!(versions.iter().map(|version| version.diff.is_some()).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn another_answer_is_garbage() {
        for (wrong, reason) in [
            (json!({"Versions": [], "Diffs": null}), "0 versions"),
            (json!({"Diffs": [{}], "Versions": answer(&[(0, 1)])["Versions"]}), "1 versions and 1 diffs"),
            (json!([1]), "invalid type"),
            (json!({"Versions": [{"ID": "other", "Version": 0, "JobModifyIndex": 1}]}), "another job"),
        ] {
            let error = read(&wrong).expect_err("garbage");
            assert!(error.contains(reason), "{error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(
            versions in prop::collection::vec((any::<u64>(), any::<u64>()), 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let versions: Vec<_> = versions.into_iter().map(|(a, b)| (a, b >> 1)).collect();
            let text = answer(&versions).to_string();
            let cut = cut.index(text.len() + 1);
            let read = parse(&text.as_bytes()[..cut], "n", "a/versions");
            prop_assert!(read.is_err() || cut == text.len());
        }
    }
}
