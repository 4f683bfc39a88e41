//! Owns a run: leases, checkpoints, streams and delivery, and the order in which they start and stop.
//!
//! standby → lead (lease held) → load the checkpoint → run → drain → final checkpoint → release.
//!
//! This file has the loop that acts on what happens; `shutdown` has everything between SIGTERM and the end of the process.

mod delivery;
mod group;
mod guard;
mod leases;
mod shutdown;
mod stamp;

use std::{sync::Arc, time::Duration};

use futures_util::future::{OptionFuture, select_all};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub(crate) use self::guard::is_below;
pub use self::{
    delivery::watch_delivery,
    shutdown::{Ending, Shutdown},
};
use self::{
    group::Group,
    leases::{Acquired, Leases, Led},
    shutdown::COMPARED_WITHIN,
};
use crate::{
    cluster::Known,
    coordinator::Coordinator,
    kind::Kind,
    lease::Error,
    nomad::Topic,
    source::{Context, Source, Standby, Warm},
};

/// How long the supervisor waits for further leases after one was acquired: kinds that start together share one connection.
const GATHER: Duration = Duration::from_millis(50);
/// How long the supervisor waits for a lease before it opens the standby's stream: a lease that comes at once needs none.
const STANDBY_AFTER: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Debug)]
pub struct Plan {
    /// The kinds, each with the topics it asks for.
    pub kinds: Vec<(Kind, Vec<Topic>)>,
    /// `*`, or the namespaces to read.
    pub namespaces: Vec<String>,
    /// How often checkpoints are stored.
    pub checkpoint_interval: Duration,
    /// The bytes of the replay buffer of a standby; 0 means none.
    pub standby_buffer: usize,
    /// How long a stop may take: drain, final checkpoint and release.
    pub grace: Duration,
    /// The cluster that is read, to be compared with the one in the checkpoints.
    pub cluster: Known,
}

/// Runs until it is stopped, the sink closes, or the coordinator cannot work at all.
///
/// `sink_closed` is cancelled when the sink takes nothing more. `ctx.stop` is replaced for each connection.
///
/// # Errors
/// The coordinator refused for a reason that does not go away by waiting.
pub async fn run(
    plan: &Plan,
    coordinator: Arc<dyn Coordinator>,
    ctx: Context,
    shutdown: &Shutdown,
    sink_closed: CancellationToken,
) -> Result<Ending, Error> {
    let mut run = Run {
        plan,
        shutdown,
        sink_closed,
        leases: Leases::new(Arc::clone(&coordinator), ctx.clone(), plan.cluster.clone()),
        coordinator: Arc::clone(&coordinator),
        known: plan.cluster.clone(),
        ctx,
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
    let ending = run.act_until_end().await;
    shutdown::close(&*coordinator).await;
    ending
}

struct Run<'a> {
    plan: &'a Plan,
    shutdown: &'a Shutdown,
    sink_closed: CancellationToken,
    coordinator: Arc<dyn Coordinator>,
    ctx: Context,
    known: Known,
    leases: Leases,
    groups: Vec<Group>,
    /// The streams and savers of all groups, joined so that a panic in one of them is never lost.
    tasks: JoinSet<()>,
    /// Groups that lost a lease, until delivery has drained. Each gives the kinds that are still led.
    draining: JoinSet<Vec<Led>>,
    /// The warm stream of the kinds whose leases other replicas hold.
    standby: Option<Standby>,
    /// When to open it; `None` if it is open or not wanted.
    standby_from: Option<Instant>,
}

/// What the supervisor acts on.
enum Event {
    StopRequested,
    SinkClosed,
    LeaseAcquired(Result<Acquired, JoinError>),
    LeaseLost,
    /// Nomad has said more about which cluster it is.
    ClusterLearned,
    /// A group that lost a lease has delivered what it had read. These kinds are still led.
    GroupDrained(Vec<Led>),
    StandbyDue,
}

impl Run<'_> {
    async fn act_until_end(&mut self) -> Result<Ending, Error> {
        loop {
            match self.next_event().await {
                Event::StopRequested => return Ok(self.stop().await),
                Event::SinkClosed => return Ok(self.release_after_sink_closed().await),
                Event::LeaseAcquired(first) => self.start_acquired(first).await?,
                Event::LeaseLost => {
                    let lost = self.leases.drop_lost();
                    self.stop_groups_of(&lost);
                }
                Event::ClusterLearned => {
                    let refused = self.leases.refuse_foreign().await;
                    self.stop_groups_of(&refused);
                }
                Event::GroupDrained(kept) => {
                    // A kind whose lease was lost meanwhile and acquired again is in a group of its own.
                    let kept = kept.iter().filter(|kept| self.leases.led.iter().any(|led| led.is_same(kept)));
                    let kinds = kept.map(|kept| kept.kind).collect();
                    self.start_group(kinds, Warm::default());
                }
                Event::StandbyDue => self.open_standby(),
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        loop {
            let lost: Vec<_> = self.leases.led.iter().map(|led| led.lease.lost()).collect();
            let lost = OptionFuture::from((!lost.is_empty()).then(|| select_all(lost)));
            let standby_from = self.standby_from;
            tokio::select! {
                biased;
                () = self.shutdown.stop.cancelled() => return Event::StopRequested,
                () = self.sink_closed.cancelled() => return Event::SinkClosed,
                Some(_) = lost => return Event::LeaseLost,
                () = self.known.changed() => return Event::ClusterLearned,
                Some(acquired) = self.leases.waiting.join_next() => return Event::LeaseAcquired(acquired),
                Some(drained) = self.draining.join_next() => return Event::GroupDrained(or_resume_panic(drained)),
                () = sleep_until(standby_from.unwrap_or_else(Instant::now)), if standby_from.is_some() => {
                    return Event::StandbyDue;
                }
                // A stream ends early only when delivery has ended, which then says why. Only a panic matters here.
                Some(ended) = self.tasks.join_next() => or_resume_panic(ended),
            }
        }
    }

    /// Loads the checkpoints of the kinds whose leases were acquired at nearly the same moment, and starts them.
    async fn start_acquired(&mut self, first: Result<Acquired, JoinError>) -> Result<(), Error> {
        let mut acquired = vec![or_resume_panic(first)];
        let gathered = Instant::now() + GATHER;
        while !self.leases.waiting.is_empty()
            && let Ok(Some(next)) = timeout_at(gathered, self.leases.waiting.join_next()).await
        {
            acquired.push(or_resume_panic(next));
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
            // Nothing was read yet. Closing the coordinator gives these leases back.
            () = self.shutdown.stop.cancelled() => return Ok(()),
            () = self.sink_closed.cancelled() => return Ok(()),
        };
        let kinds = match kinds {
            Ok(kinds) => kinds,
            Err(error) => {
                // The kinds that were led before get their final checkpoint.
                self.leases.finish(Instant::now() + COMPARED_WITHIN).await;
                return Err(error);
            }
        };
        self.start_group(kinds, warm);
        Ok(())
    }

    /// Starts to read and deliver those of `kinds` whose leases are still held.
    fn start_group(&mut self, kinds: Vec<Kind>, warm: Warm) {
        let led: Vec<Led> = self.leases.led.iter().filter(|led| kinds.contains(&led.kind)).cloned().collect();
        if !led.is_empty() {
            let save_every = self.coordinator.keep_every(self.plan.checkpoint_interval);
            let group = Group::start(&self.ctx, self.plan, &led, warm, &mut self.tasks);
            group.save_regularly(&led, save_every, &self.ctx.metrics, &mut self.tasks);
            self.groups.push(group);
        }
        if self.standby.is_none() && !self.leases.waiting.is_empty() {
            self.standby_from = Some(Instant::now() + STANDBY_AFTER);
        }
    }

    /// Stops the groups of kinds that are no longer led. Their other kinds start again after the drain.
    fn stop_groups_of(&mut self, lost: &[Kind]) {
        if lost.is_empty() {
            return;
        }
        let has_lost = |group: &mut Group| group.kinds.iter().any(|kind| lost.contains(kind));
        for group in self.groups.extract_if(.., has_lost) {
            let delivery = self.ctx.delivery.clone();
            let kept = self.leases.led.iter().filter(|led| group.kinds.contains(&led.kind)).cloned().collect();
            self.draining.spawn(async move {
                group.stop().await;
                if delivery.drain().await.is_err() {
                    info!("delivery ended");
                }
                kept
            });
        }
        self.standby_from = Some(Instant::now() + STANDBY_AFTER);
    }

    /// Opens the event stream of the kinds that other replicas lead, so that a take-over does not depend on Nomad's buffer.
    fn open_standby(&mut self) {
        self.standby_from = None;
        let is_led = |kind: &Kind| self.leases.led.iter().any(|led| led.kind == *kind);
        let kinds = self.plan.kinds.iter().map(|(kind, _)| *kind);
        let waiting: Vec<Kind> = kinds.filter(|kind| !is_led(kind)).collect();
        let leaders = self.coordinator.leaders();
        // Polling resumes from the checkpoint, so there is no stream to keep.
        let has_stream = self.ctx.polling.source != Source::Poll;
        let leaders = leaders.filter(|_| has_stream && self.plan.standby_buffer > 0 && !waiting.is_empty());
        self.standby = leaders.map(|leaders| {
            let Plan { namespaces, kinds, standby_buffer, .. } = self.plan;
            Standby::start(&self.ctx, namespaces, kinds, &waiting, leaders, *standby_buffer)
        });
    }
}

/// The result of a task. A panic in it becomes a panic of the supervisor.
fn or_resume_panic<T>(ended: Result<T, JoinError>) -> T {
    // A task is cancelled only together with its set, and then nobody asks for its result.
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
