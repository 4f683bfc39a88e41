//! The one task that writes for a process: heartbeats of all its leases in one transaction, and with them what has to
//! be stored.
//!
//! Every transaction asks with `check-session` whether each lock is still ours: a deposed leader cannot write. What is
//! stored goes in one transaction at a time, so that it arrives in order; heartbeats do not wait for one that is late.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use super::{
    Shared,
    clock::Moment,
    heartbeat::{self, Reach},
    lease::Held,
};
use crate::{
    consul::{self, MAX_OPS, MAX_REQUEST_BYTES, ModifyIndex, Op, Transaction},
    lease::LeaseState,
    telemetry::Duty,
    throttle::Outage,
};

/// How long a transaction waits for what else is to be stored: the kinds of a process are saved at the same moment.
const GATHER: Duration = Duration::from_millis(5);
/// The deadline of a write that stores something. A heartbeat that takes that long is of no use, but this is.
const STORE_WITHIN: Duration = Duration::from_secs(10);
/// Heartbeats under way at a time: more would only pile up before a Consul that does not answer.
const BEATS: usize = 4;
/// How soon after a failure the next heartbeat is tried.
const RETRY: Duration = Duration::from_millis(300);

/// What the task is asked to do.
pub(super) enum Command {
    /// Write heartbeats for it from now on.
    Lead(Arc<Held>),
    Commit(Job),
    /// Write no more for it.
    Forget {
        held: Arc<Held>,
        done: oneshot::Sender<()>,
    },
    /// End, and say whom heartbeats were written for.
    Close(oneshot::Sender<Vec<Arc<Held>>>),
}

/// Something to be written under a lease.
pub(super) struct Job {
    pub(super) held: Arc<Held>,
    pub(super) ops: Vec<Op>,
    /// How far the checkpoint reaches that it stores, where it stores one.
    pub(super) reach: Option<Reach>,
    pub(super) reply: oneshot::Sender<Result<Option<ModifyIndex>, Failed>>,
}

/// Why a write is not known to be stored.
#[derive(Debug)]
pub(super) enum Failed {
    /// The lock is somebody else's, and nothing was written.
    Lost,
    /// The head was not as it was expected, and nothing was written.
    Moved,
    /// It may have been written, or may still be.
    Unknown(Arc<consul::Error>),
}

/// A transaction that was answered.
struct Answer {
    sent: Moment,
    led: Vec<Arc<Held>>,
    jobs: Vec<Job>,
    result: Result<Transaction, consul::Error>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    led: Vec<Arc<Held>>,
    queue: VecDeque<Job>,
    under_way: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// A transaction that stores something is under way.
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

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        // When the next transaction goes, once there is a reason for it.
        let mut flush: Option<Instant> = None;
        loop {
            if !self.storing && !self.queue.is_empty() {
                flush.get_or_insert(Instant::now() + GATHER);
            }
            tokio::select! {
                biased;
                Some(answer) = self.under_way.next() => self.take(answer),
                command = commands.recv() => match command {
                    Some(Command::Lead(held)) => {
                        self.led.push(held);
                        self.next_beat = self.next_beat.min(Instant::now() + heartbeat::interval(self.shared.lease));
                    }
                    Some(Command::Commit(job)) => self.queue.push_back(job),
                    Some(Command::Forget { held, done }) => {
                        self.led.retain(|led| !Arc::ptr_eq(led, &held));
                        done.send(()).ok();
                    }
                    Some(Command::Close(led)) => {
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
                    // Whoever has something to store has it now, and not as it was at the last heartbeat.
                    self.shared.due.send_modify(|number| *number += 1);
                    flush = Some(Instant::now() + GATHER);
                }
            }
        }
    }

    /// Sends a heartbeat of everything that is led, and what fits of what waits to be stored.
    fn send(&mut self) {
        let period = heartbeat::interval(self.shared.lease);
        self.next_beat = Instant::now() + period;
        self.led.retain(|held| held.lease_state() != LeaseState::Lost);
        let mut ops = Vec::with_capacity(MAX_OPS);
        for held in &self.led {
            self.counter += 1;
            ops.push(Op::CheckSession { key: held.keys.lock.clone(), session: held.session.clone() });
            ops.push(self.heartbeat(held, held.reach()));
        }
        let jobs = if self.storing { Vec::new() } else { self.fitting(&mut ops) };
        // What is stored with a heartbeat, that heartbeat tells.
        for (number, held) in self.led.iter().enumerate() {
            let stored = jobs.iter().rfind(|job| Arc::ptr_eq(&job.held, held) && job.reach.is_some());
            if let Some(reach) = stored.and_then(|job| job.reach.clone()) {
                ops[2 * number + 1] = self.heartbeat(held, reach);
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
            Answer { sent, led, jobs, result }
        }));
    }

    fn heartbeat(&self, held: &Held, reach: Reach) -> Op {
        let value = self.shared.heartbeat(&held.session, self.counter, reach);
        Op::Set { key: held.keys.heartbeat.clone(), value, flags: 0 }
    }

    /// Takes from the queue what fits behind `ops`, in order.
    fn fitting(&mut self, ops: &mut Vec<Op>) -> Vec<Job> {
        let mut bytes: usize = ops.iter().map(Op::wire_bytes).sum();
        let mut jobs = Vec::new();
        while let Some(job) = self.queue.pop_front() {
            // Its lock is only checked where a heartbeat goes along.
            if !self.led.iter().any(|led| Arc::ptr_eq(led, &job.held)) {
                job.fail(Failed::Lost);
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

    fn take(&mut self, Answer { sent, led, jobs, result }: Answer) {
        self.storing &= jobs.is_empty();
        match result {
            Ok(Transaction::Done(entries)) => {
                led.iter().for_each(|held| held.renewed(sent));
                self.outage.over();
                self.shared.metrics.heartbeat(true);
                if std::mem::take(&mut self.suspended) {
                    info!("the leases are renewed; going on");
                    self.shared.status.coordinator(Duty::Renewal, None);
                }
                for job in jobs {
                    // The last of them: the check of the old one gives it, too.
                    let head = entries.iter().rfind(|entry| entry.key == job.held.keys.state);
                    let head = head.map(|entry| entry.modify_index);
                    // Whoever gave up on it asks again what was stored.
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
                if !self.suspended && self.led.iter().any(|held| held.lease_state() == LeaseState::Suspended) {
                    self.suspended = true;
                    error!("the leases could not be renewed in time; standing still until consul answers");
                }
                if self.suspended {
                    let reason = format!("the lease could not be renewed: {error}");
                    self.shared.status.coordinator(Duty::Renewal, Some(reason));
                }
                let error = Arc::new(error);
                jobs.into_iter().for_each(|job| job.fail(Failed::Unknown(Arc::clone(&error))));
            }
        }
    }

    /// Nothing of a transaction was written. Whose lock was refused has lost it; the others go again at once.
    fn refused(&mut self, led: &[Arc<Held>], jobs: Vec<Job>, refused: &[usize], what: &str) {
        let mut first = 2 * led.len();
        for (number, held) in led.iter().enumerate() {
            if refused.iter().any(|op| op / 2 == number) && held.lease_state() != LeaseState::Lost {
                warn!(kind = %held.kind, reason = what, "consul says that the lock is not ours any more");
                held.lose();
            }
        }
        self.led.retain(|held| held.lease_state() != LeaseState::Lost);
        // There is nothing left that could be renewed.
        if self.led.is_empty() && std::mem::take(&mut self.suspended) {
            self.shared.status.coordinator(Duty::Renewal, None);
        }
        let mut again = Vec::new();
        for job in jobs {
            let own = first..first + job.ops.len();
            first = own.end;
            if job.held.lease_state() == LeaseState::Lost {
                job.fail(Failed::Lost);
            } else if refused.iter().any(|op| own.contains(op)) {
                job.fail(Failed::Moved);
            } else {
                again.push(job);
            }
        }
        again.into_iter().rev().for_each(|job| self.queue.push_front(job));
        // Without a culprit, the same would only be refused again.
        self.next_beat = Instant::now() + if refused.is_empty() { RETRY } else { Duration::ZERO };
    }
}

impl Job {
    fn fail(self, failed: Failed) {
        // Whoever gave up on it asks again what was stored.
        self.reply.send(Err(failed)).ok();
    }
}
