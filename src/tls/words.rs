//! Explains a failed handshake: why it failed, and what to do.

use std::{error::Error, fmt, io, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, InvalidMessage, OtherError, PeerIncompatible,
    pki_types::{CertificateDer, UnixTime},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{Variables, validity::Date};

/// Why a handshake failed, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) why: String,
    pub(crate) fix: String,
}

/// Why a server is not trusted, for the cases in which the library knows less than we do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Untrusted {
    /// There is no certificate of an authority.
    NoRoots,
    /// No trusted authority has signed the certificate.
    Unknown { issuer: String, is_own: bool },
}

impl Untrusted {
    pub(super) fn unknown(certificate: &CertificateDer<'_>) -> Self {
        let parsed = X509Certificate::from_der(certificate);
        let names = parsed.map(|(_, it)| (it.issuer().to_string(), it.subject() == it.issuer()));
        let (issuer, is_own) = names.unwrap_or_default();
        Untrusted::Unknown { issuer, is_own }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untrusted::NoRoots => f.write_str("no certificate of an authority is installed here"),
            Untrusted::Unknown { is_own: true, .. } => f.write_str("the server's certificate is self-signed"),
            Untrusted::Unknown { issuer, .. } if issuer.is_empty() => {
                f.write_str("the server's certificate is signed by an unknown authority")
            }
            Untrusted::Unknown { issuer, .. } => {
                write!(f, "the server's certificate is signed by an unknown authority ({issuer})")
            }
        }
    }
}

impl Error for Untrusted {}

impl From<Untrusted> for rustls::Error {
    fn from(untrusted: Untrusted) -> Self {
        CertificateError::Other(OtherError(Arc::new(untrusted))).into()
    }
}

/// The TLS failure among the causes of an error.
pub(crate) fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref() {
            return Some(tls);
        }
        // An `io::Error` hides the error that it wraps from the chain: its source is the wrapped error's source.
        let carried = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match carried {
            Some(carried) => Some(carried),
            None => cause.source(),
        };
    }
    None
}

/// Explains a TLS failure by what a person can check or change. No message shows the library's names for things.
pub(crate) fn words(error: &rustls::Error, variables: &Variables) -> Words {
    let say = |why: &str, fix: String| Words { why: why.to_owned(), fix };
    let Variables { ca_cert, client_cert, .. } = variables;
    match error {
        rustls::Error::InvalidCertificate(problem) => certificate(problem, variables),
        rustls::Error::AlertReceived(alert) => refused(*alert, variables),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => say(
            "the server does not speak TLS",
            "use http:// (or amqp://), or the port that serves TLS; a Nomad or Consul agent also answers so when it \
                 accepts no further connection from this address (http_max_conns_per_client in its limits)"
                .to_owned(),
        ),
        rustls::Error::InvalidMessage(_) | rustls::Error::PeerSentOversizedRecord => say(
            "the server's answer is not readable as TLS",
            "check that the port serves TLS, and any proxy in between".to_owned(),
        ),
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => say("the server speaks neither TLS 1.2 nor TLS 1.3", "allow TLS 1.2 or 1.3 on the server".to_owned()),
        rustls::Error::PeerIncompatible(_) => say(
            "the server offers no safe cipher suite, key exchange or signature",
            "allow the usual ones of TLS 1.2 with ECDHE, or TLS 1.3, on the server".to_owned(),
        ),
        rustls::Error::NoCertificatesPresented => {
            say("the server presents no certificate", "configure one on the server".to_owned())
        }
        rustls::Error::DecryptError => say("a message arrived damaged", "check any proxy in between".to_owned()),
        rustls::Error::PeerMisbehaved(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. } => {
            say("the server violates the TLS protocol", "check any proxy in between, and update the server".to_owned())
        }
        _ => say("the handshake failed", format!("check {}", listed(&[ca_cert, client_cert]))),
    }
}

fn certificate(problem: &CertificateError, variables: &Variables) -> Words {
    let Variables { ca_cert, ca_path, server_name, usual_name, .. } = variables;
    let say = |why: String, fix: String| Words { why, fix };
    let renew = || "renew the server's certificate".to_owned();
    let trust = || format!("set {} to the certificate of the authority that signed it", either(&[ca_cert, ca_path]));
    match problem {
        CertificateError::Expired => say("the server's certificate has expired".to_owned(), renew()),
        CertificateError::ExpiredContext { not_after, .. } => {
            say(format!("the server's certificate expired on {}", date(*not_after)), renew())
        }
        CertificateError::NotValidYet => {
            say("the server's certificate is not valid yet".to_owned(), "check the clocks of both machines".to_owned())
        }
        CertificateError::NotValidYetContext { not_before, .. } => say(
            format!("the server's certificate is not valid before {}", date(*not_before)),
            "check the clocks of both machines".to_owned(),
        ),
        CertificateError::NotValidForName => {
            say("the server's certificate is for another name".to_owned(), rename(server_name, usual_name))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // The library writes names as `DnsName("a")`.
            let names: Vec<_> = presented.iter().map(|name| plain_name(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            let why = format!("the server's certificate is for {names}, and not for {}", expected.to_str());
            say(why, rename(server_name, usual_name))
        }
        CertificateError::UnknownIssuer => {
            say("the server's certificate is signed by an unknown authority".to_owned(), trust())
        }
        CertificateError::BadSignature => say(
            "the signature of the server's certificate does not match its authority's key".to_owned(),
            format!("check that {} is the authority's newest certificate", either(&[ca_cert, ca_path])),
        ),
        CertificateError::Revoked => say("the server's certificate is revoked".to_owned(), renew()),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => say(
            "the server's certificate is not made for servers".to_owned(),
            "make a certificate with the extended key usage serverAuth".to_owned(),
        ),
        CertificateError::BadEncoding => {
            say("the server's certificate is malformed, or older than version 3 of X.509".to_owned(), remake())
        }
        CertificateError::Other(OtherError(other)) => other_certificate(&**other, &trust(), ca_cert),
        // The rest are unsupported algorithms and extensions, which the library names by number.
        _ => say("the server's certificate has an unsupported signature or extension".to_owned(), remake()),
    }
}

fn other_certificate(other: &(dyn Error + Send + Sync + 'static), trust: &str, ca_cert: &str) -> Words {
    if let Some(untrusted) = other.downcast_ref::<Untrusted>() {
        let fix = match untrusted {
            Untrusted::NoRoots => format!("set {ca_cert}, or install the system's certificates (ca-certificates)"),
            Untrusted::Unknown { is_own: true, .. } => format!("set {ca_cert} to this certificate"),
            Untrusted::Unknown { .. } => trust.to_owned(),
        };
        return Words { why: untrusted.to_string(), fix };
    }
    // A self-signed certificate of an authority that is none of our roots. The library names only its own error type.
    if other.to_string().contains("CaUsedAsEndEntity") {
        return Words {
            why: "the server's certificate is an authority's".to_owned(),
            fix: format!("set {ca_cert} to this certificate if it is self-signed, or {}", remake()),
        };
    }
    Words { why: "the server's certificate cannot be verified".to_owned(), fix: remake() }
}

fn remake() -> String {
    "make a new one, such as with: openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -keyout \
     key.pem -out cert.pem -subj /CN=NAME -addext subjectAltName=DNS:NAME"
        .to_owned()
}

/// Why the server refused our side of the handshake.
fn refused(alert: AlertDescription, variables: &Variables) -> Words {
    let client = if variables.client_cert.is_empty() {
        "there is no setting for a client certificate here".to_owned()
    } else {
        format!("set {} and {} to a pair that the server trusts", variables.client_cert, variables.client_key)
    };
    let say = |why: &str, fix: String| Words { why: why.to_owned(), fix };
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            say("the server wants a client certificate", client)
        }
        AlertDescription::CertificateExpired => {
            say("the server says that our client certificate has expired", format!("renew {}", variables.client_cert))
        }
        AlertDescription::CertificateRevoked => {
            say("the server says that our client certificate is revoked", format!("renew {}", variables.client_cert))
        }
        AlertDescription::UnknownCA => say("the server does not know the authority of our client certificate", client),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => say("the server refuses our client certificate", client),
        AlertDescription::HandshakeFailure => {
            say("the server refuses the handshake: it may want a client certificate, or other cipher suites", client)
        }
        AlertDescription::ProtocolVersion => {
            say("the server speaks neither TLS 1.2 nor TLS 1.3", "allow TLS 1.2 or 1.3 on the server".to_owned())
        }
        AlertDescription::InsufficientSecurity => say(
            "the server requires stronger cipher suites than both sides share",
            "check the cipher suites of the server".to_owned(),
        ),
        AlertDescription::UnrecognisedName => {
            say("the server does not serve the requested name", rename(variables.server_name, variables.usual_name))
        }
        AlertDescription::InternalError => {
            say("the server reports an internal error", "see the server's log".to_owned())
        }
        _ => say("the server aborted the handshake", "see the server's log".to_owned()),
    }
}

fn rename(server_name: &str, usual_name: &str) -> String {
    if server_name.is_empty() {
        return "use a name of the certificate in the address, or make a certificate with the address's name"
            .to_owned();
    }
    format!("set {server_name} to a name of the certificate ({usual_name})")
}

/// `DnsName("a")` as `a`.
fn plain_name(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, rest)| rest.strip_suffix(')').unwrap_or(rest));
    inner.trim_matches('"')
}

fn either(variables: &[&str]) -> String {
    given(variables).join(" or ")
}

fn listed(variables: &[&str]) -> String {
    given(variables).join(" and ")
}

fn given<'a>(variables: &[&'a str]) -> Vec<&'a str> {
    variables.iter().copied().filter(|variable| !variable.is_empty()).collect()
}

fn date(time: UnixTime) -> Date {
    Date(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
