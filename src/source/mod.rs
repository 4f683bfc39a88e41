//! From the cluster to records: the event stream, the proof that nothing lies between two connections, and the lists
//! that give what could have been missed.
//!
//! Start at [`proof`] for the gap proof, at `lane` for the life of a connection, at `reconcile` for lists, which `page`
//! reads.
//! `standby` holds what a replica needs that is to take over.
//! Where a cluster has no event stream, a lane polls: `lane::poll`.

mod absence;
mod catch_up;
mod fetch;
mod held;
mod lane;
mod namespaces;
mod newest;
mod page;
mod plausible;
mod progress;
pub mod proof;
mod reader;
mod reconcile;
mod standby;
mod tokens;
mod topics;
mod tracker;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::standby::{Standby, Warm};
use self::{fetch::Unread, lane::Lane, tracker::Tracker};
use crate::{
    backoff::Backoff,
    dead_letter::{DeadLetters, Input},
    delivery::Handle,
    kind::Kind,
    ledger::Ledger,
    nomad::{Client, Topic},
    position::RaftIndex,
    record::Record,
    telemetry::{Metrics, Status, metrics},
    throttle::Outage,
    window::Window,
};

/// A connection that lived this long was a good one: the next failure starts with the shortest pause again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Where the very first start begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With everything that the cluster still has.
    All,
    /// With what happens from now on.
    Now,
    /// With what happened at this raft index or later, as far as the cluster still has it.
    Index(RaftIndex),
}

/// Where records come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// From the event stream where there is one, otherwise from lists until there is.
    #[default]
    Auto,
    /// From the event stream alone.
    Stream,
    /// From lists alone.
    Poll,
}

/// How lists are read where there is no event stream.
#[derive(Clone, Copy, Debug)]
pub struct Polling {
    /// Whether they are.
    pub source: Source,
    /// The shortest pause between two lists of one kind.
    pub interval: Duration,
    /// How long ago the server that answers may have heard of its leader; `None` has only the leader answer.
    pub stale: Option<Duration>,
}

impl Default for Polling {
    fn default() -> Self {
        Polling { source: Source::Auto, interval: Duration::from_secs(1), stale: None }
    }
}

/// What every lane needs.
#[derive(Clone, Debug)]
pub struct Context {
    /// The cluster.
    pub client: Client,
    /// Where records go.
    pub delivery: Handle,
    /// Where goes what no record can be made of.
    pub dead_letters: DeadLetters,
    /// The bound on bytes in flight.
    pub window: Window,
    /// Counters.
    pub metrics: Metrics,
    /// What each kind is doing, for the status page.
    pub status: Status,
    /// Where the first start begins.
    pub start: Start,
    /// What takes the stream's place where there is none.
    pub polling: Polling,
    /// Cancelled when nothing new is to be read.
    pub stop: CancellationToken,
}

/// The lane is to end: it was stopped, or delivery has ended.
#[derive(Debug)]
struct Stopped;

/// One kind that is to be read, with the topics it asks for and its ledger.
#[derive(Debug)]
pub struct Reading {
    /// The kind.
    pub kind: Kind,
    /// Its topics; one for every kind but raw events.
    pub topics: Vec<Topic>,
    /// Where its records are acknowledged.
    pub ledger: Arc<Ledger>,
}

/// Starts a lane for each namespace; all kinds share its connection. They end when `ctx.stop` is cancelled.
///
/// A lane that can go on with what a [`Standby`] has held takes it out of `warm`; the rest of that is let go.
pub fn spawn(ctx: &Context, namespaces: &[String], kinds: &[Reading], mut warm: Warm) -> JoinSet<()> {
    let mut lanes = JoinSet::new();
    for (n, namespace) in namespaces.iter().enumerate() {
        let namespace: Arc<str> = Arc::from(&**namespace);
        let first = n == 0;
        let trackers: Vec<Tracker> = kinds
            .iter()
            .filter(|reading| is_on_lane(reading.kind, first))
            .map(|reading| {
                let ledger = Arc::clone(&reading.ledger);
                Tracker::new(reading.kind, reading.topics.clone(), Arc::clone(&namespace), ledger)
            })
            .collect();
        if !trackers.is_empty() {
            let warm = warm.take(&namespace);
            lanes.spawn(Lane::new(namespace, first, trackers, ctx.clone(), warm).run());
        }
    }
    lanes
}

/// Whether a kind reads the first lane, or another one. Nodes have no namespace: one lane is enough for them.
fn is_on_lane(kind: Kind, first: bool) -> bool {
    first || kind != Kind::Nodes
}

/// What to subscribe to: each topic once. Where several keys of one topic are wanted, all of it: Nomad sends an event
/// that matches two keys twice, and none at all for a topic that is named twice (2.0.5).
fn union<'a>(wanted: impl IntoIterator<Item = &'a Topic>) -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::new();
    for topic in wanted {
        if topic.name == "*" && topic.key.is_none() {
            return vec![topic.clone()];
        }
        match topics.iter_mut().find(|known| known.name == topic.name) {
            Some(known) if known.key != topic.key => known.key = None,
            Some(_) => {}
            None => topics.push(topic.clone()),
        }
    }
    topics
}

impl Context {
    async fn submit(&self, records: Vec<Record>) -> Result<(), Stopped> {
        self.delivery.submit(records).await.map_err(|_| Stopped)
    }

    /// Waits, unless the lane is stopped meanwhile.
    async fn pause(&self, pause: Duration) -> Result<(), Stopped> {
        tokio::select! {
            () = self.stop.cancelled() => Err(Stopped),
            () = sleep(pause) => Ok(()),
        }
    }

    /// Puts away what no record can be made of. A dead-letter file that cannot be written is waited for.
    async fn dead_letter(&self, kind: Kind, raw: &[u8], reason: &str) -> Result<(), Stopped> {
        self.unreadable(kind, Input { raw, reason, context: kind.name(), is_logged: false }).await
    }

    /// The same, where the log can have it already.
    async fn unreadable(&self, kind: Kind, input: Input<'_>) -> Result<(), Stopped> {
        let mut backoff = Backoff::default();
        let mut outage = Outage::new("writing dead letters");
        while let Err(error) = self.dead_letters.unreadable(input).await {
            outage.log(&error);
            self.pause(backoff.failed()).await?;
        }
        outage.over();
        self.metrics.dead_letters(kind, metrics::INPUT, 1);
        Ok(())
    }

    /// A job's summary; `None` for a job that is gone. The other error says why it cannot be read.
    async fn job_summary(&self, namespace: &str, id: &str) -> Result<Option<Bytes>, NoSummary> {
        let (mut backoff, mut tries) = (Backoff::default(), 0);
        let mut outage = Outage::new("reading a job's summary");
        loop {
            let error = match fetch::summary(&self.client, namespace, id).await {
                Ok(summary) => {
                    outage.over();
                    return Ok(summary);
                }
                Err(Unread::Nomad(error)) if !error.is_retryable() => {
                    warn!(%error, namespace, job = id, "cannot read the job's summary: its stub goes without");
                    return Ok(None);
                }
                Err(error) => error,
            };
            tries += 1;
            if error.tries().is_some_and(|most| tries >= 2 * most) {
                return Err(NoSummary::Unread(error));
            }
            outage.log(&error);
            self.pause(backoff.failed()).await?;
        }
    }
}

/// Why a job's summary does not come.
#[derive(Debug)]
enum NoSummary {
    Stopped,
    Unread(Unread),
}

impl From<Stopped> for NoSummary {
    fn from(Stopped: Stopped) -> Self {
        NoSummary::Stopped
    }
}
