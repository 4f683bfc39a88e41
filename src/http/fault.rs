//! Why a request failed before there was an answer. No message carries a secret.

use std::{fmt, path::PathBuf};

use crate::{
    redact::{LINE, shown},
    tls::BadFile,
};

/// A failure before there is an answer. Each client turns it into its own error.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A file named in the settings cannot be used.
    File { variable: &'static str, path: PathBuf, reason: String },
    /// A setting is invalid.
    Setting { variable: &'static str, reason: String },
    /// No connection could be made.
    Connect { address: String, reason: String },
    /// The TLS handshake failed.
    Tls { address: String, reason: String, fix: String },
    /// The answer came before the request. An agent answers so when it accepts no further connection from this address.
    Crowded { address: String, what: String },
    /// The connection broke.
    Broken { address: String, what: String, reason: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::File { variable, path, reason } => write!(f, "{variable}: {}: {reason}", path.display()),
            Fault::Setting { variable, reason } => write!(f, "{variable}: {reason}"),
            Fault::Connect { address, reason } => write!(f, "{address} cannot be reached: {reason}"),
            Fault::Tls { address, reason, fix } => write!(f, "TLS with {address} failed: {reason}; {fix}"),
            Fault::Crowded { address, what } => write!(f, "{what}: {address} {UNASKED}"),
            Fault::Broken { address, what, reason } => write!(f, "{what}: the connection to {address} broke: {reason}"),
        }
    }
}

/// What an agent does when it accepts no further connection.
pub(crate) const UNASKED: &str = "answered before it was asked, and closed the connection";

/// Hyper's text for an answer that comes before the request. It has no other sign for it.
pub(super) const EARLY: &str = "received unexpected message from connection";

impl From<BadFile> for Fault {
    fn from(BadFile { variable, path, reason }: BadFile) -> Self {
        Fault::File { variable, path, reason }
    }
}

/// The causes of an error. Its own text only wraps them.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let mut words = cause.to_string();
        next = cause.source();
        if next.is_some() && words.starts_with("client error (") {
            // The library's name for the step that failed: its cause says more.
            continue;
        }
        if words.contains("close_notify") {
            // The library's text refers to its own manual.
            "the server closed the connection".clone_into(&mut words);
        }
        // A wrapper repeats the text of the error that it wraps.
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
    }
    if text.is_empty() {
        text = error.to_string();
    }
    shown(text, LINE)
}
