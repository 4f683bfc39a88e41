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
    nomad,
    task_cursors::{Shard, TaskCursor, TaskKey},
    throttle::{Class, Classified},
};

/// Whether the holder of a lease may emit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// A write to a sink may start now.
    Held,
    /// The deadline has passed and the lease could not be renewed; it is unknown whether it is still ours. No write may
    /// start, and no record is dropped: the next successful renewal makes it [`LeaseState::Held`] again.
    Suspended,
    /// It is over for good.
    Lost,
}

/// The right to emit records of one resource, and to move its checkpoint.
pub trait Lease: Send + Sync + fmt::Debug {
    /// Whether a write to a sink may start now. Cheap: it is called before each write.
    fn lease_state(&self) -> LeaseState;

    /// Resolves when the lease is lost.
    fn lost(&self) -> BoxFuture<'_, ()>;

    /// The checkpoint of the last holder; `None` on the very first start.
    ///
    /// # Errors
    /// The stored text is not a checkpoint. That is never a first start.
    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>>;

    /// Stores what changed at once and durably, if the lease is still ours. One call at a time.
    ///
    /// # Errors
    /// It was not stored; the old checkpoint is complete, and `progress` offers the change again.
    fn save<'a>(&'a self, progress: &'a dyn Progress) -> BoxFuture<'a, Result<(), Error>>;

    /// As [`Lease::save`], but at a convenient time: together with the next renewal of the lease, for example.
    /// Cancelling `hurry` makes it store at once.
    ///
    /// # Errors
    /// As [`Lease::save`].
    fn keep<'a>(
        &'a self,
        progress: &'a dyn Progress,
        hurry: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), Error>> {
        // This lease stores at once.
        let _ = hurry;
        self.save(progress)
    }

    /// Whether it stores anything at all.
    fn keeps(&self) -> bool {
        true
    }

    /// Gives the lease back, so that a standby takes over at once. The lease is invalid from the first poll on.
    ///
    /// # Errors
    /// It could not be given back; it ends at its own deadline, or with the process.
    fn release(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// What a lease stores.
pub trait Progress: Send + Sync {
    /// The acknowledged state without the task cursors, if something changed since the last call of this or of
    /// [`Progress::changes`]. A lease that stores all task cursors reads them after it, shard by shard. They may be
    /// newer than the head: they only say what is delivered.
    fn head(&self) -> Option<Checkpoint>;

    /// What changed since the last call; `None` where nothing did. After a call of [`Progress::head`] it has all task
    /// cursors.
    fn changes(&self) -> Option<Changes>;

    /// The last change was not stored: offer it again.
    fn not_stored(&self);

    /// All task cursors of one shard of the tasks.
    fn task_cursors(&self, shard: Shard) -> Vec<(TaskKey, TaskCursor)>;

    /// How many task cursors there are.
    fn task_cursors_len(&self) -> usize;
}

/// What [`Progress::changes`] returns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The checkpoint without its task cursors.
    pub head: Checkpoint,
    /// The task cursors that were set. Retired ones are not listed: the next holder retires them by the same rule.
    pub task_cursors: Vec<(TaskKey, TaskCursor)>,
    /// All earlier task cursors were forgotten.
    pub forgotten: bool,
}

/// Why a coordinator failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// The operation that failed: "write checkpoint".
        operation: &'static str,
        /// The file or key.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Consul failed, or refused.
    #[error(transparent)]
    Consul(Arc<consul::Error>),
    /// Nomad failed, or refused.
    #[error(transparent)]
    Nomad(Arc<nomad::Error>),
    /// The lease is over: another replica may lead.
    #[error("the lease is lost")]
    Lost,
    /// Another program wrote where only the leader may; nothing was stored.
    #[error(
        "another program changed the checkpoint {path}, so nothing was stored; give each cluster a folder of its own"
    )]
    Moved {
        /// The key.
        path: String,
    },
    /// The stored state belongs to another cluster: replicas of two clusters share a place.
    #[error(
        "{what} belongs to another cluster: {difference}; set {setting} to a place that no other cluster uses, or, if it \
         is the same cluster, remove the checkpoint with: {reset}"
    )]
    Foreign {
        /// The resource.
        kind: Kind,
        /// The stored item, such as `the checkpoint PATH`.
        what: String,
        /// How the two clusters differ.
        difference: Difference,
        /// The variable that chooses the place.
        setting: &'static str,
        /// The command that removes it.
        reset: String,
    },
    /// The stored text is not a checkpoint that this program can read.
    #[error("the checkpoint {path} cannot be read: {reason}; restore it, or remove it with: {reset}")]
    Corrupt {
        /// The file or key.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// The command that removes it.
        reset: String,
    },
}

impl Classified for Error {
    fn class(&self) -> Class {
        match self {
            Error::Io { operation, source, .. } => Class::from(source).with(operation),
            Error::Consul(error) => error.class(),
            Error::Nomad(error) => error.class(),
            Error::Lost => "lost".into(),
            Error::Moved { .. } => "moved".into(),
            Error::Foreign { kind, .. } => Class::from("another cluster").with(kind),
            Error::Corrupt { .. } => "corrupt".into(),
        }
    }
}
