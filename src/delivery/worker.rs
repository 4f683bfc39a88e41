//! The task that owns the sink.

mod probe;
mod several;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    Message, Observer, Policy,
    backlog::{Backlog, Item},
    batch::{Batch, Counts, Failures, Settled},
    pace::Pace,
    suspect::Suspect,
    unsent::Unsent,
};
use crate::{
    dead_letter::{DeadLetters, Letter},
    record::Record,
    sink::{Closed, ErrorClass, Outcome, Sink, UnderWay},
    telemetry::SinkState,
    throttle::{Classified, Failure, Throttle},
};

/// How soon a wait notices that a lease is lost.
const LEASE_CHECK: Duration = Duration::from_secs(1);

/// How soon a renewed lease is noticed.
const LEASE_POLL: Duration = Duration::from_millis(10);

pub(super) struct Worker {
    sink: Arc<dyn Sink>,
    policy: Policy,
    dead_letters: DeadLetters,
    observer: Arc<dyn Observer>,
    queue: mpsc::Receiver<Message>,
    backlog: Backlog,
    pace: Pace,
    suspect: Suspect,
    state: SinkState,
    /// Whether the log says that nothing gets through.
    is_logged: bool,
    log: Throttle,
    unsent: Unsent,
}

impl Worker {
    pub(super) fn new(
        sink: Box<dyn Sink>,
        policy: Policy,
        dead_letters: DeadLetters,
        observer: Arc<dyn Observer>,
        queue: mpsc::Receiver<Message>,
    ) -> Self {
        Worker {
            pace: Pace::new(&policy),
            sink: Arc::from(sink),
            policy,
            dead_letters,
            observer,
            queue,
            backlog: Backlog::default(),
            suspect: Suspect::default(),
            state: SinkState::Flowing,
            is_logged: false,
            log: Throttle::default(),
            unsent: Unsent::default(),
        }
    }

    pub(super) async fn run(mut self) -> Result<(), Closed> {
        match self.policy.under_way {
            UnderWay::One | UnderWay::Ordered(..=1) | UnderWay::ByKey(..=1) => self.run_one().await?,
            UnderWay::Ordered(_) | UnderWay::ByKey(_) => self.run_several().await?,
        }
        self.sink.close().await;
        Ok(())
    }

    /// Sends one batch at a time.
    async fn run_one(&mut self) -> Result<(), Closed> {
        while let Some(batch) = self.next_batch().await {
            self.deliver(batch).await?;
        }
        Ok(())
    }

    /// The next records in order, up to the limits; `None` when all handles are gone and the queue is empty.
    async fn next_batch(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut until = None;
        loop {
            if self.fill(&mut batch) {
                return Some(batch);
            }
            let message = match (self.queue.try_recv(), batch.is_empty()) {
                (Ok(message), _) => Some(message),
                (Err(_), true) => {
                    self.unsent.log();
                    self.queue.recv().await
                }
                (Err(_), false) if self.policy.linger.is_zero() => None,
                (Err(_), false) => {
                    let until = *until.get_or_insert_with(|| Instant::now() + self.policy.linger);
                    timeout_at(until, self.queue.recv()).await.ok().flatten()
                }
            };
            match message {
                Some(message) => self.backlog.take(message),
                None => return (!batch.is_empty()).then_some(batch),
            }
        }
    }

    /// Moves the backlog into `batch`; returns whether the batch has to leave now.
    fn fill(&mut self, batch: &mut Batch) -> bool {
        while let Some(item) = self.backlog.pop() {
            match item {
                Item::Drained(drain) if batch.is_empty() => drain.drained(),
                Item::Record(entry)
                    if batch.is_empty() || batch.bytes + entry.record.body.len() <= self.policy.batch_bytes =>
                {
                    batch.push(entry);
                    if batch.records.len() >= self.policy.batch_records {
                        return true;
                    }
                }
                item => {
                    self.backlog.put_back(item);
                    return true;
                }
            }
        }
        false
    }

    /// Sends `batch` until every record of it is delivered or dropped.
    async fn deliver(&mut self, mut batch: Batch) -> Result<(), Closed> {
        loop {
            self.wait_for_leases(&mut batch).await;
            if batch.is_empty() {
                // The failed records were dropped with their lease: no failure is known of the next ones.
                self.enter(SinkState::Flowing);
                return Ok(());
            }
            let mut outcomes = self.send(&mut batch).await?;
            self.examine(&mut batch, &mut outcomes).await?;
            let mut failures = batch.failures(&mut outcomes);
            let are_kept = self.write_dead_letters(&batch, &mut failures).await;
            let round = batch.settle(&outcomes, are_kept);
            self.pace.went(round.progress());
            self.count(&round);
            if round.kept.is_empty() {
                self.flowing();
                continue;
            }
            let delay = self.failed(&batch, &failures);
            self.pause(&mut batch, delay).await;
        }
    }

    /// Waits while a lease is suspended, and drops the records of lost leases. The remaining records may be sent.
    async fn wait_for_leases(&mut self, batch: &mut Batch) {
        loop {
            self.drop_lost(batch);
            self.unsent.log_if_due();
            if batch.is_empty() || batch.may_start() {
                if self.state == SinkState::Suspended {
                    self.enter(SinkState::Flowing);
                }
                return;
            }
            self.enter(SinkState::Suspended);
            sleep(LEASE_POLL).await;
        }
    }

    /// Sends as many records, from the first one on, as the pace allows.
    async fn send(&mut self, batch: &mut Batch) -> Result<Vec<Outcome>, Closed> {
        let allowance = if self.policy.is_whole { usize::MAX } else { self.pace.allowance() };
        let records = batch.portion(allowance.min(self.policy.batch_records), self.policy.batch_bytes);
        batch.tried(records);
        ask(&*self.sink, &*self.observer, &batch.records[..records]).await
    }

    /// Writes the rejected records to the dead-letter place; `false` where they have to be sent again.
    async fn write_dead_letters(&mut self, batch: &Batch, failures: &mut Failures) -> bool {
        let Some((first, reason)) = failures.rejected.first() else { return true };
        if self.dead_letters.holds() {
            if let Some(times) = self.log.due("rejected") {
                self.is_logged = true;
                let Record { kind, id, key, .. } = &batch.records[*first];
                tracing::error!(
                    sink = self.sink.name(), %kind, %id, %key, %reason,
                    attempts = batch.attempts[*first],
                    rejected = failures.rejected.len(),
                    times,
                    "pipeline held by a rejected record"
                );
            }
            return false;
        }
        let sink = self.sink.name();
        let letters = failures.rejected.iter().map(|(number, reason)| {
            let record = &batch.records[*number];
            Letter::new(record, sink, reason.clone(), batch.attempts[*number])
        });
        match self.dead_letters.rejected(letters.collect()).await {
            Ok(()) => true,
            Err(error) => {
                failures.reason = Some(Failure::of(&error));
                false
            }
        }
    }

    /// Logs and shows the failure; returns how long to wait.
    fn failed(&mut self, batch: &Batch, failures: &Failures) -> Duration {
        let Some(failure) = &failures.reason else {
            let reason = failures.rejected.first().map(|(_, reason)| reason.clone()).unwrap_or_default();
            self.enter(SinkState::Held { reason });
            return self.pace.rejected();
        };
        self.enter(SinkState::Retrying { reason: failure.reason.clone() });
        let delay = self.pace.failed(failures.after);
        if let Some(Record { kind, id, key, .. }) = batch.records.first()
            && let Some(times) = self.log.due(failure.class())
        {
            self.is_logged = true;
            tracing::warn!(
                sink = self.sink.name(), reason = %failure, times,
                records = batch.records.len(),
                %kind, %id, %key,
                attempts = batch.attempts.first().copied().unwrap_or_default(),
                retry_in = ?delay,
                "delivery failed"
            );
        }
        delay
    }

    /// Waits, but not for records whose lease is lost meanwhile.
    async fn pause(&mut self, batch: &mut Batch, delay: Duration) {
        let until = Instant::now() + delay;
        loop {
            self.drop_lost(batch);
            self.unsent.log_if_due();
            let now = Instant::now();
            if batch.is_empty() || now >= until {
                return;
            }
            sleep_until(until.min(now + LEASE_CHECK)).await;
        }
    }

    fn count(&self, round: &Settled) {
        for (kind, (records, bytes)) in &round.delivered {
            self.observer.delivered(*kind, *records, *bytes);
        }
        for (kind, (records, _)) in &round.dead_lettered {
            self.observer.dead_lettered(*kind, *records);
        }
        for (kind, (records, _)) in &round.kept {
            self.observer.retried(*kind, *records);
        }
    }

    fn drop_lost(&mut self, batch: &mut Batch) {
        self.dropped(batch.drop_lost());
    }

    fn dropped(&mut self, lost: Counts) {
        for (kind, (records, _)) in lost {
            self.unsent.add(kind, records);
            self.observer.dropped(kind, records);
        }
    }

    fn flowing(&mut self) {
        if std::mem::take(&mut self.is_logged) {
            tracing::info!(sink = self.sink.name(), "delivery recovered");
        }
        self.enter(SinkState::Flowing);
    }

    fn enter(&mut self, state: SinkState) {
        if self.state != state {
            self.observer.state(state.clone());
            self.state = state;
        }
    }
}

/// The kinds of failures among the outcomes, each once.
fn classes(outcomes: &[Outcome]) -> Vec<ErrorClass> {
    let mut found = Vec::new();
    for class in outcomes.iter().filter_map(Outcome::class) {
        if !found.contains(&class) {
            found.push(class);
        }
    }
    found
}

/// Sends `records` once, and returns an outcome for each.
async fn ask(sink: &dyn Sink, observer: &dyn Observer, records: &[Record]) -> Result<Vec<Outcome>, Closed> {
    let count = records.len();
    observer.in_flight(count, records.iter().map(|record| record.body.len()).sum());
    let started = Instant::now();
    let answer = sink.send(records).await;
    observer.in_flight(0, 0);
    Ok(answered(sink, observer, count, answer?, started.elapsed()))
}

/// Takes in the sink's answer for `count` records: an outcome for each.
fn answered(
    sink: &dyn Sink,
    observer: &dyn Observer,
    count: usize,
    mut outcomes: Vec<Outcome>,
    elapsed: Duration,
) -> Vec<Outcome> {
    observer.answered(count, elapsed);
    for class in classes(&outcomes) {
        observer.failed(class);
    }
    if outcomes.len() != count {
        tracing::error!(sink = sink.name(), records = count, outcomes = outcomes.len(), "sink miscounted its answers");
        // Drops surplus answers. A record without an answer is not known to be delivered.
        outcomes.resize_with(count, || Outcome::failed(ErrorClass::Server, "the sink did not answer for the record"));
    }
    outcomes
}
