//! Several batches under way: launches what `flow.rs` picks, and takes in the answers.
//!
//! While nothing gets through, or a rejected record holds up the pipeline, no batch is launched: once all have come back, what
//! failed is sent as if one batch at a time were allowed, until it is through.

use std::{sync::Arc, time::Duration};

use futures_util::{
    StreamExt as _,
    future::{BoxFuture, ready},
    poll,
    stream::{FuturesOrdered, FuturesUnordered},
};
use tokio::{
    sync::mpsc::error::TryRecvError,
    time::{Instant, sleep_until},
};

use super::{LEASE_CHECK, LEASE_POLL, Worker, answered};
use crate::{
    delivery::{Policy, backlog::Backlog, batch::Batch, flow::Flow, pace::Advance},
    sink::{Closed, Outcome, UnderWay},
    telemetry::SinkState,
};

/// The batches under way.
enum Air {
    /// Answers are taken in by the order of launch: a later record of a key never counts as delivered before an earlier one.
    Ordered(FuturesOrdered<BoxFuture<'static, Landed>>),
    ByKey(FuturesUnordered<BoxFuture<'static, Landed>>),
}

/// A batch that has its answer.
struct Landed {
    number: u64,
    batch: Batch,
    answer: Result<Vec<Outcome>, Closed>,
    elapsed: Duration,
}

/// What is under way, and what launches wait for.
struct Several {
    flow: Flow,
    air: Air,
    records: usize,
    bytes: usize,
    /// What failed does not leave again before this time.
    again_at: Option<Instant>,
    /// When to look next whether their leases are lost.
    look_at: Instant,
    /// Nothing leaves before this time: the far side asked for it.
    after: Option<Instant>,
    /// A batch that is not full leaves at this time.
    linger_until: Option<Instant>,
    /// Something has changed that can free what waits.
    is_stale: bool,
    /// An outage: nothing is launched, and the first failure has said how long to wait.
    is_grounded: bool,
    is_closed: bool,
}

/// Why what failed is sent alone, and how long after.
struct Outage(Duration);

impl Air {
    fn new(under_way: UnderWay) -> Self {
        match under_way {
            UnderWay::One | UnderWay::Ordered(_) => Air::Ordered(FuturesOrdered::new()),
            UnderWay::ByKey(_) => Air::ByKey(FuturesUnordered::new()),
        }
    }

    fn push(&mut self, flight: BoxFuture<'static, Landed>) {
        match self {
            Air::Ordered(flights) => flights.push_back(flight),
            Air::ByKey(flights) => flights.push(flight),
        }
    }

    async fn next(&mut self) -> Option<Landed> {
        match self {
            Air::Ordered(flights) => flights.next().await,
            Air::ByKey(flights) => flights.next().await,
        }
    }
}

impl Worker {
    /// Keeps several batches under way.
    pub(super) async fn run_several(&mut self) -> Result<(), Closed> {
        let mut several = Several {
            flow: Flow::new(&self.policy),
            air: Air::new(self.policy.under_way),
            records: 0,
            bytes: 0,
            again_at: None,
            look_at: Instant::now(),
            after: None,
            linger_until: None,
            is_stale: false,
            is_grounded: false,
            is_closed: false,
        };
        loop {
            self.pull(&mut several);
            let wake = self.launch(&mut several).await;
            let wake = wake.into_iter().chain(self.unsent.due_at()).min();
            let is_any_under_way = several.flow.is_any_under_way();
            self.unsent.log_if_due();
            if several.flow.is_idle() && self.backlog.is_empty() && self.queue.is_empty() {
                self.unsent.log();
                if several.is_closed {
                    return Ok(());
                }
            }
            let has_room = !several.is_closed && has_room(&self.policy, &self.backlog, &several.flow);
            tokio::select! {
                biased;
                Some(landed) = several.air.next(), if is_any_under_way => self.landed(&mut several, landed).await?,
                message = self.queue.recv(), if has_room => match message {
                    Some(message) => self.backlog.take(message),
                    None => several.is_closed = true,
                },
                () = sleep_until(wake.unwrap_or_else(|| Instant::now() + LEASE_CHECK)),
                    if wake.is_some() || !is_any_under_way && !has_room => {}
            }
        }
    }

    /// Takes what is queued, as far as there is room for it.
    fn pull(&mut self, several: &mut Several) {
        while !several.is_closed && has_room(&self.policy, &self.backlog, &several.flow) {
            match self.queue.try_recv() {
                Ok(message) => self.backlog.take(message),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => several.is_closed = true,
            }
        }
    }

    /// Launches whatever may leave now. Returns when to look again, if no answer and no new record changes that.
    async fn launch(&mut self, several: &mut Several) -> Option<Instant> {
        let now = Instant::now();
        let mut wake = self.free(several, now);
        if let Some(after) = several.after {
            if now < after {
                return Some(wake.map_or(after, |wake| wake.min(after)));
            }
            several.after = None;
        }
        let most = self.policy.batch_records.min(self.pace.allowance());
        // After an outage one batch at a time, until they have grown.
        let most_under_way = if most < self.policy.batch_records { 1 } else { usize::MAX };
        while several.flow.has_room(most_under_way) {
            match self.leaves_at(several, most, now) {
                Some(at) if at <= now => {}
                Some(at) => return Some(wake.map_or(at, |wake| wake.min(at))),
                None => break,
            }
            let is_again = several.flow.leaves_again();
            let Some(picked) = several.flow.pick(&mut self.backlog, most) else { break };
            let mut batch = picked.batch;
            if !picked.is_due && !is_again && !several.is_closed && several.flow.is_any_under_way() {
                several.flow.put_back(&mut self.backlog, batch);
                break;
            }
            self.drop_lost(&mut batch);
            if batch.is_empty() {
                if self.state == SinkState::Suspended {
                    self.enter(SinkState::Flowing);
                }
                (several.is_stale, wake) = (true, Some(now));
                continue;
            }
            if !batch.may_start() {
                several.flow.put_back(&mut self.backlog, batch);
                self.enter(SinkState::Suspended);
                return Some(now + LEASE_POLL);
            }
            if self.state == SinkState::Suspended {
                self.enter(SinkState::Flowing);
            }
            several.linger_until = None;
            self.start(several, batch).await;
        }
        wake
    }

    /// Frees what need not wait any more. Returns when to look again.
    fn free(&mut self, several: &mut Several, now: Instant) -> Option<Instant> {
        if several.again_at.is_some_and(|at| at <= now) {
            several.again_at = None;
            several.is_stale = true;
        }
        if several.again_at.is_some() && several.look_at <= now {
            several.look_at = now + LEASE_CHECK;
            self.dropped(several.flow.drop_lost());
            several.is_stale = true;
        }
        if std::mem::take(&mut several.is_stale) {
            several.flow.release(&mut self.backlog, several.again_at.is_none());
            if several.flow.is_whole() {
                several.again_at = None;
                if self.state != SinkState::Suspended {
                    self.flowing();
                }
            }
        }
        several.again_at.map(|at| at.min(several.look_at))
    }

    /// When the next batch may leave, as far as records are there now. One that is not full waits while others are under
    /// way: more will have come by the time they are back.
    fn leaves_at(&self, several: &mut Several, most: usize, now: Instant) -> Option<Instant> {
        let is_full = self.backlog.records() >= most || self.backlog.bytes() >= self.policy.batch_bytes;
        if is_full || several.is_closed || self.backlog.is_awaited() || several.flow.leaves_again() {
            return Some(now);
        }
        if several.flow.is_any_under_way() || self.backlog.is_empty() {
            return None;
        }
        Some(*several.linger_until.get_or_insert_with(|| now + self.policy.linger))
    }

    /// Sends `batch`, whose leases were just asked: the sink gets it before anything else happens.
    async fn start(&mut self, several: &mut Several, mut batch: Batch) {
        let number = several.flow.launch(&batch);
        batch.tried(batch.records.len());
        several.records += batch.records.len();
        several.bytes += batch.bytes;
        self.observer.in_flight(several.records, several.bytes);
        let sink = Arc::clone(&self.sink);
        let mut flight: BoxFuture<'static, Landed> = Box::pin(async move {
            let started = Instant::now();
            let answer = sink.send(&batch.records).await;
            Landed { number, batch, answer, elapsed: started.elapsed() }
        });
        // Sinks write in the order of the first polls.
        several.air.push(match poll!(&mut flight) {
            std::task::Poll::Ready(landed) => Box::pin(ready(landed)),
            std::task::Poll::Pending => flight,
        });
    }

    /// Takes in an answer. In an outage it waits for all others, and sends what failed alone until it is through.
    async fn landed(&mut self, several: &mut Several, landed: Landed) -> Result<(), Closed> {
        let Some(Outage(mut delay)) = self.settle(several, landed).await? else { return Ok(()) };
        several.is_grounded = true;
        while several.flow.is_any_under_way()
            && let Some(landed) = several.air.next().await
        {
            if let Some(Outage(longer)) = self.settle(several, landed).await? {
                delay = delay.max(longer);
            }
        }
        let mut failed = several.flow.take_failed(&mut self.backlog);
        self.pause(&mut failed, delay).await;
        self.deliver(failed).await?;
        (several.again_at, several.after) = (None, None);
        (several.is_grounded, several.is_stale) = (false, true);
        Ok(())
    }

    /// Acknowledges what is delivered, and keeps the rest.
    async fn settle(&mut self, several: &mut Several, landed: Landed) -> Result<Option<Outage>, Closed> {
        let Landed { number, mut batch, answer, elapsed } = landed;
        let count = batch.records.len();
        several.records -= count;
        several.bytes -= batch.bytes;
        self.observer.in_flight(several.records, several.bytes);
        let mut outcomes = answered(&*self.sink, &*self.observer, count, answer?, elapsed);
        let flow = &mut several.flow;
        let left = flow.land(number, &batch);
        several.is_stale = true;
        let doubtful = flow.take_doubtful(&mut batch, &mut outcomes);
        for (kind, (records, _)) in doubtful.counts() {
            self.observer.retried(kind, records);
        }
        flow.failed(doubtful, left);
        if batch.is_empty() {
            return Ok(None);
        }
        let is_refused = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Retry { refusal: Some(_), .. }));
        let is_all_delivered = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Delivered));
        if flow.is_behind_another(number) || !is_all_delivered {
            flow.keep_shares(number, batch.records.iter().flat_map(|record| record.ack.shares()).collect());
        }
        let mut failures = batch.failures(&mut outcomes);
        let are_kept = self.write_dead_letters(&batch, &mut failures).await;
        let round = batch.settle(&outcomes, are_kept);
        self.count(&round);
        let progress = round.progress();
        if progress != Advance::None {
            flow.got_through(number);
        }
        let is_outage = !are_kept || progress == Advance::None && (is_refused || !flow.is_overtaken(number));
        match progress {
            Advance::None if !is_outage => self.pace.went(Advance::Some),
            Advance::All | Advance::Some if several.is_grounded => {}
            progress => self.pace.went(progress),
        }
        if batch.is_empty() {
            return Ok(None);
        }
        let delay = if several.is_grounded {
            failures.after.unwrap_or_default().min(self.policy.after_max)
        } else {
            self.failed(&batch, &failures)
        };
        let until = Instant::now() + delay;
        if failures.after.is_some() {
            several.after = several.after.max(Some(until));
        }
        if several.again_at.is_none() {
            several.look_at = until.min(Instant::now() + LEASE_CHECK);
        }
        several.again_at = several.again_at.max(Some(until));
        several.flow.failed(batch, left);
        Ok(is_outage.then_some(Outage(delay)))
    }
}

/// Whether more may be taken from the queue: enough to fill the batches, and to find other keys than those that wait.
fn has_room(policy: &Policy, backlog: &Backlog, flow: &Flow) -> bool {
    let (UnderWay::Ordered(most) | UnderWay::ByKey(most)) = policy.under_way else { return backlog.is_empty() };
    backlog.records() + flow.waiting() < (most + 1).saturating_mul(policy.batch_records)
}
