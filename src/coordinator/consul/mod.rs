//! Leases and checkpoints in Consul: one leader for each kind among any number of replicas.
//!
//! # How it is led
//!
//! A process has one session, and heartbeats for all that it leads in one transaction about every third of the lease:
//! each says that the session still has the lock, or the whole is refused. A leader may emit until its lease, counted
//! from the moment at which it sent its last successful heartbeat, is over, less a margin, on a clock that counts
//! suspension ([`LeaseState`](super::Standing)). A standby that has seen the same heartbeat for the lease and a margin
//! takes the lock from the old session in one transaction, which checks that the heartbeat has not moved. So no two
//! lead at a time, without any two clocks being compared, and nobody waits for Consul's lock-delay. The same is waited for
//! where a lock is free or gone that its leader has not given back, whatever became of its heartbeat: that leader may not
//! know yet that it has lost it. A leader that gives its lock back leaves its session's id as a farewell in the lock's value.
//!
//! A holder without heartbeats is the original program: its lock is waited for by Consul's own rules, and it waits for
//! ours by them.
//!
//! # Where to look
//!
//! `watch` is the standby, `expiry` its decision, `writer` the heartbeats, `lease` the deadline, `store` and `layout`
//! the checkpoint, `session` the session. Start at [`Consul::start`].

mod clock;
mod expiry;
mod heartbeat;
pub mod inspect;
mod keys;
mod layout;
mod lease;
mod plan;
mod session;
mod shared;
mod store;
mod tenure;
mod watch;
mod writer;

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{mpsc, oneshot, watch as values};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

pub use self::shared::Options;
use self::{
    expiry::Holder,
    keys::Keys,
    lease::ConsulLease,
    shared::{SETTING, Shared, leader},
    watch::{Waiter, Watcher},
    writer::{Requests, Writer},
};
use super::{Claim, Coordinator, Positions};
use crate::{
    consul::{Client, Get, Op, SessionId, Transaction},
    kind::Kind,
    lease::{Error, Lease},
    telemetry::{Metrics, Status},
};

/// Leases that are asked for at the same moment: some for each kind.
const QUEUE: usize = 64;
/// The deadline of a look at what is stored.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How long the end may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The coordinator of `NOMAD_FIREHOSE_COORDINATOR=consul`.
#[derive(Debug)]
pub struct Consul {
    client: Client,
    options: Options,
    /// Changes when the writer is about to send a heartbeat.
    due: values::Receiver<u64>,
    waiters: mpsc::Sender<Waiter>,
    requests: Requests,
    positions: values::Receiver<Positions>,
    /// The one that takes leases.
    watcher: OwnedTask,
    session: OwnedTask,
}

/// A task, and how it is ended.
#[derive(Debug, Default)]
struct OwnedTask {
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl OwnedTask {
    async fn end(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Consul {
    /// Starts the tasks that keep the session, watch the leaders, and write. They end with [`Coordinator::close`].
    pub fn start(client: Client, options: Options, metrics: Metrics, status: Status) -> Self {
        let shared = Shared::new(client.clone(), options.clone(), metrics, status);
        let due = shared.due.subscribe();
        let (waiters, waiting) = mpsc::channel(QUEUE);
        let (requests, received) = Requests::new();
        let (sessions, session) = values::channel(None);
        let (publisher, positions) = values::channel(Positions::default());
        let (keeper, watcher) = (OwnedTask::default(), OwnedTask::default());
        // It ends when it is asked to.
        tokio::spawn(Writer::new(Arc::clone(&shared)).run(received));
        keeper.tracker.spawn(session::keep(Arc::clone(&shared), sessions, keeper.stop.clone()));
        let watching = Watcher::new(shared, session, publisher, requests.clone());
        watcher.tracker.spawn(watching.run(waiting, watcher.stop.clone()));
        Consul { client, options, due, waiters, requests, positions, watcher, session: keeper }
    }

    fn keys(&self, kind: Kind) -> Keys {
        Keys::new(&self.options.prefix, kind)
    }

    async fn wait(&self, kind: Kind) -> Result<Arc<dyn Lease>, Error> {
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter { kind, keys: self.keys(kind), reply };
        if self.waiters.send(waiter).await.is_err() {
            return Err(Error::Lost);
        }
        let tenure = answer.await.map_err(|_| Error::Lost)??;
        Ok(Arc::new(ConsulLease::new(tenure, self.requests.clone(), self.due.clone())))
    }

    async fn look(&self, kind: Kind) -> Result<Vec<Claim>, Error> {
        let failed = |error| Error::Consul(Arc::new(error));
        let keys = self.keys(kind);
        let ops = [&keys.lock, &keys.heartbeat].map(|key| Op::GetTree { prefix: key.clone() });
        let entries = match self.client.look(&ops, LOOK_WITHIN).await.map_err(failed)? {
            Transaction::Done(entries) => entries,
            Transaction::Refused(_) => Vec::new(),
        };
        let find = |key: &str| entries.iter().find(|entry| entry.key == key);
        let mut claims = Vec::new();
        // Our own session leads nothing here.
        if let Holder::Leader { heartbeat, .. } =
            expiry::holder(find(&keys.lock), find(&keys.heartbeat), &SessionId::new(""))
            && let Some(cluster) = heartbeat.cluster
        {
            claims.push(Claim { what: leader(&heartbeat.holder, kind), cluster, is_leader: true });
        }
        let get = Get { consistent: true, ..Get::default() };
        let head = self.client.get(&keys.state, get, LOOK_WITHIN).await.map_err(failed)?.value;
        if let Some(cluster) = head.and_then(|head| layout::cluster(&head.value)) {
            claims.push(Claim { what: format!("the checkpoint {}", keys.state), cluster, is_leader: false });
        }
        Ok(claims)
    }

    async fn end(&self) {
        // Before all else: what it is about to take is given back with the rest, or is not taken.
        self.watcher.end().await;
        let led = self.requests.close().await;
        join_all(led.iter().map(|tenure| async move {
            tenure.lose();
            if let Err(error) = tenure.give_back().await {
                warn!(kind = %tenure.kind, %error, "the lease is not given back; it ends by itself");
            }
        }))
        .await;
        // The session last: with locks still in hand its end would begin their lock-delay.
        self.session.end().await;
    }
}

impl Coordinator for Consul {
    fn acquire(&self, kind: Kind) -> BoxFuture<'_, Result<Arc<dyn Lease>, Error>> {
        Box::pin(self.wait(kind))
    }

    fn leaders(&self) -> Option<values::Receiver<Positions>> {
        Some(self.positions.clone())
    }

    fn claims(&self, kind: Kind) -> BoxFuture<'_, Result<Vec<Claim>, Error>> {
        Box::pin(self.look(kind))
    }

    fn place(&self, kind: Kind) -> (String, &'static str) {
        (self.keys(kind).state, SETTING)
    }

    /// What changed goes with each heartbeat: a take-over then repeats no more than what followed the last one.
    fn keep_every(&self, _interval: Duration) -> Duration {
        heartbeat::interval(self.options.lease)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if tokio::time::timeout(CLOSE_WITHIN, self.end()).await.is_err() {
                debug!("consul did not answer in time; the session ends by itself");
            }
        })
    }
}
