//! Why records were not taken, and what to fix.

use std::io;

use super::config::VARIABLES;
use crate::{
    redact::{WORDS, shown},
    sink::{ErrorClass, Outcome, dial},
    tls::Asked,
};

/// Why a connection cannot be used, or why nsqd did not take records. None of these is the fault of a record.
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
        let (class, reason) = dial::judged(server, error, asked, &VARIABLES, "nsqd closed it");
        Fault::new(class, reason)
    }

    /// What an error of nsqd means that is about no record. The codes are those of its `protocol_v2.go`.
    pub(super) fn of_words(server: &str, words: &str) -> Self {
        let said = format!("({server} says: {})", shown(words, WORDS));
        if is_cut_off(words) {
            let what = format!("connection to {server}: nsqd could not read the whole command");
            return Fault::new(ErrorClass::Connection, format!("{what}; check the network, and nsqd's log {said}"));
        }
        let (class, what) = match code(words) {
            "E_AUTH_FAILED" | "E_UNAUTHORIZED" | "E_AUTH_FIRST" | "E_AUTH_ERROR" => (
                ErrorClass::Refused,
                "nsqd's auth server does not allow it; correct SINK_NSQ_AUTH_SECRET or SINK_NSQ_TOPIC_NAME, or allow this topic there",
            ),
            "E_BAD_TOPIC" => (ErrorClass::Refused, "nsqd does not take this topic; correct SINK_NSQ_TOPIC_NAME"),
            "E_INVALID" if words.contains("TLS required") => {
                (ErrorClass::Refused, "nsqd requires TLS; write tls:// before the server in SINK_NSQ_ADDR")
            }
            "E_PUB_FAILED" | "E_MPUB_FAILED" => {
                (ErrorClass::Server, "nsqd could not queue the records; check its log and the disk of its --data-path")
            }
            _ => (ErrorClass::Server, "nsqd refuses the command"),
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

/// What nsqd's error to a command says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A message is larger than this.
    Message(usize),
    /// The body of the whole command is larger than this.
    Body(usize),
    /// It does not take one of the records as it is.
    Data(String),
    /// Something else is wrong.
    Fault(Fault),
}

/// Reads an error such as `E_BAD_MESSAGE MPUB message too big 20 > 10`.
pub(super) fn judged(server: &str, words: &str) -> Said {
    if is_cut_off(words) {
        return Said::Fault(Fault::of_words(server, words));
    }
    let limit = || words.contains("too big").then(|| words.rsplit_once("> ")?.1.trim().parse().ok()).flatten();
    match (code(words), limit()) {
        ("E_BAD_MESSAGE", Some(limit)) => Said::Message(limit),
        ("E_BAD_BODY", Some(limit)) => Said::Body(limit),
        ("E_BAD_MESSAGE" | "E_BAD_BODY", None) => {
            Said::Data(format!("nsqd refuses it ({server} says: {})", shown(words, WORDS)))
        }
        _ => Said::Fault(Fault::of_words(server, words)),
    }
}

/// Whether nsqd did not get a command to its end: the connection failed, or its own deadline for reading was over. It says so with the
/// codes of bad data: `failed to read message body`, `failed to read body size`, `failed to read message count` and others.
fn is_cut_off(words: &str) -> bool {
    matches!(code(words), "E_BAD_MESSAGE" | "E_BAD_BODY") && words.contains("failed to read")
}

fn code(words: &str) -> &str {
    words.split_once(' ').map_or(words, |(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_about_records_or_says_what_to_fix() {
        assert_eq!(judged("a:1", "E_BAD_MESSAGE MPUB message too big 20 > 10"), Said::Message(10));
        assert_eq!(judged("a:1", "E_BAD_MESSAGE PUB message too big 20 > 10"), Said::Message(10));
        assert_eq!(judged("a:1", "E_BAD_BODY MPUB body too big 20 > 10"), Said::Body(10));
        for words in ["E_BAD_MESSAGE MPUB invalid message body size 0", "E_BAD_BODY", "E_BAD_MESSAGE too big 1 > x"] {
            assert!(matches!(judged("a:1", words), Said::Data(reason) if reason.contains(words)), "{words}");
        }
        for (words, class, part) in [
            ("E_AUTH_FAILED AUTH failed", ErrorClass::Refused, "SINK_NSQ_AUTH_SECRET"),
            ("E_UNAUTHORIZED AUTH failed for MPUB on \"a\" \"\"", ErrorClass::Refused, "allow this topic"),
            ("E_AUTH_FIRST AUTH required before PUB", ErrorClass::Refused, "SINK_NSQ_AUTH_SECRET"),
            ("E_BAD_TOPIC PUB topic name \"?\" is not valid", ErrorClass::Refused, "SINK_NSQ_TOPIC_NAME"),
            ("E_INVALID cannot PUB in current state (TLS required)", ErrorClass::Refused, "tls:// before the server"),
            ("E_MPUB_FAILED MPUB failed exiting", ErrorClass::Server, "--data-path"),
            ("E_INVALID unknown", ErrorClass::Server, "a:1 says: E_INVALID unknown"),
            // What nsqd says when its deadline for reading is over or the connection fails: no record is to blame.
            ("E_BAD_MESSAGE PUB failed to read message body", ErrorClass::Connection, "check the network"),
            ("E_BAD_MESSAGE MPUB failed to read message(3) body", ErrorClass::Connection, "check the network"),
            ("E_BAD_MESSAGE PUB failed to read message body size", ErrorClass::Connection, "check the network"),
            ("E_BAD_BODY MPUB failed to read message count", ErrorClass::Connection, "check the network"),
            ("E_BAD_BODY MPUB failed to read body size", ErrorClass::Connection, "check the network"),
        ] {
            let Said::Fault(fault) = judged("a:1", words) else { panic!("{words} is about no record") };
            assert!(fault.class == class && fault.reason.contains(part), "{fault:?}");
        }
    }
}
