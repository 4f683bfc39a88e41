//! Why a record is not written, and what to fix.

use std::{error::Error, io, sync::Arc};

use redis::ServerError;
use rustls::InvalidMessage;

use super::{Mode, Settings};
use crate::{
    redact::{WORDS, shown},
    sink::{ErrorClass, Outcome},
    tls::{self, Variables, Words},
};

pub(super) static VARIABLES: Variables = Variables {
    role: "sink",
    ca_cert: "SINK_REDIS_CACERT",
    ca_path: "",
    client_cert: "SINK_REDIS_CLIENT_CERT",
    client_key: "SINK_REDIS_CLIENT_KEY",
    server_name: "",
    usual_name: "",
};

/// The shortest record that a limit of Redis can be about: `proto-max-bulk-len` is at least this many bytes.
const LEAST_LIMIT: usize = 1 << 20;

/// Why records are not known to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) class: ErrorClass,
    pub(super) reason: String,
    /// Redis has answered with an error, and the connection is whole.
    pub(super) is_answer: bool,
    /// Nothing else would be taken either: another connection may lead to another server.
    pub(super) is_of_server: bool,
}

impl Fault {
    pub(super) fn new(class: ErrorClass, reason: impl Into<String>) -> Self {
        Fault { class, reason: reason.into(), is_answer: false, is_of_server: false }
    }

    /// The connection did not come about, or broke.
    pub(super) fn of_io(error: &io::Error, settings: &Settings) -> Self {
        match tls::cause(error) {
            Some(error) => Fault::of_tls(error, settings),
            None => {
                let words = shown(error.to_string(), WORDS);
                Fault::new(ErrorClass::Connection, format!("connection to {}: {words}", settings.shown))
            }
        }
    }

    fn of_tls(error: &rustls::Error, settings: &Settings) -> Self {
        let server = &settings.shown;
        let words = match error {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "the server does not speak TLS; begin SINK_REDIS_URL with redis://, or name the port that serves TLS"
                    .to_owned()
            }
            error => {
                let Words { why, fix } = tls::words(error, &VARIABLES);
                format!("{why}; {fix}")
            }
        };
        Fault::new(ErrorClass::Tls, format!("TLS with {server} failed: {words}"))
    }

    /// The answer was none that the client understands, or there was none.
    pub(super) fn of_client(error: &redis::RedisError, settings: &Settings) -> Self {
        let server = &settings.shown;
        // The client hides the failure behind a pointer. A server that refuses our certificate says so in place of its first answer.
        let hidden = error.source().and_then(|source| source.downcast_ref::<Arc<dyn Error + Send + Sync>>());
        if let Some(tls) = hidden.and_then(|hidden| tls::cause(&**hidden)) {
            return Fault::of_tls(tls, settings);
        }
        let what = if error.is_io_error() { "broke" } else { "does not speak Redis's protocol" };
        let words = shown(error.to_string(), WORDS);
        Fault::new(ErrorClass::Connection, format!("connection to {server} {what}: {words}"))
    }

    /// Redis has refused a command.
    pub(super) fn of_answer(error: &ServerError, settings: &Settings) -> Self {
        let words = format!("{} {}", error.code(), error.details().unwrap_or_default());
        let Told { class, what, fix, is_of_server } = told(&words, settings.mode);
        let reason = format!("{what}; {fix} ({} says: {})", settings.shown, shown(words.trim_end(), WORDS));
        Fault { class, reason, is_answer: true, is_of_server }
    }

    /// No answer came in time.
    pub(super) fn silent(reason: impl Into<String>) -> Self {
        Fault::new(ErrorClass::Timeout, reason)
    }

    /// What becomes of a record of this size that the fault is about.
    pub(super) fn outcome(&self, size: usize) -> Outcome {
        match self.class {
            ErrorClass::Rejected if size >= LEAST_LIMIT => Outcome::Reject { reason: self.reason.clone() },
            // It can only be about another record.
            ErrorClass::Rejected => Outcome::failed(ErrorClass::Server, &*self.reason),
            class => Outcome::failed(class, &*self.reason),
        }
    }
}

/// What an error of Redis means.
#[derive(Debug)]
struct Told {
    class: ErrorClass,
    what: &'static str,
    fix: &'static str,
    is_of_server: bool,
}

fn told(words: &str, mode: Mode) -> Told {
    use ErrorClass::{Refused, Rejected, Server, Throttled};
    let here = |class, what, fix| Told { class, what, fix, is_of_server: false };
    let elsewhere = |class, what, fix| Told { class, what, fix, is_of_server: true };
    let has = |part: &str| words.contains(part);
    match words.split(' ').next().unwrap_or_default() {
        "NOAUTH" => elsewhere(Refused, "Redis wants a password", "write user and password into SINK_REDIS_URL"),
        "WRONGPASS" => elsewhere(Refused, "user or password is wrong", "correct them in SINK_REDIS_URL"),
        "NOPERM" => here(
            Refused,
            "the user may not write there",
            "grant the command and the key (ACL SETUSER), or correct SINK_REDIS_KEY",
        ),
        "WRONGTYPE" => here(
            Refused,
            match mode {
                Mode::Stream => "the key holds something other than a stream",
                _ => "the key holds something other than a list",
            },
            "delete or rename it, or correct SINK_REDIS_KEY or SINK_REDIS_MODE",
        ),
        "READONLY" => {
            elsewhere(Refused, "the server is a replica, which takes no writes", "name the primary in SINK_REDIS_URL")
        }
        "MOVED" | "ASK" => elsewhere(
            Refused,
            "the key belongs to another node of a Redis Cluster, and this sink writes to one node",
            "name the node that serves the key in SINK_REDIS_URL and keep all keys in its slots, or name a proxy",
        ),
        "DENIED" => elsewhere(
            Refused,
            "Redis takes connections from its own machine only (protected mode)",
            "give it a password, and write that into SINK_REDIS_URL",
        ),
        "OOM" => here(
            Throttled,
            "Redis has no memory left for writes",
            match mode {
                Mode::Stream => "raise its maxmemory, or trim the stream with SINK_REDIS_MAX_LENGTH",
                _ => "raise its maxmemory, or take records out of the list faster",
            },
        ),
        "LOADING" => elsewhere(Server, "Redis is still loading its data", "wait until it has"),
        "BUSY" => here(Server, "a script keeps Redis busy", "wait, or end the script (SCRIPT KILL)"),
        "MISCONF" => {
            here(Server, "Redis cannot save its data", "see its log, and free or repair the disk that it writes to")
        }
        "NOREPLICAS" => {
            here(Server, "too few replicas follow Redis", "start them, or lower min-replicas-to-write of Redis")
        }
        "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" => {
            elsewhere(Server, "Redis cannot serve the key for now", "wait, and check the cluster (CLUSTER INFO)")
        }
        _ if has("max number of clients") => {
            elsewhere(Throttled, "Redis takes no further connection", "raise its maxclients, or end idle clients")
        }
        // Redis has closed the connection after it.
        _ if has("invalid bulk length") => elsewhere(
            Rejected,
            "the record is larger than Redis takes",
            "raise proto-max-bulk-len of Redis if you want such records",
        ),
        _ if has("unknown command") => elsewhere(
            Refused,
            "Redis does not know the command",
            "update Redis (streams need version 5.0), undo its rename-command, or choose another SINK_REDIS_MODE",
        ),
        _ if has("DB index") || has("SELECT is not allowed") => {
            elsewhere(Refused, "there is no such database", "correct the number at the end of SINK_REDIS_URL")
        }
        _ if has("AUTH") || has("'auth'") => {
            elsewhere(Refused, "Redis refuses the login", "correct user and password in SINK_REDIS_URL")
        }
        _ => here(Server, "Redis refuses the command", "see what it says, and its log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_redis_has_its_class_and_says_what_to_fix() {
        for (words, class, fix, is_of_server) in [
            ("NOAUTH Authentication required.", "refused", "SINK_REDIS_URL", true),
            ("WRONGPASS invalid username-password pair or user is disabled.", "refused", "SINK_REDIS_URL", true),
            ("NOPERM this user has no permissions to access one of the keys", "refused", "ACL SETUSER", false),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", "refused", "SINK_REDIS_KEY", false),
            ("READONLY You can't write against a read only replica.", "refused", "the primary", true),
            ("MOVED 3999 127.0.0.1:6381", "refused", "name the node", true),
            ("DENIED Redis is running in protected mode", "refused", "password", true),
            ("OOM command not allowed when used memory > 'maxmemory'.", "throttled", "SINK_REDIS_MAX_LENGTH", false),
            ("LOADING Redis is loading the dataset in memory", "server", "wait", true),
            ("MISCONF Redis is configured to save RDB snapshots", "server", "disk", false),
            ("NOREPLICAS Not enough good replicas to write.", "server", "min-replicas-to-write", false),
            ("CLUSTERDOWN Hash slot not served", "server", "CLUSTER INFO", true),
            ("ERR max number of clients reached", "throttled", "maxclients", true),
            ("ERR Protocol error: invalid bulk length", "rejected", "proto-max-bulk-len", true),
            ("ERR unknown command 'XADD', with args beginning with:", "refused", "5.0", true),
            ("ERR DB index is out of range", "refused", "number", true),
            ("ERR AUTH <password> called without any password configured", "refused", "SINK_REDIS_URL", true),
            ("ERR something new", "server", "its log", false),
            ("", "server", "its log", false),
        ] {
            let told = told(words, Mode::Stream);
            assert_eq!((told.class.name(), told.is_of_server), (class, is_of_server), "{words}");
            assert!(told.fix.contains(fix), "{words}: {}", told.fix);
        }
    }

    #[test]
    fn only_a_large_record_is_rejected_as_too_large() {
        let fault = Fault::new(ErrorClass::Rejected, "too large");
        assert!(matches!(fault.outcome(LEAST_LIMIT), Outcome::Reject { .. }));
        assert!(matches!(fault.outcome(LEAST_LIMIT - 1), Outcome::Retry { class: ErrorClass::Server, .. }));
    }
}
