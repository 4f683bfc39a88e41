//! Sends a request without records: the server answers it, asks for credentials, and stores nothing.

use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::timeout;

use super::{Codec, Push, Verdict};
use crate::{finding::Finding, sink::Unusable};

/// Tries the address, the path and the credentials.
pub(in crate::sink) async fn check(
    push: Result<Push<impl Codec>, Unusable>,
    what: &str,
    within: Duration,
) -> Vec<Finding> {
    let push = match push {
        Ok(push) => push,
        Err(error) => return vec![Finding::of_setting(what, error)],
    };
    let label = &push.to.server.label;
    let fix = format!("check {}, and that its server runs", push.codec.variables().connection.address);
    let asked = push.probe(|said| {
        // Some servers call a request without records bad. They know the path, and have seen the credentials.
        let is_known = matches!(said.status.as_u16(), 400 | 422) && said.of_settings().is_none();
        let is_well = said.status.is_success() || is_known;
        if is_well {
            return Finding::ok(what, format!("{label} takes requests; nothing was sent"));
        }
        let reason = match super::usual(said) {
            Verdict::Retry { reason, .. } | Verdict::Refused { reason, .. } => reason,
            Verdict::Delivered | Verdict::Each(_) => said.words(""),
        };
        match said.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Finding::warning(what, reason, "it may pass; try it again later")
            }
            _ => Finding::of_error_or(what, reason, &fix),
        }
    });
    vec![match timeout(within, asked).await {
        Ok(Ok(found)) => found,
        Ok(Err(reason)) => Finding::of_error_or(what, reason, &fix),
        Err(_) => Finding::failed(what, format!("{label} did not answer within {within:.1?}"), &fix),
    }]
}
