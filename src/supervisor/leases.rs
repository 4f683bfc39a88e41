//! The leases of a run: those that are waited for, those in hand, and what is stored under them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join_all};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    guard::{Guard, Refused},
    stamp::Stamp,
};
use crate::{
    checkpoint::{Checkpoint, VERSION},
    cluster::Known,
    coordinator::Coordinator,
    kind::Kind,
    lease::{Error, Lease, LeaseState, Progress},
    ledger::Ledger,
    nomad::Topic,
    source::Context,
    telemetry::{Leadership, Metrics},
    throttle::{Classified, Throttle},
};

/// How long a checkpoint waits for Nomad to say which cluster this is. It is gone on from before that, but not stored
/// again.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// A kind that we lead.
#[derive(Clone)]
pub(super) struct Led {
    pub(super) kind: Kind,
    pub(super) topics: Vec<Topic>,
    pub(super) lease: Arc<dyn Lease>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) stamp: Arc<Stamp>,
}

impl Led {
    /// Whether it is led under the same lease.
    pub(super) fn is_same(&self, other: &Led) -> bool {
        Arc::ptr_eq(&self.ledger, &other.ledger)
    }

    /// Whether there is something to be stored.
    pub(super) fn has_news(&self) -> bool {
        if self.stamp.is_due() {
            self.ledger.touch();
        }
        self.ledger.is_changed()
    }
}

/// A lease that has come, or why it cannot.
pub(super) type Acquired = (Kind, Vec<Topic>, Result<Arc<dyn Lease>, Error>);

pub(super) struct Leases {
    guard: Guard,
    ctx: Context,
    pub(super) waiting: JoinSet<Acquired>,
    pub(super) led: Vec<Led>,
    /// What was acknowledged under leases that were lost.
    remembered: HashMap<Kind, Checkpoint>,
}

impl Leases {
    pub(super) fn new(coordinator: Arc<dyn Coordinator>, ctx: Context, known: Known) -> Self {
        let guard = Guard { coordinator, client: ctx.client.clone(), known, status: ctx.status.clone() };
        Leases { guard, ctx, waiting: JoinSet::new(), led: Vec::new(), remembered: HashMap::new() }
    }

    /// Waits for the lease of a kind.
    pub(super) fn stand_by(&mut self, kind: Kind, topics: Vec<Topic>) {
        self.ctx.status.lease(kind, Leadership::Standby);
        self.wait(kind, topics, None);
    }

    fn wait(&mut self, kind: Kind, topics: Vec<Topic>, refused: Option<Refused>) {
        let guard = self.guard.clone();
        self.waiting.spawn(async move { (kind, topics, guard.acquire(kind, refused).await) });
    }

    /// Loads the checkpoints of leases that have come, and says which kinds are now led. One that is lost meanwhile is
    /// waited for again.
    ///
    /// # Errors
    /// A lease or a checkpoint that waiting cannot mend. The leases that came are given back.
    pub(super) async fn load(&mut self, acquired: Vec<Acquired>) -> Result<Vec<Kind>, Error> {
        let mut leases = Vec::new();
        let mut failed = None;
        for (kind, topics, lease) in acquired {
            match lease {
                Ok(lease) => leases.push((kind, topics, lease)),
                Err(error) => failed = Some(error),
            }
        }
        let loads = leases.iter().map(|(_, _, lease)| async {
            match lease.load().await {
                Err(Error::Lost) => Ok(None),
                loaded => loaded.map(Some),
            }
        });
        let loaded = match failed {
            Some(error) => Err(error),
            None => try_join_all(loads).await,
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                release_all(leases.iter().map(|(kind, _, lease)| (*kind, lease))).await;
                return Err(error);
            }
        };
        if loaded.iter().flatten().flatten().any(|checkpoint| checkpoint.cluster.is_some()) {
            self.guard.known.settled(KNOWN_WITHIN).await;
        }
        let mut kinds = Vec::new();
        for ((kind, topics, lease), loaded) in leases.into_iter().zip(loaded) {
            match loaded {
                Some(checkpoint) => {
                    let head = checkpoint.as_ref().map(Checkpoint::head).unwrap_or_default();
                    if let Some(why) = self.guard.compare(kind, &head).await {
                        release_all([(kind, &lease)].into_iter()).await;
                        self.wait(kind, topics, Some(Refused { why, head }));
                        continue;
                    }
                    let stamp = Arc::new(Stamp::new(self.guard.known.clone(), head));
                    if self.guard.known.view().is_complete() {
                        stamp.compared();
                    }
                    let ledger = Ledger::new(Arc::clone(&lease), self.begin(kind, checkpoint));
                    self.ctx.metrics.follow(kind, Some(Arc::clone(&ledger) as _));
                    self.led.push(Led { kind, topics, lease, ledger, stamp });
                    kinds.push(kind);
                }
                None => {
                    warn!(%kind, "the lease is lost before anything was read; standing by");
                    self.stand_by(kind, topics);
                }
            }
        }
        Ok(kinds)
    }

    /// The checkpoint to begin with.
    fn begin(&mut self, kind: Kind, checkpoint: Option<Checkpoint>) -> Checkpoint {
        let remembered = self.remembered.remove(&kind).filter(|_| checkpoint.is_none());
        if remembered.is_some() {
            error!(%kind, "there is no checkpoint, though this process has led before; going on from memory");
        }
        let checkpoint = checkpoint.or(remembered);
        match &checkpoint {
            Some(checkpoint) => {
                let streams =
                    checkpoint.streams.iter().map(|(name, stream)| format!("{name}@{}", stream.position.index));
                let positions = streams.collect::<Vec<_>>().join(" ");
                info!(%kind, positions, task_cursors = checkpoint.task_cursors.len(), "leading; going on from the checkpoint");
            }
            None => info!(%kind, "leading; first start"),
        }
        checkpoint.unwrap_or_else(|| Checkpoint { version: VERSION, ..Default::default() })
    }

    /// Takes the lost ones out of hand and waits for them again; says which they are.
    pub(super) fn drop_lost(&mut self) -> Vec<Kind> {
        let lost: Vec<Led> = self.led.extract_if(.., |led| led.lease.lease_state() == LeaseState::Lost).collect();
        let kinds = lost.iter().map(|led| led.kind).collect();
        for led in lost {
            warn!(kind = %led.kind, "the lease is lost; standing by");
            self.remembered.insert(led.kind, led.ledger.acknowledged());
            self.ctx.metrics.leader(led.kind, false);
            self.ctx.metrics.follow(led.kind, None);
            self.stand_by(led.kind, led.topics);
        }
        kinds
    }

    /// Compares what is led with what has become known of the cluster since it was loaded. What turns out to be another
    /// cluster's is given back, without another word stored; says which kinds these are.
    pub(super) async fn refuse(&mut self) -> Vec<Kind> {
        let mut refused = Vec::new();
        for led in &self.led {
            if !led.stamp.is_open() {
                continue;
            }
            // What comes while we look is compared the next time.
            let is_complete = self.guard.known.view().is_complete();
            match self.guard.compare(led.kind, &led.stamp.head).await {
                Some(why) => refused.push((led.kind, Refused { why, head: led.stamp.head.clone() })),
                None if is_complete => led.stamp.compared(),
                None => {}
            }
        }
        let kinds = refused.iter().map(|(kind, _)| *kind).collect();
        for (kind, refused) in refused {
            let Some(at) = self.led.iter().position(|led| led.kind == kind) else { continue };
            let led = self.led.remove(at);
            self.ctx.metrics.leader(kind, false);
            self.ctx.metrics.follow(kind, None);
            release_all([(kind, &led.lease)].into_iter()).await;
            self.wait(kind, led.topics, Some(refused));
        }
        kinds
    }

    /// The final checkpoints, and the leases given back. `false` where something could not be stored.
    pub(super) async fn finish(&mut self) -> bool {
        // All at once: what goes to one far side can go in one request.
        let saved = join_all(
            self.led.iter().map(async |led| store(led, None, &self.ctx.metrics, &mut Throttle::default()).await),
        )
        .await;
        for led in &self.led {
            self.ctx.metrics.leader(led.kind, false);
            self.ctx.status.lease(led.kind, Leadership::Stopped);
        }
        self.release().await;
        saved.into_iter().all(|saved| saved)
    }

    /// Gives all leases back.
    pub(super) async fn release(&mut self) {
        release_all(self.led.iter().map(|led| (led.kind, &led.lease))).await;
    }
}

async fn release_all(leases: impl Iterator<Item = (Kind, &Arc<dyn Lease>)>) {
    join_all(leases.map(|(kind, lease)| async move {
        if let Err(error) = lease.release().await {
            warn!(%kind, %error, "the lease is not given back; it ends by itself");
        }
    }))
    .await;
}

/// Stores what changed since the last time: at once, or when it suits, and then at once when `hurry` is cancelled.
/// `false` when it could not be stored.
pub(super) async fn store(led: &Led, hurry: Option<&CancellationToken>, metrics: &Metrics, log: &mut Throttle) -> bool {
    let Led { kind, lease, ledger, stamp, .. } = led;
    if !led.has_news() {
        return true;
    }
    if stamp.withholds() {
        return false;
    }
    let (progress, identity) = stamp.stamped(ledger);
    let stored = match hurry {
        None => lease.save(&progress).await,
        Some(hurry) => lease.keep(&progress, hurry).await,
    };
    if stored.is_ok() {
        stamp.stored(identity);
    }
    metrics.task_cursors(*kind, ledger.task_cursors_len());
    if lease.keeps() {
        metrics.checkpoint(*kind, stored.is_ok());
    }
    // A lease that is lost is spoken of where it is noticed.
    if let Err(error) = &stored
        && !matches!(error, Error::Lost)
        && let Some(times) = log.due(error.class())
    {
        error!(%kind, %error, times, "the checkpoint is not stored; the last one holds");
    }
    stored.is_ok()
}
