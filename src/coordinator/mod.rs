//! Coordinators decide who may emit and where it resumes: one lease and one checkpoint for each [`Kind`].
//!
//! [`consul`] and [`mod@nomad`] serve replicas anywhere, [`mod@file`] replicas on one machine, [`none`] serves a single process that stores nothing. [`inspect`] shows
//! an operator what is stored.

mod clock;
mod config;
pub mod consul;
pub mod file;
mod hold;
pub mod inspect;
pub mod nomad;
pub mod none;
mod own;
mod pages;
mod reach;
pub(crate) mod reset;
mod term;
mod turn;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures_util::future::{self, BoxFuture};
use tokio::sync::watch;

pub use self::{
    config::{Config, ConsulConfig, NomadConfig, Run, Storage, Unusable},
    own::OwnVariables,
    turn::Turns,
};
use crate::{
    cluster::Identity,
    kind::Kind,
    lease::{Error, Lease},
    position::RaftIndex,
};

/// How far the leaders have come, by their heartbeats: for each resource, the raft index of each stream (`*`, or a
/// namespace).
pub type Positions = BTreeMap<Kind, BTreeMap<String, RaftIndex>>;

/// Grants leases.
pub trait Coordinator: Send + Sync + fmt::Debug {
    /// Waits, as a standby, until the lease of `kind` is ours. Drop the future to cancel.
    ///
    /// # Errors
    /// Only what waiting cannot fix (a directory that cannot be written); outages are waited out and logged. And
    /// [`Error::Foreign`], where the leader belongs to another cluster.
    fn acquire(&self, kind: Kind) -> BoxFuture<'_, Result<Arc<dyn Lease>, Error>>;

    /// How far the leaders have come whose leases we wait for; `None` where leaders do not report it, so that a standby
    /// does not hold a stream ready.
    fn leaders(&self) -> Option<watch::Receiver<Positions>> {
        None
    }

    /// How often to call [`Lease::keep`]; the operator asked for at most `interval`.
    fn keep_every(&self, interval: Duration) -> Duration {
        interval
    }

    /// Which clusters the leader and the checkpoint of `kind` belong to, by their own word. Changes nothing.
    ///
    /// # Errors
    /// It could not be read.
    fn claims(&self, kind: Kind) -> BoxFuture<'_, Result<Vec<Claim>, Error>> {
        let _ = kind;
        Box::pin(future::ready(Ok(Vec::new())))
    }

    /// The place of the checkpoint of `kind`, and the variable that chooses it.
    fn place(&self, kind: Kind) -> (String, &'static str) {
        (kind.to_string(), "NOMAD_FIREHOSE_COORDINATOR")
    }

    /// The command that removes the checkpoint of `kind`.
    fn reset(&self, kind: Kind) -> String {
        reset::anywhere(kind)
    }

    /// Ends what the coordinator keeps in its store, such as a session. Release all leases before.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::ready(()))
    }
}

/// Which cluster a stored item belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The item, such as `the checkpoint PATH`.
    pub what: String,
    /// The cluster.
    pub cluster: Identity,
    /// It is the heartbeat of a leader, and not a checkpoint.
    pub is_leader: bool,
}
