//! Why messages are not written, and what to fix.

use std::io;

use super::Settings;
use crate::{
    redact::{WORDS, shown},
    sink::{ErrorClass, Outcome},
    tls::{self, Variables, Words},
};

pub(super) static VARIABLES: Variables = Variables {
    role: "sink",
    ca_cert: "SINK_SYSLOG_CACERT",
    ca_path: "",
    client_cert: "SINK_SYSLOG_CLIENT_CERT",
    client_key: "SINK_SYSLOG_CLIENT_KEY",
    server_name: "",
    usual_name: "",
};

/// The outcome of a message that was not written, or may not have been.
pub(super) fn outcome(error: &io::Error, settings: &Settings) -> Outcome {
    let (class, reason) = reason(error, settings);
    Outcome::failed(class, reason)
}

pub(super) fn reason(error: &io::Error, settings: &Settings) -> (ErrorClass, String) {
    let server = &settings.shown;
    if let Some(error) = tls::cause(error) {
        let Words { why, fix } = tls::words(error, &VARIABLES);
        return (ErrorClass::Tls, format!("TLS with {server} failed: {why}; {fix}"));
    }
    let words = shown(error.to_string(), WORDS);
    match error.kind() {
        io::ErrorKind::TimedOut => (ErrorClass::Timeout, format!("{server}: {words}")),
        io::ErrorKind::PermissionDenied => {
            (ErrorClass::Refused, format!("{server}: {words}; let the user of this program write to the socket"))
        }
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            let fix = "check that the server runs, and SINK_SYSLOG_PROTO and SINK_SYSLOG_ADDR";
            (ErrorClass::Connection, format!("{server}: {words}; {fix}"))
        }
        _ => (ErrorClass::Connection, format!("connection to {server}: {words}")),
    }
}

/// A datagram that the system does not send because of its size.
pub(super) fn is_too_large(error: &io::Error) -> bool {
    // Its own kind has no stable name; the number is that of Linux, macOS, or Windows (EMSGSIZE, WSAEMSGSIZE).
    let number = if cfg!(windows) {
        10040
    } else if cfg!(target_os = "linux") {
        90
    } else {
        40
    };
    error.raw_os_error() == Some(number)
}

/// What is said of a message of this size.
pub(super) fn too_large(size: usize, limit: Option<usize>, settings: &Settings) -> Outcome {
    let server = &settings.shown;
    let reason = match limit {
        Some(limit) => {
            format!(
                "too large for {server}: {size} bytes, and SINK_SYSLOG_MAX_SIZE allows {limit}; raise it if the server takes more"
            )
        }
        None => {
            format!("too large for a datagram to {server}: {size} bytes; set SINK_SYSLOG_PROTO to tcp, tls or unix")
        }
    };
    Outcome::Reject { reason }
}
