//! The standby: one task that watches the locks of all resources that this process does not lead, and takes them.
//!
//! A blocking query on each lock notices at once when it is given back. About eight times in a lease, one read gets the
//! locks and heartbeats of all resources.

mod judge;
mod lock;
mod take;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::debug;

use self::judge::Look;
use super::{expiry::LeaseExpiry, heartbeat::Heartbeat, keys::Keys, shared::Shared, tenure::Tenure, writer::Requests};
use crate::{
    backoff::Backoff,
    consul::{Op, SessionId, Transaction},
    coordinator::{Positions, clock::Moment, term},
    kind::Kind,
    lease::Error,
    telemetry::Duty,
    throttle::{Outage, Throttle},
};

/// How long the standby waits for further leases that are asked for at the same moment, so that it takes them together.
const GATHER: Duration = Duration::from_millis(5);
/// How often it looks at a lock whose holder sends no heartbeats.
const OTHERS: Duration = Duration::from_secs(5);
/// How soon it tries a refused lock again: the lock-delay lasts, or another replica was quicker.
const REFUSED: Duration = Duration::from_secs(1);
/// The deadline of a read.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// A pipeline that waits for a lease.
pub(super) struct Waiter {
    pub(super) kind: Kind,
    pub(super) keys: Keys,
    pub(super) reply: oneshot::Sender<Result<Arc<Tenure>, Error>>,
}

/// A resource whose lease is awaited.
struct Awaited {
    waiter: Waiter,
    /// When its leader's lease is over, if the standby waits for that.
    due: Option<Moment>,
    /// The leader's last heartbeat, if it can be used.
    last: Option<Heartbeat>,
    /// The holder that the log has named.
    named: Option<SessionId>,
    log: Throttle,
    /// Its leader belongs to another cluster.
    foreign: Option<Error>,
    /// Why the lock cannot be taken, though no program has it.
    barred: Option<String>,
    _lock: AbortOnDropHandle<()>,
}

/// A lock that may be ours.
struct Chance {
    /// Its place in `wanted`.
    number: usize,
    /// Checks that come before the lock in the transaction.
    first: Vec<Op>,
    /// The leader whose lease is over, if it did not give the lock back.
    from: Option<String>,
}

pub(super) struct Watcher {
    shared: Arc<Shared>,
    session: watch::Receiver<Option<SessionId>>,
    positions: watch::Sender<Positions>,
    requests: Requests,
    wanted: Vec<Awaited>,
    /// What the standby has seen of the leaders, until it has their leases: also while no pipeline waits for them.
    expiries: BTreeMap<Kind, LeaseExpiry>,
    /// A lock has changed.
    changed: Arc<Notify>,
    outage: Outage,
    /// Leases could be taken, but Consul refuses or fails.
    taking: Outage,
    backoff: Backoff,
}

impl Watcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        session: watch::Receiver<Option<SessionId>>,
        positions: watch::Sender<Positions>,
        requests: Requests,
    ) -> Self {
        Watcher {
            shared,
            session,
            positions,
            requests,
            wanted: Vec::new(),
            expiries: BTreeMap::new(),
            changed: Arc::default(),
            outage: Outage::new("watching the leaders in consul"),
            taking: Outage::new("taking leases in consul"),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
        }
    }

    pub(super) async fn run(mut self, mut waiters: mpsc::Receiver<Waiter>, stop: CancellationToken) {
        let mut next = Instant::now();
        loop {
            self.wanted.retain(|wanted| !wanted.waiter.reply.is_closed());
            let ready = !self.wanted.is_empty() && self.session.borrow().is_some();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                waiter = waiters.recv() => {
                    let Some(waiter) = waiter else { return };
                    self.want(waiter);
                    let gathered = Instant::now() + GATHER;
                    while let Ok(Some(waiter)) = tokio::time::timeout_at(gathered, waiters.recv()).await {
                        self.want(waiter);
                    }
                    next = Instant::now();
                }
                Ok(()) = self.session.changed() => next = Instant::now(),
                () = self.changed.notified() => next = Instant::now(),
                () = sleep_until(next), if ready => {
                    let session = self.session.borrow().clone();
                    if let Some(session) = session {
                        let pause = self.round(&session).await;
                        next = Instant::now() + pause;
                    }
                }
            }
        }
    }

    fn want(&mut self, waiter: Waiter) {
        let lock = lock::watch(Arc::clone(&self.shared), waiter.keys.lock.clone(), Arc::clone(&self.changed));
        self.wanted.push(Awaited {
            waiter,
            due: None,
            last: None,
            named: None,
            log: Throttle::default(),
            foreign: None,
            barred: None,
            _lock: AbortOnDropHandle::new(tokio::spawn(lock)),
        });
    }

    /// Looks at all locks once, and takes those that may be taken; returns when to look again.
    async fn round(&mut self, us: &SessionId) -> Duration {
        let mut ops = Vec::new();
        for Awaited { waiter, .. } in &self.wanted {
            // A tree of one key: a plain read of a missing key would fail the whole transaction.
            ops.push(Op::GetTree { prefix: waiter.keys.lock.clone() });
            ops.push(Op::GetTree { prefix: waiter.keys.heartbeat.clone() });
        }
        let asked = self.shared.clock.now();
        let entries = match self.shared.client.look(&ops, READ_WITHIN).await {
            Ok(Transaction::Done(entries)) => entries,
            Ok(Transaction::Refused(refusals)) => {
                debug!(?refusals, "read refused");
                Vec::new()
            }
            Err(error) => {
                self.outage.log(&error);
                self.shared.status.coordinator(Duty::Watch, Some(error.to_string()));
                self.expiries.values_mut().for_each(LeaseExpiry::restart);
                return self.backoff.failed();
            }
        };
        self.outage.over();
        self.backoff.reset();
        self.shared.status.coordinator(Duty::Watch, None);
        let answered = self.shared.clock.now();
        let chances = self.judge(&Look { entries: &entries, asked, answered }, us);
        self.publish();
        let refused = self.take_all(chances, us).await;
        for Awaited { waiter, barred, .. } in &self.wanted {
            self.shared.status.barred(waiter.kind, barred.clone());
        }
        self.turn_away();
        self.pause(refused)
    }

    /// Ends the wait for a lease whose leader belongs to another cluster: its place is not ours to take.
    fn turn_away(&mut self) {
        for wanted in self.wanted.extract_if(.., |wanted| wanted.foreign.is_some()) {
            if let Some(foreign) = wanted.foreign {
                // The pipeline may have stopped waiting.
                wanted.waiter.reply.send(Err(foreign)).ok();
            }
        }
    }

    /// Publishes how far the leaders have come.
    fn publish(&self) {
        let positions = |wanted: &Awaited| Some((wanted.waiter.kind, wanted.last.as_ref()?.reach.positions.clone()));
        let new: Positions = self.wanted.iter().filter_map(positions).collect();
        self.positions.send_if_modified(|old| {
            let is_new = *old != new;
            *old = new;
            is_new
        });
    }

    /// When to look again.
    fn pause(&mut self, refused: bool) -> Duration {
        let now = self.shared.clock.now();
        let jittered = |pause: Duration| pause.mul_f64(0.9 + 0.2 * fastrand::f64());
        let mut pause = jittered(OTHERS);
        if refused {
            pause = jittered(REFUSED);
        }
        for due in self.wanted.iter().filter_map(|wanted| wanted.due) {
            pause = pause.min(jittered(term::interval(self.shared.options.lease) * 3 / 8));
            // A refused lock that is due is tried again at the next look.
            if due > now {
                pause = pause.min(due.since(now));
            }
        }
        pause
    }
}

/// Resources, for the log.
fn names(kinds: &[Kind]) -> String {
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    names.join(",")
}
