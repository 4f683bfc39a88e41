//! Puts events on a bus of Amazon EventBridge with `PutEvents`. Delivered means that the answer has an event id for the record.
//!
//! EventBridge keeps no order: targets can get events in any order, and an event more than once. The sink does what it can: no
//! two records of one key are under way at a time, so that a record is taken before the next one of its key is sent.
//!
//! EventBridge takes events for a bus that does not exist, gives them ids, and drops them. So the sink asks for the bus before
//! the first call, and again every minute.
//!
//! | Answer | Outcome |
//! |---|---|
//! | an event id | delivered |
//! | an error for one record | retry; nothing more of its key is sent in this batch |
//! | the record is no JSON object, not acceptable, or too large to be sent | reject |
//! | something in the call is not acceptable | its records are sent one by one: the guilty ones are rejected |
//! | any other error, no answer, no such bus | retry; nothing more of the batch is sent |
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

use aws_sdk_eventbridge::{operation::put_events::PutEventsOutput, types::PutEventsRequestEntry};
use futures_util::future::BoxFuture;

use self::client::Reached;
pub use self::config::{Bus, Config};
pub(super) use self::settings::DEFINITION;
use super::{
    Policy, Prepared, Sink, Unusable,
    aws::{self, Answer, Api, Fault, Publisher, Reach, Service, Target},
};
use crate::{finding::Finding, record::Record};

static SERVICE: Service = Service {
    name: "EventBridge",
    target: "event bus",
    variable: "SINK_EVENT_BUS_NAME",
    action: "events:PutEvents, and events:DescribeEventBus unless SINK_EVENT_BUS_VERIFY is false",
    missing: &["ResourceNotFoundException"],
    // The first two are about single records (the API's reference, `PutEventsResultEntry`).
    data: &["InvalidArgument", "MalformedDetail", "ValidationException", "SerializationException"],
    names_target: |said| said.contains("ventBusName"),
};

/// The most bytes of a record. Events could have 256 KiB until January 2026 and can have 1 MiB since; EventBridge has the last word.
const BYTES: usize = 1 << 20;

/// The most bytes of a call with more than one record: the limit of a call before 2026, which holds everywhere.
const CALL_BYTES: usize = 256 << 10;

/// What is sent where.
#[derive(Debug)]
struct EventBridge {
    settings: Config,
}

impl Api for EventBridge {
    type Client = Reached;
    type Entry = PutEventsRequestEntry;

    fn name(&self) -> &'static str {
        "eventbridge"
    }

    fn service(&self) -> &'static Service {
        &SERVICE
    }

    fn target(&self) -> &str {
        self.settings.bus.name()
    }

    fn call_bytes(&self) -> usize {
        CALL_BYTES
    }

    fn keeps_keys_apart(&self) -> bool {
        true
    }

    fn reach(&self) -> BoxFuture<'_, Result<Reach<Reached>, Fault>> {
        Box::pin(client::reach(&self.settings.bus))
    }

    fn entry(&self, record: &Record) -> Result<(Self::Entry, usize), String> {
        entry::of(record, &self.settings)
    }

    fn call<'a>(
        &'a self,
        reach: &'a Reach<Reached>,
        entries: Vec<Self::Entry>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, Fault>> {
        Box::pin(async move {
            if self.settings.verify {
                reach.client.verify(&self.settings.bus, &reach.region).await?;
            }
            let target = Target { service: &SERVICE, name: self.target(), region: &reach.region };
            let request = reach.client.client.put_events().set_entries(Some(entries));
            let answer = request.send().await.map_err(|error| Fault::of(&error, target))?;
            Ok(answers(answer))
        })
    }
}

/// The answers, which are in the order of the entries.
fn answers(answer: PutEventsOutput) -> Vec<Answer> {
    let one = |entry: aws_sdk_eventbridge::types::PutEventsResultEntry| match (entry.error_code, entry.event_id) {
        (Some(code), _) => {
            let said = aws::first_line(entry.error_message.as_deref().unwrap_or_default());
            // The answer does not say whose fault an error is.
            Answer::Failed { code, said, is_ours: false }
        }
        (None, Some(id)) if !id.is_empty() => Answer::Taken,
        _ => Answer::Missing,
    };
    answer.entries.unwrap_or_default().into_iter().map(one).collect()
}

impl Prepared for Config {
    fn build(&self, _: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Publisher::new(EventBridge { settings: self.clone() })), aws::policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }
}
