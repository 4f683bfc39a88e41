//! What an answer of the push API means.

use crate::sink::push::{Said, Verdict, usual};

pub(super) fn judge(said: &Said<'_>) -> Verdict {
    match said.status.as_u16() {
        // The only success of the API. Any other comes from another server.
        204 => Verdict::Delivered,
        // That is about the server, not about a record.
        400 | 422 if said.has("allow_structured_metadata") || said.has("this feature is disallowed") => {
            said.later("set SINK_LOKI_STRUCTURED_METADATA=false, or limits_config.allow_structured_metadata in Loki")
        }
        400 | 413 | 422 => said.of_settings().unwrap_or_else(|| said.refused(fix(said))),
        401 if said.has("no org id") => said.later("set SINK_LOKI_TENANT to the tenant"),
        // Between its own parts, Loki has a limit that it does not report as one.
        500 if said.has("larger than max") => {
            Verdict::Refused { reason: said.words("lower SINK_LOKI_BATCH_BYTES"), too_large: true }
        }
        _ => usual(said),
    }
}

/// What to do about records that Loki refuses.
fn fix(said: &Said<'_>) -> &'static str {
    let about = |words: &[&str]| words.iter().any(|words| said.has(words));
    if about(&["max entry size", "max line size"]) {
        "raise limits_config.max_line_size in Loki, or make the record smaller with a jq program"
    } else if about(&["too far behind", "too old", "out of order"]) {
        "lower SINK_LOKI_MAX_AGE to what Loki accepts"
    } else if about(&["label"]) {
        "see SINK_LOKI_LABELS"
    } else {
        ""
    }
}
