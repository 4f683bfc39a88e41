//! What the tasks of one process share.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;

use super::heartbeat::Heartbeat;
use crate::{
    cluster::{self, Difference, Known, Verdict},
    consul::{Client, SessionId},
    coordinator::{
        Turns,
        clock::{Boot, Clock},
        reach::CheckpointReach,
        term,
    },
    kind::Kind,
    telemetry::{Metrics, Status},
};

/// The variable that chooses the folder.
pub(super) const SETTING: &str = "NOMAD_FIREHOSE_CONSUL_PREFIX";

/// How to lead.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the keys, without `/` at its end.
    pub prefix: String,
    /// How long a leader may go without a heartbeat: 1 s to 60 s.
    pub lease: Duration,
    /// The session's TTL, 10 s to 24 h: Consul keeps a session at least this long without a renewal.
    pub session_ttl: Duration,
    /// Whether the session also ends when Consul's health checks find the agent's node dead.
    pub node_checks: bool,
    /// The session's name.
    pub session_name: String,
    /// Who this replica is, for people.
    pub holder: String,
    /// The cluster that this replica reads.
    pub cluster: Known,
    /// The turns in which the pipelines of this process take leases; `None` for one that need not share.
    pub turns: Option<Turns>,
}

/// The settings of a process, its client, and the place where it reports.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
    pub(super) metrics: Metrics,
    pub(super) status: Status,
    /// Changes when the writer is about to send a heartbeat.
    pub(super) due: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(client: Client, options: Options, metrics: Metrics, status: Status) -> Arc<Self> {
        Arc::new(Shared { client, clock: Arc::new(Boot), options, metrics, status, due: watch::Sender::new(0) })
    }

    /// How a heartbeat's cluster differs from ours, where it does.
    pub(super) fn differs(&self, heartbeat: &Heartbeat) -> Option<Difference> {
        match self.options.cluster.identity().verdict(heartbeat.cluster.as_ref()?, cluster::now()) {
            Verdict::Other(difference) => Some(difference),
            Verdict::Same { .. } | Verdict::Unknown => None,
        }
    }

    /// How long after a heartbeat was sent it may be relied on.
    pub(super) fn term(&self) -> Duration {
        self.options.lease - term::margin(self.options.lease)
    }

    /// The text of a heartbeat.
    pub(super) fn heartbeat(&self, session: &SessionId, counter: u64, reach: CheckpointReach) -> Bytes {
        let Options { lease, holder, cluster, .. } = &self.options;
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        let (session, holder) = (session.as_str().to_owned(), holder.clone());
        let cluster = Some(cluster.identity()).filter(|cluster| !cluster.is_empty());
        Heartbeat { session, counter, lease_ms, holder, cluster, reach }.text().into()
    }
}

/// The leader of a resource, in a message.
pub(super) fn leader(holder: &str, kind: Kind) -> String {
    format!("the leader of {kind}, {holder},")
}
