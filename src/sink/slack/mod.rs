//! Messages to a channel of Slack, through an incoming webhook. Delivered means that Slack answered with 2xx, which it does once the message is
//! posted.
//!
//! | Answer | Outcome |
//! |---|---|
//! | 2xx | delivered |
//! | 400, 413, 415, 422: the payload | reject |
//! | 400 with the name of a missing user, team or channel; 401, 404, 410; 403 with a reason of Slack | retry: the webhook is revoked, or may not post |
//! | 429, 503, 504 | retry, after what `Retry-After` asks for |
//! | everything else, a timeout, a broken connection | retry |
//!
//! Services that understand Slack's webhooks, such as Mattermost, take the same messages.

mod config;
mod fault;
mod payload;
mod settings;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use self::config::Config;
pub(super) use self::settings::DEFINITION;
use super::{
    Policy, Prepared, Sink, Unusable,
    webhook::{self, Answer, Said, Service, ServiceVariables, Webhook},
};
use crate::{finding::Finding, notify::Message, record::Record};

static VARIABLES: ServiceVariables = webhook::variables!("SINK_SLACK");

/// Slack's form of a message, and its answers.
#[derive(Debug)]
struct Slack;

impl Service for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn variables(&self) -> &'static ServiceVariables {
        &VARIABLES
    }

    fn payload(&self, record: &Record) -> Bytes {
        payload::of(&Message::of(record))
    }

    fn judge(&self, said: &Said<'_>) -> Answer {
        fault::judge(said)
    }
}

impl Prepared for Config {
    fn build(&self, _cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Webhook::new(Slack, &self.webhook)?), webhook::policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(webhook::check(&Slack, &self.webhook, within))
    }
}
