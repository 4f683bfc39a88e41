//! The certificates of `amqps`.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::http::Tls;

/// What is wrong with the settings, found before anything is connected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used.
    #[error("{variable} names {path}: {reason}")]
    File {
        /// The setting's variable.
        variable: &'static str,
        /// The file.
        path: String,
        /// Why, and what to mend.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}; set SINK_AMQP_CACERT, or install the system's certificates (ca-certificates)")]
    Tls(#[from] rustls::Error),
}

/// The settings of TLS, with the certificates read. Where an authority is named, it alone is trusted.
pub(super) fn client(tls: &Tls) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match &tls.ca_cert {
        None => builder.with_platform_verifier()?,
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("SINK_AMQP_CACERT", path)? {
                roots.add(certificate).map_err(|error| bad("SINK_AMQP_CACERT", path, error.to_string()))?;
            }
            builder.with_root_certificates(roots)
        }
    };
    let config = match tls.client_cert.as_ref().zip(tls.client_key.as_ref()) {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let variable = "SINK_AMQP_CLIENT_KEY";
            let chain = certificates("SINK_AMQP_CLIENT_CERT", certificate)?;
            let private = PrivateKeyDer::from_pem_slice(&read(variable, key)?)
                .map_err(|error| bad(variable, key, format!("holds no usable private key: {error}")))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| bad(variable, key, format!("{error}; is it the key of SINK_AMQP_CLIENT_CERT?")))?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(variable: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(variable, path)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(bad(variable, path, "holds no certificate; give one in PEM")),
        Err(error) => Err(bad(variable, path, format!("is no PEM certificate: {error}"))),
    }
}

fn read(variable: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| bad(variable, path, format!("{error}; give a PEM file this program may read")))
}

fn bad(variable: &'static str, path: &Path, reason: impl Into<String>) -> Error {
    Error::File { variable, path: path.display().to_string(), reason: reason.into() }
}
