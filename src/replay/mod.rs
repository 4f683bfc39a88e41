//! Sends the records of a dead-letter file again.
//!
//! The file stays unchanged while its records are sent, and running programs go on appending to it. At the end, a file
//! with the undelivered letters and those that were appended meanwhile replaces it, in one step and in the old order.
//! If the replay ends before that, the file is as it was: the next replay sends all of it again, with the same ids.

mod flights;
mod rest;

#[cfg(test)]
mod tests;

use std::{io::Read as _, ops::ControlFlow, path::Path, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::rest::Error;
use self::{
    flights::{Done, Flight, Flights},
    rest::Rest,
};
use crate::{
    checkpoint::Checkpoint,
    coordinator::none::Always,
    dead_letter::{
        DeadLetters, Returns,
        read::{self, Damaged, ReadLine, StoredLetter},
    },
    delivery::{self, Handle, Policy},
    kind::Kind,
    lease::Lease,
    ledger::{Effect, Ledger},
    position::RaftIndex,
    record::Record,
    sink::Sink,
    telemetry::Metrics,
    window::Window,
};

/// How often the log reports progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// How to replay a file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of letters that may be read and not yet delivered.
    pub max_in_flight: usize,
    /// How long the delivery may take after `stop`.
    pub grace: Duration,
    /// Also send what another sink has refused.
    pub any_sink: bool,
    /// Cancelled: sends nothing more, and ends when what was sent is delivered.
    pub stop: CancellationToken,
    /// Cancelled: ends at once.
    pub abort: CancellationToken,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Records that the sink took: they are no longer in the file.
    pub delivered: usize,
    /// Records that it refused again: they are in the file, with the new reason.
    pub refused: usize,
    /// Records that were not delivered, damaged lines included. Inputs that never were a record do not count.
    pub undelivered: usize,
    /// Letters that are in the file now: refused, undelivered, inputs, and those that were appended meanwhile.
    pub left: usize,
    /// It was stopped before the last letter was sent.
    pub interrupted: bool,
}

impl Replayed {
    /// Whether every record of the file is delivered.
    pub fn is_done(&self) -> bool {
        self.refused == 0 && self.undelivered == 0 && !self.interrupted
    }
}

/// A dead-letter file that will be replayed. No other process replays it meanwhile.
#[derive(Debug)]
pub struct Replay {
    rest: Rest,
    flights: Arc<Flights>,
    replayed: Replayed,
    other_sinks: usize,
}

impl Replay {
    /// Opens the file.
    ///
    /// # Errors
    /// It cannot be replaced, or another replay is at work on it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (rest, flights) = (Rest::open(path)?, Arc::default());
        Ok(Replay { rest, flights, replayed: Replayed::default(), other_sinks: 0 })
    }

    /// Sends every record to `sink`, in the order of the file, and waits for a sink that fails. Letters that are
    /// appended from now on stay.
    ///
    /// # Errors
    /// The file cannot be read or replaced; it is unchanged, and the next replay sends all of it.
    pub async fn run(mut self, sink: Box<dyn Sink>, policy: Policy, options: &Options) -> Result<Replayed, Error> {
        let (name, end) = (sink.name(), options.abort.child_token());
        let _end = end.clone().drop_guard();
        let dead_letters = DeadLetters::returned_to(Arc::clone(&self.flights) as Arc<dyn Returns>);
        let (delivery, sending) = delivery::spawn(sink, policy, dead_letters, Arc::new(()), end.clone());
        self.lock(options).await?;
        self.rest.measure()?;
        let from = self.send(&delivery, name, options).await?;
        self.replayed.interrupted = from < self.rest.until() || drain(&delivery, options).await.is_break();
        if self.replayed.interrupted {
            end.cancel();
        }
        // Without a handle it closes the sink and ends.
        drop(delivery);
        match sending.await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => info!(%reason, "sink closed by its reader"),
            Err(panic) => error!(%panic, "delivery task failed"),
        }
        for done in self.flights.all() {
            self.done(done)?;
        }
        if self.other_sinks > 0 {
            let records = self.other_sinks;
            warn!(records, sink = name, fix = "--any-sink sends them as well", "records of another sink left in file");
        }
        self.lock(options).await?;
        let Replay { rest, mut replayed, .. } = self;
        let Replayed { delivered, refused, .. } = replayed;
        replayed.left = rest.commit(from, delivered + refused > 0)?;
        Ok(replayed)
    }

    /// Waits for the lock of the file, and keeps it.
    async fn lock(&self, options: &Options) -> Result<(), Error> {
        let handle = self.rest.handle()?;
        let locked = tokio::task::spawn_blocking(move || handle.lock());
        tokio::select! {
            locked = locked => locked.map_err(std::io::Error::other).flatten().map_err(|source| self.rest.broken(source)),
            () = async { options.stop.cancelled().await; sleep(options.grace).await } => {
                Err(Error::Locked(self.rest.path().to_owned()))
            }
        }
    }

    /// Submits records until there are no more or `options` stop it; returns where the next line begins.
    async fn send(&mut self, delivery: &Handle, sink: &str, options: &Options) -> Result<u64, Error> {
        let window = Window::new(options.max_in_flight, &Metrics::new(&[]));
        let lease: Arc<dyn Lease> = Arc::new(Always);
        let until = self.rest.until();
        let mut logged = Instant::now();
        for line in read::lines(self.rest.handle()?.take(until)) {
            let ReadLine { at, letter } = line.map_err(|source| self.rest.broken(source))?;
            if options.stop.is_cancelled() {
                return Ok(at.start);
            }
            while let Some(done) = self.flights.next() {
                self.done(done)?;
            }
            if logged.elapsed() >= PROGRESS {
                logged = Instant::now();
                let Replayed { delivered, refused, .. } = self.replayed;
                info!(delivered, refused, bytes = at.start, of = until, "replaying dead letters");
            }
            let Some(letter) = self.sendable(letter, sink, options.any_sink) else {
                self.flights.push(Flight::kept(at));
                continue;
            };
            let ledger = Ledger::new(Arc::clone(&lease), Checkpoint::default());
            self.flights.push(Flight::sent(at.clone(), &letter.stored, &ledger));
            let bytes = usize::try_from(at.end - at.start).unwrap_or(usize::MAX);
            let submitted = async {
                let share = window.line(bytes).await;
                // It has a record, so there is an ack handle.
                let Some(ack) = ledger.enter(Effect::default(), 1, share) else { return ControlFlow::Break(()) };
                match delivery.submit(vec![letter.record(ack)]).await {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            };
            let stopped = tokio::select! {
                submitted = submitted => submitted.is_break(),
                () = options.stop.cancelled() => true,
                () = options.abort.cancelled() => true,
            };
            if stopped {
                return Ok(at.end);
            }
        }
        Ok(until)
    }

    /// The letter of a line, if it can be sent.
    fn sendable(&mut self, letter: Result<StoredLetter, Damaged>, sink: &str, any_sink: bool) -> Option<Sendable> {
        let stored = match letter {
            Ok(stored) if stored.kind == "input" => return None,
            Ok(stored) => stored,
            Err(Damaged { line, reason }) => {
                warn!(line, reason, "line is not a dead letter");
                self.replayed.undelivered += 1;
                return None;
            }
        };
        let Some((kind, body)) =
            stored.kind.parse::<Kind>().ok().zip(stored.message()).filter(|_| !stored.id.is_empty())
        else {
            warn!(kind = stored.kind, id = stored.id, "dead letter is not a record");
            self.replayed.undelivered += 1;
            return None;
        };
        if stored.sink != sink && !any_sink {
            self.other_sinks += 1;
            self.replayed.undelivered += 1;
            return None;
        }
        Some(Sendable { kind, body, stored })
    }

    /// Counts what became of a letter, and keeps it in the file where necessary.
    fn done(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Delivered => self.replayed.delivered += 1,
            Done::Refused(letter) => {
                self.replayed.refused += 1;
                self.rest.write(*letter)?;
            }
            Done::Undelivered(at) => {
                self.replayed.undelivered += 1;
                self.rest.keep(&at)?;
            }
            Done::Kept(at) => self.rest.keep(&at)?,
        }
        Ok(())
    }
}

/// Waits until all submitted records are delivered. Breaks where they are not.
async fn drain(delivery: &Handle, options: &Options) -> ControlFlow<()> {
    tokio::select! {
        drained = delivery.drain() => return if drained.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) },
        () = options.stop.cancelled() => {}
        () = options.abort.cancelled() => return ControlFlow::Break(()),
    }
    match timeout(options.grace, delivery.drain()).await {
        Ok(Ok(())) => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    }
}

/// A letter that is a record.
struct Sendable {
    kind: Kind,
    body: bytes::Bytes,
    stored: StoredLetter,
}

impl Sendable {
    fn record(self, ack: crate::ledger::AckHandle) -> Record {
        let Sendable { kind, body, stored: StoredLetter { id, key, namespace, job, envelope, .. } } = self;
        let [id, key, namespace, job] = [id, key, namespace, job].map(String::into_boxed_str);
        let [key, namespace, job] = [key, namespace, job].map(Arc::from);
        // A dead letter keeps none of them.
        let (node, group, index, time) = (Arc::from(""), None, RaftIndex::default(), None);
        Record { kind, id, key, namespace, job, node, group, index, time, body, envelope, ack }
    }
}
