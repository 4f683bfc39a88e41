//! TLS in front of a server, under a private authority.

use std::{net::Ipv4Addr, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

fn write(directory: &Path, name: &str, text: String) {
    std::fs::write(directory.join(name), text).expect("writable");
}

/// Starts TLS for `collector.example.com` in front of `server`, and wants a client's certificate. Writes `ca.pem`,
/// `client.pem` and `client.key` into `directory`.
pub(crate) async fn start(server: &str, directory: &Path) -> (String, AbortOnDropHandle<()>) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
    let issue = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &issuer).expect("a certificate"), key)
    };
    write(directory, "ca.pem", issuer.pem());
    let (certificate, key) = issue("firehose");
    write(directory, "client.pem", certificate.pem());
    write(directory, "client.key", key.serialize_pem());
    let (certificate, key) = issue("collector.example.com");
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).expect("a certificate");
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("roots");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder().with_client_cert_verifier(verifier);
    let config = config.with_single_cert(vec![certificate.der().clone()], key).expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = format!("https://{}", listener.local_addr().expect("bound"));
    let server = server.to_owned();
    let task = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(server).await.expect("it listens");
                // Either side may end it.
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    (address, AbortOnDropHandle::new(task))
}
