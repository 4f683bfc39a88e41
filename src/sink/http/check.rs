//! What can be tried without a request: every request could be one that the server acts on, even `HEAD` or `OPTIONS`.

use std::time::Duration;

use tokio::time::timeout;

use super::{Config, Http, NAMES};
use crate::{
    finding::Finding,
    http::{Proxies, knock},
};

/// Opens a connection; and asks for the health where that is a setting, as a run does.
pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    const WHAT: &str = "sink http";
    // Reads the certificates, and learns which parts of the URL are secrets.
    let http = match Http::new(config.clone(), None) {
        Ok(http) => http,
        Err(error) => return vec![Finding::of_setting(WHAT, error)],
    };
    let knocking = async {
        let proxies = match Proxies::from_environment() {
            Ok(proxies) => proxies,
            Err(fault) => return Finding::of_setting(WHAT, fault),
        };
        match knock(config.url.url(), &config.tls, &NAMES, &proxies).await {
            Ok(text) => Finding::ok(WHAT, format!("{text}; path and credentials show with --send-test")),
            Err(fault) => Finding::of_error_or(WHAT, &fault, "check SINK_HTTP_ADDRESS, and that its server runs"),
        }
    };
    let knocked = timeout(within, knocking).await.unwrap_or_else(|_| {
        let text = format!("{} did not answer within {within:.1?}", config.url.url().origin().ascii_serialization());
        Finding::failed(WHAT, text, "check SINK_HTTP_ADDRESS, and that its server runs")
    });
    if config.health.is_none() {
        return vec![knocked];
    }
    const HEALTH: &str = "sink http health";
    let health = match timeout(within, http.check_health()).await {
        Ok(Ok(())) => Finding::ok(HEALTH, "the server is well"),
        Ok(Err(reason)) => Finding::of_error(HEALTH, reason),
        Err(_) => Finding::failed(HEALTH, format!("no answer within {within:.1?}"), "check SINK_HTTP_HEALTH_URL"),
    };
    vec![knocked, health]
}
