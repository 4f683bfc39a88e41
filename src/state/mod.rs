//! `nomad-firehose state`: what is stored and who leads, for the operator who is woken at night.
//!
//! Start at [`run`]. `view` makes of what was found what is told of it, and `table` writes that for people; both are
//! pure. [`Keeper`] is where it is stored.

mod table;
mod view;

use crate::{
    config::{self, Storage},
    consul,
    coordinator::{
        Error,
        consul::inspect::Folder,
        file,
        inspect::{Inspected, Keeper, Leader, Next, Outcome, Unit},
    },
    kind::Kind,
    redact::{LINE, escaped_json, shown},
};

/// What the subcommand asked for, and where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub action: Action,
    /// Where.
    pub storage: Storage,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say what is stored.
    Show {
        /// Which kinds, in the order of [`Kind::ALL`]; where it is empty, those of which anything is stored.
        kinds: Vec<Kind>,
        /// For programs.
        json: bool,
    },
    /// Forget the checkpoints.
    Reset {
        /// Which, at least one.
        kinds: Vec<Kind>,
        /// The original's value as well.
        value: bool,
    },
}

/// What came of it.
#[derive(Debug)]
pub struct Said {
    /// For stdout, whole lines.
    pub text: String,
    /// Why it could not go on.
    pub error: Option<Error>,
    /// Whether everything could be read, or was done.
    pub is_well: bool,
}

/// The place that the settings name. Connects to nothing yet.
///
/// # Errors
/// A certificate that cannot be used.
pub fn open(storage: &Storage) -> Result<Box<dyn Keeper>, consul::Error> {
    Ok(match &storage.keeper {
        config::Keeper::Consul { how, prefix } => {
            Box::new(Folder::new(consul::Client::new(how.client(prefix)?)?, prefix))
        }
        config::Keeper::File { data_dir } => Box::new(file::Directory::new(data_dir)),
    })
}

/// Does it.
pub async fn run(action: &Action, keeper: &dyn Keeper) -> Said {
    match action {
        Action::Show { kinds, json } => show(kinds, *json, keeper).await,
        Action::Reset { kinds, value } => reset(kinds, *value, keeper).await,
    }
}

async fn show(kinds: &[Kind], json: bool, keeper: &dyn Keeper) -> Said {
    let mut rows = Vec::new();
    for kind in if kinds.is_empty() { &Kind::ALL } else { kinds } {
        match keeper.look(*kind).await {
            // A lock that was given back stays, and tells nothing.
            Ok(found) if kinds.is_empty() && is_bare(&found) => {}
            Ok(found) => rows.push(view::Row::new(&found)),
            Err(error) => return Said { text: String::new(), error: Some(error), is_well: false },
        }
    }
    let report = view::Report { place: keeper.place(), kinds: rows };
    let text = match json {
        true => escaped_json(&serde_json::to_string_pretty(&report).expect("texts and numbers are JSON")) + "\n",
        false => table::write(&report, keeper.unit()),
    };
    Said { text, error: None, is_well: report.kinds.iter().all(|row| row.problems.is_empty()) }
}

fn is_bare(found: &Inspected) -> bool {
    found.bytes == 0 && found.leader == Leader::Nobody
}

async fn reset(kinds: &[Kind], value: bool, keeper: &dyn Keeper) -> Said {
    let mut said = Said { text: String::new(), error: None, is_well: true };
    for kind in kinds {
        match keeper.forget(*kind, value).await {
            Ok(outcome) => {
                said.is_well &= matches!(outcome, Outcome::Forgotten { .. });
                said.text += &format!("{kind}: {}\n", words(&outcome, keeper.unit()));
            }
            Err(error) => return Said { error: Some(error), is_well: false, ..said },
        }
    }
    said
}

/// What was done, and what comes of it.
fn words(outcome: &Outcome, unit: Unit) -> String {
    match outcome {
        Outcome::Forgotten { entries, bytes, value, next } => {
            let mut text = match entries {
                0 => "there was no checkpoint.".to_owned(),
                _ => {
                    let (bytes, unit) = (table::grouped(*bytes), table::counted(*entries, unit));
                    format!("the checkpoint is forgotten: {unit}, {bytes} bytes.")
                }
            };
            if let Some(value) = value {
                text += &format!(" The original's value is forgotten, too: {:?}.", table::short(value));
            }
            text += &match next {
                Next::Value(value) => format!(" The next start goes on from the original's value, {value}."),
                Next::Anew => " The next start is a first one: it begins where NOMAD_FIREHOSE_START says.".to_owned(),
            };
            text
        }
        Outcome::Led(leader @ Leader::NoLock { .. }) => {
            format!("nothing is forgotten: {}.", view::no_lock(leader).unwrap_or_default())
        }
        Outcome::Led(leader) => format!(
            "nothing is forgotten: {} leads. Stop it first; if it is gone already, try again when its lease has ended by itself.",
            table::leader(leader)
        ),
        Outcome::NotGiven { reason } => format!(
            "nothing is forgotten: nobody leads, but the lock is not given ({}). Try again in some seconds.",
            shown(reason, LINE)
        ),
    }
}

#[cfg(test)]
mod tests;
