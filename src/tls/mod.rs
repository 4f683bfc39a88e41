//! TLS of every connection: which certificates are trusted and presented, and what a failed handshake means.
//!
//! [`client`] makes a configuration that stays valid when its files change: each handshake checks whether they have changed
//! ([`mod@file`]), and loads them again if so. A file that cannot be used is reported once, and what was loaded before stays in force.

mod asked;
mod client_certificate;
mod file;
mod seen;
mod settings;
mod trust;
mod validity;
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
    asked::Asked,
    file::BadFile,
    seen::{OfServer, presented},
    settings::Variables,
    validity::validities,
    words::{Words, cause, words},
};
use self::{
    client_certificate::{ClientCertificate, Missing, Presented},
    file::Watched,
    trust::{Anything, Roots, Trusting},
};

/// AWS-LC rather than ring, which does not support P-521 keys.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// A configuration with the certificates of `settings`. The server's certificate has to be for `name`, if it is given, instead of the
/// host name of the address. `asked` notes whether the server asks for our certificate.
pub(crate) fn client(
    settings: &Tls,
    variables: &'static Variables,
    name: Option<ServerName<'static>>,
    asked: Asked,
) -> Result<ClientConfig, BadFile> {
    let verifier: Arc<dyn ServerCertVerifier> = if settings.skip_verify {
        Arc::new(Anything(Arc::clone(&PROVIDER)))
    } else {
        let roots = Watched::new(Roots::new(settings, variables))?;
        Arc::new(Trusting { roots, name, role: variables.role, provider: Arc::clone(&PROVIDER) })
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .expect("the provider has a cipher suite for each version")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match ClientCertificate::new(settings, variables)? {
        None => builder.with_client_cert_resolver(Arc::new(Missing(asked))),
        Some(certificate) => {
            let certificate = Watched::new(certificate)?;
            builder.with_client_cert_resolver(Arc::new(Presented { certificate, asked }))
        }
    };
    // A resumed session would neither present the new certificate nor verify the server's.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A configuration for a client that never uses TLS.
pub(crate) fn unused() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .expect("the provider has a cipher suite for each version")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
