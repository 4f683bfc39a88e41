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
mod session;
mod store;
mod watch;
mod writer;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{mpsc, oneshot, watch as values};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use self::{
    clock::{Boot, Clock},
    expiry::Holder,
    heartbeat::{Heartbeat, Reach},
    keys::Keys,
    lease::Handle,
    watch::{Waiter, Watcher},
    writer::{Command, Writer},
};
use super::{Claim, Coordinator, Positions};
use crate::{
    cluster::{self, Difference, Known, Verdict},
    consul::{Client, Get, Op, SessionId, Transaction},
    kind::Kind,
    lease::{Error, Lease},
    telemetry::{Metrics, Status},
};

/// Messages that wait for the writer or the watcher: some for each kind.
const QUEUE: usize = 64;
/// The variable that chooses the folder.
const SETTING: &str = "NOMAD_FIREHOSE_CONSUL_PREFIX";
/// The deadline of a look at what is stored.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How long the end may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// How to lead.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the keys, without `/` at its end.
    pub prefix: String,
    /// How long a leader may go on without a heartbeat: 1 s to 60 s.
    pub lease: Duration,
    /// The session's TTL, 10 s to 24 h: how long Consul waits at least before it gives up a session by itself.
    pub session_ttl: Duration,
    /// Whether the session ends too when the agent's node is thought dead.
    pub node_checks: bool,
    /// The session's name.
    pub session_name: String,
    /// Who this is, for people.
    pub holder: String,
    /// The cluster that this replica reads.
    pub cluster: Known,
}

/// What the tasks of a process share.
struct Shared {
    client: Client,
    clock: Arc<dyn Clock>,
    lease: Duration,
    ttl: Duration,
    node_checks: bool,
    name: String,
    holder: String,
    cluster: Known,
    metrics: Metrics,
    status: Status,
    /// Changes when a heartbeat is about to be sent.
    due: values::Sender<u64>,
}

impl Shared {
    /// What tells the cluster of a heartbeat from ours, where something does.
    fn differs(&self, heartbeat: &Heartbeat) -> Option<Difference> {
        match self.cluster.identity().verdict(heartbeat.cluster.as_ref()?, cluster::now()) {
            Verdict::Other(difference) => Some(difference),
            Verdict::Same { .. } | Verdict::Unknown => None,
        }
    }

    /// How long after it was sent a heartbeat may be relied on.
    fn term(&self) -> Duration {
        self.lease - heartbeat::margin(self.lease)
    }

    fn heartbeat(&self, session: &SessionId, counter: u64, reach: Reach) -> Bytes {
        let lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let session = session.as_str().to_owned();
        let cluster = Some(self.cluster.identity()).filter(|cluster| !cluster.is_empty());
        Heartbeat { session, counter, lease_ms, holder: self.holder.clone(), cluster, reach }.text().into()
    }
}

/// The coordinator of `NOMAD_FIREHOSE_COORDINATOR=consul`.
#[derive(Debug)]
pub struct Consul {
    client: Client,
    prefix: String,
    lease: Duration,
    waiters: mpsc::Sender<Waiter>,
    writer: mpsc::Sender<Command>,
    positions: values::Receiver<Positions>,
    /// The one that takes leases.
    watcher: Task,
    session: Task,
}

/// The leader of a kind, in a message.
fn leader(holder: &str, kind: Kind) -> String {
    format!("the leader of {kind}, {holder},")
}

/// A task, and how it is ended.
#[derive(Debug, Default)]
struct Task {
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Task {
    async fn end(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Consul {
    /// Starts the tasks that keep the session, watch the leaders, and write. They end with [`Coordinator::close`].
    pub fn start(client: Client, options: Options, metrics: Metrics, status: Status) -> Self {
        let Options { prefix, lease, session_ttl, node_checks, session_name, holder, cluster } = options;
        let looking = client.clone();
        let shared = Arc::new(Shared {
            client,
            clock: Arc::new(Boot),
            lease,
            ttl: session_ttl,
            node_checks,
            name: session_name,
            holder,
            cluster,
            metrics,
            status,
            due: values::Sender::new(0),
        });
        let (waiters, waiting) = mpsc::channel(QUEUE);
        let (writer, commands) = mpsc::channel(QUEUE);
        let (sessions, session) = values::channel(None);
        let (told, positions) = values::channel(Positions::default());
        let (keeper, watcher) = (Task::default(), Task::default());
        // It ends when it is told to.
        tokio::spawn(Writer::new(Arc::clone(&shared)).run(commands));
        keeper.tracker.spawn(session::keep(Arc::clone(&shared), sessions, keeper.stop.clone()));
        let watching = Watcher::new(shared, session, told, writer.clone()).run(waiting, watcher.stop.clone());
        watcher.tracker.spawn(watching);
        Consul { client: looking, prefix, lease, waiters, writer, positions, watcher, session: keeper }
    }

    async fn wait(&self, kind: Kind) -> Result<Arc<dyn Lease>, Error> {
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter { kind, keys: Keys::new(&self.prefix, kind), reply };
        if self.waiters.send(waiter).await.is_err() {
            return Err(Error::Lost);
        }
        let held = answer.await.map_err(|_| Error::Lost)??;
        Ok(Arc::new(Handle(held)))
    }

    async fn look(&self, kind: Kind) -> Result<Vec<Claim>, Error> {
        let failed = |error| Error::Consul(Arc::new(error));
        let keys = Keys::new(&self.prefix, kind);
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
        let (reply, led) = oneshot::channel();
        if self.writer.send(Command::Close(reply)).await.is_ok()
            && let Ok(led) = led.await
        {
            join_all(led.iter().map(|held| async move {
                held.lose();
                if let Err(error) = held.give_back().await {
                    warn!(kind = %held.kind, %error, "the lease is not given back; it ends by itself");
                }
            }))
            .await;
        }
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
        (Keys::new(&self.prefix, kind).state, SETTING)
    }

    /// What changed goes with each heartbeat: a take-over then repeats no more than what followed the last one.
    fn keep_every(&self, _interval: Duration) -> Duration {
        heartbeat::interval(self.lease)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if tokio::time::timeout(CLOSE_WITHIN, self.end()).await.is_err() {
                debug!("consul did not answer in time; the session ends by itself");
            }
        })
    }
}
