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

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use self::config::Config;
pub(super) use self::settings::DEFINITION;
use super::{
    Policy, Prepared, Sink, Unusable,
    secret::SecretSource,
    webhook::{self, Answer, Said, Service, ServiceVariables, Webhook},
};
use crate::{finding::Finding, http::Secret, record::Record};

static VARIABLES: ServiceVariables = webhook::variables!("SINK_PAGERDUTY");

/// PagerDuty's form of a message, and its answers.
#[derive(Debug)]
struct PagerDuty {
    source: SecretSource,
    /// The key as it was read last.
    routing_key: Mutex<Secret>,
    cluster: Option<String>,
}

impl PagerDuty {
    fn new(config: &Config, cluster: Option<&str>) -> Self {
        let (source, cluster) = (config.routing_key.clone(), cluster.map(str::to_owned));
        PagerDuty { source, routing_key: Mutex::default(), cluster }
    }

    fn routing_key(&self) -> Secret {
        self.routing_key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Service for PagerDuty {
    fn name(&self) -> &'static str {
        "pagerduty"
    }

    fn variables(&self) -> &'static ServiceVariables {
        &VARIABLES
    }

    fn renew(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let key = self.source.current("SINK_PAGERDUTY_ROUTING_KEY_FILE").await?;
            *self.routing_key.lock().unwrap_or_else(PoisonError::into_inner) = key;
            Ok(())
        })
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
        let service = PagerDuty::new(self, cluster);
        Ok((Box::new(Webhook::new(service, &self.webhook)?), webhook::policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async move {
            let service = PagerDuty::new(self, None);
            if let Err(reason) = service.renew().await {
                return vec![Finding::of_error("sink pagerduty", reason)];
            }
            webhook::check(&service, &self.webhook, within).await
        })
    }
}
