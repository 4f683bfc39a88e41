//! Leases and checkpoints in Nomad's own Variables: high availability without another system.
//!
//! # How it is led
//!
//! One Variable for each resource has the heartbeat of its leader and the head of its checkpoint. Every write of it is on the condition
//! that it has not changed since its writer last saw it (`cas`), and Nomad decides that when it applies the raft entry. About every third
//! of the lease the leader writes it. A leader may emit until its lease is over, counted from the moment at which it sent its last
//! heartbeat that was stored, less a margin, on a clock that counts suspension. A standby that has seen the Variable unchanged for the
//! lease and a margin writes its own heartbeat into it, on the condition that it is still unchanged. If that succeeds, no heartbeat of the
//! old leader can be stored any more. If a heartbeat was under way, one of the two is refused, and its sender knows. So no two replicas
//! lead at a time, no two clocks are compared, and a read that is out of date does no harm.
//!
//! Nomad's locks are not used. They free themselves after twice their time to live at the earliest, a token without management rights
//! does not see them, and Nomad 2.0 can take a lock from the successor of a holder that has expired.
//!
//! A leader that gives its lease back says so in its heartbeat, and the next one takes it at once.
//!
//! # Where to look
//!
//! `standby` waits, `expiry` decides, `muster` keeps the kinds of one process together, `writer` sends the heartbeats, `store`, `plan` and `record` are the checkpoint. Start at
//! [`Nomad::start`].

mod expiry;
pub mod inspect;
mod lease;
#[cfg(test)]
mod model;
mod muster;
mod plan;
mod record;
mod shared;
mod standby;
mod store;
mod writer;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch as values};
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub use self::shared::Options;
use self::{
    record::{Content, Heartbeat},
    shared::{SETTING, Shared, leader},
    standby::Standby,
};
use super::{Claim, Coordinator, Positions, reset::reset_in_variables};
use crate::{
    kind::Kind,
    lease::{Error, Lease},
    nomad::Client,
    telemetry::{Metrics, Status},
};

/// The deadline of a look at the stored state.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How long [`Coordinator::close`] may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The coordinator of `NOMAD_FIREHOSE_COORDINATOR=nomad`.
#[derive(Debug)]
pub struct Nomad {
    shared: Arc<Shared>,
}

impl Nomad {
    /// A coordinator without a task yet. Its tasks end with [`Coordinator::close`].
    pub fn start(client: Client, options: Options, metrics: Metrics, status: Status) -> Self {
        Nomad { shared: Shared::new(client, options, metrics, status) }
    }

    /// Waits in a task of its own: a write that takes the lease is seen through, even where nobody waits for it any more.
    async fn wait(&self, kind: Kind) -> Result<Arc<dyn Lease>, Error> {
        let (reply, answer) = oneshot::channel();
        let waits = CancellationToken::new();
        let _ends = waits.clone().drop_guard();
        let (shared, stop) = (Arc::clone(&self.shared), self.shared.stop.clone());
        self.shared.tasks.spawn(async move {
            let lease = tokio::select! {
                biased;
                () = waits.cancelled() => return,
                () = stop.cancelled() => return,
                lease = Standby::new(shared, kind).wait() => lease,
            };
            // Dropped, it is given back.
            if reply.send(lease).is_err() {
                debug!("pipeline no longer waits for its lease");
            }
        });
        let lease = answer.await.map_err(|_| Error::Lost)??;
        Ok(Arc::new(lease))
    }

    async fn look(&self, kind: Kind) -> Result<Vec<Claim>, Error> {
        let Shared { client, options, id, .. } = &*self.shared;
        let path = self.shared.path(kind);
        let found = client.variable(&options.place, &path, None, LOOK_WITHIN).await.map_err(failed)?;
        let Some(found) = found else { return Ok(Vec::new()) };
        let mut claims = Vec::new();
        if let Some(heartbeat) = Heartbeat::of(&found).filter(|heartbeat| !heartbeat.released && heartbeat.id != *id)
            && let Some(cluster) = heartbeat.cluster
        {
            claims.push(Claim { what: leader(&heartbeat.holder, kind), cluster, is_leader: true });
        }
        let head = Content::of(&found).parse().ok().flatten();
        if let Some(cluster) = head.and_then(|head| head.checkpoint.cluster) {
            claims.push(Claim { what: format!("the checkpoint {path}"), cluster, is_leader: false });
        }
        Ok(claims)
    }
}

impl Coordinator for Nomad {
    fn acquire(&self, kind: Kind) -> BoxFuture<'_, Result<Arc<dyn Lease>, Error>> {
        Box::pin(self.wait(kind))
    }

    fn leaders(&self) -> Option<values::Receiver<Positions>> {
        Some(self.shared.positions.subscribe())
    }

    fn claims(&self, kind: Kind) -> BoxFuture<'_, Result<Vec<Claim>, Error>> {
        Box::pin(self.look(kind))
    }

    fn place(&self, kind: Kind) -> (String, &'static str) {
        (self.shared.path(kind), SETTING)
    }

    fn reset(&self, kind: Kind) -> String {
        reset_in_variables(kind, &self.place(kind).0)
    }

    /// Each heartbeat carries what changed: a take-over then repeats only what followed the last heartbeat.
    fn keep_every(&self, _interval: Duration) -> Duration {
        self.shared.interval()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let Shared { stop, tasks, .. } = &*self.shared;
            stop.cancel();
            tasks.close();
            if tokio::time::timeout(CLOSE_WITHIN, tasks.wait()).await.is_err() {
                debug!("Nomad did not answer in time");
            }
        })
    }
}

fn failed(error: crate::nomad::Error) -> Error {
    Error::Nomad(Arc::new(error))
}
