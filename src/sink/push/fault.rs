//! What an answer means for the records of its request.

use std::time::{Duration, SystemTime};

use reqwest::{StatusCode, header::HeaderMap};

use super::Variables;
use crate::{
    http,
    redact::shown,
    sink::{ErrorClass, Outcome},
};

/// How many bytes of the server's own words go into a reason. They can quote the record, which can carry secrets.
const QUOTED: usize = 200;

/// What the OpenTelemetry Collector and other servers in Go say with status 400 of a compression that they do not know.
const ENCODING: &str = "unsupported content-encoding";

/// What became of the records of one request.
#[derive(Debug)]
pub(in crate::sink) enum Verdict {
    /// The server has all of them.
    Delivered,
    /// An outcome for each of them, in their order.
    Each(Vec<Outcome>),
    /// The server refuses some of them as data, and does not say which; only for the size of the request if `too_large`.
    Refused { reason: String, too_large: bool },
    /// All have to be sent again; the rest as in [`Outcome::Retry`].
    Retry { reason: String, after: Option<Duration>, refusal: Option<String>, class: ErrorClass },
}

impl Verdict {
    /// A retry at a time that the delivery chooses.
    pub(in crate::sink) fn retry(class: ErrorClass, reason: impl Into<String>) -> Self {
        Verdict::Retry { reason: reason.into(), after: None, refusal: None, class }
    }
}

/// What a server said.
#[derive(Clone, Copy, Debug)]
pub(in crate::sink) struct Said<'a> {
    pub(in crate::sink) status: StatusCode,
    pub(in crate::sink) headers: &'a HeaderMap,
    /// The body of the answer; the start of it where the status is no success and it is text.
    pub(in crate::sink) body: &'a [u8],
    /// The server, for messages.
    pub(in crate::sink) server: &'a str,
    pub(in crate::sink) variables: &'static Variables,
    /// The variable that the credentials come from.
    pub(in crate::sink) credentials: Option<&'static str>,
    pub(in crate::sink) now: SystemTime,
    /// What gRPC calls the status, if it is one of gRPC.
    pub(in crate::sink) grpc: Option<&'static str>,
    /// What the server asks for in an answer of gRPC.
    pub(in crate::sink) after: Option<Duration>,
}

impl Said<'_> {
    /// Whether the answer has these words.
    pub(in crate::sink) fn has(&self, words: &str) -> bool {
        memchr::memmem::find(self.body, words.as_bytes()).is_some()
    }

    /// The answer in words, with what to do about it.
    pub(in crate::sink) fn words(&self, fix: &str) -> String {
        self.words_of(&shown(self.body.trim_ascii(), QUOTED), fix)
    }

    /// The same with a part of the answer.
    pub(in crate::sink) fn words_of(&self, text: &str, fix: &str) -> String {
        let Said { server, status, .. } = self;
        let status = self.grpc.map_or_else(|| status.to_string(), str::to_owned);
        let fix = if fix.is_empty() { String::new() } else { format!("; {fix}") };
        let text = if text.is_empty() { String::new() } else { format!(": {}", shown(text, QUOTED)) };
        format!("{server} answered {status}{fix}{text}")
    }

    /// A retry that no record is to blame for, after the time that the server asks for.
    pub(in crate::sink) fn later(&self, fix: &str) -> Verdict {
        let after = self.after.or_else(|| http::retry_after(self.headers, self.now));
        Verdict::Retry { reason: self.words(fix), after, refusal: None, class: self.class() }
    }

    /// A refusal that can be about a record as well as about the credentials or the target.
    fn doubtful(&self, fix: &str) -> Verdict {
        Verdict::Retry { reason: self.words(fix), after: None, refusal: Some(self.words("")), class: self.class() }
    }

    /// A refusal of the connection or of the form of the request, which every record would get; `None` if it is none.
    pub(in crate::sink) fn of_settings(&self) -> Option<Verdict> {
        let Variables { connection, compression, .. } = self.variables;
        if let Some(fix) = http::refused_connection(self.status, self.body, connection) {
            // A body can quote a record that has the same words: what is refused while others are accepted is the record.
            let (reason, refusal) = (self.words(&fix), Some(self.words("")));
            return Some(Verdict::Retry { reason, after: None, refusal, class: ErrorClass::Tls });
        }
        let is_encoding = || String::from_utf8_lossy(self.body).to_ascii_lowercase().contains(ENCODING);
        let is_form = self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE
            || self.status == StatusCode::BAD_REQUEST && is_encoding();
        let address = connection.address;
        is_form.then(|| match compression {
            Some(compression) => self.doubtful(&format!("change {compression}, or correct {address}")),
            None => self.doubtful(&format!("see {address}")),
        })
    }

    /// A refusal of data.
    pub(in crate::sink) fn refused(&self, fix: &str) -> Verdict {
        let too_large = self.status == StatusCode::PAYLOAD_TOO_LARGE;
        Verdict::Refused { reason: self.words(fix), too_large }
    }

    pub(in crate::sink) fn class(&self) -> ErrorClass {
        ErrorClass::of_status(self.status.as_u16())
    }

    fn unknown(&self) -> String {
        let Variables { connection, auth, .. } = self.variables;
        match self.credentials {
            Some(variable) => format!("{variable} is not accepted: set it to valid credentials"),
            None => format!("no credentials are set: see {auth}, {} and {}", connection.token, connection.token_file),
        }
    }

    fn forbidden(&self) -> String {
        let Variables { connection, auth, .. } = self.variables;
        match self.credentials {
            Some(variable) => {
                format!("{variable} is not allowed to write there, or a web firewall refuses the request")
            }
            None => format!(
                "no credentials are set, and the server, a proxy or a web firewall refuses the request: allow it \
                 there, or set {auth} or {}",
                connection.token
            ),
        }
    }
}

/// What an answer means unless the API says something else about it.
pub(in crate::sink) fn usual(said: &Said<'_>) -> Verdict {
    if let Some(verdict) = said.of_settings() {
        return verdict;
    }
    let address = said.variables.connection.address;
    match said.status.as_u16() {
        400 | 413 | 422 => said.refused(""),
        // A success that the API does not know comes from another server.
        100..300 => said.later(&format!("that is no answer of the API: see {address}")),
        300..400 => said.later(&format!("redirects are not followed: set {address} to the final URL")),
        401 => said.later(&said.unknown()),
        403 => said.doubtful(&said.forbidden()),
        404 | 410 => said.later(&format!("nothing is there: see the path in {address}")),
        405 | 406 | 451 => said.doubtful(&format!("see {address}")),
        429 | 503 | 504 => said.later(""),
        500..600 => said.doubtful(""),
        _ => said.later(""),
    }
}
