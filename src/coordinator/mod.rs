//! Who may emit, and where it went on: one lease and one checkpoint for each [`Kind`].
//!
//! [`mod@file`] serves replicas on one machine, [`none`] serves a single process that keeps nothing.
//! [`inspect`] is for an operator who wants to see what is stored.

mod config;
pub mod consul;
pub mod file;
pub mod inspect;
pub mod none;

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc, time::Duration};

use futures_util::future::{self, BoxFuture};
use tokio::sync::watch;

pub use self::config::{Config, ConsulConfig, Run, Storage, Unusable};
use crate::{
    cluster::Identity,
    kind::Kind,
    lease::{Error, Lease},
    position::RaftIndex,
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
