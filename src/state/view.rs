//! The report. Its fields are those of `--json`: fields may be added, and none is removed.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::{
    checkpoint::{Checkpoint, Pass},
    cluster::Identity,
    coordinator::inspect::{Content, Inspected, Leader},
    kind::Kind,
    redact::{LINE, shown},
};

/// The whole report.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Where the state is stored.
    pub(super) place: String,
    pub(super) kinds: Vec<Row>,
}

/// One kind.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) kind: &'static str,
    /// `null` if no replica leads.
    pub(super) leader: Option<Leading>,
    /// `null` if there is none, or it cannot be read.
    pub(super) checkpoint: Option<CheckpointRow>,
    /// Whether a start would refuse what is stored.
    pub(super) unreadable: bool,
    /// The legacy value.
    pub(super) value: Option<u64>,
    /// The same as a time, for allocations.
    pub(super) value_time: Option<String>,
    /// The number of keys or files.
    pub(super) entries: usize,
    pub(super) bytes: u64,
    /// What keeps a start from resuming.
    pub(super) problems: Vec<String>,
    /// Remarks.
    pub(super) notes: Vec<String>,
}

/// Who leads.
#[derive(Debug, Serialize)]
pub(super) struct Leading {
    /// `null` for a program without heartbeats, such as the original.
    pub(super) holder: Option<String>,
    pub(super) session: Option<String>,
    pub(super) lease_ms: Option<u64>,
}

/// A readable checkpoint.
#[derive(Debug, Serialize)]
pub(super) struct CheckpointRow {
    pub(super) version: u32,
    /// The cluster that it belongs to; `null` if an older version stored it.
    pub(super) cluster: Option<Identity>,
    pub(super) task_cursors: usize,
    pub(super) streams: Vec<StreamRow>,
}

/// The progress of one stream.
#[derive(Debug, Serialize)]
pub(super) struct StreamRow {
    pub(super) name: String,
    /// Everything up to this raft index is delivered, except for the gaps.
    pub(super) index: u64,
    pub(super) gaps: Vec<GapRow>,
    /// The topics of raw events up to that index; empty for every other kind, or if an older version stored it.
    pub(super) topics: Vec<String>,
}

/// What one backfill has still to deliver.
#[derive(Debug, Serialize)]
pub(super) struct GapRow {
    /// The one namespace that it lists; `null` for all namespaces of the stream.
    pub(super) namespace: Option<String>,
    pub(super) ranges: Vec<IndexRange>,
    /// The page at which it resumes; `null` is the first.
    pub(super) page: Option<String>,
}

/// Raft indexes.
#[derive(Debug, Serialize)]
pub(super) struct IndexRange {
    pub(super) from: u64,
    /// The first index after the range.
    pub(super) until: u64,
}

impl Row {
    pub(super) fn new(found: &Inspected) -> Self {
        let Inspected { kind, leader, content, value, entries, bytes } = found;
        let (mut problems, mut notes) = (Vec::new(), Vec::new());
        let checkpoint = match content {
            Content::Nothing => None,
            Content::Readable { checkpoint, .. } => Some(CheckpointRow::new(checkpoint)),
            Content::Unreadable { path, reason, reset } => {
                problems.push(format!(
                    "the checkpoint {path} cannot be read: {reason}; restore it, or remove it with: {reset}"
                ));
                None
            }
        };
        let number = match value {
            Some(Ok(number)) => Some(*number),
            Some(Err(reason)) if *content == Content::Nothing => {
                problems.push(format!(
                    "the legacy value cannot be read: {reason}; fix it, or remove it with: nomad-firehose state reset {kind}"
                ));
                None
            }
            Some(Err(reason)) => {
                notes.push(format!("the legacy value cannot be read ({reason}); the checkpoint counts"));
                None
            }
            None => None,
        };
        let unreadable = !problems.is_empty();
        problems.extend(no_lock(leader));
        match (content, number) {
            (Content::Readable { stored_value: Some(ours), .. }, Some(now)) if now > *ours => notes.push(format!(
                "the legacy value has moved from {ours} to {now} since the checkpoint: the original program led in between, and the next start takes over its progress"
            )),
            (Content::Nothing, Some(now)) if now > 0 => {
                notes.push("no checkpoint is stored: the next start resumes from the legacy value".to_owned());
            }
            _ => {}
        }
        let value_time = number.filter(|number| *kind == Kind::Allocations && *number > 0).map(utc);
        Row {
            kind: kind.name(),
            leader: leading(leader),
            checkpoint,
            unreadable,
            value: number,
            value_time,
            entries: *entries,
            bytes: *bytes,
            problems: problems.iter().map(|problem| shown(problem, LINE)).collect(),
            notes: notes.iter().map(|note| shown(note, LINE)).collect(),
        }
    }
}

/// A task event's time, in nanoseconds since 1970, as RFC 3339 in UTC. The greatest one is in the year 2554, so every one of
/// them can be written.
pub(super) fn utc(nanoseconds: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(nanoseconds)).to_string()
}

fn leading(leader: &Leader) -> Option<Leading> {
    match leader {
        Leader::None | Leader::NoLock { .. } => None,
        Leader::Known { holder, session, lease } => Some(Leading {
            holder: Some(holder.clone()),
            session: session.clone(),
            lease_ms: lease.map(|lease| u64::try_from(lease.as_millis()).unwrap_or(u64::MAX)),
        }),
        Leader::Silent { session } => Some(Leading { holder: None, session: Some(session.clone()), lease_ms: None }),
    }
}

/// What is wrong with a key that is not a lock.
pub(super) fn no_lock(leader: &Leader) -> Option<String> {
    let Leader::NoLock { path, flags } = leader else { return None };
    Some(format!(
        "the key {path} is not a lock (its flags are {flags}): another program has written it, so no replica can lead; remove it, or set another NOMAD_FIREHOSE_CONSUL_PREFIX"
    ))
}

impl CheckpointRow {
    fn new(checkpoint: &Checkpoint) -> Self {
        let gap = |pass: &Pass| GapRow {
            namespace: pass.namespace.clone(),
            ranges: pass.ranges.iter().map(|range| IndexRange { from: range.from.0, until: range.until.0 }).collect(),
            page: pass.page.clone(),
        };
        let streams = checkpoint.streams.iter().map(|(name, stream)| StreamRow {
            name: name.clone(),
            index: stream.position.index.0,
            gaps: stream.backfill.iter().map(gap).collect(),
            topics: stream.topics.clone(),
        });
        let (version, cluster) = (checkpoint.version, checkpoint.cluster.clone());
        CheckpointRow { version, cluster, task_cursors: checkpoint.task_cursors.len(), streams: streams.collect() }
    }
}
