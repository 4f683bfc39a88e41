//! Alerts to PagerDuty, through its Events API v2. Delivered means that PagerDuty answered with 202: it has accepted the event.
//!
//! | Answer | Outcome |
//! |---|---|
//! | 202 | delivered |
//! | 400 about the routing key, 401, 403, 404, 410 | retry: the key or the URL is wrong |
//! | 400, 413, 415, 422: the event | reject |
//! | 429, 503, 504 | retry, after what `Retry-After` asks for |
//! | everything else, a timeout, a broken connection | retry |
//!
//! An event that comes twice has the same `dedup_key`, so that PagerDuty adds it to the same alert.

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
use crate::{finding::Finding, http::Secret, record::Record};

static VARIABLES: ServiceVariables = webhook::variables!("SINK_PAGERDUTY");

/// PagerDuty's form of a message, and its answers.
#[derive(Debug)]
struct PagerDuty {
    routing_key: Secret,
    cluster: Option<String>,
}

impl Service for PagerDuty {
    fn name(&self) -> &'static str {
        "pagerduty"
    }

    fn variables(&self) -> &'static ServiceVariables {
        &VARIABLES
    }

    fn payload(&self, record: &Record) -> Bytes {
        payload::of(record, self)
    }

    fn judge(&self, said: &Said<'_>) -> Answer {
        fault::judge(said)
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        let service = PagerDuty { routing_key: self.routing_key.clone(), cluster: cluster.map(str::to_owned) };
        Ok((Box::new(Webhook::new(service, &self.webhook)?), webhook::policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async move {
            let service = PagerDuty { routing_key: self.routing_key.clone(), cluster: None };
            webhook::check(&service, &self.webhook, within).await
        })
    }
}
