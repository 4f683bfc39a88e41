//! Owns a run: leases, checkpoints, lanes and delivery, and the order in which they start and stop.
//!
//! standby → lead (lease in hand) → load the checkpoint → run → drain → final checkpoint → release.

mod group;
mod guard;
mod leases;
mod stamp;

use std::{sync::Arc, time::Duration};

use futures_util::future::{OptionFuture, select_all};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    group::Group,
    leases::{Acquired, Leases, Led},
};
use crate::{
    cluster::Known,
    coordinator::Coordinator,
    kind::Kind,
    lease::Error,
    nomad::Topic,
    source::{Context, Source, Standby, Warm},
};

/// How long kinds whose leases come at nearly the same moment are waited for, so that they share one connection.
const GATHER: Duration = Duration::from_millis(50);
/// How long a lease is waited for before the stream is held ready: where it comes at once there is nothing to hold.
const STANDBY_AFTER: Duration = Duration::from_secs(1);
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
    /// Bytes of the stream that a standby holds ready; 0 holds none.
    pub standby_buffer: usize,
    /// How long a stop may take: drain, final checkpoint and release.
    pub grace: Duration,
    /// The cluster that is read, to be compared with what is stored.
    pub cluster: Known,
}

/// How a run is ended from outside.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Stop reading, deliver what is in flight, save, release.
    pub stop: CancellationToken,
    /// Give up what is in flight at once.
    pub abort: CancellationToken,
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
) -> Result<Ending, Error> {
    let mut run = Run {
        plan,
        leases: Leases::new(Arc::clone(&coordinator), ctx.clone(), plan.cluster.clone()),
        coordinator: Arc::clone(&coordinator),
        ctx,
        known: plan.cluster.clone(),
        groups: Vec::new(),
        tasks: JoinSet::new(),
        draining: JoinSet::new(),
        standby: None,
        standby_from: None,
    };
    for (kind, topics) in &plan.kinds {
        run.leases.stand_by(*kind, topics.clone());
    }
    run.standby_from = Some(Instant::now() + STANDBY_AFTER);
    let ending = run.until_ended(shutdown, &sink_closed).await;
    if timeout(SAVE_WITHIN, coordinator.close()).await.is_err() {
        info!("the coordinator did not answer in time; what it keeps ends by itself");
    }
    ending
}

struct Run<'a> {
    plan: &'a Plan,
    coordinator: Arc<dyn Coordinator>,
    ctx: Context,
    leases: Leases,
    known: Known,
    groups: Vec<Group>,
    /// The lanes and savers of all groups. None of them may end in a panic unnoticed.
    tasks: JoinSet<()>,
    /// Groups that lost a lease, until what they had read is delivered or dropped: what goes on.
    draining: JoinSet<Vec<Led>>,
    /// The stream, held ready for the kinds that we wait for.
    standby: Option<Standby>,
    /// When to hold it ready, unless that is done or not wanted.
    standby_from: Option<Instant>,
}

/// What the supervisor has to act on.
enum Event {
    Stop,
    SinkClosed,
    Acquired(Result<Acquired, JoinError>),
    /// Some lease is lost.
    Lost,
    /// More is known of the cluster.
    Known,
    Drained(Vec<Led>),
    /// The stream is to be held ready.
    Standby,
}

impl Run<'_> {
    async fn until_ended(&mut self, shutdown: &Shutdown, sink_closed: &CancellationToken) -> Result<Ending, Error> {
        loop {
            match self.next(shutdown, sink_closed).await {
                Event::Stop => return Ok(self.stop(shutdown, sink_closed).await),
                Event::SinkClosed => {
                    self.leases.release().await;
                    return Ok(Ending::SinkClosed);
                }
                Event::Acquired(first) => self.take_up(first, shutdown, sink_closed).await?,
                Event::Lost => {
                    let lost = self.leases.drop_lost();
                    self.give_up(&lost);
                }
                Event::Known => {
                    let refused = self.leases.refuse().await;
                    self.give_up(&refused);
                }
                Event::Drained(kept) => {
                    // What was lost meanwhile, and then came again, has a group of its own.
                    let kept = kept.iter().filter(|kept| self.leases.led.iter().any(|led| led.is_same(kept)));
                    let kinds = kept.map(|kept| kept.kind).collect();
                    self.lead(kinds, Warm::default());
                }
                Event::Standby => self.hold_ready(),
            }
        }
    }

    async fn next(&mut self, shutdown: &Shutdown, sink_closed: &CancellationToken) -> Event {
        loop {
            let lost: Vec<_> = self.leases.led.iter().map(|led| led.lease.lost()).collect();
            let lost = OptionFuture::from((!lost.is_empty()).then(|| select_all(lost)));
            let standby_from = self.standby_from;
            tokio::select! {
                biased;
                () = shutdown.stop.cancelled() => return Event::Stop,
                () = sink_closed.cancelled() => return Event::SinkClosed,
                Some(_) = lost => return Event::Lost,
                () = self.known.changed() => return Event::Known,
                Some(acquired) = self.leases.waiting.join_next() => return Event::Acquired(acquired),
                Some(drained) = self.draining.join_next() => return Event::Drained(or_raise(drained)),
                () = sleep_until(standby_from.unwrap_or_else(Instant::now)), if standby_from.is_some() => {
                    return Event::Standby;
                }
                // A lane ends early only with delivery, which then says why. But a panic must not end in silence.
                Some(ended) = self.tasks.join_next() => or_raise(ended),
            }
        }
    }

    /// Takes up the kinds whose leases came at nearly the same moment.
    async fn take_up(
        &mut self,
        first: Result<Acquired, JoinError>,
        shutdown: &Shutdown,
        sink_closed: &CancellationToken,
    ) -> Result<(), Error> {
        let mut acquired = vec![or_raise(first)];
        let gathered = Instant::now() + GATHER;
        while !self.leases.waiting.is_empty()
            && let Ok(Some(next)) = timeout_at(gathered, self.leases.waiting.join_next()).await
        {
            acquired.push(or_raise(next));
        }
        let standby = self.standby.take();
        let warm = async {
            match standby {
                Some(standby) => standby.take().await,
                None => Warm::default(),
            }
        };
        let loaded = async { tokio::join!(self.leases.load(acquired), warm) };
        let (kinds, warm) = tokio::select! {
            loaded = loaded => loaded,
            // Nothing was read yet: what was acquired is given back when the coordinator is closed.
            () = shutdown.stop.cancelled() => return Ok(()),
            () = sink_closed.cancelled() => return Ok(()),
        };
        let kinds = match kinds {
            Ok(kinds) => kinds,
            Err(error) => {
                // Those that were led before are finished properly.
                self.leases.finish().await;
                return Err(error);
            }
        };
        self.lead(kinds, warm);
        Ok(())
    }

    /// Starts to read and deliver `kinds`, as far as their leases are still ours.
    fn lead(&mut self, kinds: Vec<Kind>, warm: Warm) {
        let led: Vec<Led> = self.leases.led.iter().filter(|led| kinds.contains(&led.kind)).cloned().collect();
        if !led.is_empty() {
            let every = self.coordinator.keep_every(self.plan.checkpoint_interval);
            self.groups.push(Group::start(&self.ctx, self.plan, every, &led, warm, &mut self.tasks));
        }
        if self.standby.is_none() && !self.leases.waiting.is_empty() {
            self.standby_from = Some(Instant::now() + STANDBY_AFTER);
        }
    }

    /// Stops the groups of kinds that are led no more. What they had read for the kinds that go on is delivered first.
    fn give_up(&mut self, lost: &[Kind]) {
        if lost.is_empty() {
            return;
        }
        let hit = |group: &mut Group| group.kinds.iter().any(|kind| lost.contains(kind));
        for group in self.groups.extract_if(.., hit) {
            let delivery = self.ctx.delivery.clone();
            let kept = self.leases.led.iter().filter(|led| group.kinds.contains(&led.kind)).cloned().collect();
            self.draining.spawn(async move {
                group.stop().await;
                if delivery.drain().await.is_err() {
                    info!("delivery has ended");
                }
                kept
            });
        }
        self.standby_from = Some(Instant::now() + STANDBY_AFTER);
    }

    /// Holds the stream ready for the kinds that are led by others.
    fn hold_ready(&mut self) {
        self.standby_from = None;
        let led = |kind: &Kind| self.leases.led.iter().any(|led| led.kind == *kind);
        let waited: Vec<_> = self.plan.kinds.iter().filter(|(kind, _)| !led(kind)).cloned().collect();
        let leaders = self.coordinator.leaders();
        // Lists begin where the checkpoint is: there is nothing to hold for them.
        let streams = self.ctx.polling.source != Source::Poll;
        let leaders = leaders.filter(|_| streams && self.plan.standby_buffer > 0 && !waited.is_empty());
        self.standby = leaders.map(|leaders| {
            Standby::start(&self.ctx, &self.plan.namespaces, &waited, leaders, self.plan.standby_buffer)
        });
    }

    /// Source, drain, final checkpoint, release.
    async fn stop(&mut self, shutdown: &Shutdown, sink_closed: &CancellationToken) -> Ending {
        let deadline = Instant::now() + self.plan.grace;
        let (delivery, leads) = (self.ctx.delivery.clone(), !self.leases.led.is_empty());
        let groups = std::mem::take(&mut self.groups);
        self.standby = None;
        groups.iter().for_each(|group| group.stop.cancel());
        let drained = async {
            for group in groups {
                group.stop().await;
            }
            while let Some(drained) = self.draining.join_next().await {
                or_raise(drained);
            }
            while let Some(ended) = self.tasks.join_next().await {
                or_raise(ended);
            }
            if delivery.drain().await.is_err() {
                info!("delivery has ended");
            }
        };
        tokio::select! {
            () = drained => if leads {
                let kinds = self.plan.kinds.iter();
                let records: u64 = kinds.map(|(kind, _)| self.ctx.metrics.summary(*kind).delivered).sum();
                info!(records, "drained");
            },
            () = sleep_until(deadline - SAVE_WITHIN.min(self.plan.grace)) => {
                warn!("the grace period is over; what is still in flight will be sent again at the next start");
                shutdown.abort.cancel();
            }
            () = shutdown.abort.cancelled() => warn!("aborted; what is still in flight will be sent again"),
            () = sink_closed.cancelled() => {
                self.leases.release().await;
                return Ending::SinkClosed;
            }
        }
        let drained = !shutdown.abort.is_cancelled();
        // A disk that hangs must not hold a process that is to end.
        let until = if drained { deadline } else { Instant::now() + SAVE_WITHIN };
        let saved = tokio::select! {
            saved = self.leases.finish() => saved,
            () = shutdown.abort.cancelled(), if drained => false,
            () = sleep_until(until) => {
                warn!("the final checkpoint is not stored, or the lease not given back, within the grace period");
                false
            }
        };
        Ending::Stopped { clean: drained && saved }
    }
}

/// What a task came to; its panic is ours.
fn or_raise<T>(ended: Result<T, JoinError>) -> T {
    // Tasks are cancelled with their set alone, and then nobody asks.
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
