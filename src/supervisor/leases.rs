//! The leases of a run: those that are waited for, those that are held, and the checkpoints stored under them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join_all};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
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
    telemetry::{Leadership, Metrics, metrics::Transition},
    throttle::{Classified, Throttle},
};

/// How long a loaded checkpoint waits for Nomad to say which cluster this is. After that the run resumes from it, but stores nothing
/// until the cluster is known.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// A kind that this replica leads.
#[derive(Clone)]
pub(super) struct Led {
    pub(super) kind: Kind,
    pub(super) topics: Vec<Topic>,
    pub(super) lease: Arc<dyn Lease>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) stamp: Arc<Stamp>,
}

impl Led {
    /// Whether both are led under the same lease.
    pub(super) fn is_same(&self, other: &Led) -> bool {
        Arc::ptr_eq(&self.ledger, &other.ledger)
    }

    /// Whether there is something to store.
    pub(super) fn has_news(&self) -> bool {
        if self.stamp.is_due() {
            self.ledger.touch();
        }
        self.ledger.is_changed()
    }
}

/// A kind whose wait for its lease has ended: the lease, or why the coordinator cannot give it.
pub(super) type Acquired = (Kind, Vec<Topic>, Result<Arc<dyn Lease>, Error>);

pub(super) struct Leases {
    guard: Guard,
    ctx: Context,
    pub(super) waiting: JoinSet<Acquired>,
    pub(super) led: Vec<Led>,
    /// What was acknowledged under leases that were lost, for the case that their checkpoint disappears.
    remembered: HashMap<Kind, Checkpoint>,
}

impl Leases {
    pub(super) fn new(coordinator: Arc<dyn Coordinator>, ctx: Context, known: Known) -> Self {
        let guard = Guard { coordinator, client: ctx.client.clone(), known, status: ctx.status.clone() };
        Leases { guard, ctx, waiting: JoinSet::new(), led: Vec::new(), remembered: HashMap::new() }
    }

    /// Starts to wait for the lease of a kind.
    pub(super) fn stand_by(&mut self, kind: Kind, topics: Vec<Topic>) {
        self.ctx.status.lease(kind, Leadership::Standby);
        self.wait(kind, topics, None);
    }

    fn wait(&mut self, kind: Kind, topics: Vec<Topic>, refused: Option<Refused>) {
        let guard = self.guard.clone();
        self.waiting.spawn(async move { (kind, topics, guard.acquire(kind, refused).await) });
    }

    /// Loads the checkpoints of leases that were acquired, and returns the kinds that are now led. A lease that is lost meanwhile is
    /// waited for again, and so is one whose checkpoint belongs to another cluster.
    ///
    /// # Errors
    /// A lease or a checkpoint failed for a reason that does not go away by waiting. All of these leases are given back.
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
            self.guard.known.settled_within(KNOWN_WITHIN).await;
        }
        let mut kinds = Vec::new();
        for ((kind, topics, lease), loaded) in leases.into_iter().zip(loaded) {
            match loaded {
                Some(checkpoint) => {
                    if self.lead(kind, topics, lease, checkpoint).await {
                        kinds.push(kind);
                    }
                }
                None => {
                    warn!(%kind, action = "stand by", "lease lost before the first read");
                    self.stand_by(kind, topics);
                }
            }
        }
        Ok(kinds)
    }

    /// Leads a kind from its checkpoint, unless that belongs to another cluster. Returns whether it is led.
    async fn lead(
        &mut self,
        kind: Kind,
        topics: Vec<Topic>,
        lease: Arc<dyn Lease>,
        checkpoint: Option<Checkpoint>,
    ) -> bool {
        let head = checkpoint.as_ref().map(Checkpoint::head).unwrap_or_default();
        let view = self.guard.known.view();
        if let Some(why) = self.guard.compare(kind, &head, &view.identity).await {
            release_all([(kind, &lease)].into_iter()).await;
            self.wait(kind, topics, Some(Refused { why, head }));
            return false;
        }
        // What this process remembers can be of a checkpoint that was never compared, and that somebody has removed for that reason.
        if checkpoint.is_none()
            && let Some(remembered) = self.remembered.get(&kind).map(Checkpoint::head)
            && self.guard.compare(kind, &remembered, &view.identity).await.is_some()
        {
            self.remembered.remove(&kind);
        }
        let stamp = Arc::new(Stamp::new(self.guard.known.clone(), head, view));
        let checkpoint = self.checkpoint_to_resume(kind, checkpoint);
        let ledger = Ledger::measured(Arc::clone(&lease), checkpoint, self.ctx.metrics.latency(kind));
        self.ctx.metrics.follow(kind, Some(Arc::clone(&ledger) as _));
        self.led.push(Led { kind, topics, lease, ledger, stamp });
        true
    }

    /// The stored checkpoint. Without one, what this process remembers of an earlier lease; without that, an empty one.
    fn checkpoint_to_resume(&mut self, kind: Kind, stored: Option<Checkpoint>) -> Checkpoint {
        let remembered = self.remembered.remove(&kind).filter(|_| stored.is_none());
        if remembered.is_some() {
            error!(%kind, action = "resume from memory", "checkpoint has disappeared");
        }
        let from = match (&stored, &remembered) {
            (Some(_), _) => "stored",
            (None, Some(_)) => "remembered",
            (None, None) => "none",
        };
        let Some(checkpoint) = stored.or(remembered) else {
            info!(%kind, checkpoint = from, "became leader");
            return Checkpoint { version: VERSION, ..Default::default() };
        };
        let streams = checkpoint.streams.iter().map(|(name, stream)| format!("{name}@{}", stream.position.index));
        let positions = streams.collect::<Vec<_>>().join(" ");
        let task_cursors = checkpoint.task_cursors.len();
        info!(%kind, checkpoint = from, positions, task_cursors, "became leader");
        checkpoint
    }

    /// Waits again for the leases that were lost. Returns their kinds.
    pub(super) fn drop_lost(&mut self) -> Vec<Kind> {
        let lost: Vec<Led> = self.led.extract_if(.., |led| led.lease.lease_state() == LeaseState::Lost).collect();
        let kinds = lost.iter().map(|led| led.kind).collect();
        for led in lost {
            warn!(kind = %led.kind, action = "stand by", "no longer leader");
            self.remembered.insert(led.kind, led.ledger.acknowledged());
            self.leads_no_longer(led.kind, Transition::Lost);
            self.stand_by(led.kind, led.topics);
        }
        kinds
    }

    /// Compares the checkpoints with what has become known of the cluster since they were loaded. The leases of checkpoints that
    /// belong to another cluster are given back, and nothing more is stored under them. Returns their kinds.
    pub(super) async fn refuse_foreign(&mut self) -> Vec<Kind> {
        let refused = self.compare().await;
        let kinds = refused.iter().map(|(kind, _)| *kind).collect();
        for (kind, refused) in refused {
            let Some(at) = self.led.iter().position(|led| led.kind == kind) else { continue };
            let led = self.led.remove(at);
            self.leads_no_longer(kind, Transition::Released);
            release_all([(kind, &led.lease)].into_iter()).await;
            self.wait(kind, led.topics, Some(refused));
        }
        kinds
    }

    /// The kinds whose checkpoints belong to another cluster, as far as is known now.
    async fn compare(&self) -> Vec<(Kind, Refused)> {
        let mut refused = Vec::new();
        for led in &self.led {
            if !led.stamp.is_open() {
                continue;
            }
            // What becomes known during the comparison is compared the next time.
            let view = self.guard.known.view();
            match self.guard.compare(led.kind, &led.stamp.head, &view.identity).await {
                Some(why) => refused.push((led.kind, Refused { why, head: led.stamp.head.clone() })),
                None => led.stamp.compared(view),
            }
        }
        refused
    }

    fn leads_no_longer(&self, kind: Kind, how: Transition) {
        self.ctx.metrics.lease(kind, how);
        self.ctx.metrics.follow(kind, None);
    }

    /// Stores the final checkpoints and releases the leases. Returns whether everything was stored.
    ///
    /// A short run can end before its checkpoints were compared with the cluster, and what was not compared is not stored. So it waits
    /// for Nomad to say which cluster this is, at most `until` then.
    pub(super) async fn finish(&mut self, until: Instant) -> bool {
        let compared = async {
            if self.led.iter().any(|led| led.stamp.is_open() && led.has_news()) {
                self.guard.known.settled().await;
            }
            self.compare().await
        };
        let refused: HashMap<_, _> = timeout_at(until, compared).await.unwrap_or_default().into_iter().collect();
        for led in self.led.iter().filter(|led| led.has_news() && led.stamp.stamped(&led.ledger).is_none()) {
            let why = refused.get(&led.kind).map(|Refused { why, .. }| why.to_string());
            let error = why.as_deref().unwrap_or("Nomad has not said in time which cluster this is");
            error!(kind = %led.kind, error, "cannot store checkpoint");
        }
        // All at once: a coordinator can store several kinds with one request.
        let saved = join_all(
            self.led.iter().map(async |led| store(led, None, &self.ctx.metrics, &mut Throttle::default()).await),
        )
        .await;
        for led in &self.led {
            self.ctx.metrics.lease(led.kind, Transition::Released);
            self.ctx.status.lease(led.kind, Leadership::Stopped);
        }
        self.release().await;
        saved.into_iter().all(|saved| saved)
    }

    /// Releases all leases.
    pub(super) async fn release(&mut self) {
        release_all(self.led.iter().map(|led| (led.kind, &led.lease))).await;
    }
}

async fn release_all(leases: impl Iterator<Item = (Kind, &Arc<dyn Lease>)>) {
    join_all(leases.map(|(kind, lease)| async move {
        if let Err(error) = lease.release().await {
            warn!(%kind, %error, action = "let it expire", "cannot release lease");
        }
    }))
    .await;
}

/// Stores what has changed since the last save: at once, or if there is `hurry`, at the coordinator's convenience until `hurry` is
/// cancelled. Returns `false` if it could not be stored.
pub(super) async fn store(led: &Led, hurry: Option<&CancellationToken>, metrics: &Metrics, log: &mut Throttle) -> bool {
    let Led { kind, lease, ledger, stamp, .. } = led;
    if !led.has_news() {
        return true;
    }
    let Some((progress, identity)) = stamp.stamped(ledger) else { return false };
    let began = Instant::now();
    let stored = match hurry {
        None => lease.save(&progress).await,
        Some(hurry) => lease.keep(&progress, hurry).await,
    };
    if stored.is_ok() {
        stamp.stored(identity);
        ledger.stored(began);
    }
    metrics.task_cursors(*kind, ledger.task_cursors_len());
    if lease.keeps() {
        metrics.checkpoint(*kind, stored.is_ok(), began.elapsed());
    }
    // The supervisor logs a lost lease when it notices it.
    if let Err(error) = &stored
        && !matches!(error, Error::Lost)
        && let Some(times) = log.due(error.class())
    {
        error!(%kind, %error, times, "cannot store checkpoint");
    }
    stored.is_ok()
}
