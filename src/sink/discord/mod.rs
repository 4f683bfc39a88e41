//! Messages to a channel of Discord, through a webhook. Delivered means that Discord answered with 2xx. The sink asks Discord to wait
//! (`wait=true`), so that the answer comes after the message is saved.
//!
//! | Answer | Outcome |
//! |---|---|
//! | 2xx | delivered |
//! | 400, 413, 415, 422: the message | reject |
//! | 401, 404, 410 | retry: the webhook was deleted |
//! | 429 | retry, after what the body (`retry_after`) or `Retry-After` asks for |
//! | everything else, a timeout, a broken connection | retry |

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
    webhook::{self, Answer, Probe, Said, Service, ServiceVariables, Webhook},
};
use crate::{finding::Finding, record::Record};

static VARIABLES: ServiceVariables = webhook::variables!("SINK_DISCORD");

/// Discord's form of a message, and its answers.
#[derive(Debug)]
struct Discord;

impl Service for Discord {
    fn name(&self) -> &'static str {
        "discord"
    }

    fn variables(&self) -> &'static ServiceVariables {
        &VARIABLES
    }

    fn payload(&self, record: &Record) -> Bytes {
        payload::of(record)
    }

    /// Discord's reference of webhooks: "Get Webhook with Token".
    fn probe(&self) -> Probe {
        Probe::Same
    }

    fn judge(&self, said: &Said<'_>) -> Answer {
        fault::judge(said)
    }
}

impl Prepared for Config {
    fn build(&self, _cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Webhook::new(Discord, &self.webhook)?), webhook::policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(webhook::check(&Discord, &self.webhook, within))
    }
}
