//! `state set`: stores a position that an operator has chosen.

use serde::Serialize;

use super::{
    Output,
    cluster::{Buffer, Cluster},
    table::{self, short},
    view,
};
use crate::{
    checkpoint::Checkpoint,
    coordinator::inspect::{Content, Inspector, Leader, SetOutcome, Target},
    kind::Kind,
    lease::Error,
    nomad::Client,
    position::RaftIndex,
    redact::{LINE, escaped_json, shown},
};

/// Where to set the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Everything up to this raft index counts as delivered.
    Index(RaftIndex),
    /// The newest index of the cluster.
    Now,
}

/// What to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Which kinds, in the order of [`Kind::ALL`]. If empty, those that have a checkpoint.
    pub kinds: Vec<Kind>,
    /// Where.
    pub at: At,
    /// Whether to take the lease away from a replica that leads.
    pub force: bool,
    /// Whether to write JSON, for programs.
    pub json: bool,
}

/// What became of one kind. The fields are those of `--json`: fields may be added, and none is removed.
#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    /// Whether the position is stored.
    set: bool,
    before: Vec<StreamAt>,
    after: Vec<StreamAt>,
    /// Who was deposed, with force.
    deposed: Option<String>,
    /// Why nothing was changed.
    refused: Option<String>,
    notes: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct StreamAt {
    name: String,
    index: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    place: String,
    kinds: Vec<Row>,
}

pub(super) async fn run(set: &Set, cluster: Option<&Cluster>, keeper: &dyn Inspector) -> Output {
    let failed = |error: String| Output { text: String::new(), error: Some(Failure::Text(error)), is_well: false };
    let Some(cluster) = cluster else { return failed("the settings of Nomad are missing".to_owned()) };
    let client = match Client::new(cluster.nomad.clone()) {
        Ok(client) => client,
        Err(error) => return failed(error.to_string()),
    };
    let newest = cluster.newest(&client).await;
    let index = match (set.at, &newest) {
        (At::Index(index), _) => index,
        (At::Now, Ok(index)) => *index,
        (At::Now, Err(error)) => {
            return failed(format!("cannot read Nomad's newest index: {error}; set NOMAD_ADDR, or name an --index"));
        }
    };
    let kinds = match kinds(set, keeper).await {
        Ok(kinds) => kinds,
        Err(error) => return Output { text: String::new(), error: Some(Failure::Lease(error)), is_well: false },
    };
    if kinds.is_empty() {
        return failed("no checkpoint is stored; name the kinds whose position to set".to_owned());
    }
    let (mut rows, mut error) = (Vec::new(), None);
    for kind in kinds {
        let target = Target { kind, index, streams: cluster.streams.clone() };
        match keeper.set(&target, set.force).await {
            Ok(outcome) => {
                let mut row = Row::new(kind, &outcome);
                if row.set {
                    row.notes.extend(notes(kind, index, &newest, cluster.buffer(&client, kind, index).await));
                }
                rows.push(row);
            }
            Err(failed) => {
                error = Some(Failure::Lease(failed));
                break;
            }
        }
    }
    let is_well = error.is_none() && rows.iter().all(|row| row.set);
    let report = Report { place: keeper.place(), kinds: rows };
    let text = match set.json {
        true => escaped_json(&serde_json::to_string_pretty(&report).expect("texts and numbers are JSON")) + "\n",
        false => report.kinds.iter().map(Row::words).collect(),
    };
    Output { text, error, is_well }
}

/// Why the subcommand stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Of the place where state is stored.
    #[error(transparent)]
    Lease(#[from] Error),
    /// Anything else.
    #[error("{0}")]
    Text(String),
}

/// The kinds that were named, or those that have a checkpoint.
async fn kinds(set: &Set, keeper: &dyn Inspector) -> Result<Vec<Kind>, Error> {
    if !set.kinds.is_empty() {
        return Ok(set.kinds.clone());
    }
    let mut kinds = Vec::new();
    for kind in Kind::ALL {
        if keeper.look(kind).await?.content != Content::Nothing {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

/// What to know about the index, as far as Nomad says it.
fn notes(kind: Kind, index: RaftIndex, newest: &Result<RaftIndex, String>, buffer: Buffer) -> Option<String> {
    match (newest, buffer) {
        (Err(error), _) => Some(format!("Nomad was not asked whether it knows this index: {error}")),
        (Ok(newest), _) if index > *newest => {
            Some(format!("the cluster has only reached index {newest}: everything up to {index} will be left out"))
        }
        (Ok(_), Buffer::From(first)) if first > index.next() => {
            let (from, until) = (index.next(), first.0 - 1);
            let what = match kind {
                Kind::Events => "events between them are reported as a gap",
                _ => "what changed between them is read from lists, which have the newest version of each object only",
            };
            Some(format!(
                "Nomad's event buffer begins at index {first}, so indexes {from} to {until} may be incomplete: {what}"
            ))
        }
        (Ok(_), Buffer::From(_) | Buffer::Covers | Buffer::Unknown) => None,
    }
}

impl Row {
    fn new(kind: Kind, outcome: &SetOutcome) -> Self {
        let row = Row {
            kind: kind.name(),
            set: false,
            before: Vec::new(),
            after: Vec::new(),
            deposed: None,
            refused: None,
            notes: Vec::new(),
        };
        match outcome {
            SetOutcome::Set { before, after, deposed } => {
                let (before, note) = match &**before {
                    Content::Nothing => (Vec::new(), None),
                    Content::Readable { checkpoint, .. } => (positions(checkpoint), None),
                    Content::Unreadable { reason, .. } => {
                        (Vec::new(), Some(format!("the checkpoint was unreadable: {}", shown(reason, LINE))))
                    }
                };
                let baseline = (kind == Kind::Allocations)
                    .then(|| "an allocation that has changed since then sends all task events that Nomad keeps of it, at most ten a task".to_owned());
                Row {
                    set: true,
                    before,
                    after: positions(after),
                    deposed: deposed.as_ref().map(table::leader),
                    notes: note.into_iter().chain(baseline).collect(),
                    ..row
                }
            }
            SetOutcome::Led { leader: leader @ Leader::NoLock { .. }, .. } => {
                Row { refused: view::no_lock(leader), ..row }
            }
            SetOutcome::Led { leader, why } => {
                let leads = format!("{} leads", table::leader(leader));
                let refused = match why {
                    None => format!("{leads}; stop it first, or take its lease away with --force"),
                    Some(why) => format!("{leads}, and its lease cannot be taken away: {why}; stop it first"),
                };
                Row { refused: Some(refused), ..row }
            }
            SetOutcome::NotGiven { reason } => {
                let reason = shown(reason, LINE);
                let refused =
                    format!("no replica leads, but the lock is not available ({reason}); try again in a few seconds");
                Row { refused: Some(refused), ..row }
            }
        }
    }

    fn words(&self) -> String {
        let Row { kind, before, after, deposed, refused, notes, .. } = self;
        let mut text = match refused {
            Some(refused) => format!("{kind}: nothing was changed: {refused}.\n"),
            None => {
                let (before, after) = (listed(before), listed(after));
                format!("{kind}: {before} → {after}\n")
            }
        };
        if let Some(deposed) = deposed {
            text += &format!("{kind}: the lease was taken from {deposed}\n");
        }
        notes.iter().for_each(|note| text += &format!("{kind}: {note}\n"));
        text
    }
}

pub(super) fn positions(checkpoint: &Checkpoint) -> Vec<StreamAt> {
    let position = |(name, stream): (&String, &crate::checkpoint::StreamProgress)| StreamAt {
        name: short(name),
        index: stream.position.index.0,
    };
    checkpoint.streams.iter().map(position).collect()
}

/// `*@4711`.
pub(super) fn listed(streams: &[StreamAt]) -> String {
    if streams.is_empty() {
        return "no position".to_owned();
    }
    streams.iter().map(|StreamAt { name, index }| format!("{name}@{index}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(outcome: &SetOutcome) -> String {
        Row::new(Kind::Jobs, outcome).words()
    }

    #[test]
    fn it_says_what_changed_or_why_nothing_did() {
        let target = |index| Target { kind: Kind::Jobs, index: RaftIndex(index), streams: None };
        let before =
            Content::Readable { checkpoint: Box::new(target(40).checkpoint(&Content::Nothing)), stored_value: None };
        let after = Box::new(target(7).checkpoint(&before));
        let leader = Leader::Known { holder: "process 7 on host".to_owned(), session: None, lease: None };
        let set = SetOutcome::Set { before: Box::new(before), after, deposed: None };
        assert_eq!(words(&set), "jobs: *@40 → *@7\n");
        let led = SetOutcome::Led { leader: leader.clone(), why: None };
        assert!(words(&led).contains("process 7 on host leads; stop it first, or take its lease away with --force"));
        let led = SetOutcome::Led { leader, why: Some("only its end frees it") };
        assert!(words(&led).contains("cannot be taken away: only its end frees it"), "{}", words(&led));
    }

    #[test]
    fn an_index_that_is_ahead_or_too_old_is_noted() {
        let note = |kind, index, newest, buffer| notes(kind, RaftIndex(index), &Ok(RaftIndex(newest)), buffer);
        assert!(note(Kind::Jobs, 9, 8, Buffer::Covers).expect("ahead").contains("only reached index 8"));
        let old = note(Kind::Jobs, 9, 80, Buffer::From(RaftIndex(50))).expect("too old");
        assert!(old.contains("begins at index 50, so indexes 10 to 49"), "{old}");
        assert!(note(Kind::Events, 9, 80, Buffer::From(RaftIndex(50))).expect("too old").contains("gap"));
        for buffer in [Buffer::From(RaftIndex(10)), Buffer::Covers, Buffer::Unknown] {
            assert_eq!(note(Kind::Jobs, 9, 80, buffer), None);
        }
    }
}
