//! Why records were not acknowledged, and what to fix.

use std::io;

use serde::Deserialize;

use super::{config::VARIABLES, proto::Message};
use crate::{
    redact::{WORDS, shown},
    sink::{ErrorClass, Outcome, dial},
    tls::Asked,
};

const ENDED: &str = "the server closed it";

/// Why a connection cannot be used, or why a record was not stored. None of these is the fault of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) class: ErrorClass,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(class: ErrorClass, reason: impl Into<String>) -> Self {
        Fault { class, reason: reason.into() }
    }

    /// What an error of the connection to `server` means.
    pub(super) fn of_io(server: &str, error: &io::Error, asked: &Asked) -> Self {
        let (class, reason) = dial::judged(server, error, asked, &VARIABLES, ENDED);
        Fault::new(class, reason)
    }

    pub(super) fn ended(server: &str) -> Self {
        Fault::new(ErrorClass::Connection, format!("connection to {server}: {ENDED}"))
    }

    /// What the server says before it closes the connection, or of a single message.
    pub(super) fn of_words(server: &str, words: &str) -> Self {
        let lower = words.to_ascii_lowercase();
        let said = format!("({server} says: {})", shown(words, WORDS));
        let (class, what) = if lower.contains("permissions violation for subscription") {
            let fix = "allow it to subscribe to SINK_NATS_INBOX_PREFIX followed by .>, or set the prefix";
            (ErrorClass::Refused, format!("the user may not receive acknowledgements; {fix}"))
        } else if lower.contains("permissions violation for publish") {
            let fix = "allow it to publish there, or correct SINK_NATS_SUBJECT";
            (ErrorClass::Refused, format!("the user may not publish to this subject; {fix}"))
        } else if lower.contains("authorization") || lower.contains("authentication") || lower.contains("account") {
            (ErrorClass::Refused, format!("login refused; correct {CREDENTIALS}"))
        } else if lower.contains("maximum connections exceeded") || lower.contains("slow consumer") {
            (ErrorClass::Throttled, "the server takes no more connections".to_owned())
        } else if lower.contains("secure connection") {
            (ErrorClass::Tls, "the server wants TLS; write tls:// in SINK_NATS_URL".to_owned())
        } else {
            (ErrorClass::Server, "the server closes the connection".to_owned())
        };
        Fault::new(class, format!("{what} {said}"))
    }

    /// The outcome of each record that it is about.
    pub(super) fn outcome(&self) -> Outcome {
        Outcome::failed(self.class, self.reason.clone())
    }

    /// Whether only people can fix it.
    pub(super) fn is_for_people(&self) -> bool {
        self.class == ErrorClass::Refused
    }
}

/// What a login is made of, for messages.
const CREDENTIALS: &str =
    "SINK_NATS_USERNAME and SINK_NATS_PASSWORD, SINK_NATS_TOKEN, SINK_NATS_CREDENTIALS or SINK_NATS_NKEY";

/// What became of one record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Stored,
    Failed(Fault),
    /// The stream will never take it.
    Rejected(String),
}

/// A stream's answer: <https://docs.nats.io/reference/reference-protocols/nats_api_reference>.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PubAck {
    stream: String,
    seq: u64,
    error: Option<ApiError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ApiError {
    code: u16,
    err_code: u32,
    description: String,
}

/// The status of a message that no one has subscribed to.
const NO_RESPONDERS: u16 = 503;

/// What the answer to a record says.
pub(super) fn judged(message: &Message, subject: &str) -> Answer {
    let subject = shown(subject, WORDS);
    if message.status() == Some(NO_RESPONDERS) {
        let fix = format!("create one (nats stream add --subjects '{subject}'), or correct SINK_NATS_SUBJECT");
        let reason = format!("no stream is bound to the subject {subject}; {fix}");
        return Answer::Failed(Fault::new(ErrorClass::Refused, reason));
    }
    let nonsense = || {
        let words = shown(&message.payload, WORDS);
        let reason = format!(
            "an answer that is none of JetStream came from {subject}: {words}; keep others from answering there"
        );
        Answer::Failed(Fault::new(ErrorClass::Other, reason))
    };
    let Ok(ack) = serde_json::from_slice::<PubAck>(&message.payload) else { return nonsense() };
    match ack.error {
        None if !ack.stream.is_empty() && ack.seq > 0 => Answer::Stored,
        None => nonsense(),
        Some(error) => refused(&error, &subject),
    }
}

/// The numbers are those of the server's `errors.json`.
fn refused(error: &ApiError, subject: &str) -> Answer {
    let ApiError { code, err_code, description } = error;
    let said = format!("{} (error {err_code})", shown(description, WORDS));
    let failed =
        |class, what: &str| Answer::Failed(Fault::new(class, format!("{what}; the stream of {subject} says: {said}")));
    match err_code {
        10054 | 10097 => Answer::Rejected(format!("the stream of {subject} refuses it: {said}")),
        10060 => failed(
            ErrorClass::Refused,
            "another stream than SINK_NATS_STREAM is bound to the subject; correct SINK_NATS_STREAM or SINK_NATS_SUBJECT",
        ),
        10109 | 10110 => {
            failed(ErrorClass::Refused, "the stream is sealed; name another one's subject in SINK_NATS_SUBJECT")
        }
        10039 | 10076 => failed(ErrorClass::Refused, "JetStream is off; enable it on the server and for the account"),
        10077 if description.contains("exceeded") => {
            failed(ErrorClass::Throttled, "the stream is full; raise its limits, or let it discard old messages")
        }
        10023 => failed(ErrorClass::Throttled, "the server has no room for JetStream; free disk or memory"),
        _ if *code == 503 => failed(ErrorClass::Server, "the stream cannot store it for now"),
        _ => failed(ErrorClass::Server, "the stream did not store it"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answered(headers: &'static str, payload: &'static str) -> Answer {
        let message = Message { subject: "i".into(), headers: Bytes::from(headers), payload: Bytes::from(payload) };
        judged(&message, "nomad.web")
    }

    #[test]
    fn each_answer_has_its_outcome() {
        assert_eq!(answered("", r#"{"stream":"N","seq":7}"#), Answer::Stored);
        assert_eq!(answered("", r#"{"stream":"N","seq":7,"duplicate":true,"domain":"d"}"#), Answer::Stored);
        for (headers, payload, class, part) in [
            (
                "NATS/1.0 503\r\n\r\n",
                "",
                ErrorClass::Refused,
                "no stream is bound to the subject nomad.web; create one",
            ),
            ("", r#"{"stream":"","seq":7}"#, ErrorClass::Other, "none of JetStream"),
            ("", r#"{"stream":"N","seq":0}"#, ErrorClass::Other, "none of JetStream"),
            ("", "ok", ErrorClass::Other, "none of JetStream"),
            (
                "",
                r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"N","seq":0}"#,
                ErrorClass::Throttled,
                "the stream is full; raise",
            ),
            ("", r#"{"error":{"code":503,"err_code":10077,"description":"disk"}}"#, ErrorClass::Server, "for now"),
            (
                "",
                r#"{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}"#,
                ErrorClass::Throttled,
                "free disk",
            ),
            (
                "",
                r#"{"error":{"code":400,"err_code":10060,"description":"expected stream does not match"}}"#,
                ErrorClass::Refused,
                "SINK_NATS_STREAM",
            ),
            (
                "",
                r#"{"error":{"code":400,"err_code":10109,"description":"invalid operation on sealed stream"}}"#,
                ErrorClass::Refused,
                "sealed",
            ),
            ("", r#"{"error":{"code":400,"err_code":1,"description":"new"}}"#, ErrorClass::Server, "new (error 1)"),
        ] {
            let Answer::Failed(fault) = answered(headers, payload) else { panic!("{payload} is no failure") };
            assert!(fault.class == class && fault.reason.contains(part), "{fault:?}");
        }
        for code in [10054, 10097] {
            let payload = format!(
                r#"{{"error":{{"code":400,"err_code":{code},"description":"message size exceeds maximum allowed"}}}}"#
            );
            let message = Message { subject: "i".into(), headers: Bytes::new(), payload: payload.into() };
            assert!(matches!(judged(&message, "a"), Answer::Rejected(reason) if reason.contains("exceeds maximum")));
        }
    }

    #[test]
    fn the_servers_words_say_what_to_fix() {
        for (words, class, part) in [
            ("Authorization Violation", ErrorClass::Refused, "SINK_NATS_CREDENTIALS"),
            ("User Authentication Expired", ErrorClass::Refused, "login refused"),
            ("Permissions Violation for Subscription to \"_INBOX.a.*\"", ErrorClass::Refused, "SINK_NATS_INBOX_PREFIX"),
            ("Permissions Violation for Publish to \"a\"", ErrorClass::Refused, "SINK_NATS_SUBJECT"),
            ("maximum connections exceeded", ErrorClass::Throttled, "no more connections"),
            ("Stale Connection", ErrorClass::Server, "says: Stale Connection"),
        ] {
            let fault = Fault::of_words("nats://a:4222", words);
            assert!(fault.class == class && fault.reason.contains(part), "{fault:?}");
        }
    }
}
