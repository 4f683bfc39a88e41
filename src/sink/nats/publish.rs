//! Publishes one batch over a connection, and waits for what the stream says to each record.
//!
//! All records of different keys are under way at once. Those of one key go one after the other, each when the one before is stored: the
//! stream drops a message whose id it knows. If a record failed and a later one of its key were stored, then the later one, sent again
//! behind it as the order demands, would be dropped, and a consumer would see the two in the wrong order for good.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    pin::pin,
};

use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Settings,
    fault::{Answer, Fault, judged},
    message, proto, subject,
    wire::{Arrival, Link, PIECE, Ticket},
};
use crate::{
    kind::Kind,
    lease::LeaseState,
    record::Record,
    sink::{ErrorClass, Outcome, lease},
};

/// What became of a batch so far.
pub(super) struct Round<'a> {
    settings: &'a Settings,
    batch: &'a [Record],
    outcomes: Vec<Option<Outcome>>,
    /// The next record of the same key, of each.
    next: Vec<Option<usize>>,
    /// The records that are written and have no answer, with their subjects.
    under_way: BTreeMap<usize, String>,
    /// The first failure that only people can fix.
    pub(super) refused: Option<Fault>,
}

impl<'a> Round<'a> {
    pub(super) fn new(settings: &'a Settings, batch: &'a [Record]) -> Self {
        let outcomes = batch.iter().map(|_| None).collect();
        Round { settings, batch, outcomes, next: vec![None; batch.len()], under_way: BTreeMap::new(), refused: None }
    }

    /// Publishes all, as far as that goes.
    pub(super) async fn through(&mut self, link: &Link) -> Result<(), Fault> {
        let within = self.settings.config.ack_timeout;
        let mut ticket = link.ticket(self.batch.len())?;
        let mut ready = self.first_of_each_key();
        let mut unheld = pin!(lease::until_unheld(self.batch));
        let lost = || Fault::new(ErrorClass::Unsent, "the lease is not held any more");
        loop {
            if !ready.is_empty() {
                let ready = mem::take(&mut ready);
                tokio::select! {
                    biased;
                    () = &mut unheld => return Err(lost()),
                    written = self.write(link, &mut ticket, &ready) => written?,
                }
            }
            if self.under_way.is_empty() {
                ticket.is_dirty = false;
                return Ok(());
            }
            tokio::select! {
                biased;
                arrival = ticket.arrivals.recv() => {
                    self.heed(arrival.ok_or_else(|| link.fault())?, &mut ready);
                    while let Ok(arrival) = ticket.arrivals.try_recv() {
                        self.heed(arrival, &mut ready);
                    }
                }
                () = &mut unheld => return Err(lost()),
                () = sleep_until(Instant::now() + within) => {
                    let fix = "check the stream's leader and its disk, or raise SINK_NATS_ACK_TIMEOUT";
                    let text = format!("{} acknowledged nothing for {within:?}; {fix}", link.server());
                    return Err(Fault::new(ErrorClass::Timeout, text));
                }
            }
        }
    }

    /// The outcome of each record, after `fault` where there was one.
    pub(super) fn outcomes(self, fault: Option<&Fault>) -> Vec<Outcome> {
        let Round { outcomes, under_way, .. } = self;
        let is_none_under_way = under_way.is_empty();
        let of = |(number, outcome): (usize, Option<Outcome>)| match (outcome, fault) {
            (Some(outcome), _) => outcome,
            (None, Some(fault)) if is_none_under_way || under_way.contains_key(&number) => fault.outcome(),
            (None, _) => Outcome::not_sent(),
        };
        outcomes.into_iter().enumerate().map(of).collect()
    }

    /// Links each record with the next one of its key, and returns the first ones.
    fn first_of_each_key(&mut self) -> Vec<usize> {
        let mut last: HashMap<(Kind, &str), usize> = HashMap::with_capacity(self.batch.len());
        let mut first = Vec::with_capacity(self.batch.len());
        for (number, record) in self.batch.iter().enumerate() {
            match last.insert((record.kind, &record.key), number) {
                Some(before) => self.next[before] = Some(number),
                None => first.push(number),
            }
        }
        first
    }

    /// Writes these records, whose leases are held.
    async fn write(&mut self, link: &Link, ticket: &mut Ticket<'_>, numbers: &[usize]) -> Result<(), Fault> {
        let within = self.settings.config.ack_timeout;
        let Ok(mut writing) = timeout(within, link.writing()).await else {
            let text = format!("{} took nothing for {within:?}; check the server and the network", link.server());
            return Err(Fault::new(ErrorClass::Timeout, text));
        };
        let mut frames = Vec::with_capacity(PIECE);
        for (place, number) in numbers.iter().enumerate() {
            match self.frame(link, ticket, *number, &mut frames) {
                Ok(subject) => drop(self.under_way.insert(*number, subject)),
                Err(outcome) => self.outcomes[*number] = Some(outcome),
            }
            if frames.len() >= PIECE || place + 1 == numbers.len() {
                ticket.is_dirty |= !frames.is_empty();
                writing.all(&frames, within).await?;
                frames.clear();
            }
        }
        Ok(())
    }

    /// Appends the message of a record, and returns its subject.
    fn frame(&self, link: &Link, ticket: &Ticket<'_>, number: usize, frames: &mut Vec<u8>) -> Result<String, Outcome> {
        let record = &self.batch[number];
        if record.ack.lease_state() != LeaseState::Held {
            return Err(Outcome::failed(ErrorClass::Unsent, "the lease is not held"));
        }
        let Settings { config, cluster, .. } = self.settings;
        let subject = subject::of(&config.subject, record).map_err(|reason| Outcome::Reject { reason })?;
        let headers = message::headers(record, config.stream.as_deref(), cluster.as_deref());
        let (size, most) = (headers.len() + record.body.len(), link.max_payload());
        if size > most {
            let reason =
                format!("too large for {}: {size} bytes with headers; its max_payload is {most}", link.server());
            return Err(Outcome::Reject { reason });
        }
        proto::publish(frames, &subject, &ticket.inbox(number), &headers, &record.body);
        Ok(subject.into_owned())
    }

    /// Takes what came. The next record of a key is ready when the one before it is stored.
    fn heed(&mut self, arrival: Arrival, ready: &mut Vec<usize>) {
        match arrival {
            Arrival::Answer(number, message) => {
                let Some(subject) = self.under_way.remove(&number) else { return };
                let outcome = match judged(&message, &subject) {
                    Answer::Stored => {
                        ready.extend(self.next[number]);
                        Outcome::Delivered
                    }
                    Answer::Failed(fault) => self.failed(fault),
                    Answer::Rejected(reason) => Outcome::Reject { reason },
                };
                self.outcomes[number] = Some(outcome);
            }
            Arrival::Denied(subject, fault) => {
                let denied: Vec<usize> =
                    self.under_way.iter().filter(|(_, it)| **it == subject).map(|it| *it.0).collect();
                for number in denied {
                    self.under_way.remove(&number);
                    self.outcomes[number] = Some(self.failed(fault.clone()));
                }
            }
        }
    }

    fn failed(&mut self, fault: Fault) -> Outcome {
        let outcome = fault.outcome();
        if fault.is_for_people() {
            self.refused.get_or_insert(fault);
        }
        outcome
    }
}
