//! Messages to a channel or chat of Microsoft Teams, through a webhook of Workflows. Delivered means that the workflow was started: Teams answers with
//! 202 before the card is posted, and has no stronger word.
//!
//! | Answer | Outcome |
//! |---|---|
//! | 2xx | delivered |
//! | 2xx with an error of the older connectors in the body | as the status in that error |
//! | 400, 413, 415, 422: the card | reject |
//! | 400 about the workflow, 401, 403, 404, 410 | retry: the workflow was deleted or turned off, or the URL is wrong |
//! | 429, 503, 504 | retry, after what `Retry-After` asks for |
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
    webhook::{self, Answer, Said, Service, ServiceVariables, Webhook},
};
use crate::{finding::Finding, notify::Message, record::Record};

static VARIABLES: ServiceVariables = webhook::variables!("SINK_TEAMS");

/// The form of a message that Teams takes, and its answers.
#[derive(Debug)]
struct Teams;

impl Service for Teams {
    fn name(&self) -> &'static str {
        "teams"
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
        Ok((Box::new(Webhook::new(Teams, &self.webhook)?), webhook::policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(webhook::check(&Teams, &self.webhook, within))
    }
}
