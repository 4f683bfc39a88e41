//! What an answer means.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use reqwest::{StatusCode, header::HeaderMap};

use crate::{
    http::{self, Names},
    redact::shown,
    sink::{ErrorClass, Outcome},
};

/// How many bytes of the server's own words go into a reason. They can quote the message.
const QUOTED: usize = 200;

/// The result of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) enum Answer {
    /// The service has taken the message.
    Delivered,
    /// To be sent again, not before `after`; the rest as in [`Outcome::Retry`].
    Retry { reason: String, after: Option<Duration>, refusal: Option<String>, class: ErrorClass },
    /// The service will never take this message.
    Reject { reason: String },
}

impl Answer {
    /// A retry at a time that the delivery chooses.
    pub(in crate::sink) fn retry(class: ErrorClass, reason: impl Into<String>) -> Self {
        Answer::Retry { reason: reason.into(), after: None, refusal: None, class }
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Delivered => Outcome::Delivered,
            Answer::Retry { reason, after, refusal, class } => Outcome::Retry { reason, after, refusal, class },
            Answer::Reject { reason } => Outcome::Reject { reason },
        }
    }
}

/// What a server said.
#[derive(Debug)]
pub(in crate::sink) struct Said<'a> {
    pub(in crate::sink) status: StatusCode,
    pub(in crate::sink) headers: &'a HeaderMap,
    /// The server, for messages.
    pub(in crate::sink) server: &'a str,
    /// The variable of its URL.
    pub(in crate::sink) setting: &'a str,
    /// The variables of its connection.
    pub(in crate::sink) names: &'static Names,
    /// The start of the body, safe to show.
    pub(in crate::sink) text: &'a str,
    pub(in crate::sink) now: SystemTime,
}

impl Said<'_> {
    /// The answer in words, with what to do about it.
    pub(in crate::sink) fn words(&self, fix: &str) -> String {
        let Said { server, status, text, .. } = self;
        let text = shown(text, QUOTED);
        let fix = if fix.is_empty() { String::new() } else { format!("; {fix}") };
        let said = if text.is_empty() { String::new() } else { format!(": {text}") };
        format!("{server} answered {status}{fix}{said}")
    }

    /// A retry that no message is to blame for.
    pub(in crate::sink) fn later(&self, fix: &str) -> Answer {
        let after = http::retry_after(self.headers, self.now);
        Answer::Retry { reason: self.words(fix), after, refusal: None, class: self.class() }
    }

    /// A retry because the URL is no longer accepted.
    pub(in crate::sink) fn revoked(&self) -> Answer {
        let setting = self.setting;
        self.later(&format!("the URL is not accepted: set {setting} to a valid one"))
    }

    /// A refusal that can be about the message as well.
    fn refused(&self, fix: &str) -> Answer {
        Answer::Retry { reason: self.words(fix), after: None, refusal: Some(self.words("")), class: self.class() }
    }

    fn class(&self) -> ErrorClass {
        ErrorClass::of_status(self.status.as_u16())
    }

    pub(in crate::sink) fn rejected(&self) -> Answer {
        Answer::Reject { reason: self.words("") }
    }
}

/// What an answer means at most services.
pub(in crate::sink) fn usual(said: &Said<'_>) -> Answer {
    let setting = said.setting;
    if let Some(fix) = http::refused_connection(said.status, said.text.as_bytes(), said.names) {
        return said.refused(&fix);
    }
    match said.status.as_u16() {
        200..300 => Answer::Delivered,
        300..400 => said.later(&format!("redirects are not followed: set {setting} to the final URL")),
        400 | 413 | 415 | 422 => said.rejected(),
        401 | 404 | 410 => said.revoked(),
        403 | 405 | 406 | 451 => {
            said.refused(&format!("the URL is not accepted, or a web firewall refuses the message: see {setting}"))
        }
        429 | 503 | 504 => said.later(""),
        500..600 => said.refused(""),
        _ => said.later(""),
    }
}

/// Logs that one of several servers fails while another one takes the messages, and the end of that, once each.
pub(super) fn log(answer: &Answer, server: &str, failing: &AtomicBool) {
    let reason = match answer {
        Answer::Delivered => {
            if failing.swap(false, Ordering::Relaxed) {
                tracing::info!(%server, "one of the servers recovered");
            }
            return;
        }
        Answer::Retry { reason, .. } | Answer::Reject { reason } => reason,
    };
    if !failing.swap(true, Ordering::Relaxed) {
        tracing::warn!(%server, %reason, "one of the servers fails");
    }
}
