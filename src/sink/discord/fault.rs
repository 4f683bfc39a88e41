//! What an answer of Discord means.

use std::time::Duration;

use serde::Deserialize;

use crate::sink::webhook::{Answer, Said, usual};

/// What Discord says of a rate limit.
#[derive(Deserialize)]
struct Limited {
    /// In seconds, with a fraction.
    retry_after: f64,
}

pub(super) fn judge(said: &Said<'_>) -> Answer {
    let mut answer = usual(said);
    if let (429, Answer::Retry { after, .. }) = (said.status.as_u16(), &mut answer) {
        let limited = serde_json::from_str::<Limited>(said.text).ok();
        let asked = limited.and_then(|limited| Duration::try_from_secs_f64(limited.retry_after).ok());
        *after = asked.max(*after);
    }
    answer
}
