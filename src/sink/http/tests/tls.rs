//! Certificates: a private authority, another name, and our own certificate.

use std::path::PathBuf;

use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::*;

/// Accepts, and drops a connection that fails the handshake.
struct Acceptor(TcpListener, TlsAcceptor);

impl Listener for Acceptor {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = self.0.accept().await.expect("a listener");
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

struct Authority {
    directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let authority = Authority { directory: tempfile::tempdir().expect("a directory"), issuer };
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).expect("writable");
        let (certificate, key) = authority.issue("firehose");
        std::fs::write(authority.path("client.pem"), certificate.pem()).expect("writable");
        std::fs::write(authority.path("client.key"), key.serialize_pem()).expect("writable");
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// A server for `collector.example.com` that, if `mutual`, wants a certificate of this authority.
    async fn serve(&self, mutual: bool) -> Server {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let (certificate, key) = self.issue("collector.example.com");
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        let builder = ServerConfig::builder();
        let builder = if mutual {
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("roots"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let tls = builder.with_single_cert(vec![certificate.der().clone()], key).expect("a pair");
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("https://{}", tcp.local_addr().expect("bound"));
        let came = Arc::default();
        let router = router(Arc::clone(&came), Arc::new(|_| say(200, "")));
        let listener = Acceptor(tcp, TlsAcceptor::from(Arc::new(tls)));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves until aborted") });
        Server { address, came, _task: AbortOnDropHandle::new(task) }
    }

    fn trusted(&self) -> http::Tls {
        http::Tls {
            ca_cert: Some(self.path("ca.pem")),
            server_name: Some("collector.example.com".to_owned()),
            ..http::Tls::default()
        }
    }
}

async fn outcome(server: &Server, tls: http::Tls) -> Outcome {
    let sink = sink(Config { tls, ..config(&server.address) });
    send(&sink, &Book::new().records(&["a"])).await.remove(0)
}

#[tokio::test]
async fn a_private_authority_is_trusted_and_a_stranger_is_not() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.serve(false).await;
    assert!(matches!(outcome(&server, authority.trusted()).await, Outcome::Delivered));
    let unverified = http::Tls { skip_verify: true, ..http::Tls::default() };
    assert!(matches!(outcome(&server, unverified).await, Outcome::Delivered));
    for (tls, variable) in [
        (stranger.trusted(), "SINK_HTTP_CACERT"),
        (http::Tls { server_name: None, ..authority.trusted() }, "SINK_HTTP_TLS_SERVER_NAME"),
    ] {
        let outcome = outcome(&server, tls).await;
        assert!(matches!(&outcome, Outcome::Retry { reason, .. } if reason.contains(variable)), "{outcome:?}");
    }
}

#[tokio::test]
async fn our_certificate_is_shown_where_it_is_asked_for() {
    let authority = Authority::new();
    let server = authority.serve(true).await;
    let (cert, key) = (Some(authority.path("client.pem")), Some(authority.path("client.key")));
    let own = http::Tls { client_cert: cert, client_key: key, ..authority.trusted() };
    assert!(matches!(outcome(&server, own).await, Outcome::Delivered));
    let nobody = outcome(&server, authority.trusted()).await;
    assert!(matches!(&nobody, Outcome::Retry { reason, .. } if reason.contains("SINK_HTTP_CLIENT_CERT")), "{nobody:?}");
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_variable() {
    let tls = http::Tls { ca_cert: Some("/does/not/exist.pem".into()), ..http::Tls::default() };
    let error = Http::new(Config { tls, ..config("https://a/") }, None).expect_err("unusable").to_string();
    assert!(error.starts_with("SINK_HTTP_CACERT: /does/not/exist.pem"), "{error}");
}
