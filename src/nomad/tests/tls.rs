//! Tests certificates: which server is trusted, under which name, and which certificate the client presents.

use std::{path::PathBuf, sync::Arc};

use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::*;

/// Accepts connections, and drops those that fail the handshake.
struct Acceptor {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for Acceptor {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = self.tcp.accept().await.expect("a listener");
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// A certificate authority with a server for `server.global.nomad`, and a client's certificate, as files.
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
        authority.write("ca/ca.pem", authority.issuer.pem());
        authority.write("ca/README", "no certificate".to_owned());
        let (certificate, key) = authority.issue("client.global.nomad");
        authority.write("client.pem", certificate.pem());
        authority.write("client.key", key.serialize_pem());
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: String) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("in the directory")).expect("writable");
        std::fs::write(path, text).expect("writable");
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// A server that wants a client certificate of this authority if `mutual` is set.
    async fn serve(&self, mutual: bool) -> TestServer {
        let tls = self.config(mutual.then_some(true));
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("https://{}", tcp.local_addr().expect("bound"));
        let asked = Asked::default();
        let router = router(asked.clone(), |_| async { say(200, "{}") });
        let listener = Acceptor { tcp, tls: TlsAcceptor::from(Arc::new(tls)) };
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves until aborted") });
        TestServer { address, asked, task }
    }

    /// A server that asks for a client certificate, and closes each connection without a word: the first right after the handshake,
    /// each further one a moment later, and every fourth one once it has the request.
    async fn close(&self) -> TestServer {
        let tls = TlsAcceptor::from(Arc::new(self.config(Some(false))));
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("https://{}", tcp.local_addr().expect("bound"));
        let task = tokio::spawn(async move {
            for moments in 0.. {
                let (stream, _) = tcp.accept().await.expect("a listener");
                let Ok(mut stream) = tls.accept(stream).await else { continue };
                for _ in 0..moments {
                    tokio::task::yield_now().await;
                }
                if moments % 4 == 3 {
                    stream.read_u8().await.ok();
                }
            }
        });
        TestServer { address, asked: Asked::default(), task }
    }

    /// The configuration of a server: it demands a client certificate, or asks for one, or does not.
    fn config(&self, demands: Option<bool>) -> ServerConfig {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let (certificate, key) = self.issue("server.global.nomad");
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
        let verifier = match demands {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(true) => verifier.build().expect("roots"),
            Some(false) => verifier.allow_unauthenticated().build().expect("roots"),
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let builder = ServerConfig::builder().with_client_cert_verifier(verifier);
        builder.with_single_cert(vec![certificate.der().clone()], key).expect("a pair")
    }

    /// A configuration that trusts this authority, under the name of its servers.
    fn trusted(&self) -> Tls {
        Tls {
            ca_cert: Some(self.path("ca/ca.pem")),
            server_name: Some("server.global.nomad".to_owned()),
            ..Tls::default()
        }
    }
}

async fn ask(address: &str, tls: Tls) -> Result<(), Error> {
    Client::new(Config { tls, ..config(&[address]) })?.node("n").await.map(|_| ())
}

fn is_file(error: &Error, name: &str) -> bool {
    matches!(error, Error::File { variable, .. } if *variable == name)
}

#[tokio::test]
async fn a_private_authority_is_trusted_under_the_servers_name() {
    let authority = Authority::new();
    let server = authority.serve(false).await;
    ask(&server.address, authority.trusted()).await.expect("trusted");
    let directory = Tls { ca_cert: None, ca_path: Some(authority.path("ca")), ..authority.trusted() };
    ask(&server.address, directory).await.expect("trusted");
    let host = server.address.trim_start_matches("https://").to_owned();
    assert_eq!(server.asked.header("host"), vec![Some(host); 2]);
    ask(&server.address, Tls { skip_verify: true, ..Tls::default() }).await.expect("not verified");
}

#[tokio::test]
async fn a_failed_handshake_says_what_to_set() {
    let authority = Authority::new();
    let server = authority.serve(false).await;
    let stranger = Authority::new();
    let plain = serve(|_| async { say(200, "{}") }).await;
    let not_tls = plain.address.replace("http://", "https://");
    for (address, tls, variable) in [
        (&server.address, Tls { server_name: None, ..authority.trusted() }, "NOMAD_TLS_SERVER_NAME"),
        (&server.address, stranger.trusted(), "NOMAD_CACERT"),
        (&not_tls, authority.trusted(), "http://"),
    ] {
        let error = ask(address, tls).await.expect_err("no trust");
        assert!(matches!(&error, Error::Tls { fix, .. } if fix.contains(variable)), "{error}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let authority = Authority::new();
    let server = authority.serve(true).await;
    let own = |tls| Tls {
        client_cert: Some(authority.path("client.pem")),
        client_key: Some(authority.path("client.key")),
        ..tls
    };
    ask(&server.address, own(authority.trusted())).await.expect("known");
    // With TLS 1.3 the refusal comes after the handshake, and races with the request.
    for _ in 0..40 {
        let error = ask(&server.address, authority.trusted()).await.expect_err("unknown").to_string();
        assert!(error.contains("NOMAD_CLIENT_CERT"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_and_hangs_up_is_a_hint_at_the_setting() {
    let authority = Authority::new();
    let server = authority.close().await;
    for attempt in 0..40 {
        let error = ask(&server.address, authority.trusted()).await.expect_err("closed").to_string();
        assert!(error.contains("NOMAD_CLIENT_CERT"), "{attempt}: {error}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_with_its_variable() {
    let authority = Authority::new();
    let other = Authority::new();
    authority.write("empty/none", String::new());
    let some = |name: &str| Some(authority.path(name));
    let base = Tls::default;
    let pair = |certificate, key| Tls { client_cert: certificate, client_key: key, ..base() };
    for (tls, variable) in [
        (Tls { ca_cert: some("missing.pem"), ..base() }, "NOMAD_CACERT"),
        (Tls { ca_cert: some("ca/README"), ..base() }, "NOMAD_CACERT"),
        (Tls { ca_path: some("empty"), ..base() }, "NOMAD_CAPATH"),
        (Tls { ca_path: some("ca/ca.pem"), ..base() }, "NOMAD_CAPATH"),
        (pair(some("client.pem"), None), "NOMAD_CLIENT_CERT"),
        (pair(None, some("client.key")), "NOMAD_CLIENT_KEY"),
        (pair(some("client.key"), some("client.key")), "NOMAD_CLIENT_CERT"),
        (pair(some("client.pem"), some("ca/README")), "NOMAD_CLIENT_KEY"),
        (pair(some("client.pem"), Some(other.path("client.key"))), "NOMAD_CLIENT_KEY"),
    ] {
        let error = ask("https://127.0.0.1:1", tls.clone()).await.expect_err("unusable");
        assert!(is_file(&error, variable), "{tls:?}: {error:?}");
    }
    let named = Tls { server_name: Some("127.0.0.1".to_owned()), ca_cert: some("ca/ca.pem"), ..base() };
    let error = ask("https://127.0.0.1:1", named).await.expect_err("unusable");
    assert!(matches!(error, Error::Setting { variable: "NOMAD_TLS_SERVER_NAME", .. }), "{error}");
}
