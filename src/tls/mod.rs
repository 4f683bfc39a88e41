//! TLS of every connection: which certificates are trusted and shown, and what a failed handshake means.
//!
//! [`client`] gives a configuration that outlives its files: each handshake looks whether they have changed ([`file`]) and
//! reads them again if so. A file that cannot be used is reported once, and what was read before stays in force.

mod expiry;
mod file;
mod identity;
mod settings;
mod trust;
mod words;

#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use rustls::{
    ClientConfig,
    client::{Resumption, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::ServerName,
};

pub use self::settings::Tls;
pub(crate) use self::{
    expiry::expiries,
    file::BadFile,
    settings::Variables,
    words::{Words, cause, words},
};
use self::{
    file::Watched,
    identity::{Identity, Presented},
    trust::{Anything, Roots, Trusting},
};

/// AWS-LC rather than ring, which knows no P-521 keys.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// A configuration with the certificates of `settings`. `name` is expected in the server's certificate in place of the
/// name that was connected to.
pub(crate) fn client(
    settings: &Tls,
    variables: &'static Variables,
    name: Option<ServerName<'static>>,
) -> Result<ClientConfig, BadFile> {
    let verifier: Arc<dyn ServerCertVerifier> = if settings.skip_verify {
        Arc::new(Anything(Arc::clone(&PROVIDER)))
    } else {
        let roots = Watched::new(Roots::new(settings, variables))?;
        Arc::new(Trusting { roots, name, provider: Arc::clone(&PROVIDER) })
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .expect("the provider has a cipher suite for each version")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match Identity::new(settings, variables)? {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_cert_resolver(Arc::new(Presented(Watched::new(identity)?))),
    };
    // A resumed session would neither show the new certificate nor look at the server's.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A configuration for a client that meets no TLS.
pub(crate) fn unused() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .expect("the provider has a cipher suite for each version")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
