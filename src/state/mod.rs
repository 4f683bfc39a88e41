//! `nomad-firehose state`: shows what is stored and who leads, sets positions, copies and removes checkpoints, for an operator.
//!
//! Start at [`run`]. `view` turns what an [`Inspector`] found into a report, and `table` writes the report for people; both are pure.
//! `set` stores a position, and `cluster` asks Nomad about it. `copy` carries checkpoints from one coordinator to another.

mod cluster;
mod copy;
mod set;
mod table;
mod view;

use tokio_util::sync::CancellationToken;

use crate::{
    coordinator::{
        Storage,
        inspect::{Inspected, Inspector, Leader, Next, ResetOutcome, Unit},
    },
    kind::Kind,
    redact::{LINE, escaped_json, shown},
};

pub use self::{
    cluster::Cluster,
    copy::Copy,
    set::{At, Failure, Set},
};

/// What the subcommand does, and where.
#[derive(Clone, Debug)]
pub struct Command {
    /// What to do.
    pub action: Action,
    /// Where the state is stored.
    pub storage: Storage,
    /// The cluster that it is of, for an action that asks Nomad.
    pub cluster: Option<Cluster>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Show what is stored.
    Show {
        /// Which kinds, in the order of [`Kind::ALL`]. If empty, those that have anything stored.
        kinds: Vec<Kind>,
        /// Whether to write JSON, for programs.
        json: bool,
    },
    /// Remove checkpoints.
    Reset {
        /// Which kinds, at least one.
        kinds: Vec<Kind>,
        /// Whether to remove the legacy value as well.
        value: bool,
    },
    /// Set positions.
    Set(Set),
    /// Copy checkpoints to another coordinator.
    Copy(Copy),
}

/// The answer of the subcommand.
#[derive(Debug)]
pub struct Output {
    /// Whole lines for stdout.
    pub text: String,
    /// Why the subcommand stopped before its end.
    pub error: Option<Failure>,
    /// Whether everything was readable, or everything asked for was done.
    pub is_well: bool,
}

/// Runs the subcommand. `stop` ends one that holds leases.
pub async fn run(command: &Command, keeper: &dyn Inspector, stop: &CancellationToken) -> Output {
    match &command.action {
        Action::Set(set) => set::run(set, command.cluster.as_ref(), keeper).await,
        Action::Copy(copy) => copy::run(copy, &command.storage, stop).await,
        Action::Show { kinds, json } => show(kinds, *json, keeper).await,
        Action::Reset { kinds, value } => reset(kinds, *value, keeper).await,
    }
}

async fn show(kinds: &[Kind], json: bool, keeper: &dyn Inspector) -> Output {
    let mut rows = Vec::new();
    for kind in if kinds.is_empty() { &Kind::ALL } else { kinds } {
        match keeper.look(*kind).await {
            // A released lock stays behind as an empty key, and is not worth a row.
            Ok(found) if kinds.is_empty() && is_bare(&found) => {}
            Ok(found) => rows.push(view::Row::new(&found)),
            Err(error) => return Output { text: String::new(), error: Some(error.into()), is_well: false },
        }
    }
    let report = view::Report { place: keeper.place(), kinds: rows };
    let text = match json {
        true => escaped_json(&serde_json::to_string_pretty(&report).expect("texts and numbers are JSON")) + "\n",
        false => table::write(&report, keeper.unit()),
    };
    Output { text, error: None, is_well: report.kinds.iter().all(|row| row.problems.is_empty()) }
}

fn is_bare(found: &Inspected) -> bool {
    found.bytes == 0 && found.leader == Leader::None
}

async fn reset(kinds: &[Kind], value: bool, keeper: &dyn Inspector) -> Output {
    let mut answer = Output { text: String::new(), error: None, is_well: true };
    for kind in kinds {
        match keeper.forget(*kind, value).await {
            Ok(outcome) => {
                answer.is_well &= matches!(outcome, ResetOutcome::Forgotten { .. });
                answer.text += &format!("{kind}: {}\n", words(&outcome, keeper.unit()));
            }
            Err(error) => return Output { error: Some(error.into()), is_well: false, ..answer },
        }
    }
    answer
}

/// What a reset did, and what the next start will do.
fn words(outcome: &ResetOutcome, unit: Unit) -> String {
    match outcome {
        ResetOutcome::Forgotten { entries, bytes, value, next } => {
            let mut text = match entries {
                0 => "there was no checkpoint.".to_owned(),
                _ => {
                    let (bytes, unit) = (table::grouped(*bytes), table::counted(*entries, unit));
                    format!("removed the checkpoint: {unit}, {bytes} bytes.")
                }
            };
            if let Some(value) = value {
                text += &format!(" Removed the legacy value, too: {:?}.", table::short(value));
            }
            text += &match next {
                Next::Value(value) => format!(" The next start resumes from the legacy value {value}."),
                Next::Anew => " The next start is a first start: NOMAD_FIREHOSE_START says where it begins.".to_owned(),
            };
            text
        }
        ResetOutcome::Led(leader @ Leader::NoLock { .. }) => {
            format!("nothing was removed: {}.", view::no_lock(leader).unwrap_or_default())
        }
        ResetOutcome::Led(leader) => format!(
            "nothing was removed: {} leads. Stop it first. With Consul, a leader that is gone counts until its lease has expired.",
            table::leader(leader)
        ),
        ResetOutcome::NotGiven { reason } => format!(
            "nothing was removed: no replica leads, but the lock is not available ({}). Try again in a few seconds.",
            shown(reason, LINE)
        ),
    }
}

#[cfg(test)]
mod tests;
