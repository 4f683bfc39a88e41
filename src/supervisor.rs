//! Owns a run: leases, checkpoints, lanes and delivery, and the order in which they start and stop.
//!
//! standby → lead (lease in hand) → load the checkpoint → run → drain → final checkpoint → release.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    checkpoint::Checkpoint,
    coordinator::{Coordinator, Lease},
    kind::Kind,
    ledger::Ledger,
    nomad::Topic,
    source::{self, Context, Reading},
    telemetry::{Metrics, Phase},
};

/// How long kinds whose leases come at nearly the same moment are waited for, so that they share one connection.
const GATHER: Duration = Duration::from_millis(50);
/// A run that ends sooner than the checkpoint interval after its start still gets on: without an early checkpoint, one
/// that is killed again and again would send the same stretch each time.
const FIRST_SAVE: Duration = Duration::from_secs(1);
/// What is kept of the grace period for the final checkpoint and the release.
const SAVE_WITHIN: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Debug)]
pub struct Plan {
    /// The kinds, each with the topics it asks for.
    pub kinds: Vec<(Kind, Vec<Topic>)>,
    /// `*`, or the namespaces to read.
    pub namespaces: Vec<String>,
    /// How often checkpoints are stored.
    pub checkpoint_interval: Duration,
    /// How long a stop may take: drain, final checkpoint and release.
    pub grace: Duration,
}

/// How a run is ended from outside.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Stop reading, deliver what is in flight, save, release.
    pub stop: CancellationToken,
    /// Give up what is in flight at once.
    pub abort: CancellationToken,
}

/// A kind that we lead.
struct Led {
    kind: Kind,
    topics: Vec<Topic>,
    lease: Arc<dyn Lease>,
    ledger: Arc<Ledger>,
}

/// Why a run ended.
#[derive(Debug)]
pub enum Ending {
    /// It was stopped, and everything in flight was delivered and saved, or not within the grace period.
    Stopped {
        /// Whether everything that was read is delivered and saved.
        clean: bool,
    },
    /// The sink wants no more. The checkpoint was left as it was: what the far side had not read is not delivered.
    SinkClosed,
}

/// Runs until it is stopped, the sink is closed, or the coordinator cannot work at all.
///
/// `delivery` ends when the sink is closed; `ctx.stop` is replaced for each connection.
///
/// # Errors
/// The coordinator refused for a reason that waiting cannot mend.
pub async fn run(
    plan: &Plan,
    coordinator: Arc<dyn Coordinator>,
    ctx: Context,
    shutdown: &Shutdown,
    sink_closed: CancellationToken,
) -> Result<Ending, crate::coordinator::Error> {
    let mut waiting = JoinSet::new();
    for (kind, topics) in &plan.kinds {
        ctx.status.set(*kind, Phase::Standby);
        stand_by(&mut waiting, &coordinator, *kind, topics.clone());
    }
    let mut led: Vec<Led> = Vec::new();
    // What was acknowledged under leases that were lost.
    let mut remembered: HashMap<Kind, Checkpoint> = HashMap::new();
    loop {
        let mut joined = Vec::new();
        if led.is_empty() {
            tokio::select! {
                () = shutdown.stop.cancelled() => return Ok(Ending::Stopped { clean: true }),
                Some(first) = waiting.join_next() => joined.push(first),
            }
        }
        // Leases that come together share one connection.
        let gathered = Instant::now() + GATHER;
        while let Ok(Some(next)) = timeout_at(gathered, waiting.join_next()).await {
            joined.push(next);
        }
        for joined in joined {
            take_lead(&ctx, &mut led, joined, &mut remembered).await?;
        }
        match lead(plan, &ctx, &led, &mut waiting, shutdown, &sink_closed).await {
            Change::Stop => {
                let drained = !shutdown.abort.is_cancelled();
                // A disk that hangs must not hold a process that is to end.
                let patience = if drained { plan.grace } else { SAVE_WITHIN };
                let saved = tokio::select! {
                    saved = finish(&ctx, &led) => saved,
                    () = shutdown.abort.cancelled(), if drained => false,
                    () = sleep(patience) => false,
                };
                return Ok(Ending::Stopped { clean: drained && saved });
            }
            Change::SinkClosed => {
                release(&led).await;
                return Ok(Ending::SinkClosed);
            }
            Change::Joined(joined) => take_lead(&ctx, &mut led, joined, &mut remembered).await?,
            Change::Lost => {
                let (kept, lost) = led.drain(..).partition(|led| led.lease.is_valid());
                led = kept;
                for lost in lost as Vec<Led> {
                    warn!(kind = %lost.kind, "the lease is lost; standing by");
                    remembered.insert(lost.kind, lost.ledger.acknowledged());
                    ctx.metrics.leader(lost.kind, false);
                    ctx.status.set(lost.kind, Phase::Standby);
                    stand_by(&mut waiting, &coordinator, lost.kind, lost.topics);
                }
            }
        }
    }
}

type Acquired = (Kind, Vec<Topic>, Result<Arc<dyn Lease>, crate::coordinator::Error>);

fn stand_by(waiting: &mut JoinSet<Acquired>, coordinator: &Arc<dyn Coordinator>, kind: Kind, topics: Vec<Topic>) {
    let coordinator = Arc::clone(coordinator);
    waiting.spawn(async move { (kind, topics, coordinator.acquire(kind).await) });
}

/// Takes up a kind whose lease is ours. Where that cannot work, those that were led before are finished properly.
async fn take_lead(
    ctx: &Context,
    led: &mut Vec<Led>,
    joined: Result<Acquired, JoinError>,
    remembered: &mut HashMap<Kind, Checkpoint>,
) -> Result<(), crate::coordinator::Error> {
    let (kind, topics, lease) = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let loaded = match lease {
        Ok(lease) => lease.load().await.map(|checkpoint| (lease, checkpoint)),
        Err(error) => Err(error),
    };
    let (lease, checkpoint) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            finish(ctx, led).await;
            return Err(error);
        }
    };
    let remembered = remembered.remove(&kind).filter(|_| checkpoint.is_none());
    if remembered.is_some() {
        error!(%kind, "the checkpoint that this process had stored is gone; going on from memory");
    }
    let checkpoint = checkpoint.or(remembered);
    match &checkpoint {
        Some(checkpoint) => {
            let lanes = checkpoint.lanes.iter().map(|(name, lane)| format!("{name}@{}", lane.position.index));
            let positions = lanes.collect::<Vec<_>>().join(" ");
            info!(%kind, positions, marks = checkpoint.marks.len(), "leading; going on from the checkpoint");
        }
        None => info!(%kind, "leading; first start"),
    }
    let checkpoint =
        checkpoint.unwrap_or_else(|| Checkpoint { version: crate::checkpoint::VERSION, ..Default::default() });
    let ledger = Ledger::new(Arc::clone(&lease), checkpoint);
    led.push(Led { kind, topics, lease, ledger });
    Ok(())
}

/// What ends a stretch of leading with one set of kinds.
enum Change {
    Stop,
    SinkClosed,
    Joined(Result<Acquired, JoinError>),
    Lost,
}

/// Reads and delivers the kinds we lead until something changes. On return nothing is read any more, and all that was
/// read is delivered, dropped, or given up.
async fn lead(
    plan: &Plan,
    ctx: &Context,
    led: &[Led],
    waiting: &mut JoinSet<Acquired>,
    shutdown: &Shutdown,
    sink_closed: &CancellationToken,
) -> Change {
    let mut ctx = ctx.clone();
    ctx.stop = CancellationToken::new();
    let readings: Vec<Reading> = led
        .iter()
        .map(|led| Reading { kind: led.kind, topics: led.topics.clone(), ledger: Arc::clone(&led.ledger) })
        .collect();
    led.iter().for_each(|led| ctx.metrics.leader(led.kind, true));
    let mut lanes = source::spawn(&ctx, &plan.namespaces, &readings, source::Warm::default());
    let mut savers = JoinSet::new();
    for led in led {
        let (lease, ledger) = (Arc::clone(&led.lease), Arc::clone(&led.ledger));
        savers.spawn(save_regularly(
            led.kind,
            lease,
            ledger,
            plan.checkpoint_interval,
            ctx.stop.clone(),
            ctx.metrics.clone(),
        ));
    }
    let mut lost = futures_util::future::select_all(led.iter().map(|led| led.lease.lost()));
    let mut change = loop {
        tokio::select! {
            biased;
            () = shutdown.stop.cancelled() => break Change::Stop,
            () = sink_closed.cancelled() => break Change::SinkClosed,
            _ = &mut lost => break Change::Lost,
            Some(joined) = waiting.join_next() => break Change::Joined(joined),
            // A lane ends early only with delivery, which then says why. But a panic must not end in silence.
            Some(ended) = lanes.join_next() => raise(ended),
        }
    };
    ctx.stop.cancel();
    let drained = async {
        // A save under way is waited for: two at once could end in the wrong order.
        while let Some(ended) = savers.join_next().await {
            raise(ended);
        }
        while let Some(ended) = lanes.join_next().await {
            raise(ended);
        }
        if ctx.delivery.drain().await.is_err() {
            info!("delivery has ended");
        }
    };
    tokio::pin!(drained);
    if matches!(change, Change::Joined(_) | Change::Lost) {
        // A change of leases need not hurry, but a stop has its time.
        tokio::select! {
            () = &mut drained => return change,
            () = shutdown.stop.cancelled() => change = Change::Stop,
            () = sink_closed.cancelled() => change = Change::SinkClosed,
        }
    }
    if matches!(change, Change::Stop) {
        tokio::select! {
            () = drained => info!("everything that was read is delivered"),
            () = sleep(plan.grace.saturating_sub(SAVE_WITHIN)) => {
                warn!("the grace period is over; what is still in flight will be sent again at the next start");
                shutdown.abort.cancel();
            }
            () = shutdown.abort.cancelled() => warn!("aborted; what is still in flight will be sent again"),
            () = sink_closed.cancelled() => change = Change::SinkClosed,
        }
    }
    change
}

fn raise(ended: Result<(), JoinError>) {
    if let Err(panic) = ended
        && panic.is_panic()
    {
        std::panic::resume_unwind(panic.into_panic());
    }
}

async fn save_regularly(
    kind: Kind,
    lease: Arc<dyn Lease>,
    ledger: Arc<Ledger>,
    every: Duration,
    stop: CancellationToken,
    metrics: Metrics,
) {
    let mut timer = interval_at(Instant::now() + every.min(FIRST_SAVE), every);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        save(kind, &*lease, &ledger, &metrics).await;
    }
}

/// Stores what changed since the last time. `false` when it could not be stored.
async fn save(kind: Kind, lease: &dyn Lease, ledger: &Ledger, metrics: &Metrics) -> bool {
    let Some(checkpoint) = ledger.take_changes() else { return true };
    metrics.marks(kind, checkpoint.marks.len());
    let stored = lease.save(&checkpoint).await;
    metrics.checkpoint(kind, stored.is_ok());
    match stored {
        Ok(()) => true,
        Err(error) => {
            error!(%kind, %error, "the checkpoint is not stored; the last one holds");
            ledger.not_stored();
            false
        }
    }
}

/// The final checkpoints, and the leases given back.
async fn finish(ctx: &Context, led: &[Led]) -> bool {
    let mut saved = true;
    for led in led {
        saved &= save(led.kind, &*led.lease, &led.ledger, &ctx.metrics).await;
        ctx.metrics.leader(led.kind, false);
        ctx.status.set(led.kind, Phase::Stopped);
    }
    release(led).await;
    saved
}

async fn release(led: &[Led]) {
    for led in led {
        if let Err(error) = led.lease.release().await {
            warn!(kind = %led.kind, %error, "the lease is not given back; it ends by itself");
        }
    }
}
