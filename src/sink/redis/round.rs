//! One batch: which of its records are written, and what Redis has answered.

use std::time::Duration;

use futures_util::stream::BoxStream;
use redis::{RedisResult, Value, cmd};

use super::{
    Settings, command,
    fault::Fault,
    session::Session,
    wire::{self, PATIENCE},
};
use crate::{
    lease::LeaseState,
    record::Record,
    sink::{ErrorClass, Outcome},
};

/// A batch under way.
pub(super) struct Round<'a> {
    settings: &'a Settings,
    batch: &'a [Record],
    outcomes: Vec<Option<Outcome>>,
    /// The records that are written, or are in a buffer, in their order. Each has an answer to come.
    sent: Vec<usize>,
    /// Whether the replicas are asked for, too.
    waits: bool,
    /// Why nothing would be taken, if Redis has said so.
    pub(super) of_server: Option<Fault>,
}

impl<'a> Round<'a> {
    pub(super) fn new(settings: &'a Settings, batch: &'a [Record]) -> Self {
        let outcomes = batch.iter().map(|_| None).collect();
        Round { settings, batch, outcomes, sent: Vec::new(), waits: false, of_server: None }
    }

    /// Writes each record whose lease is held.
    pub(super) async fn write(&mut self, session: &mut Session) -> Result<(), Fault> {
        for (number, record) in self.batch.iter().enumerate() {
            if record.ack.lease_state() != LeaseState::Held {
                self.outcomes[number] = Some(Outcome::failed(ErrorClass::Unsent, "the lease is not held"));
                continue;
            }
            if record.body.len() > session.largest {
                let (size, largest) = (record.body.len(), session.largest);
                let reason = format!(
                    "the record is larger than Redis takes: {size} bytes, and {largest} are the most; raise \
                     proto-max-bulk-len of Redis if you want such records"
                );
                self.outcomes[number] = Some(Outcome::Reject { reason });
                continue;
            }
            session.wire.push(&command::command(self.settings, record));
            self.sent.push(number);
            if session.wire.is_full() {
                session.wire.flush(self.settings).await?;
            }
        }
        if let Some(wait) = self.settings.wait.filter(|_| !self.sent.is_empty()) {
            let timeout = u64::try_from(wait.timeout.as_millis()).unwrap_or(u64::MAX);
            session.wire.push(cmd("WAIT").arg(wait.replicas).arg(timeout));
            self.waits = true;
        }
        session.wire.flush(self.settings).await
    }

    /// Reads the answer of each record that is written.
    pub(super) async fn read(&mut self, answers: &mut BoxStream<'static, RedisResult<Value>>) -> Result<(), Fault> {
        for number in self.sent.clone() {
            let answer = wire::next(answers, PATIENCE, self.settings).await?;
            let outcome = match answer {
                Value::ServerError(error) => {
                    let fault = Fault::of_answer(&error, self.settings);
                    let outcome = fault.outcome(self.batch[number].body.len());
                    if fault.is_of_server {
                        self.of_server = Some(fault);
                    }
                    outcome
                }
                Value::BulkString(_) | Value::Int(_) => Outcome::Delivered,
                _ => {
                    Outcome::failed(ErrorClass::Other, format!("{} answers what no command asks", self.settings.shown))
                }
            };
            self.outcomes[number] = Some(outcome);
        }
        if self.waits {
            self.wait(answers).await?;
        }
        Ok(())
    }

    /// Reads how many replicas have what Redis has taken, and holds the records to it.
    async fn wait(&mut self, answers: &mut BoxStream<'static, RedisResult<Value>>) -> Result<(), Fault> {
        let Some(wanted) = self.settings.wait else { return Ok(()) };
        // Redis itself ends the wait in time.
        let replicas = match wire::next(answers, wanted.timeout + PATIENCE, self.settings).await {
            Ok(Value::Int(replicas)) if replicas >= i64::from(wanted.replicas) => return Ok(()),
            Ok(Value::ServerError(error)) => return self.doubt(&Fault::of_answer(&error, self.settings)),
            Ok(Value::Int(replicas)) => replicas,
            Ok(_) => 0,
            Err(fault) => {
                self.doubt(&fault)?;
                return Err(fault);
            }
        };
        let fault = Fault::new(ErrorClass::Server, too_few(replicas, wanted.replicas, wanted.timeout, self.settings));
        self.doubt(&fault)
    }

    /// What Redis has taken is not known to be safe.
    fn doubt(&mut self, fault: &Fault) -> Result<(), Fault> {
        for outcome in self.outcomes.iter_mut().flatten().filter(|outcome| matches!(outcome, Outcome::Delivered)) {
            *outcome = fault.outcome(0);
        }
        Ok(())
    }

    /// The outcome of each record. `fault` is why answers are missing, if some are.
    pub(super) fn outcomes(mut self, fault: Option<&Fault>) -> Vec<Outcome> {
        // A rejection ends the connection; what was behind it has never been executed.
        let rejected = self.outcomes.iter().flatten().any(|outcome| matches!(outcome, Outcome::Reject { .. }));
        if let Some(fault) = fault.filter(|fault| !(rejected && fault.class == ErrorClass::Connection)) {
            for number in self.sent {
                self.outcomes[number].get_or_insert_with(|| fault.outcome(0));
            }
        }
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(Outcome::not_sent)).collect()
    }
}

fn too_few(replicas: i64, wanted: u32, within: Duration, settings: &Settings) -> String {
    format!(
        "{replicas} of {wanted} replicas have the records after {within:?}; check the replicas of {}, or change \
         SINK_REDIS_WAIT_REPLICAS or SINK_REDIS_WAIT_TIMEOUT",
        settings.shown
    )
}
