//! Why a request did not come about. No message carries a secret.

use std::{fmt, path::PathBuf};

use reqwest::{Response, StatusCode};

use super::{Names, Server};
use crate::{
    redact::{LINE, shown},
    tls::{self, BadFile, Words},
};

/// What can go wrong before there is an answer. Each client makes its own error of it.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A file named in the settings cannot be used.
    File { variable: &'static str, path: PathBuf, reason: String },
    /// A setting is wrong in itself.
    Setting { variable: &'static str, reason: String },
    /// No connection came about.
    Connect { address: String, reason: String },
    /// The TLS handshake failed.
    Tls { address: String, reason: String, mend: String },
    /// The answer came before the request: so does an agent that takes no further connection from this address.
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
            Fault::Tls { address, reason, mend } => write!(f, "TLS with {address} failed: {reason}; {mend}"),
            Fault::Crowded { address, what } => write!(f, "{what}: {address} {UNASKED}"),
            Fault::Broken { address, what, reason } => write!(f, "{what}: the connection to {address} broke: {reason}"),
        }
    }
}

impl Fault {
    /// A failure to connect to `server`, or to send.
    pub(crate) fn transport(names: &Names, server: &Server, what: &str, error: &reqwest::Error) -> Self {
        let address = server.route();
        let (what, reason) = (what.to_owned(), reason(error));
        match tls::cause(error) {
            Some(tls) => {
                let Words { why, fix } = tls::words(tls, &names.tls);
                Fault::Tls { address, reason: why, mend: fix }
            }
            None if reason.contains(EARLY) => Fault::Crowded { address, what },
            None if error.is_connect() => {
                let reason = server.proxy.as_ref().map_or_else(|| reason.clone(), |proxy| proxy.unreached(&reason));
                Fault::Connect { address: server.label.clone(), reason }
            }
            None => Fault::Broken { address, what, reason },
        }
    }
}

/// What an agent does that takes no further connection.
pub(crate) const UNASKED: &str = "answered before it was asked, and closed the connection";

/// How hyper calls an answer that comes before the request: it has no other sign for it.
const EARLY: &str = "received unexpected message from connection";

/// What an answer means that is not the server's but its proxy's: only that the proxy wants a password is certain.
pub(crate) fn of_proxy(server: &Server, response: &Response) -> Option<Fault> {
    let proxy = server.proxy.as_ref().filter(|_| response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED)?;
    Some(Fault::Connect { address: server.label.clone(), reason: proxy.refused() })
}

impl From<BadFile> for Fault {
    fn from(BadFile { variable, path, reason }: BadFile) -> Self {
        Fault::File { variable, path, reason }
    }
}

/// The innermost causes of an error, which say what the outer ones only wrap.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let mut words = cause.to_string();
        if words.contains("close_notify") {
            // The library's words lead to its own manual.
            "the server closed the connection".clone_into(&mut words);
        }
        // Wrappers repeat the words of what they wrap.
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        next = cause.source();
    }
    if text.is_empty() {
        text = error.to_string();
    }
    shown(text, LINE)
}
