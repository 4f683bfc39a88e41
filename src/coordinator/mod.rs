//! Who may emit, and where it went on: one lease and one checkpoint for each [`Kind`].
//!
//! [`mod@file`] serves replicas on one machine, [`none`] serves a single process that keeps nothing.
//! [`inspect`] is for an operator who wants to see what is stored.

pub mod consul;
pub mod file;
pub mod inspect;
pub mod none;

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc, time::Duration};

use futures_util::future::{self, BoxFuture};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    checkpoint::Checkpoint,
    cluster::{Difference, Identity},
    consul as consul_api,
    kind::Kind,
    position::RaftIndex,
    task_cursors::{Shard, TaskCursor, TaskKey},
    throttle::{Class, Classified},
};

/// How far the leaders have come, by their heartbeats: for each kind, the raft index of each lane (`*`, or a namespace's
/// name).
pub type Positions = BTreeMap<Kind, BTreeMap<String, RaftIndex>>;

/// Hands out the leases.
pub trait Coordinator: Send + Sync + fmt::Debug {
    /// Waits, as a standby, until the lease of `kind` is ours. Cancel by dropping the future.
    ///
    /// # Errors
    /// Only what waiting cannot mend (a directory that cannot be written); outages are waited out, loudly. And
    /// [`Error::Foreign`], where the leader is seen to be another cluster's.
    fn acquire(&self, kind: Kind) -> BoxFuture<'_, Result<Arc<dyn Lease>, Error>>;

    /// How far the leaders of the kinds that we wait for have come; `None` where nobody tells, so that a standby has
    /// nothing to hold the stream ready for.
    fn leaders(&self) -> Option<watch::Receiver<Positions>> {
        None
    }

    /// How often to call [`Lease::keep`], where `interval` is what the operator wants at most.
    fn keep_every(&self, interval: Duration) -> Duration {
        interval
    }

    /// What the leader and the checkpoint of `kind` say of the cluster that they are of. Changes nothing.
    ///
    /// # Errors
    /// It could not be read.
    fn claims(&self, kind: Kind) -> BoxFuture<'_, Result<Vec<Claim>, Error>> {
        let _ = kind;
        Box::pin(future::ready(Ok(Vec::new())))
    }

    /// Where the checkpoint of `kind` lies, and the variable that chooses the place.
    fn place(&self, kind: Kind) -> (String, &'static str) {
        (kind.to_string(), "NOMAD_FIREHOSE_COORDINATOR")
    }

    /// The command that forgets the checkpoint of `kind`.
    fn reset(&self, kind: Kind) -> String {
        reset(kind, None)
    }

    /// Ends what the coordinator keeps with its far side. All leases are released before.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::ready(()))
    }
}

/// What something that is stored says of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What says it, such as `the checkpoint PATH`.
    pub what: String,
    /// What it says.
    pub cluster: Identity,
    /// It is a leader's heartbeat, and not a checkpoint that was left.
    pub is_leader: bool,
}

/// Whether the holder of a lease may emit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// A write to a sink may start now.
    Held,
    /// The deadline is past and the lease could not be renewed; whether it is still ours is not known. No write may
    /// start, and nothing is given up: the next renewal that succeeds makes it [`LeaseState::Held`] again.
    Suspended,
    /// It is over for good.
    Lost,
}

/// The right to emit records of one kind, and to move its checkpoint.
pub trait Lease: Send + Sync + fmt::Debug {
    /// Whether a write to a sink may start now. Cheap: asked before each write.
    fn lease_state(&self) -> LeaseState;

    /// Resolves when the lease is lost.
    fn lost(&self) -> BoxFuture<'_, ()>;

    /// The checkpoint of the last holder; `None` on the very first start.
    ///
    /// # Errors
    /// What was read is no checkpoint: it is never taken for a first start.
    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>>;

    /// Stores what changed at once and durably, if the lease is still ours. One call at a time.
    ///
    /// # Errors
    /// It was not stored; the old checkpoint is whole, and `progress` offers the change again.
    fn save<'a>(&'a self, progress: &'a dyn Progress) -> BoxFuture<'a, Result<(), Error>>;

    /// As [`Lease::save`], when it suits: together with the next renewal of the lease, say, but at once when `hurry` is
    /// cancelled.
    ///
    /// # Errors
    /// As [`Lease::save`].
    fn keep<'a>(
        &'a self,
        progress: &'a dyn Progress,
        hurry: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), Error>> {
        // Nothing is put off.
        let _ = hurry;
        self.save(progress)
    }

    /// Whether what is saved is kept anywhere.
    fn keeps(&self) -> bool {
        true
    }

    /// Gives the lease back, so that a standby takes over at once. It is not valid any more from the first poll on.
    ///
    /// # Errors
    /// It could not be given back; it then ends with its own deadline, or with the process.
    fn release(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// What a lease stores.
pub trait Progress: Send + Sync {
    /// Everything that is acknowledged but the marks, if something changed since the last call of this or of
    /// [`Progress::changes`]. Whoever stores all marks with it reads them after it, shard by shard: they may run ahead of
    /// it, for they only say what is delivered.
    fn head(&self) -> Option<Checkpoint>;

    /// What changed since the last call of this; `None` where nothing did. After a call of [`Progress::head`] it has all
    /// marks.
    fn changes(&self) -> Option<Changes>;

    /// What was given last did not get stored: it is to be offered again.
    fn not_stored(&self);

    /// All marks of one shard of the tasks.
    fn task_cursors(&self, shard: Shard) -> Vec<(TaskKey, TaskCursor)>;

    /// How many marks there are.
    fn marks_len(&self) -> usize;
}

/// What [`Progress::changes`] gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The checkpoint without its marks.
    pub head: Checkpoint,
    /// The marks that were set. Marks are retired by a rule that the next holder knows as well, so nobody is told.
    pub task_cursors: Vec<(TaskKey, TaskCursor)>,
    /// All marks before these were forgotten.
    pub forgotten: bool,
}

/// Why the coordinator could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried: "write checkpoint".
        operation: &'static str,
        /// The file or key.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Consul did not do it.
    #[error(transparent)]
    Consul(Arc<consul_api::Error>),
    /// The lease is over: somebody else may lead.
    #[error("the lease is lost")]
    Lost,
    /// Somebody else has written where only the leader may; nothing was stored.
    #[error("the checkpoint {path} is not as it was left")]
    Moved {
        /// The key.
        path: String,
    },
    /// What is stored is of another cluster: replicas of two clusters share a place.
    #[error(
        "{what} belongs to another cluster: {difference}; set {setting} to a place that no other cluster uses, or, if it \
         is the same cluster, forget the checkpoint with: {reset}"
    )]
    Foreign {
        /// The kind.
        kind: Kind,
        /// What is stored, such as `the checkpoint PATH`.
        what: String,
        /// What tells the two apart.
        difference: Difference,
        /// The variable that chooses the place.
        setting: &'static str,
        /// The command that forgets it.
        reset: String,
    },
    /// What is stored is not a checkpoint of ours.
    #[error("the checkpoint {path} cannot be read: {reason}; mend it, or forget it with: {reset}")]
    Corrupt {
        /// The file or key.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// The command that forgets it.
        reset: String,
    },
}

/// The command that forgets the checkpoint of `kind`; with `data_dir` where files keep it, wherever the setting of the run
/// came from.
pub(crate) fn reset(kind: Kind, data_dir: Option<&Path>) -> String {
    let command = format!("nomad-firehose state reset {kind}");
    let Some(data_dir) = data_dir else { return command };
    let directory = data_dir.display().to_string();
    let is_bare = directory.chars().all(|c| c.is_alphanumeric() || "/._-+,:@%".contains(c));
    let directory = if is_bare { directory } else { format!("'{}'", directory.replace('\'', r"'\''")) };
    format!("{command} --coordinator file --data-dir {directory}")
}

impl Classified for Error {
    fn class(&self) -> Class {
        match self {
            Error::Io { operation, source, .. } => Class::from(source).with(operation),
            Error::Consul(error) => error.class(),
            Error::Lost => "lost".into(),
            Error::Moved { .. } => "moved".into(),
            Error::Foreign { kind, .. } => Class::from("another cluster").with(kind),
            Error::Corrupt { .. } => "corrupt".into(),
        }
    }
}
