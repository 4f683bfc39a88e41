//! Filters and transforms records with jq: the stage between source and delivery.
//!
//! Each record goes through the pipeline's program (`jq`). No output drops the record, one replaces its body, several become
//! records of their own. A second program (`by`) says what the record is gathered by. Values that `redact` names are
//! replaced before either of them sees the record.
//!
//! Programs run in a process of their own (`child`), because a program can end the process that it runs in: by an endless
//! recursion, or by taking all memory. The `worker` is the way to it, and the `stage` keeps the order of the records, sends
//! them again after the process has ended, and finds the record that is to blame.
//!
//! Everything that parses a body happens in that process. The parent only moves bytes.

mod child;
mod compile;
mod frame;
mod json;
mod redaction;
pub mod settings;
mod stage;
mod worker;

use std::{
    fmt::{self, Debug},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use self::{
    child::{COMMAND, serve},
    compile::{Fault, Uses, check},
    frame::take_apart,
    redaction::{Malformed, Path, redacted},
    stage::{Surroundings, spawn},
};
use crate::{record::Record, settings::ByteSize};

/// What runs for each record of a pipeline. There is at least one of `jq`, `redact` and `by`.
#[derive(Clone)]
pub struct Config {
    /// The program that filters and transforms.
    pub jq: Option<Arc<str>>,
    /// The program whose output is the record's group.
    pub by: Option<Arc<str>>,
    /// The values that are replaced before the programs see the record.
    pub redact: Vec<Path>,
    /// The most memory of the process that runs the programs.
    pub memory: ByteSize,
    /// Which variables the programs use.
    pub uses: Uses,
    /// The executable of that process.
    pub worker: PathBuf,
    /// How long a record may take.
    pub patience: Patience,
}

/// How long a record may take, before the process that runs the programs is replaced.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Processor time.
    pub busy: Duration,
    /// Time by the clock: a process that is paused, or gets no processor, is not at fault before.
    pub waiting: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { busy: Duration::from_secs(1), waiting: Duration::from_secs(10) }
    }
}

impl Debug for Config {
    /// Programs can hold secrets, so only their lengths.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("jq_bytes", &self.jq.as_ref().map(|code| code.len()))
            .field("by_bytes", &self.by.as_ref().map(|code| code.len()))
            .field("redact", &self.redact)
            .field("memory", &self.memory)
            .field("uses", &self.uses)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Which of `$diff`, `$node` and `$job` the programs use.
    pub fn mentions(&self) -> Mentions {
        self.uses.mentions
    }
}

/// Which of the variables that have to be read from Nomad a program uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// `$diff`: what changed since the version before.
    pub diff: bool,
    /// `$node`: the node of the record.
    pub node: bool,
    /// `$job`: the job of the record.
    pub job: bool,
}

impl Mentions {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self.diff || self.node || self.job
    }
}

/// What is read from Nomad for a record. Each is a JSON text; `None` is null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// The value of `$diff`.
    pub diff: Option<Bytes>,
    /// The value of `$node`.
    pub node: Option<Bytes>,
    /// The value of `$job`.
    pub job: Option<Bytes>,
}

/// Reads what programs need beside the record. Called only where a program uses one of the variables, for several records at
/// a time.
pub trait Enrich: Send + Sync + Debug {
    /// What belongs to `record`. It waits until that is known, or until it is certain that there is none.
    fn extra<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Extra>;
}
