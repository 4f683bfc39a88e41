//! Which servers are trusted.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{
    PROVIDER, Tls, Variables,
    file::{BadFile, Load, Watched, certificates, read},
    seen,
    validity::Validity,
    words::Untrusted,
};

/// The certificates of authorities on disk.
#[derive(Debug)]
pub(super) struct Roots {
    place: Place,
    variables: &'static Variables,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Directory(PathBuf),
    /// Where the system keeps them, unless `SSL_CERT_FILE` and `SSL_CERT_DIR` say otherwise.
    System,
}

impl Roots {
    pub(super) fn new(settings: &Tls, variables: &'static Variables) -> Self {
        let place = match (&settings.ca_cert, &settings.ca_path) {
            (Some(path), _) => Place::File(path.clone()),
            (None, Some(path)) => Place::Directory(path.clone()),
            (None, None) => Place::System,
        };
        Roots { place, variables }
    }
}

/// The loaded certificates of authorities.
#[derive(Clone, Debug)]
pub(super) struct Trusted {
    /// `None` if there is no certificate at all, which can happen only to those of the system.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    certificates: Arc<HashSet<CertificateDer<'static>>>,
}

impl Trusted {
    fn new(certificates: Vec<CertificateDer<'static>>) -> Option<Self> {
        let mut store = RootCertStore::empty();
        // Many bundles hold some certificates that no library can use.
        let (used, _) = store.add_parsable_certificates(certificates.iter().cloned());
        if used == 0 && !certificates.is_empty() {
            return None;
        }
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&PROVIDER));
        // It fails only without a root.
        Some(Trusted { verifier: builder.build().ok(), certificates: Arc::new(certificates.into_iter().collect()) })
    }
}

impl Load for Roots {
    type Loaded = Trusted;

    fn paths(&self) -> Vec<PathBuf> {
        match &self.place {
            Place::File(path) => vec![path.clone()],
            Place::Directory(path) => {
                // If the directory cannot be read, loading reports it.
                let mut files = files_below(self.variables.ca_path, path).unwrap_or_default();
                files.push(path.clone());
                files.sort_unstable();
                files
            }
            Place::System => {
                let found = openssl_probe::probe();
                found.cert_file.into_iter().chain(found.cert_dir).collect()
            }
        }
    }

    fn load(&self) -> Result<(Trusted, Vec<Validity>), BadFile> {
        let Variables { ca_cert, ca_path, .. } = *self.variables;
        let useless = |variable, path: &Path| {
            BadFile::new(variable, path, "holds no usable X.509 certificate; set it to one in PEM")
        };
        match &self.place {
            Place::File(path) => {
                let found = certificates(ca_cert, path)?;
                let validity = Validity::of(self.variables, ca_cert, path, &found);
                Ok((Trusted::new(found).ok_or_else(|| useless(ca_cert, path))?, validity.into_iter().collect()))
            }
            Place::Directory(directory) => {
                let (mut all, mut validities) = (Vec::new(), Vec::new());
                for path in files_below(ca_path, directory)? {
                    read(ca_path, &path)?;
                    // A file without certificates is skipped.
                    let Ok(found) = certificates(ca_path, &path) else { continue };
                    validities.extend(Validity::of(self.variables, ca_path, &path, &found));
                    all.extend(found);
                }
                if all.is_empty() {
                    let reason = "no file in this directory holds a certificate; set it to a directory of PEM files";
                    return Err(BadFile::new(ca_path, directory, reason));
                }
                Ok((Trusted::new(all).ok_or_else(|| useless(ca_path, directory))?, validities))
            }
            Place::System => {
                let found = rustls_native_certs::load_native_certs();
                let path = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
                let validity = path.and_then(|path| Validity::of(self.variables, "SSL_CERT_FILE", &path, &found.certs));
                let trusted = Trusted::new(found.certs);
                let trusted = trusted.unwrap_or(Trusted { verifier: None, certificates: Arc::default() });
                Ok((trusted, validity.into_iter().collect()))
            }
        }
    }
}

/// The files in a directory and its subdirectories.
fn files_below(variable: &'static str, root: &Path) -> Result<Vec<PathBuf>, BadFile> {
    let unreadable = |path: &Path, error: std::io::Error| {
        BadFile::new(variable, path, format!("{error}; set it to a directory of PEM files"))
    };
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(|error| unreadable(&directory, error))? {
            let entry = entry.map_err(|error| unreadable(&directory, error))?;
            let path = entry.path();
            // A link to a directory is not followed: it could form a cycle.
            if entry.file_type().map_err(|error| unreadable(&path, error))?.is_dir() {
                directories.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Trusts a server whose certificate is signed by one of the roots, or is one of them.
#[derive(Debug)]
pub(super) struct Trusting {
    pub(super) roots: Arc<Watched<Roots>>,
    /// The name to verify in place of the connection's.
    pub(super) name: Option<ServerName<'static>>,
    /// The far side.
    pub(super) role: &'static str,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let trusted = self.roots.current();
        let name = self.name.as_ref().unwrap_or(name);
        let Some(verifier) = &trusted.verifier else { return Err(Untrusted::NoRoots.into()) };
        let outcome = match verifier.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(_) if trusted.certificates.contains(certificate) => verify_pinned(certificate, name, now),
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => Err(Untrusted::unknown(certificate).into()),
            outcome => outcome,
        };
        if outcome.is_ok() {
            seen::note(self.role, name, certificate);
        }
        outcome
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate that is itself among the trusted ones needs no other's signature. All else that Go and OpenSSL ask of it
/// holds: its time, its name and its purpose.
fn verify_pinned(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, rustls::Error> {
    let parsed = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?.1;
    let time = |time: x509_parser::time::ASN1Time| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0)))
    };
    let (not_before, not_after) = (time(parsed.validity().not_before), time(parsed.validity().not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    let purposes = parsed.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    if purposes.is_some_and(|purposes| !purposes.value.any && !purposes.value.server_auth) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    Ok(ServerCertVerified::assertion())
}

/// Trusts every server.
#[derive(Debug)]
pub(super) struct Anything(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
