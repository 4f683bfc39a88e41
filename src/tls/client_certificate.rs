//! The client certificate that is presented to servers.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    InconsistentKeys, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{
    PROVIDER, Tls, Variables,
    asked::Asked,
    file::{BadFile, Load, Watched, certificates, read},
    validity::Validity,
};

/// A certificate with its chain, and its key.
#[derive(Debug)]
pub(super) struct ClientCertificate {
    certificate: PathBuf,
    key: PathBuf,
    variables: &'static Variables,
}

impl ClientCertificate {
    /// `None` if none is set.
    pub(super) fn new(settings: &Tls, variables: &'static Variables) -> Result<Option<Self>, BadFile> {
        let both = |variable, present: &PathBuf, missing: &str| {
            BadFile::new(variable, present, format!("is set without {missing}; set both or neither"))
        };
        match (settings.client_cert.clone(), settings.client_key.clone()) {
            (None, None) => Ok(None),
            (Some(path), None) => Err(both(variables.client_cert, &path, variables.client_key)),
            (None, Some(path)) => Err(both(variables.client_key, &path, variables.client_cert)),
            (Some(certificate), Some(key)) => Ok(Some(ClientCertificate { certificate, key, variables })),
        }
    }
}

impl Load for ClientCertificate {
    type Loaded = Arc<CertifiedKey>;

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.certificate.clone(), self.key.clone()]
    }

    fn load(&self) -> Result<(Self::Loaded, Vec<Validity>), BadFile> {
        let Variables { client_cert, client_key, .. } = *self.variables;
        let chain = certificates(client_cert, &self.certificate)?;
        let wrong = |reason: String| BadFile::new(client_key, &self.key, reason);
        let key = PrivateKeyDer::from_pem_slice(&read(client_key, &self.key)?)
            .map_err(|_| wrong("holds no private key; set it to one in PEM, without a passphrase".to_owned()))?;
        let validity = Validity::of(self.variables, client_cert, &self.certificate, &chain);
        let loaded = CertifiedKey::from_der(chain, key, &PROVIDER).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => wrong(format!(
                "is not the key of {client_cert}={}; set both to a matching pair",
                self.certificate.display()
            )),
            rustls::Error::InvalidCertificate(_) => {
                BadFile::new(client_cert, &self.certificate, "is not an X.509 version 3 certificate; make a new one")
            }
            _ => wrong("holds a key of an unsupported type; make an ECDSA, RSA or Ed25519 key".to_owned()),
        })?;
        Ok((Arc::new(loaded), validity.into_iter().collect()))
    }
}

/// Presents the certificate that is on disk at the moment of the handshake.
#[derive(Debug)]
pub(super) struct Presented {
    pub(super) certificate: Arc<Watched<ClientCertificate>>,
    pub(super) asked: Asked,
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.now(true);
        Some(self.certificate.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Presents none.
#[derive(Debug)]
pub(super) struct Missing(pub(super) Asked);

impl ResolvesClientCert for Missing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.now(false);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
