//! Why a request did not come about. No message carries a secret.

use std::{fmt, io, path::PathBuf};

use super::Names;
use crate::redact::redacted;

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
    /// A failure to connect or to send.
    pub(crate) fn transport(names: &Names, address: &str, what: &str, error: &reqwest::Error) -> Self {
        let address = address.to_owned();
        let reason = reason(error);
        match tls_of(error) {
            Some(tls) => Fault::Tls { address, reason: tls.to_string(), mend: mend(tls, names) },
            None if reason.contains(EARLY) => Fault::Crowded { address, what: what.to_owned() },
            None if error.is_connect() => Fault::Connect { address, reason },
            None => Fault::Broken { address, what: what.to_owned(), reason },
        }
    }
}

/// What an agent does that takes no further connection.
pub(crate) const UNASKED: &str = "answered before it was asked, and closed the connection";

/// How hyper calls an answer that comes before the request: it has no other sign for it.
const EARLY: &str = "received unexpected message from connection";

/// The innermost causes of an error, which say what the outer ones only wrap.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let words = cause.to_string();
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
    redacted(&text).into_owned()
}

fn tls_of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref() {
            return Some(tls);
        }
        // An `io::Error` hides the error it carries from the chain: its own source is the carried one's.
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried),
            None => cause.source(),
        };
    }
    None
}

fn mend(error: &rustls::Error, names: &Names) -> String {
    use rustls::{AlertDescription, CertificateError, InvalidMessage};
    let Names { ca_cert, ca_path, client_cert, client_key, server_name, usual_name, .. } = names;
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("the certificate is for another name: set {server_name} to one it holds ({usual_name})"),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("set {ca_cert} or {ca_path} to the certificate authority of the cluster")
        }
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it answered without TLS: write http:// where the server speaks no TLS; an agent also answers so when it takes \
             no further connection from this address (http_max_conns_per_client in its limits)"
                .to_owned()
        }
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::HandshakeFailure
            | AlertDescription::CertificateUnknown,
        ) => format!("the server wants a client certificate that it trusts: set {client_cert} and {client_key}"),
        _ => format!("see {ca_cert}, {client_cert} and {server_name}"),
    }
}
