//! The one task that writes for a process: it sends the heartbeats of all its leases in one transaction, together with
//! what the leases store.
//!
//! Every transaction checks with `check-session` that each lock is still ours: a deposed leader cannot write. Stored state
//! is written one transaction at a time, so that it arrives in order; heartbeats do not wait for a slow one.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use super::{shared::Shared, tenure::Tenure};
use crate::{
    consul::{self, MAX_OPS, MAX_REQUEST_BYTES, ModifyIndex, Op, Transaction},
    coordinator::{clock::Moment, reach::CheckpointReach, term},
    lease::LeaseState,
    telemetry::Duty,
    throttle::Outage,
};

/// Requests that wait for the writer: some for each resource.
const QUEUE: usize = 64;
/// How long a transaction waits for further writes: the resources of a process are saved at the same moment.
const GATHER: Duration = Duration::from_millis(5);
/// The deadline of a write that stores something. A heartbeat that takes this long is useless; a stored checkpoint is not.
const STORE_WITHIN: Duration = Duration::from_secs(10);
/// The most heartbeats under way at a time: more would only pile up while Consul does not answer.
const BEATS: usize = 4;
/// How soon after a failure the next heartbeat is tried.
const RETRY: Duration = Duration::from_millis(300);

/// What the writer is asked to do.
pub(super) enum WriterRequest {
    /// Send heartbeats for this tenure from now on.
    Lead(Arc<Tenure>),
    Commit(Write),
    /// Send no more heartbeats for this tenure.
    Forget {
        tenure: Arc<Tenure>,
        done: oneshot::Sender<()>,
    },
    /// End, and return the tenures that heartbeats were sent for.
    Close(oneshot::Sender<Vec<Arc<Tenure>>>),
}

/// Operations to be written under a lock.
pub(super) struct Write {
    tenure: Arc<Tenure>,
    ops: Vec<Op>,
    /// How far the checkpoint reaches that these operations store, where they store one.
    reach: Option<CheckpointReach>,
    reply: oneshot::Sender<Result<Option<ModifyIndex>, NotStored>>,
}

/// Why a write is not known to be stored.
#[derive(Debug)]
pub(super) enum NotStored {
    /// Another replica has the lock, and nothing was written.
    Lost,
    /// The head was not the expected one, and nothing was written.
    Moved,
    /// It may have been written, or may still arrive.
    Unknown(Arc<consul::Error>),
}

/// The way to the writer. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Requests(mpsc::Sender<WriterRequest>);

impl Requests {
    /// The way to a writer that receives at the other end.
    pub(super) fn new() -> (Self, mpsc::Receiver<WriterRequest>) {
        let (requests, received) = mpsc::channel(QUEUE);
        (Requests(requests), received)
    }

    /// Has heartbeats sent for `tenure`; `false` where the writer has ended.
    pub(super) async fn lead(&self, tenure: &Arc<Tenure>) -> bool {
        self.0.send(WriterRequest::Lead(Arc::clone(tenure))).await.is_ok()
    }

    /// Writes `ops` in one transaction, if the lock is still ours. `reach` is that of the checkpoint that they store,
    /// where they store one. Returns the index of the head, where it was among them.
    pub(super) async fn commit(
        &self,
        tenure: &Arc<Tenure>,
        ops: Vec<Op>,
        reach: Option<CheckpointReach>,
    ) -> Result<Option<ModifyIndex>, NotStored> {
        let (reply, answer) = oneshot::channel();
        let job = Write { tenure: Arc::clone(tenure), ops, reach, reply };
        self.0.send(WriterRequest::Commit(job)).await.map_err(|_| NotStored::Lost)?;
        answer.await.unwrap_or(Err(NotStored::Lost))
    }

    /// Has no more heartbeats sent for `tenure`. A writer that has ended sends none either.
    pub(super) async fn forget(&self, tenure: &Arc<Tenure>) {
        let (done, forgotten) = oneshot::channel();
        if self.0.send(WriterRequest::Forget { tenure: Arc::clone(tenure), done }).await.is_ok() {
            forgotten.await.ok();
        }
    }

    /// Ends the writer. Returns the tenures that it sent heartbeats for.
    pub(super) async fn close(&self) -> Vec<Arc<Tenure>> {
        let (reply, led) = oneshot::channel();
        match self.0.send(WriterRequest::Close(reply)).await {
            Ok(()) => led.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }
}

/// A transaction that has ended.
struct Ended {
    sent: Moment,
    led: Vec<Arc<Tenure>>,
    jobs: Vec<Write>,
    result: Result<Transaction, consul::Error>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    led: Vec<Arc<Tenure>>,
    queue: VecDeque<Write>,
    under_way: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// Whether a transaction that stores something is under way.
    storing: bool,
    next_beat: Instant,
    counter: u64,
    outage: Outage,
    /// Whether the log says that the leases ran out.
    suspended: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Writer {
            shared,
            led: Vec::new(),
            queue: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            storing: false,
            next_beat: Instant::now(),
            counter: 0,
            outage: Outage::new("writing heartbeats to consul"),
            suspended: false,
        }
    }

    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<WriterRequest>) {
        // When the next transaction is sent, where there is a reason for one.
        let mut flush: Option<Instant> = None;
        loop {
            if !self.storing && !self.queue.is_empty() {
                flush.get_or_insert(Instant::now() + GATHER);
            }
            tokio::select! {
                biased;
                Some(ended) = self.under_way.next() => self.take_in(ended),
                command = requests.recv() => match command {
                    Some(WriterRequest::Lead(tenure)) => {
                        self.led.push(tenure);
                        self.next_beat = self.next_beat.min(Instant::now() + term::interval(self.shared.options.lease));
                    }
                    Some(WriterRequest::Commit(job)) => self.queue.push_back(job),
                    Some(WriterRequest::Forget { tenure, done }) => {
                        self.led.retain(|led| !Arc::ptr_eq(led, &tenure));
                        done.send(()).ok();
                    }
                    Some(WriterRequest::Close(led)) => {
                        led.send(self.led).ok();
                        return;
                    }
                    None => return,
                },
                () = sleep_until(flush.unwrap_or(self.next_beat)), if flush.is_some() => {
                    flush = None;
                    self.send();
                }
                () = sleep_until(self.next_beat), if flush.is_none() && !self.led.is_empty() => {
                    // Every lease offers now what changed, so that it goes along with this heartbeat.
                    self.shared.due.send_modify(|number| *number += 1);
                    flush = Some(Instant::now() + GATHER);
                }
            }
        }
    }

    /// Sends a heartbeat for each tenure, with as many waiting writes as fit.
    fn send(&mut self) {
        let period = term::interval(self.shared.options.lease);
        self.next_beat = Instant::now() + period;
        self.led.retain(|tenure| tenure.hold.lease_state() != LeaseState::Lost);
        let mut ops = Vec::with_capacity(MAX_OPS);
        for tenure in &self.led {
            self.counter += 1;
            ops.push(Op::CheckSession { key: tenure.keys.lock.clone(), session: tenure.session.clone() });
            ops.push(self.heartbeat(tenure, tenure.reach()));
        }
        let jobs = if self.storing { Vec::new() } else { self.fitting(&mut ops) };
        // A heartbeat says how far the checkpoint reaches that is stored with it.
        for (number, tenure) in self.led.iter().enumerate() {
            let stored = jobs.iter().rfind(|job| Arc::ptr_eq(&job.tenure, tenure) && job.reach.is_some());
            if let Some(reach) = stored.and_then(|job| job.reach.clone()) {
                ops[2 * number + 1] = self.heartbeat(tenure, reach);
            }
        }
        if ops.is_empty() || jobs.is_empty() && self.under_way.len() >= BEATS {
            return;
        }
        let deadline = match jobs.is_empty() {
            true => self.shared.term(),
            false => {
                self.storing = true;
                STORE_WITHIN
            }
        };
        let (client, led, sent) = (self.shared.client.clone(), self.led.clone(), self.shared.clock.now());
        self.under_way.push(Box::pin(async move {
            let result = client.transact(&ops, deadline).await;
            Ended { sent, led, jobs, result }
        }));
    }

    fn heartbeat(&self, tenure: &Tenure, reach: CheckpointReach) -> Op {
        let value = self.shared.heartbeat(&tenure.session, self.counter, reach);
        Op::Set { key: tenure.keys.heartbeat.clone(), value, flags: 0 }
    }

    /// Takes as many writes from the queue as fit after `ops`, in order.
    fn fitting(&mut self, ops: &mut Vec<Op>) -> Vec<Write> {
        let mut bytes: usize = ops.iter().map(Op::wire_bytes).sum();
        let mut jobs = Vec::new();
        while let Some(job) = self.queue.pop_front() {
            // Its lock is checked only where a heartbeat goes along.
            if !self.led.iter().any(|led| Arc::ptr_eq(led, &job.tenure)) {
                job.fail(NotStored::Lost);
                continue;
            }
            let more: usize = job.ops.iter().map(Op::wire_bytes).sum();
            let fits = bytes + more <= MAX_REQUEST_BYTES && ops.len() + job.ops.len() <= MAX_OPS;
            if !fits && !jobs.is_empty() {
                self.queue.push_front(job);
                break;
            }
            bytes += more;
            ops.extend(job.ops.iter().cloned());
            jobs.push(job);
        }
        jobs
    }

    fn take_in(&mut self, Ended { sent, led, jobs, result }: Ended) {
        self.storing &= jobs.is_empty();
        match result {
            Ok(Transaction::Done(entries)) => {
                led.iter().for_each(|tenure| tenure.hold.renewed(sent));
                self.outage.over();
                self.shared.metrics.heartbeat(true);
                if std::mem::take(&mut self.suspended) {
                    info!("leases renewed");
                    self.shared.status.coordinator(Duty::Renewal, None);
                }
                for job in jobs {
                    // The last one: the check of the old head returns an entry, too.
                    let head = entries.iter().rfind(|entry| entry.key == job.tenure.keys.state);
                    let head = head.map(|entry| entry.modify_index);
                    // A store that no longer waits reads the head before its next write.
                    job.reply.send(Ok(head)).ok();
                }
            }
            Ok(Transaction::Refused(refusals)) => {
                let refused: Vec<usize> = refusals.iter().map(|refusal| refusal.op).collect();
                let what = refusals.first().map(|refusal| refusal.what.clone()).unwrap_or_default();
                self.refused(&led, jobs, &refused, &what);
            }
            Err(error) => {
                self.outage.log(&error);
                self.shared.metrics.heartbeat(false);
                self.next_beat = self.next_beat.min(Instant::now() + RETRY.mul_f64(0.5 + fastrand::f64()));
                if !self.suspended && self.led.iter().any(|tenure| tenure.hold.lease_state() == LeaseState::Suspended) {
                    self.suspended = true;
                    error!("leases not renewed in time");
                }
                if self.suspended {
                    let reason = format!("cannot renew the lease: {error}");
                    self.shared.status.coordinator(Duty::Renewal, Some(reason));
                }
                let error = Arc::new(error);
                jobs.into_iter().for_each(|job| job.fail(NotStored::Unknown(Arc::clone(&error))));
            }
        }
    }

    /// Consul refused a transaction, so nothing was written. A tenure whose lock was refused has lost it; the writes of
    /// the others are sent again at once.
    fn refused(&mut self, led: &[Arc<Tenure>], jobs: Vec<Write>, refused: &[usize], what: &str) {
        let mut first = 2 * led.len();
        for (number, tenure) in led.iter().enumerate() {
            if refused.iter().any(|op| op / 2 == number) && tenure.hold.lease_state() != LeaseState::Lost {
                warn!(kind = %tenure.hold.kind, reason = what, "lease lost");
                tenure.hold.lose();
            }
        }
        self.led.retain(|tenure| tenure.hold.lease_state() != LeaseState::Lost);
        // There is no lease left to renew.
        if self.led.is_empty() && std::mem::take(&mut self.suspended) {
            self.shared.status.coordinator(Duty::Renewal, None);
        }
        let mut again = Vec::new();
        for job in jobs {
            let own = first..first + job.ops.len();
            first = own.end;
            if job.tenure.hold.lease_state() == LeaseState::Lost {
                job.fail(NotStored::Lost);
            } else if refused.iter().any(|op| own.contains(op)) {
                job.fail(NotStored::Moved);
            } else {
                again.push(job);
            }
        }
        again.into_iter().rev().for_each(|job| self.queue.push_front(job));
        // Where Consul names no operation, the same transaction would be refused again.
        self.next_beat = Instant::now() + if refused.is_empty() { RETRY } else { Duration::ZERO };
    }
}

impl Write {
    fn fail(self, failed: NotStored) {
        // A store that no longer waits reads the head before its next write.
        self.reply.send(Err(failed)).ok();
    }
}
