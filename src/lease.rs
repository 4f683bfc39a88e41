//! A lease: the right to emit records of one resource, and to move its checkpoint. A
//! [`Coordinator`](crate::coordinator::Coordinator) grants leases; the ledger, the delivery and the sinks ask them.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::{
    checkpoint::Checkpoint,
    cluster::Difference,
    consul,
    kind::Kind,
    task_cursors::{Shard, TaskCursor, TaskKey},
    throttle::{Class, Classified},
};

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
    fn task_cursors_len(&self) -> usize;
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
    Consul(Arc<consul::Error>),
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
