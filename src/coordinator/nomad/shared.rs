//! What the tasks of one process share.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{muster::Muster, record::Heartbeat};
use crate::{
    cluster::{self, Difference, Known, Verdict},
    coordinator::{
        Positions, Turns,
        clock::{Boot, Clock},
        term,
    },
    kind::Kind,
    nomad::{Client, Place},
    telemetry::{Metrics, Status},
};

/// The variable that chooses the folder.
pub(super) const SETTING: &str = "NOMAD_FIREHOSE_NOMAD_VAR_PREFIX";

/// How to lead.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the Variables are.
    pub place: Place,
    /// How long a leader may go without a heartbeat: 1 s to 60 s.
    pub lease: Duration,
    /// Who this replica is, for people.
    pub holder: String,
    /// The cluster that this replica reads.
    pub cluster: Known,
    /// The turns in which the pipelines of this process take leases; `None` for one that need not share.
    pub turns: Option<Turns>,
}

/// The settings of a process, its client, and the places where it reports.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
    /// Stands in each heartbeat of this process, and in no other.
    pub(super) id: String,
    pub(super) metrics: Metrics,
    pub(super) status: Status,
    pub(super) positions: watch::Sender<Positions>,
    pub(super) muster: Muster,
    /// When it began: all heartbeats are sent at multiples of the interval after that, those of all kinds together.
    begun: Instant,
    /// The standbys and the writers.
    pub(super) tasks: TaskTracker,
    /// Ends them.
    pub(super) stop: CancellationToken,
}

impl Shared {
    pub(super) fn new(client: Client, options: Options, metrics: Metrics, status: Status) -> Arc<Self> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (id, positions) = (format!("{:016x}", fastrand::u64(..)), watch::Sender::default());
        let (clock, muster, begun) = (Arc::new(Boot), Muster::default(), Instant::now());
        Arc::new(Shared { client, clock, options, id, metrics, status, positions, muster, begun, tasks, stop })
    }

    /// The path of the Variable of `kind`.
    pub(super) fn path(&self, kind: Kind) -> String {
        path(&self.options.place, kind)
    }

    /// How long after a heartbeat was sent it may be relied on.
    pub(super) fn term(&self) -> Duration {
        self.options.lease - term::margin(self.options.lease)
    }

    /// How often a leader sends one.
    pub(super) fn interval(&self) -> Duration {
        term::interval(self.options.lease)
    }

    /// When the next heartbeat is due.
    pub(super) fn next_beat(&self) -> Instant {
        let (since, interval) = (self.begun.elapsed(), self.interval());
        let passed = since.as_nanos() / interval.as_nanos().max(1);
        self.begun + interval * u32::try_from(passed + 1).unwrap_or(u32::MAX)
    }

    pub(super) fn heartbeat(&self, counter: u64, released: bool) -> Heartbeat {
        let Options { lease, holder, cluster, .. } = &self.options;
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        let cluster = Some(cluster.identity()).filter(|cluster| !cluster.is_empty());
        Heartbeat { id: self.id.clone(), counter, lease_ms, holder: holder.clone(), cluster, released }
    }

    /// How a heartbeat's cluster differs from ours, where it does.
    pub(super) fn differs(&self, heartbeat: &Heartbeat) -> Option<Difference> {
        match self.options.cluster.identity().verdict(heartbeat.cluster.as_ref()?, cluster::now()) {
            Verdict::Other(difference) => Some(difference),
            Verdict::Same { .. } | Verdict::Unknown => None,
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The path of the Variable of `kind`: the head of its checkpoint, and the heartbeat.
pub(super) fn path(place: &Place, kind: Kind) -> String {
    format!("{}/{}", place.folder, kind.storage_name())
}

/// The leader of a resource, in a message.
pub(super) fn leader(holder: &str, kind: Kind) -> String {
    format!("the leader of {kind}, {holder},")
}
