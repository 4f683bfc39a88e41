//! Leases and checkpoints in Consul: one leader for each resource among any number of replicas.
//!
//! # How it is led
//!
//! A process has one session. About every third of the lease it sends the heartbeats of all its leases in one
//! transaction; Consul refuses the whole transaction if the session has lost one of the locks. A leader may emit until
//! its lease is over, counted from the moment at which it sent its last successful heartbeat, less a margin, on a clock
//! that counts suspension ([`LeaseState`](crate::lease::LeaseState)). A standby that has seen the same heartbeat for
//! the lease and a margin takes the lock from the old session in one transaction, which checks that the heartbeat has
//! not changed. So no two replicas lead at a time, no two clocks are compared, and no standby waits for Consul's
//! lock-delay. A standby waits the same time for a lock that is free or gone although its leader has not given it back,
//! whatever became of the heartbeat: that leader may not know yet that it has lost the lock. A leader that gives its
//! lock back leaves its session's id as a farewell in the lock's value.
//!
//! A holder without heartbeats is the original program. Both programs wait for each other's lock by Consul's own rules.
//!
//! # Where to look
//!
//! `watch` is the standby, `expiry` its decision, `tenure` a lock in hand, `writer` the heartbeats, `store`, `plan` and
//! `layout` the checkpoint, `session` the session. Start at [`Consul::start`].

mod expiry;
mod heartbeat;
pub mod inspect;
mod keys;
mod layout;
mod lease;
mod plan;
mod session;
mod set;
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
use super::{Claim, Coordinator, Positions, reset::reset_in_consul, term};
use crate::{
    consul::{Client, Get, Op, SessionId, Transaction},
    kind::Kind,
    lease::{Error, Lease},
    telemetry::{Metrics, Status},
};

/// Leases that a process asks for at the same moment: some for each resource.
const QUEUE: usize = 64;
/// The deadline of a look at the stored state.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How long [`Coordinator::close`] may take.
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
    /// The task that takes leases.
    watcher: OwnedTask,
    session: OwnedTask,
}

/// A task, and the way to end it.
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
        // First of all: a lease that it is about to take is given back with the others, or is not taken.
        self.watcher.end().await;
        let led = self.requests.close().await;
        join_all(led.iter().map(|tenure| async move {
            tenure.hold.lose();
            if let Err(error) = tenure.give_back().await {
                warn!(kind = %tenure.hold.kind, %error, "cannot release lease");
            }
        }))
        .await;
        // The session last: if it ended while it has locks, their lock-delay would begin.
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

    fn reset(&self, kind: Kind) -> String {
        reset_in_consul(kind, &self.place(kind).0)
    }

    /// Each heartbeat carries what changed: a take-over then repeats only what followed the last heartbeat.
    fn keep_every(&self, _interval: Duration) -> Duration {
        term::interval(self.options.lease)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if tokio::time::timeout(CLOSE_WITHIN, self.end()).await.is_err() {
                debug!("consul did not answer in time");
            }
        })
    }
}
