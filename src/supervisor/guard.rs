//! Keeps a replica from leading on what another cluster has stored.
//!
//! What contradicts refuses, what is missing never does: see [`crate::cluster`].

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::{
    checkpoint::Checkpoint,
    cluster::{self, Difference, Known, Verdict},
    coordinator::Coordinator,
    kind::Kind,
    lease::{Error, Lease},
    nomad::{Client, Table},
    telemetry::{Leadership, Status},
    throttle::Outage,
};

/// How long a replica that starts waits for Nomad to say which cluster it is, before it asks for a lease.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// The deadline of a look at what is stored.
const LOOK_WITHIN: Duration = Duration::from_secs(3);
/// How often a replica that was refused looks again: the operator may have set it right.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// What a checkpoint is compared with, and where a refusal is told.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) coordinator: Arc<dyn Coordinator>,
    pub(super) client: Client,
    pub(super) known: Known,
    pub(super) status: Status,
}

/// A checkpoint that was loaded and refused: why, and its head.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: Error,
    pub(super) head: Checkpoint,
}

impl Guard {
    /// Waits for the lease of `kind`, and for what is stored to be this cluster's.
    ///
    /// # Errors
    /// As [`Coordinator::acquire`], but for [`Error::Foreign`], which is waited out, loudly.
    pub(super) async fn acquire(&self, kind: Kind, refused: Option<Refused>) -> Result<Arc<dyn Lease>, Error> {
        let mut outage = Outage::new("reading the checkpoint");
        let (mut why, head) = match refused {
            Some(Refused { why, head }) => (Some(why), Some(head)),
            None => {
                self.known.settled(KNOWN_WITHIN).await;
                (self.objection(kind, None).await.unwrap_or_default(), None)
            }
        };
        loop {
            while let Some(reason) = &why {
                self.status.lease(kind, Leadership::Blocked { reason: reason.to_string() });
                outage.log(reason);
                sleep(LOOK_AGAIN).await;
                // Where it cannot be read, it is as it was.
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

    /// Why a checkpoint that was loaded is not to be gone on from; `None` where nothing contradicts.
    pub(super) async fn compare(&self, kind: Kind, head: &Checkpoint) -> Option<Error> {
        let stored = head.cluster.as_ref()?;
        let ours = self.known.identity();
        match ours.verdict(stored, cluster::now()) {
            Verdict::Unknown => None,
            Verdict::Same { renamed } => {
                if renamed {
                    let (from, to) = (stored.label.as_deref(), ours.label.as_deref());
                    warn!(%kind, from, to, "cluster was renamed: NOMAD_FIREHOSE_CLUSTER has changed, its keyring is the same");
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

    /// Why what is stored keeps us from competing for the lease. `head` is a checkpoint that was loaded and refused:
    /// without it, keys alone say nothing against a checkpoint before it is loaded.
    ///
    /// # Errors
    /// It cannot be read.
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

    /// Whether the cluster stands below the checkpoint, or there is nothing in it to go on from. It was restored from an
    /// old snapshot, or built anew: that starts over, loudly, and loses nothing.
    async fn is_below(&self, kind: Kind, head: &Checkpoint) -> bool {
        if head.legacy.is_none() && head.streams.values().all(|stream| stream.position.index.0 == 0) {
            return true;
        }
        for (namespace, stream) in &head.streams {
            // The same that the source looks at.
            let reached = match &stream.anchor {
                Some(anchor) => Table::from_topic(&anchor.topic).map(|table| (table, anchor.index)),
                None => kind.topic().and_then(Table::from_topic).map(|table| (table, stream.position.index)),
            };
            if let Some((table, reached)) = reached
                && let Ok(Ok(index)) = timeout(LOOK_WITHIN, self.client.table_index(table, namespace)).await
                && index < reached
            {
                return true;
            }
        }
        false
    }
}
