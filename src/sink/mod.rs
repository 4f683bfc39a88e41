//! Where records go. A sink sends once and answers for each record; retry, backoff, batching and acknowledgement live
//! in [`crate::delivery`].

pub mod alertmanager;
#[cfg(feature = "amqp")]
pub mod amqp;
#[cfg(feature = "aws")]
#[cfg_attr(
    not(any(feature = "aws-tens", feature = "kinesis")),
    allow(dead_code, unused_imports, reason = "the sink s3 asks for region and credentials alone")
)]
mod aws;
mod class;
mod definition;
mod dial;
pub mod discord;
mod elasticsearch;
#[cfg(feature = "eventbridge")]
pub mod eventbridge;
mod file;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kinesis")]
pub mod kinesis;
mod lease;
#[cfg(feature = "loki")]
mod loki;
#[cfg(feature = "mongodb")]
pub mod mongodb;
pub mod nats;
mod ndjson;
pub mod nsq;
#[cfg(feature = "otlp")]
mod otlp;
pub mod pagerduty;
mod policy;
#[cfg(feature = "postgres")]
pub mod postgres;
mod push;
#[cfg(feature = "redis")]
pub mod redis;
pub mod registry;
#[cfg(feature = "s3")]
mod s3;
mod secret;
pub mod slack;
#[cfg(feature = "smtp")]
pub mod smtp;
#[cfg(feature = "sns")]
pub mod sns;
#[cfg(feature = "sqs")]
pub mod sqs;
pub mod stdout;
pub mod syslog;
pub mod teams;
mod webhook;

use std::{fmt, time::Duration};

use futures_util::future::{self, BoxFuture};

pub use self::{
    class::ErrorClass,
    definition::{Definition, Kinds, Prepared, Read, Unusable},
    policy::{Policy, UnderWay},
    registry::{Chosen, SINKS},
};
use crate::record::Record;

/// The result for one record.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// The sink has it, durably as far as its protocol can say.
    Delivered,
    /// Not delivered, or not known to be: send it again, not before `after` if the far side named a time.
    Retry {
        /// Why, for the log.
        reason: String,
        /// The wait that the far side asked for (`Retry-After`); `None` leaves it to the delivery's backoff.
        after: Option<Duration>,
        /// The far side's answer, if it refuses with one that can be about this record as well as about the credentials
        /// or the target. `None` for everything else, and when in doubt: the delivery then never suspects the record.
        refusal: Option<String>,
        /// What kind of failure it is, for the metrics.
        class: ErrorClass,
    },
    /// The sink will never take this record as it is.
    Reject {
        /// Why, for the dead letter.
        reason: String,
    },
}

impl Outcome {
    /// A retry at a time that the delivery chooses.
    #[cfg(test)]
    pub(crate) fn retry(reason: impl Into<String>) -> Self {
        Outcome::failed(ErrorClass::Other, reason)
    }

    /// A retry after a failure of this kind, at a time that the delivery chooses.
    pub(crate) fn failed(class: ErrorClass, reason: impl Into<String>) -> Self {
        Outcome::Retry { reason: reason.into(), after: None, refusal: None, class }
    }

    /// What kind of failure it is; `None` for a record that is delivered, or that was not sent.
    pub fn class(&self) -> Option<ErrorClass> {
        match self {
            Outcome::Delivered => None,
            Outcome::Retry { class, .. } => (*class != ErrorClass::Unsent).then_some(*class),
            Outcome::Reject { .. } => Some(ErrorClass::Rejected),
        }
    }

    /// A retry of a record that was not sent because an earlier one failed.
    pub(crate) fn not_sent() -> Self {
        Outcome::failed(ErrorClass::Unsent, "not sent: an earlier record failed")
    }
}

/// The far side is gone for good and wants no more (a closed pipe): the program ends, the checkpoint stays.
#[derive(Debug, thiserror::Error)]
#[error("the sink is closed: {0}")]
pub struct Closed(pub String);

/// One place records go to.
pub trait Sink: Send + Sync + fmt::Debug {
    /// The value of `SINK_TYPE` that names it.
    fn name(&self) -> &'static str;

    /// Sends `batch` once, in order, and answers for each record: as many outcomes as records, in the same order.
    ///
    /// Never sleeps, never retries. Called again before the future has ended only if [`Policy::under_way`] says so.
    ///
    /// # Errors
    /// [`Closed`] when nothing can ever be sent again.
    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>>;

    /// Everything that was sent is delivered, and nothing more will be sent: finishes what the sink has open. The program waits a
    /// few seconds for it. After a crash nobody calls it.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::ready(()))
    }
}
