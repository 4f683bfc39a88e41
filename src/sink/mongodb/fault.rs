//! Why records are not stored, and what to fix.

use std::time::Duration;

use ::mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::{
    redact::{WORDS, shown},
    sink::{ErrorClass, Outcome},
};

/// The code of a document whose id is there already.
pub(super) const DUPLICATE: i32 = 11000;

/// Why records are not known to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) class: ErrorClass,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(class: ErrorClass, reason: impl Into<String>) -> Self {
        Fault { class, reason: reason.into() }
    }

    /// What the client says.
    pub(super) fn of(error: &Error, server: &str) -> Self {
        let plain = |class, what: &str, fix: &str, words: &str| {
            Fault::new(class, format!("{what}; {fix} ({server}: {})", shown(words, WORDS)))
        };
        match &*error.kind {
            ErrorKind::Command(error) => Fault::of_code(error.code, &error.message, server),
            ErrorKind::Write(WriteFailure::WriteConcernError(error)) => {
                Fault::of_code(error.code, &error.message, server)
            }
            ErrorKind::Write(WriteFailure::WriteError(error)) => Fault::of_code(error.code, &error.message, server),
            ErrorKind::Authentication { message, .. } => plain(
                ErrorClass::Refused,
                "MongoDB refuses the login",
                "correct user, password and authSource in SINK_MONGODB_CONNECTION",
                message,
            ),
            ErrorKind::InvalidTlsConfig { message, .. } => plain(
                ErrorClass::Local,
                "a TLS file cannot be used",
                "correct SINK_MONGODB_CACERT or SINK_MONGODB_CLIENT_CERT",
                message,
            ),
            ErrorKind::InvalidArgument { message, .. } | ErrorKind::IncompatibleServer { message, .. } => plain(
                ErrorClass::Refused,
                "MongoDB and its client do not agree",
                "correct SINK_MONGODB_CONNECTION, or update MongoDB",
                message,
            ),
            ErrorKind::ServerSelection { message, .. } => {
                // Why the last try of each server failed is in it, in the client's own words.
                let class = if message.contains("Authentication") || message.contains("SCRAM") {
                    ErrorClass::Refused
                } else if message.contains("certificate") {
                    ErrorClass::Tls
                } else {
                    ErrorClass::Connection
                };
                plain(
                    class,
                    "no primary can be reached",
                    "check that MongoDB runs there, and SINK_MONGODB_CONNECTION",
                    message,
                )
            }
            other => plain(ErrorClass::Connection, "the connection broke", "check the server", &other.to_string()),
        }
    }

    /// An error of the server, or of one document.
    pub(super) fn of_code(code: i32, message: &str, server: &str) -> Self {
        let Told { class, what, fix } = told(code);
        Fault::new(class, format!("{what}; {fix} ({server} says: {}, code {code})", shown(message, WORDS)))
    }

    pub(super) fn late(server: &str, within: Duration) -> Self {
        let fix = "check the servers and their replication, or raise SINK_MONGODB_TIMEOUT";
        Fault::new(ErrorClass::Timeout, format!("{server} did not store a batch within {within:?}; {fix}"))
    }

    pub(super) fn unheld() -> Self {
        Fault::new(ErrorClass::Unsent, "the lease is not held any more")
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.class {
            ErrorClass::Rejected => Outcome::Reject { reason: self.reason.clone() },
            class => Outcome::failed(class, &*self.reason),
        }
    }
}

/// What an error of the server means.
struct Told {
    class: ErrorClass,
    what: &'static str,
    fix: &'static str,
}

/// By its code: <https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml>.
fn told(code: i32) -> Told {
    use ErrorClass::{Refused, Rejected, Server, Throttled, Timeout};
    let told = |class, what, fix| Told { class, what, fix };
    match code {
        121 => told(Rejected, "the validation of the collection refuses the record", "change the validator (collMod)"),
        // Another index than that of `_id`.
        DUPLICATE => told(Rejected, "a unique index of the collection refuses the record", "drop the index"),
        10334 | 17420 => told(Rejected, "the record is larger than MongoDB takes", "leave out a part of it"),
        15 | 52 | 56 | 57 => told(Rejected, "MongoDB cannot store the record", "rename or leave out what it names"),
        18 | 8000 => told(
            Refused,
            "MongoDB refuses the login",
            "correct user, password and authSource in SINK_MONGODB_CONNECTION",
        ),
        13 => told(
            Refused,
            "the user lacks a right",
            "grant insert and find on the collection, such as by the role readWrite",
        ),
        73 | 166 => {
            told(Refused, "there is no such collection", "correct SINK_MONGODB_DATABASE or SINK_MONGODB_COLLECTION")
        }
        100 => told(Refused, "too few servers bear data", "start them: a majority has to store each record"),
        64 => told(
            Server,
            "no majority of the servers has stored the records in time",
            "check the replication (rs.status())",
        ),
        10058 | 10107 | 13435 | 13436 => told(Server, "the server is not the primary", "wait for an election"),
        91 | 189 | 11600 | 11602 => told(Server, "MongoDB stops or elects a primary", "wait until it is up"),
        14031 => told(Server, "the disk of MongoDB is full", "free some of it"),
        50 | 262 => told(Timeout, "MongoDB took too long", "check its load"),
        24 | 46 => told(Timeout, "a lock of MongoDB is held", "check its load"),
        462 => told(Throttled, "MongoDB has no resources left", "check its load"),
        _ => told(Server, "MongoDB refuses the records", "see what it says, and its log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class_and_says_what_to_fix() {
        for (code, class, fix) in [
            (121, "rejected", "collMod"),
            (11000, "rejected", "index"),
            (10334, "rejected", "leave out"),
            (57, "rejected", "rename"),
            (18, "refused", "SINK_MONGODB_CONNECTION"),
            (13, "refused", "readWrite"),
            (73, "refused", "SINK_MONGODB_COLLECTION"),
            (100, "refused", "majority"),
            (64, "server", "rs.status()"),
            (10107, "server", "election"),
            (91, "server", "wait"),
            (14031, "server", "free"),
            (50, "timeout", "load"),
            (1, "server", "its log"),
        ] {
            let told = told(code);
            assert_eq!(told.class.name(), class, "{code}");
            assert!(told.fix.contains(fix), "{code}: {}", told.fix);
        }
    }
}
