//! What an answer of Slack means. The words are those of Slack's page on errors of incoming webhooks.

use crate::sink::webhook::{Answer, Said, usual};

/// Errors that a person fixes in Slack or with a new URL, whatever the message is.
const NOT_THE_MESSAGE: [&str; 16] = [
    "action_prohibited",
    "channel_is_archived",
    "channel_not_found",
    "invalid_token",
    "no_active_hooks",
    "no_service",
    "no_service_id",
    "no_team",
    "org_login_required",
    "posting_to_general_channel_denied",
    "posting_to_channel_denied",
    "restricted_action",
    "team_access_not_granted",
    "team_disabled",
    "team_not_found",
    "user_not_found",
];

pub(super) fn judge(said: &Said<'_>) -> Answer {
    let word = said.text.trim();
    match said.status.as_u16() {
        400..500 if NOT_THE_MESSAGE.contains(&word) => said.revoked(),
        _ => usual(said),
    }
}
