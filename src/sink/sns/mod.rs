//! Publishes to a topic of Amazon SNS with `PublishBatch`. Delivered means that the answer has a message id for the record.
//!
//! Up to ten records go in a call, and several calls are under way at a time, no two of them with one key.
//!
//! A FIFO topic keeps the order of each message group, which is the record's key. It also drops a message whose deduplication id,
//! made of the record's id, it has had within five minutes. A standard topic keeps no order and drops no repeats; the attribute
//! `id` tells its consumers of them.
//!
//! | Answer | Outcome |
//! |---|---|
//! | a message id | delivered |
//! | an error for one record | retry; nothing more of its key is sent in this batch |
//! | the record is not acceptable, or too large to be sent | reject |
//! | something in the call is not acceptable | its records are sent one by one: the guilty ones are rejected |
//! | any other error, no answer | retry; nothing more of the batch is sent |
//!
//! The SDK never retries by itself.

mod check;
mod client;
mod config;
mod entry;
mod settings;

#[cfg(test)]
mod tests;

use std::time::Duration;

use aws_sdk_sns::{Client, operation::publish_batch::PublishBatchOutput, types::PublishBatchRequestEntry};
use futures_util::future::BoxFuture;

pub use self::config::{Config, Topic};
pub(super) use self::settings::DEFINITION;
use super::{
    Policy, Prepared, Sink, Unusable,
    aws::{self, Answer, Api, Fault, Publisher, Reach, Service, Target},
};
use crate::{finding::Finding, record::Record};

static SERVICE: Service = Service {
    name: "SNS",
    target: "topic",
    variable: "SINK_SNS_TOPIC_ARN",
    action: "sns:Publish",
    missing: &["NotFound", "NotFoundException", "ResourceNotFound"],
    data: &[
        "InvalidParameter",
        "InvalidParameterValue",
        "ParameterValueInvalid",
        "BatchRequestTooLong",
        "ValidationError",
        "ValidationException",
    ],
    names_target: |said| said.contains("TopicArn"),
};

/// The most bytes of a message, its attributes included. A topic takes 256 KiB unless its attribute `MaximumMessageSize` says more,
/// and 1 MiB at most (the API's reference, `PublishBatch`). SNS has the last word.
const BYTES: usize = 1 << 20;

/// The most bytes of a call with more than one message: what every topic takes.
const CALL_BYTES: usize = 256 << 10;

/// What is sent where.
#[derive(Debug)]
struct Sns {
    settings: Config,
    cluster: Option<String>,
}

impl Api for Sns {
    type Client = Client;
    type Entry = PublishBatchRequestEntry;

    fn name(&self) -> &'static str {
        "sns"
    }

    fn service(&self) -> &'static Service {
        &SERVICE
    }

    fn target(&self) -> &str {
        &self.settings.topic.name
    }

    fn call_bytes(&self) -> usize {
        CALL_BYTES
    }

    fn keeps_keys_apart(&self) -> bool {
        self.settings.topic.is_fifo()
    }

    fn reach(&self) -> BoxFuture<'_, Result<Reach<Client>, Fault>> {
        Box::pin(client::reach(&self.settings.topic))
    }

    fn entry(&self, record: &Record) -> Result<(Self::Entry, usize), String> {
        entry::of(record, &self.settings, self.cluster.as_deref())
    }

    fn call<'a>(
        &'a self,
        reach: &'a Reach<Client>,
        mut entries: Vec<Self::Entry>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, Fault>> {
        for (number, entry) in entries.iter_mut().enumerate() {
            entry.id = number.to_string();
        }
        Box::pin(async move {
            let count = entries.len();
            let request = reach.client.publish_batch().topic_arn(&self.settings.topic.arn);
            let request = request.set_publish_batch_request_entries(Some(entries));
            let target = Target { service: &SERVICE, name: self.target(), region: &reach.region };
            let answer = request.send().await.map_err(|error| Fault::of(&error, target))?;
            Ok(answers(answer, count))
        })
    }
}

/// The answers for so many entries, by their numbers.
fn answers(answer: PublishBatchOutput, count: usize) -> Vec<Answer> {
    let taken = answer.successful.unwrap_or_default().into_iter();
    let taken = taken.filter(|taken| taken.message_id.as_ref().is_some_and(|id| !id.is_empty()));
    let taken = taken.map(|taken| (taken.id.unwrap_or_default(), Answer::Taken));
    let failed = answer.failed.unwrap_or_default().into_iter().map(|failed| {
        let said = aws::first_line(failed.message.as_deref().unwrap_or_default());
        (failed.id, Answer::Failed { code: failed.code, said, is_ours: failed.sender_fault })
    });
    aws::by_number(count, taken.chain(failed))
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        let api = Sns { settings: self.clone(), cluster: cluster.map(str::to_owned) };
        Ok((Box::new(Publisher::new(api)), aws::policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }

    fn drops_repeats(&self) -> bool {
        self.topic.is_fifo()
    }
}
