//! Connects, changes to TLS and logs in, as for a mail, and says goodbye.

use std::time::Duration;

use tokio::time::timeout;

use super::{Config, Smtp, fault, wire::Step};
use crate::{finding::Finding, sink::Outcome};

const WHAT: &str = "sink smtp";

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let mut smtp = match Smtp::new(config.clone(), None) {
        Ok(smtp) => smtp,
        Err(error) => return vec![Finding::of_setting(WHAT, error)],
    };
    if let Err(reason) = smtp.load_password().await {
        return vec![Finding::of_error(WHAT, reason)];
    }
    let server = smtp.server();
    let mut step = Step::Connect;
    let found = match timeout(within, smtp.greet(&mut step)).await {
        Ok(Ok(())) => {
            let login = if config.user.is_some() { ", logged in" } else { ", without a login" };
            Finding::ok(
                WHAT,
                format!("{server}: {}{login}; sender and recipients show with --send-test", config.encryption.words()),
            )
        }
        Ok(Err(error)) => of_outcome(&fault::judge(&error, step, &server)),
        Err(_) => {
            let text = format!("{server} did not answer within {within:.1?}");
            Finding::failed(
                WHAT,
                text,
                "check SINK_SMTP_HOST, SINK_SMTP_PORT and SINK_SMTP_TLS, and that the server runs",
            )
        }
    };
    vec![found]
}

fn of_outcome(outcome: &Outcome) -> Finding {
    match outcome {
        Outcome::Retry { reason, .. } | Outcome::Reject { reason } => Finding::of_error(WHAT, reason),
        Outcome::Delivered => Finding::ok(WHAT, "it answers"),
    }
}
