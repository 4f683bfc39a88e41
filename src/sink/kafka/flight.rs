//! One batch on its way: into the client's queue, and back as outcomes.

use std::{borrow::Cow, sync::Arc, time::Duration};

use rdkafka::error::RDKafkaErrorCode;
use tokio::time::{Instant, sleep_until};

use super::{
    Config, Message, client,
    fault::{self, Fault},
    link::Slot,
    reports::{Report, Reports},
};
use crate::{
    lease::LeaseState,
    record::Record,
    sink::{ErrorClass, Outcome, lease},
};

/// How much longer than the brokers the client may take for a report.
const REPORT: Duration = Duration::from_secs(5);

/// What a request has beside the records that it may have at most: its head, and what surrounds another record, at least.
const BESIDE: usize = 64;

/// A batch under way. Dropped before it has landed, it takes back what is not acknowledged.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    config: &'a Config,
    batch: &'a [Record],
    slot: Slot,
    reports: Arc<Reports>,
    /// Of each record, what is already known.
    known: Vec<Known<'a>>,
    is_airborne: bool,
}

/// What is known of a record before there is a report.
#[derive(Debug)]
enum Known<'a> {
    /// It is in the client's hands, for this topic, with so many bytes.
    Sent { topic: Cow<'a, str>, bytes: usize },
    /// It never was.
    Answered(Outcome),
}

impl<'a> Flight<'a> {
    pub(super) fn new(config: &'a Config, batch: &'a [Record], slot: Slot) -> Self {
        let reports = Reports::new(batch.len());
        Flight { config, batch, slot, reports, known: Vec::with_capacity(batch.len()), is_airborne: false }
    }

    /// Puts the records into the client's queue, in order, without waiting.
    pub(super) fn start(&mut self, cluster: Option<&str>) {
        self.is_airborne = true;
        for number in 0..self.batch.len() {
            let known = self.put(number, cluster);
            self.known.push(known);
        }
    }

    fn put(&self, number: usize, cluster: Option<&str>) -> Known<'a> {
        let record = &self.batch[number];
        if record.ack.lease_state() != LeaseState::Held {
            return Known::Answered(Outcome::failed(ErrorClass::Unsent, "the lease is not held"));
        }
        let message = match Message::of(record, self.config, cluster) {
            Ok(message) => message,
            Err(reason) => return Known::Answered(Outcome::Reject { reason }),
        };
        let (topic, bytes) = (message.topic.clone(), message.bytes);
        if bytes > client::MOST_BYTES {
            let reason = format!("record, key and headers have {bytes} bytes; {} are the most", client::MOST_BYTES);
            return Known::Answered(Outcome::Reject { reason });
        }
        match self.slot.producer.put(message, &record.body, self.reports.ticket(number)) {
            Ok(()) => Known::Sent { topic, bytes },
            Err(code) => Known::Answered(self.failed(code, &topic, bytes)),
        }
    }

    /// Waits for the reports, as long as there is hope and the leases are held.
    pub(super) async fn land(mut self) -> Vec<Outcome> {
        let deadline = Instant::now() + self.config.timeout + REPORT;
        let fault = tokio::select! {
            biased;
            () = self.reports.until_complete() => None,
            () = lease::until_unheld(self.batch) => {
                Some(Fault::new(ErrorClass::Unsent, "the lease is not held any more"))
            }
            fault = self.slot.producer.until_hopeless() => Some(fault),
            () = sleep_until(deadline) => {
                Some(Fault::new(ErrorClass::Timeout, "the client gave no report in time"))
            }
        };
        if let Some(fault) = &fault {
            self.slot.producer.close_and_wait().await;
            self.slot.lessons.report_once(fault);
        }
        self.is_airborne = false;
        let known = std::mem::take(&mut self.known);
        let reports = self.reports.take();
        known.into_iter().zip(reports).map(|(known, report)| self.outcome(known, report, fault.as_ref())).collect()
    }

    fn outcome(&self, known: Known<'_>, report: Option<Report>, fault: Option<&Fault>) -> Outcome {
        match (known, report) {
            (Known::Answered(outcome), _) => outcome,
            (_, Some(Ok(()))) => {
                self.slot.lessons.works();
                Outcome::Delivered
            }
            // The producer was closed over it.
            (_, None | Some(Err(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)))
                if fault.is_some() =>
            {
                fault.map_or_else(Outcome::not_sent, Fault::outcome)
            }
            (Known::Sent { topic, bytes }, Some(Err(code))) => self.failed(code, &topic, bytes),
            (Known::Sent { .. }, None) => Outcome::not_sent(),
        }
    }

    /// The outcome of a record that the client or the brokers did not take.
    fn failed(&self, code: RDKafkaErrorCode, topic: &str, bytes: usize) -> Outcome {
        let Slot { producer, lessons, request_bytes, .. } = &self.slot;
        if let Some(reason) = fault::blames_record(code, topic, bytes) {
            if bytes + BESIDE > *request_bytes {
                return Outcome::Reject { reason };
            }
            lessons.send_less(bytes);
            producer.spoil();
        }
        if fault::lasts(code) {
            producer.spoil();
        }
        let fault = Fault::of_record(code, topic, self.config.timeout);
        // What the client said about its brokers is nearer to the cause.
        let fault = if fault.is_vague() { producer.last_fault().unwrap_or(fault) } else { fault };
        lessons.report_once(&fault);
        fault.outcome()
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.is_airborne {
            self.slot.producer.close();
        }
    }
}
