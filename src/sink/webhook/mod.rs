//! What the sinks have in common that post one message to the URL of a service: the request, its deadline, and what its answer means.
//!
//! A sink says what is its own as a [`Service`]: its variables, its payload, and how it reads an answer. A batch is sent in order, one
//! request a record, and nothing more after the first failure.

mod check;
mod config;
mod fault;
mod settings;
mod target;

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use std::{fmt, sync::atomic::AtomicBool, time::Duration};

use bytes::Bytes;
use futures_util::future::{self, BoxFuture, join_all};

use self::target::Target;
pub(super) use self::{
    check::{Probe, check},
    config::Config,
    fault::{Answer, Said, usual},
    settings::{Settings, read},
};
use super::{Closed, ErrorClass, Outcome, Policy, Sink, Unusable};
use crate::{http::Names, lease::LeaseState, record::Record};

/// What is special about a service.
pub(super) trait Service: Send + Sync + fmt::Debug {
    /// The value of `SINK_TYPE`.
    fn name(&self) -> &'static str;

    /// Its variables.
    fn variables(&self) -> &'static ServiceVariables;

    /// Reads again what others can renew. Called before each message; an error says what to fix.
    fn renew(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(future::ready(Ok(())))
    }

    /// The body of the request for `record`.
    fn payload(&self, record: &Record) -> Bytes;

    /// A request that changes nothing, to see whether a URL is valid.
    fn probe(&self) -> Probe {
        Probe::None
    }

    /// What an answer means. Most are [`usual`].
    fn judge(&self, said: &Said<'_>) -> Answer {
        usual(said)
    }
}

/// The variables of a service, for messages.
#[derive(Debug)]
pub(super) struct ServiceVariables {
    /// Those of its connection.
    pub(super) connection: Names,
    /// The deadline of an answer.
    pub(super) timeout: &'static str,
}

/// The variables of one prefix.
macro_rules! variables {
    ($prefix:literal) => {
        $crate::sink::webhook::ServiceVariables {
            connection: $crate::http::Names {
                address: concat!($prefix, "_URL"),
                token: "",
                token_file: "",
                tls: $crate::tls::Variables {
                    role: "sink",
                    ca_cert: concat!($prefix, "_CACERT"),
                    ca_path: "",
                    client_cert: "",
                    client_key: "",
                    server_name: "",
                    usual_name: "",
                },
            },
            timeout: concat!($prefix, "_TIMEOUT"),
        }
    };
}
pub(super) use variables;

/// A sink that posts messages.
pub(super) struct Webhook<S> {
    service: S,
    targets: Vec<Target>,
    timeout: Duration,
    /// Of each target, whether the log says that it takes nothing.
    failing: Vec<AtomicBool>,
}

impl<S: Service> fmt::Debug for Webhook<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.targets.iter().map(Target::label).collect();
        f.debug_struct("Webhook")
            .field("service", &self.service.name())
            .field("servers", &labels)
            .finish_non_exhaustive()
    }
}

impl<S: Service> Webhook<S> {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// A certificate cannot be used, or a proxy of the environment: the message names the variable.
    pub(super) fn new(service: S, config: &Config) -> Result<Self, Unusable> {
        let names = &service.variables().connection;
        let targets = config.links.iter().map(|link| Target::new(link, config, names));
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        let failing = targets.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Webhook { service, targets, timeout: config.timeout, failing })
    }

    async fn outcome(&self, record: &Record) -> Outcome {
        if let Err(reason) = self.service.renew().await {
            return Outcome::failed(ErrorClass::Local, reason);
        }
        let body = self.service.payload(record);
        if record.ack.lease_state() != LeaseState::Held {
            return Outcome::failed(ErrorClass::Unsent, "not sent: the lease is not held at the moment");
        }
        let asked = self.targets.iter().map(|target| target.post(&self.service, body.clone(), self.timeout));
        self.joined(join_all(asked).await).into()
    }

    /// One of several targets is enough. The log names those that fail meanwhile, once.
    fn joined(&self, answers: Vec<Answer>) -> Answer {
        let is_taken = answers.contains(&Answer::Delivered);
        if !is_taken {
            let is_retry = |answer: &Answer| matches!(answer, Answer::Retry { .. });
            let retry = answers.iter().position(is_retry).unwrap_or_default();
            return answers
                .into_iter()
                .nth(retry)
                .unwrap_or_else(|| Answer::retry(ErrorClass::Other, "there is no server to send to"));
        }
        for ((answer, target), failing) in answers.iter().zip(&self.targets).zip(&self.failing) {
            fault::log(answer, target.label(), failing);
        }
        Answer::Delivered
    }
}

impl<S: Service> Sink for Webhook<S> {
    fn name(&self) -> &'static str {
        self.service.name()
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(batch.len());
            for record in batch {
                let outcome = self.outcome(record).await;
                let failed = matches!(outcome, Outcome::Retry { .. });
                outcomes.push(outcome);
                if failed {
                    break;
                }
            }
            outcomes.resize_with(batch.len(), Outcome::not_sent);
            Ok(outcomes)
        })
    }
}

/// One message at a time: people should see as few of them twice as possible when the program is killed.
pub(super) fn policy() -> Policy {
    Policy { batch_records: 1, ..Policy::default() }
}
