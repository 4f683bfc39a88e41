//! Connects to the server. There is nothing more to try without a message.

use std::time::Duration;

use tokio::time::timeout;

use super::{Config, Syslog, Target, fault, wire::Wire};
use crate::finding::Finding;

const WHAT: &str = "sink syslog";

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let settings = match Syslog::new(config.clone(), None) {
        Ok(syslog) => syslog.settings,
        Err(error) => return vec![Finding::of_setting(WHAT, error)],
    };
    let server = &settings.shown;
    let found = match timeout(within, Wire::open(&settings)).await {
        Ok(Ok(_)) if matches!(settings.target, Target::Udp(..)) => {
            Finding::skipped(WHAT, format!("{server}: UDP has no connection; try it with --send-test, and look there"))
        }
        Ok(Ok(_)) => Finding::ok(WHAT, format!("{server}: connected")),
        Ok(Err(error)) => {
            let (_, reason) = fault::reason(&error, &settings);
            Finding::of_error_or(WHAT, reason, "check the server, and SINK_SYSLOG_ADDR")
        }
        Err(_) => {
            let text = format!("{server} did not answer within {within:.1?}");
            Finding::failed(WHAT, text, "check the server, and SINK_SYSLOG_ADDR")
        }
    };
    let text = "syslog has no acknowledgement: what is on the way is lost with the connection or the server";
    let fix = "choose another sink where every record counts";
    vec![found, Finding::warning("sink syslog delivery", text, fix)]
}
