//! The certificate that is shown to servers.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    InconsistentKeys, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{
    PROVIDER, Tls, Variables,
    expiry::Expiry,
    file::{BadFile, Source, Watched, certificates, read},
};

/// A certificate with its chain, and its key.
#[derive(Debug)]
pub(super) struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    variables: &'static Variables,
}

impl Identity {
    /// `None` where none is set.
    pub(super) fn new(settings: &Tls, variables: &'static Variables) -> Result<Option<Self>, BadFile> {
        let both = |variable, present: &PathBuf, missing: &str| {
            BadFile::new(variable, present, format!("is given without {missing}; give both or neither"))
        };
        match (settings.client_cert.clone(), settings.client_key.clone()) {
            (None, None) => Ok(None),
            (Some(path), None) => Err(both(variables.client_cert, &path, variables.client_key)),
            (None, Some(path)) => Err(both(variables.client_key, &path, variables.client_cert)),
            (Some(certificate), Some(key)) => Ok(Some(Identity { certificate, key, variables })),
        }
    }
}

impl Source for Identity {
    type Made = Arc<CertifiedKey>;

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.certificate.clone(), self.key.clone()]
    }

    fn read(&self) -> Result<(Self::Made, Vec<Expiry>), BadFile> {
        let Variables { client_cert, client_key, .. } = *self.variables;
        let chain = certificates(client_cert, &self.certificate)?;
        let wrong = |reason: String| BadFile::new(client_key, &self.key, reason);
        let key = PrivateKeyDer::from_pem_slice(&read(client_key, &self.key)?)
            .map_err(|_| wrong("holds no private key; give one in PEM, without a passphrase".to_owned()))?;
        let expiries = Expiry::of(self.variables, client_cert, &self.certificate, &chain);
        let made = CertifiedKey::from_der(chain, key, &PROVIDER).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                wrong(format!("is not the key of {client_cert}={}", self.certificate.display()))
            }
            rustls::Error::InvalidCertificate(_) => {
                BadFile::new(client_cert, &self.certificate, "is not a certificate of X.509 version 3; make a new one")
            }
            _ => wrong("holds a key of a kind that is not supported; make an ECDSA, RSA or Ed25519 key".to_owned()),
        })?;
        Ok((Arc::new(made), expiries.into_iter().collect()))
    }
}

/// Shows the certificate as it lies on disk at each handshake.
#[derive(Debug)]
pub(super) struct Presented(pub(super) Arc<Watched<Identity>>);

impl ResolvesClientCert for Presented {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
