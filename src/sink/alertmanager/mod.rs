//! Alerts to Alertmanager, through its API v2. Delivered means that one of the Alertmanagers answered with 2xx: it has the alert.
//!
//! | Answer | Outcome |
//! |---|---|
//! | 2xx | delivered |
//! | 400, 413, 415, 422: the alert | reject |
//! | 401, 404, 410 | retry: the URL or its user is wrong |
//! | 429, 503, 504 | retry, after what `Retry-After` asks for |
//! | everything else, a timeout, a broken connection | retry |
//!
//! Every Alertmanager of a cluster gets each alert, as Prometheus sends them, because they tell each other of notifications and not of alerts. An alert
//! waits for all answers, at most for the time-out, and one that takes it is enough.
//!
//! An alert ends by itself: no event of Nomad says for certain that the matter is over.

mod config;
mod payload;
mod settings;

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use self::config::Config;
pub(super) use self::settings::DEFINITION;
use super::{
    Policy, Prepared, Sink, Unusable,
    webhook::{self, Probe, Service, ServiceVariables, Webhook},
};
use crate::{finding::Finding, record::Record};

static VARIABLES: ServiceVariables = webhook::variables!("SINK_ALERTMANAGER");

/// Alertmanager's form of a message.
#[derive(Debug)]
struct Alertmanager {
    alerts: payload::Alerts,
}

impl Service for Alertmanager {
    fn name(&self) -> &'static str {
        "alertmanager"
    }

    fn variables(&self) -> &'static ServiceVariables {
        &VARIABLES
    }

    /// The status of Alertmanager's API v2.
    fn probe(&self) -> Probe {
        Probe::Instead { end: "/alerts", path: "/status" }
    }

    fn payload(&self, record: &Record) -> Bytes {
        self.alerts.of(record, SystemTime::now())
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        let mut labels = self.labels.clone();
        if let Some(cluster) = cluster.filter(|_| labels.iter().all(|(name, _)| name != "cluster")) {
            labels.push(("cluster".to_owned(), cluster.to_owned()));
        }
        let service = Alertmanager { alerts: payload::Alerts { labels, ttl: self.ttl } };
        Ok((Box::new(Webhook::new(service, &self.webhook)?), webhook::policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async move {
            let service = Alertmanager { alerts: payload::Alerts { labels: Vec::new(), ttl: self.ttl } };
            webhook::check(&service, &self.webhook, within).await
        })
    }
}
