//! Sends to a queue of Amazon SQS with `SendMessageBatch`. Delivered means that the answer has a message id for the record.
//!
//! Up to ten records go in a call, and several calls are under way at a time, no two of them with one key.
//!
//! A FIFO queue keeps the order of each message group, which is the record's key. It also drops a message whose deduplication id,
//! made of the record's id, it has had within five minutes. So delivery is effectively once as long as no repeat comes later
//! than that. A standard queue keeps no order and drops no repeats; the attribute `id` tells its consumer of them.
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

use aws_sdk_sqs::{operation::send_message_batch::SendMessageBatchOutput, types::SendMessageBatchRequestEntry};
use futures_util::future::BoxFuture;

use self::client::Reached;
pub use self::config::{Config, Queue};
pub(super) use self::settings::DEFINITION;
use super::{
    Policy, Prepared, Sink, Unusable,
    aws::{self, Answer, Api, Fault, Publisher, Reach, Service, Target},
};
use crate::{finding::Finding, record::Record};

static SERVICE: Service = Service {
    name: "SQS",
    target: "queue",
    variable: "SINK_SQS_QUEUE_NAME",
    action: "sqs:SendMessage, and sqs:GetQueueUrl unless the queue is named by its URL",
    missing: &["AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "InvalidAddress"],
    data: &[
        "InvalidMessageContents",
        "InvalidParameterValue",
        "AWS.SimpleQueueService.BatchRequestTooLong",
        "BatchRequestTooLong",
        "MessageTooLong",
        "SerializationException",
    ],
    names_target: |said| said.contains("QueueUrl") || said.contains("queue name"),
};

/// The most bytes of a message, its attributes included, and of a call (the API's reference, `SendMessageBatch`).
const BYTES: usize = 1 << 20;

/// What is sent where.
#[derive(Debug)]
struct Sqs {
    settings: Config,
    cluster: Option<String>,
}

impl Api for Sqs {
    type Client = Reached;
    type Entry = SendMessageBatchRequestEntry;

    fn name(&self) -> &'static str {
        "sqs"
    }

    fn service(&self) -> &'static Service {
        &SERVICE
    }

    fn target(&self) -> &str {
        self.settings.queue.name()
    }

    fn call_bytes(&self) -> usize {
        BYTES
    }

    fn keeps_keys_apart(&self) -> bool {
        self.settings.queue.is_fifo()
    }

    fn reach(&self) -> BoxFuture<'_, Result<Reach<Reached>, Fault>> {
        Box::pin(client::reach(&self.settings.queue))
    }

    fn entry(&self, record: &Record) -> Result<(Self::Entry, usize), String> {
        entry::of(record, &self.settings, self.cluster.as_deref())
    }

    fn call<'a>(
        &'a self,
        reach: &'a Reach<Reached>,
        mut entries: Vec<Self::Entry>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, Fault>> {
        for (number, entry) in entries.iter_mut().enumerate() {
            entry.id = number.to_string();
        }
        Box::pin(async move {
            let count = entries.len();
            let Reached { client, url } = &reach.client;
            let request = client.send_message_batch().queue_url(url).set_entries(Some(entries));
            let target = Target { service: &SERVICE, name: self.target(), region: &reach.region };
            let answer = request.send().await.map_err(|error| Fault::of(&error, target))?;
            Ok(answers(answer, count))
        })
    }
}

/// The answers for so many entries, by their numbers.
fn answers(answer: SendMessageBatchOutput, count: usize) -> Vec<Answer> {
    let taken = answer.successful.into_iter().filter(|taken| !taken.message_id.is_empty());
    let taken = taken.map(|taken| (taken.id, Answer::Taken));
    let failed = answer.failed.into_iter().map(|failed| {
        let said = aws::first_line(failed.message.as_deref().unwrap_or_default());
        (failed.id, Answer::Failed { code: failed.code, said, is_ours: failed.sender_fault })
    });
    aws::by_number(count, taken.chain(failed))
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        let api = Sqs { settings: self.clone(), cluster: cluster.map(str::to_owned) };
        Ok((Box::new(Publisher::new(api)), aws::policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }

    fn drops_repeats(&self) -> bool {
        self.queue.is_fifo()
    }
}
