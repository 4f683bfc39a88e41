//! Writes to a stream of Amazon Kinesis with `PutRecords`. Delivered means that the answer has a sequence number for the
//! record.
//!
//! A batch is one call, or a few if it does not fit: they are sent in order, one after another. Several batches can be under way,
//! never two with records of one key: in two calls at a time, these could overtake each other.
//!
//! | Answer | Outcome |
//! |---|---|
//! | a sequence number | delivered |
//! | an error for one record | retry; nothing more of its key is sent in this batch |
//! | the record is not acceptable, or too large to be sent | reject |
//! | something in the call is not acceptable | halves are sent until the guilty records stand alone: reject |
//! | any other error, no answer | retry; nothing more of the batch is sent |
//!
//! The SDK never retries by itself.

mod call;
mod check;
mod client;
mod config;
mod fault;
mod settings;

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use aws_sdk_kinesis::{
    Client,
    primitives::Blob,
    types::{PutRecordsRequestEntry, PutRecordsResultEntry},
};
use futures_util::future::BoxFuture;

pub use self::config::{Config, Stream};
pub(super) use self::settings::DEFINITION;
use self::{
    call::{Entry, Load},
    client::Reach,
    fault::Fault,
};
use super::{
    Closed, ErrorClass, Outcome, Policy, Prepared, Sink, Unusable,
    aws::{Link, Target},
    lease,
};
use crate::{finding::Finding, kind::Kind, lease::LeaseState, record::Record};

/// Writes records to one stream.
pub struct Kinesis {
    settings: Config,
    link: Link<Client>,
    /// A fault that only people can fix is in the log.
    is_reported: AtomicBool,
}

impl fmt::Debug for Kinesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kinesis").field("stream", &self.stream()).finish_non_exhaustive()
    }
}

impl Kinesis {
    /// A sink that looks for region and credentials at the first send.
    pub fn new(config: Config) -> Self {
        Kinesis { settings: config, link: Link::default(), is_reported: AtomicBool::new(false) }
    }

    fn stream(&self) -> &str {
        match &self.settings.stream {
            Stream::Name(name) => name,
            Stream::Arn { arn, .. } => arn,
        }
    }

    fn target<'a>(&'a self, region: &'a str) -> Target<'a> {
        Target { service: &fault::SERVICE, name: self.stream(), region }
    }

    async fn put(&self, batch: &[Record]) -> Vec<Outcome> {
        let lent = match self.link.lend(|| Box::pin(client::reach(&self.settings.stream))).await {
            Ok(lent) => lent,
            Err(fault) => {
                self.report_once(&fault);
                return batch.iter().map(|_| fault.outcome()).collect();
            }
        };
        let mut round = Round::new(batch, &self.settings);
        let mut fault = None;
        while let Some(part) = round.next_part() {
            let answer = tokio::select! {
                biased;
                () = lease::until_unheld(part.iter().map(|entry| &batch[entry.number])) => {
                    Err(Fault::Passing(ErrorClass::Unsent, "the lease is not held any more".to_owned()))
                }
                answer = self.call(&lent.reach, batch, &part) => answer,
            };
            match answer {
                Ok(answers) => {
                    self.is_reported.store(false, Ordering::Relaxed);
                    round.answered(&part, answers);
                }
                Err(Fault::Data(reason)) => round.refused(part, reason),
                Err(found) => {
                    round.failed(&part, &found);
                    fault = Some(found);
                    break;
                }
            }
        }
        if let Some(fault) = &fault {
            self.report_once(fault);
        }
        self.link.ended(&lent, fault.is_some_and(|fault| fault.wants_other_credentials())).await;
        round.outcomes()
    }

    /// Sends one call, and gives an answer for each of its records.
    async fn call(&self, reach: &Reach, batch: &[Record], part: &[Entry]) -> Result<Vec<PutRecordsResultEntry>, Fault> {
        let records = part.iter().map(|Entry { number, partition_key }| {
            let entry = PutRecordsRequestEntry::builder()
                .data(Blob::new(batch[*number].body.to_vec()))
                .partition_key(partition_key);
            entry.build().expect("data and partition key are set")
        });
        let request = reach.client.put_records().set_records(Some(records.collect()));
        let request = match &self.settings.stream {
            Stream::Name(name) => request.stream_name(name),
            Stream::Arn { arn, .. } => request.stream_arn(arn),
        };
        let answer = request.send().await.map_err(|error| Fault::of(&error, self.target(&reach.region)))?;
        let answers = answer.records;
        if answers.len() != part.len() {
            let (count, sent) = (answers.len(), part.len());
            return Err(Fault::Passing(
                ErrorClass::Server,
                format!("Kinesis answered for {count} of {sent} records, so for none"),
            ));
        }
        Ok(answers)
    }

    /// Logs a fault that only people can fix, once: otherwise it looks like any other outage.
    fn report_once(&self, fault: &Fault) {
        if fault.needs_people() && !self.is_reported.swap(true, Ordering::Relaxed) {
            tracing::error!(reason = fault.reason(), "stream refuses every record");
        }
    }
}

/// The state of a batch that is being sent: the outcomes so far, and the records that are not sent yet.
struct Round<'a> {
    batch: &'a [Record],
    settings: &'a Config,
    outcomes: Vec<Option<Outcome>>,
    /// The first record that is in no part yet.
    next: usize,
    /// The parts of a refused call that are not sent yet. The last part is sent next, so that halves stay in order.
    parts: Vec<Vec<Entry>>,
    /// Keys with a record that has to be sent again: later records of the key would only be sent twice.
    blocked: HashSet<(Kind, &'a str)>,
}

impl<'a> Round<'a> {
    fn new(batch: &'a [Record], settings: &'a Config) -> Self {
        let outcomes = batch.iter().map(|_| None).collect();
        Round { batch, settings, outcomes, next: 0, parts: Vec::new(), blocked: HashSet::new() }
    }

    /// The records of the next call; `None` when all are answered for. All of them may be sent right now.
    fn next_part(&mut self) -> Option<Vec<Entry>> {
        while let Some(mut part) = self.parts.pop() {
            part.retain(|entry| self.may_go(entry.number));
            if !part.is_empty() {
                return Some(part);
            }
        }
        let (mut part, mut load) = (Vec::new(), Load::default());
        while let Some(record) = self.batch.get(self.next) {
            let number = self.next;
            if self.may_go(number) {
                let partition_key = call::partition_key(self.settings.partition_key.as_ref(), record);
                let (bytes, most) = (record.body.len() + partition_key.len(), self.settings.max_record_size);
                if bytes > most {
                    let reason = format!(
                        "record and partition key have {bytes} bytes; {most} are the most (SINK_KINESIS_MAX_RECORD_SIZE)"
                    );
                    self.outcomes[number] = Some(Outcome::Reject { reason });
                } else if load.take(bytes) {
                    part.push(Entry { number, partition_key });
                } else {
                    break;
                }
            }
            self.next += 1;
        }
        (!part.is_empty()).then_some(part)
    }

    /// Whether a record may be sent now. If not, sets its outcome.
    fn may_go(&mut self, number: usize) -> bool {
        let record = &self.batch[number];
        if self.blocked.contains(&(record.kind, &*record.key)) {
            self.again(number, ErrorClass::Unsent, "not sent: a record of its key before it failed");
        } else if record.ack.lease_state() != LeaseState::Held {
            self.again(number, ErrorClass::Unsent, "the lease is not held");
        } else {
            return true;
        }
        false
    }

    fn again(&mut self, number: usize, class: ErrorClass, reason: &str) {
        let record = &self.batch[number];
        self.blocked.insert((record.kind, &record.key));
        self.outcomes[number] = Some(Outcome::failed(class, reason));
    }

    fn answered(&mut self, part: &[Entry], answers: Vec<PutRecordsResultEntry>) {
        for (Entry { number, .. }, answer) in part.iter().zip(answers) {
            let said = fault::first_line(answer.error_message().unwrap_or_default());
            match (answer.error_code(), answer.sequence_number()) {
                (None | Some(""), Some(_)) => self.outcomes[*number] = Some(Outcome::Delivered),
                (None | Some(""), None) => {
                    self.again(*number, ErrorClass::Server, "Kinesis gave it no sequence number");
                }
                (Some(code @ ("InvalidArgumentException" | "ValidationException")), _) => {
                    self.outcomes[*number] =
                        Some(Outcome::Reject { reason: format!("Kinesis answered {code}: {said}") });
                }
                (Some(code), _) => {
                    let reason = format!("Kinesis answered {code} for the record: {said}");
                    self.again(*number, fault::class_of(code), &reason);
                }
            }
        }
    }

    /// Kinesis refused something in the call.
    fn refused(&mut self, mut part: Vec<Entry>, reason: String) {
        if let [Entry { number, .. }] = part.as_slice() {
            self.outcomes[*number] = Some(Outcome::Reject { reason: format!("Kinesis answered {reason}") });
            return;
        }
        tracing::debug!(%reason, records = part.len(), "a call is refused, its halves are sent");
        let second = part.split_off(part.len() / 2);
        self.parts.extend([second, part]);
    }

    fn failed(&mut self, part: &[Entry], fault: &Fault) {
        for Entry { number, .. } in part {
            self.outcomes[*number] = Some(fault.outcome());
        }
    }

    fn outcomes(self) -> Vec<Outcome> {
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(Outcome::not_sent)).collect()
    }
}

/// Several batches at a time, as the policy says.
impl Sink for Kinesis {
    fn name(&self) -> &'static str {
        "kinesis"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.put(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, _cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Kinesis::new(self.clone())), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }
}
