//! Who may emit, and where it went on: one lease and one checkpoint for each [`Kind`].
//!
//! [`mod@file`] serves replicas on one machine, [`none`] serves a single process that keeps nothing.

pub mod file;
pub mod none;

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures_util::future::BoxFuture;

use crate::{checkpoint::Checkpoint, kind::Kind, position::RaftIndex};

/// How far the leaders have come, by their heartbeats: for each kind, the raft index of each lane (`*` or a namespace's
/// name).
pub type Positions = BTreeMap<Kind, BTreeMap<String, RaftIndex>>;

/// Hands out the leases.
pub trait Coordinator: Send + Sync + fmt::Debug {
    /// Waits, as a standby, until the lease of `kind` is ours. Cancel by dropping the future.
    ///
    /// # Errors
    /// Only what waiting cannot mend (a directory that cannot be written); outages are waited out, loudly.
    fn acquire(&self, kind: Kind) -> BoxFuture<'_, Result<Arc<dyn Lease>, Error>>;
}

/// The right to emit records of one kind, and to move its checkpoint.
pub trait Lease: Send + Sync + fmt::Debug {
    /// Whether a write to a sink may start now. Cheap: asked before each write.
    fn is_valid(&self) -> bool;

    /// Resolves when the lease is lost.
    fn lost(&self) -> BoxFuture<'_, ()>;

    /// The checkpoint of the last holder; `None` on the very first start.
    ///
    /// # Errors
    /// What was read is no checkpoint: it is never taken for a first start.
    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>>;

    /// Stores the checkpoint durably, if the lease is still ours.
    ///
    /// # Errors
    /// It was not stored; the old one is whole.
    fn save<'a>(&'a self, checkpoint: &'a Checkpoint) -> BoxFuture<'a, Result<(), Error>>;

    /// Gives the lease back, so that a standby takes over at once. It is not valid any more from the first poll on.
    ///
    /// # Errors
    /// It could not be given back; it then ends with its own deadline, or with the process.
    fn release(&self) -> BoxFuture<'_, Result<(), Error>>;
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
    /// What is stored is not a checkpoint of ours.
    #[error("the checkpoint {path} cannot be read: {reason}; mend it, or move it away to start anew")]
    Corrupt {
        /// The file or key.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}
