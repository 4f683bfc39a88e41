//! What an answer of Teams means.

use reqwest::StatusCode;

use crate::sink::webhook::{Answer, Said, usual};

/// How the older connectors begin an error, with status 200.
const FAILED: &str = "Webhook message delivery failed with error:";
/// What stands before the status in such an error.
const STATUS: &str = "HTTP error ";

/// Codes of Workflows that are about the workflow and not about the card.
const NOT_THE_CARD: [&str; 5] = [
    "WorkflowTriggerIsNotEnabled",
    "WorkflowNotFound",
    "TriggerNotFound",
    "AuthorizationFailed",
    "DirectApiRequestHasMoreThanOneAuthorization",
];

pub(super) fn judge(said: &Said<'_>) -> Answer {
    match said.status.as_u16() {
        200..300 if said.text.contains(FAILED) => of_connector(said),
        400 if NOT_THE_CARD.iter().any(|code| said.text.contains(code)) => said.revoked(),
        403 => said.revoked(),
        _ => usual(said),
    }
}

/// The error of an older connector. Without a status that can be read it is worth another try.
fn of_connector(said: &Said<'_>) -> Answer {
    let digits = said.text.split_once(STATUS).map_or("", |(_, rest)| rest).split(|c: char| !c.is_ascii_digit()).next();
    let status = digits.and_then(|digits| digits.parse().ok()).and_then(|status| StatusCode::from_u16(status).ok());
    match status.filter(|status| !status.is_success()) {
        Some(status) => usual(&Said { status, ..*said }),
        None => said.later(""),
    }
}
