//! Keeps a replica from leading with the checkpoint of another cluster.
//!
//! A contradiction refuses the checkpoint, missing knowledge never does: see [`crate::cluster`].

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::{
    checkpoint::Checkpoint,
    cluster::{self, Difference, Identity, Known, Verdict},
    coordinator::Coordinator,
    kind::Kind,
    lease::{Error, Lease},
    nomad::{Client, Table},
    telemetry::{Leadership, Status},
    throttle::Outage,
};

/// How long a replica waits at its start for Nomad to say which cluster it is, before it asks for a lease.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// The deadline for reading what is stored.
const LOOK_WITHIN: Duration = Duration::from_secs(3);
/// How often a refused replica reads it again: the operator may have fixed it.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// What a checkpoint is compared with, and where a refusal is reported.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) coordinator: Arc<dyn Coordinator>,
    pub(super) client: Client,
    pub(super) known: Known,
    pub(super) status: Status,
}

/// A checkpoint that was loaded and refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: Error,
    pub(super) head: Checkpoint,
}

impl Guard {
    /// Waits for the lease of `kind`, and until what is stored belongs to this cluster.
    ///
    /// # Errors
    /// Those of [`Coordinator::acquire`], except for [`Error::Foreign`]: this logs it and waits until it is fixed.
    pub(super) async fn acquire(&self, kind: Kind, refused: Option<Refused>) -> Result<Arc<dyn Lease>, Error> {
        let mut outage = Outage::new("reading the checkpoint");
        let (mut why, head) = match refused {
            Some(Refused { why, head }) => (Some(why), Some(head)),
            None => {
                self.known.settled_within(KNOWN_WITHIN).await;
                (self.objection(kind, None).await.unwrap_or_default(), None)
            }
        };
        loop {
            while let Some(reason) = &why {
                self.status.lease(kind, Leadership::Blocked { reason: reason.to_string() });
                outage.log(reason);
                sleep(LOOK_AGAIN).await;
                // If it cannot be read now, the last objection holds.
                if let Ok(objection) = self.objection(kind, head.as_ref()).await {
                    why = objection;
                }
            }
            self.status.lease(kind, Leadership::Standby);
            outage.over();
            match self.coordinator.acquire(kind).await {
                Err(foreign @ Error::Foreign { .. }) => why = Some(foreign),
                acquired => return acquired,
            }
        }
    }

    /// Why the run must not resume from a loaded checkpoint, if the cluster is `ours`; `None` if nothing contradicts it.
    pub(super) async fn compare(&self, kind: Kind, head: &Checkpoint, ours: &Identity) -> Option<Error> {
        let stored = head.cluster.as_ref()?;
        match ours.verdict(stored, cluster::now()) {
            Verdict::Unknown => None,
            Verdict::Same { renamed } => {
                if renamed {
                    let (from, to) = (stored.label.as_deref(), ours.label.as_deref());
                    warn!(%kind, from, to, variable = "NOMAD_FIREHOSE_CLUSTER", "cluster renamed");
                }
                None
            }
            Verdict::Other(Difference::Keys) if self.is_below(kind, head).await => None,
            Verdict::Other(difference) => {
                let (path, setting) = self.coordinator.place(kind);
                let (what, reset) = (format!("the checkpoint {path}"), self.coordinator.reset(kind));
                Some(Error::Foreign { kind, what, difference, setting, reset })
            }
        }
    }

    /// Why this replica must not compete for the lease, judged by what is stored. `head` is a checkpoint that was loaded and
    /// refused. Without it, a difference of keys alone is no objection: only a loaded checkpoint can tell a restored cluster from
    /// another one.
    ///
    /// # Errors
    /// What is stored cannot be read.
    async fn objection(&self, kind: Kind, head: Option<&Checkpoint>) -> Result<Option<Error>, ()> {
        let ours = self.known.identity();
        if ours.is_empty() {
            return Ok(None);
        }
        let claims = timeout(LOOK_WITHIN, self.coordinator.claims(kind)).await.map_err(drop)?.map_err(drop)?;
        for claim in claims {
            let Verdict::Other(difference) = ours.verdict(&claim.cluster, cluster::now()) else { continue };
            if difference == Difference::Keys && !claim.is_leader {
                let same = head.filter(|head| head.cluster.as_ref() == Some(&claim.cluster));
                let Some(head) = same else { continue };
                if self.is_below(kind, head).await {
                    continue;
                }
            }
            let (_, setting) = self.coordinator.place(kind);
            let reset = self.coordinator.reset(kind);
            return Ok(Some(Error::Foreign { kind, what: claim.what, difference, setting, reset }));
        }
        Ok(None)
    }

    async fn is_below(&self, kind: Kind, head: &Checkpoint) -> bool {
        is_below(&self.client, kind, head).await
    }
}

/// Whether the cluster's indexes are below the checkpoint, or the checkpoint holds no progress. Then the cluster was restored from
/// an old snapshot, or rebuilt: the run starts over, logs it, and loses nothing.
pub(crate) async fn is_below(client: &Client, kind: Kind, head: &Checkpoint) -> bool {
    if head.legacy.is_none() && head.streams.values().all(|stream| stream.position.index.0 == 0) {
        return true;
    }
    for (namespace, stream) in &head.streams {
        // The source decides by the same table and index.
        let reached = match &stream.anchor {
            Some(anchor) => Table::from_topic(&anchor.topic).map(|table| (table, anchor.index)),
            None => kind.topic().and_then(Table::from_topic).map(|table| (table, stream.position.index)),
        };
        if let Some((table, reached)) = reached
            && let Ok(Ok(index)) = timeout(LOOK_WITHIN, client.table_index(table, namespace)).await
            && index < reached
        {
            return true;
        }
    }
    false
}
