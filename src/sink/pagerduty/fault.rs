//! What an answer of PagerDuty means.

use crate::sink::webhook::{Answer, Said, usual};

pub(super) fn judge(said: &Said<'_>) -> Answer {
    let text = said.text.to_ascii_lowercase();
    let is_key = ["routing_key", "routing key", "integration key"].iter().any(|words| text.contains(words));
    match said.status.as_u16() {
        202 => Answer::Delivered,
        200..300 => said.later("this is not the answer of an Events API: see SINK_PAGERDUTY_URL"),
        400 if is_key => said.later("set SINK_PAGERDUTY_ROUTING_KEY to the key of an Events API v2 integration"),
        401 | 403 => said.later("see SINK_PAGERDUTY_ROUTING_KEY and SINK_PAGERDUTY_URL"),
        _ => usual(said),
    }
}
