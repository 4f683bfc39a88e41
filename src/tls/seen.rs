//! When the certificates of servers expire, by what they presented.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// The most servers that are remembered: more than settings can name.
const MOST: usize = 256;

static SEEN: Mutex<BTreeMap<(&'static str, String), i64>> = Mutex::new(BTreeMap::new());

/// The certificate of a server that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfServer {
    /// The far side: `nomad`, `consul`, `sink`.
    pub(crate) role: &'static str,
    /// The name that it was verified for.
    pub(crate) server: String,
    /// Until when it is valid, in seconds since 1970.
    pub(crate) until: i64,
}

/// Remembers what a server presented.
pub(super) fn note(role: &'static str, server: &ServerName<'_>, certificate: &CertificateDer<'_>) {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (role, server.to_str().into_owned());
    if seen.len() < MOST || seen.contains_key(&key) {
        seen.insert(key, certificate.validity().not_after.timestamp());
    }
}

/// The certificates of the servers that this process has connected to.
pub(crate) fn presented() -> Vec<OfServer> {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let one = |((role, server), until): (&(&'static str, String), &i64)| OfServer {
        role,
        server: server.clone(),
        until: *until,
    };
    seen.iter().map(one).collect()
}
