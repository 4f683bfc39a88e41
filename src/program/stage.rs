//! The task between source and delivery: it keeps the order of the records, and sends them again after the worker has ended.
//!
//! Several records are with the worker at a time, and its answers come in their order. When it ends, those without an answer
//! go to a new one, now *carefully*: each answer leaves before the next record begins. So if that one ends too, the first
//! record without an answer is the one that it ran, and is blamed. A record that is blamed [often enough](GUILTY) is a dead letter.
//!
//! While a dead letter holds the pipeline, its record is asked alone, after growing pauses. Everything after it waits.

mod line;
mod trouble;

use std::{io, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use self::{
    line::{Flight, Item, Line},
    trouble::Trouble,
};
use super::{
    Config, Enrich,
    frame::{Answer, Question},
    worker::{Event, GUILTY, Over, Worker},
};
use crate::{
    dead_letter::{DeadLetters, Letter},
    delivery::{self, Handle, Intake, Message, Stopped},
    meta::{self, Meta, Origin},
    record::Record,
    telemetry::{Metrics, Status, metrics},
};

/// How many submissions wait in front of the stage.
const QUEUE: usize = 16;

/// The name of the stage where a sink has its own.
const NAME: &str = "jq";

/// How soon a pause notices that a lease is lost.
const LEASE_CHECK: Duration = Duration::from_secs(1);

/// What the stage needs of its pipeline.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Where records go that no program takes.
    pub dead_letters: DeadLetters,
    /// Counts what is filtered.
    pub metrics: Metrics,
    /// Shows what blocks.
    pub status: Status,
    /// The cluster, for `$meta`.
    pub origin: Origin,
}

/// Starts the stage in front of `next`, and returns the way into it. It ends with its last handle, once all it holds is passed
/// on, or when `next` has ended.
///
/// Call it in a thread that lives as long as the runtime: the worker process ends with the thread that starts it.
pub fn spawn(config: Config, around: Surroundings, enrich: Option<Arc<dyn Enrich>>, next: Handle) -> Handle {
    let (handle, intake) = delivery::stage(QUEUE);
    let enrich = enrich.filter(|_| config.mentions().any());
    let stage = Stage {
        line: Line::new(enrich),
        trouble: Trouble::new(around.status.clone()),
        settled: Settled::default(),
        worker: None,
        config,
        around,
        intake: Some(intake),
        next,
    };
    tokio::spawn(async move {
        if stage.run().await.is_err() {
            tracing::debug!("jq stage ended with the delivery");
        }
    });
    handle
}

struct Stage {
    config: Config,
    around: Surroundings,
    /// `None` once all handles are gone.
    intake: Option<Intake>,
    next: Handle,
    line: Line,
    worker: Option<Worker>,
    settled: Settled,
    trouble: Trouble,
}

/// What answers have made of records, before it leaves the stage.
#[derive(Default)]
struct Settled {
    out: Vec<Record>,
    refused: Vec<Record>,
    letters: Vec<Letter>,
}

/// What the loop saw.
enum Seen {
    Message(Option<Message>),
    Entered(Option<Item>),
    Worker(Event),
}

impl Stage {
    async fn run(mut self) -> Result<(), Stopped> {
        loop {
            self.pass_on().await?;
            if self.intake.is_none() && self.line.is_empty() {
                return Ok(());
            }
            if self.worker.is_none() && !self.start().await? {
                continue;
            }
            self.feed();
            match self.wait().await? {
                Seen::Message(Some(Message::Records(records))) => self.line.take(records),
                Seen::Message(Some(Message::Drain(drain))) => self.line.take_drain(drain),
                Seen::Message(None) => self.intake = None,
                Seen::Entered(item) => self.line.ready.extend(item),
                Seen::Worker(Event::Moved) => self.answers().await?,
                Seen::Worker(Event::Over(over)) => self.ended(over).await?,
            }
        }
    }

    async fn wait(&mut self) -> Result<Seen, Stopped> {
        let has_room = self.line.has_room();
        let is_busy = self.line.is_asked();
        let Stage { intake, line, worker, next, .. } = self;
        let exchange = async {
            match worker {
                Some(worker) if is_busy || !worker.is_ready() => worker.exchange(is_busy).await,
                _ => std::future::pending().await,
            }
        };
        let message = async {
            match intake {
                Some(intake) if has_room => intake.next().await,
                _ => std::future::pending().await,
            }
        };
        Ok(tokio::select! {
            event = exchange => Seen::Worker(event),
            item = line.entered() => Seen::Entered(item),
            message = message => Seen::Message(message),
            () = next.stopped() => return Err(Stopped),
        })
    }

    /// Starts a worker; `false` if that failed.
    async fn start(&mut self) -> Result<bool, Stopped> {
        match Worker::start(&self.config) {
            Ok(worker) => self.worker = Some(worker),
            Err(error) => {
                self.cannot_start(&describe(&error)).await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn cannot_start(&mut self, reason: &str) -> Result<(), Stopped> {
        self.worker = None;
        self.line.ask_again();
        let delay = self.trouble.cannot_start(reason);
        self.pause(delay).await
    }

    /// Asks the worker about as many records as it may have.
    fn feed(&mut self) {
        let Some(worker) = &mut self.worker else { return };
        while self.line.may_ask(self.trouble.is_held()) {
            let is_first = !self.line.is_asked();
            let Some(item) = self.line.next_to_ask() else { return };
            if let Item::Record(flight) = item {
                let meta = self.config.uses.meta.then(|| {
                    let meta = Meta::of(&flight.record, &self.around.origin);
                    serde_json::to_vec(&meta).unwrap_or_default()
                });
                let extra = [&flight.extra.diff, &flight.extra.node, &flight.extra.job];
                let [diff, node, job] = extra.map(|text| text.as_deref());
                let globals = [meta.as_deref(), diff, node, job];
                let question = Question { is_careful: flight.is_careful, globals, body: &flight.record.body };
                worker.ask(&question, is_first);
            }
        }
    }

    /// Takes in the answers that were received.
    async fn answers(&mut self) -> Result<(), Stopped> {
        loop {
            let Some(worker) = &mut self.worker else { return Ok(()) };
            let answer = match worker.answer() {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(_) => return self.ended(Over::Damaged).await,
            };
            match answer {
                Answer::Ready => self.trouble.started(),
                Answer::Unusable(reason) => return self.cannot_start(&reason).await,
                answer => self.settle(answer).await?,
            }
            if self.line.has_drain() {
                self.pass_on().await?;
            }
        }
        self.pass_on().await
    }

    /// Takes in the answer for the first record that was asked about.
    async fn settle(&mut self, answer: Answer) -> Result<(), Stopped> {
        let Some(flight) = self.line.answered() else { return self.ended(Over::Damaged).await };
        let outputs = match answer {
            Answer::Same { group } => Outputs { group, bodies: None },
            Answer::Outputs { group, bodies } => Outputs { group, bodies: Some(bodies) },
            Answer::Failed(reason) => return self.refused(flight, reason).await,
            Answer::Ready | Answer::Unusable(_) => return Ok(()),
        };
        self.trouble.over();
        let by = self.config.by.is_some();
        self.settled.accept(flight.record, outputs, by, &self.around.metrics);
        Ok(())
    }

    /// No program will ever take this record.
    async fn refused(&mut self, flight: Box<Flight>, reason: String) -> Result<(), Stopped> {
        if self.around.dead_letters.holds() {
            self.pass_on().await?;
            self.worker = None;
            let delay = self.trouble.held(&flight.record, &reason, flight.attempts);
            self.line.put_back(flight);
            self.line.ask_again();
            return self.pause(delay).await;
        }
        self.trouble.over();
        self.settled.letters.push(Letter::new(&flight.record, NAME, reason, flight.attempts));
        self.settled.refused.push(flight.record);
        Ok(())
    }

    /// The worker is of no use any more.
    async fn ended(&mut self, over: Over) -> Result<(), Stopped> {
        self.pass_on().await?;
        let Some(worker) = self.worker.take() else { return Ok(()) };
        let is_ready = worker.is_ready();
        let end = worker.end(over, &self.config).await;
        if !is_ready {
            return self.cannot_start(&end.reason).await;
        }
        let blamed = self.line.blame(end.blame);
        self.line.ask_again();
        let first = self.line.first_ready();
        let delay = self.trouble.ended(&end.reason, first.filter(|_| blamed > 0).map(|flight| &flight.record));
        if blamed >= GUILTY
            && let Some(flight) = self.line.first_out()
        {
            return Box::pin(self.refused(flight, end.reason)).await;
        }
        self.pause(delay).await
    }

    /// Passes on what is settled, and the drains behind it.
    async fn pass_on(&mut self) -> Result<(), Stopped> {
        self.write_letters().await?;
        if !self.settled.out.is_empty() {
            self.next.submit(std::mem::take(&mut self.settled.out)).await?;
            self.listen_again();
        }
        while let Some(drain) = self.line.drain() {
            self.next.pass(Message::Drain(drain)).await?;
            self.listen_again();
        }
        Ok(())
    }

    /// Nobody listened to the worker meanwhile, so its silence does not count.
    fn listen_again(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.touch();
        }
    }

    /// Acknowledges the refused records once their letters are written.
    async fn write_letters(&mut self) -> Result<(), Stopped> {
        while !self.settled.letters.is_empty() {
            if let Err(error) = self.around.dead_letters.rejected(self.settled.letters.clone()).await {
                let delay = self.trouble.no_letters(&error);
                self.pause(delay).await?;
                continue;
            }
            self.trouble.letters_written();
            self.settled.letters.clear();
            for record in self.settled.refused.drain(..) {
                self.around.metrics.dead_letters(record.kind, metrics::REJECTED, 1);
                record.ack.delivered();
            }
        }
        Ok(())
    }

    /// Waits, but not for records whose lease is lost meanwhile.
    async fn pause(&mut self, delay: Duration) -> Result<(), Stopped> {
        let until = Instant::now() + delay;
        loop {
            for (kind, records) in self.line.drop_lost() {
                tracing::warn!(%kind, records, reason = "lease lost", "records dropped undelivered");
                self.around.metrics.of(kind).records_unsent_at_lease_loss.inc_by(records);
            }
            if !self.line.has_ready_record() {
                // The record in question was dropped with its lease.
                self.trouble.dropped();
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.listen_again();
                return Ok(());
            }
            tokio::select! {
                () = sleep(left.min(LEASE_CHECK)) => {}
                () = self.next.stopped() => return Err(Stopped),
            }
        }
    }
}

/// What a program made of a record.
struct Outputs {
    group: Option<String>,
    /// `None` where the one output is the record as it came.
    bodies: Option<Vec<bytes::Bytes>>,
}

impl Settled {
    /// Makes the records of the outputs.
    fn accept(&mut self, mut record: Record, outputs: Outputs, by: bool, metrics: &Metrics) {
        if by {
            record.group = outputs.group.map(Arc::from);
        }
        let Some(mut bodies) = outputs.bodies else { return self.out.push(record) };
        // The outputs need not say it.
        record.time = meta::time(&record);
        match (bodies.pop(), bodies.is_empty()) {
            (None, _) => {
                metrics.of(record.kind).records_filtered.inc();
                record.ack.delivered();
            }
            (Some(body), true) => self.out.push(Record { body, ..record }),
            (Some(last), false) => {
                bodies.push(last);
                let Record { kind, id, key, namespace, job, node, group, index, time, envelope, ack, body: _ } = record;
                let acks = ack.split(bodies.len());
                self.out.extend(bodies.into_iter().zip(acks).enumerate().map(|(number, (body, ack))| Record {
                    kind,
                    id: format!("{id}/{number}").into(),
                    key: Arc::clone(&key),
                    namespace: Arc::clone(&namespace),
                    job: Arc::clone(&job),
                    node: Arc::clone(&node),
                    group: group.clone(),
                    index,
                    time,
                    body,
                    envelope: envelope.clone(),
                    ack,
                }));
            }
        }
    }
}

fn describe(error: &io::Error) -> String {
    format!("the system did not start it: {error}")
}
