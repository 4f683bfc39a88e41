//! TLS in front of a server, under a private authority.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use time::OffsetDateTime;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// Somebody who signs certificates, and whom nobody trusts by default.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for somebody of this name, and its key.
    pub fn issue(&self, name: &str) -> (Certificate, KeyPair) {
        self.issue_until(name, rcgen::date_time_ymd(4096, 1, 1))
    }

    fn issue_until(&self, name: &str, end: OffsetDateTime) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = end;
        // With the authority's own name it would pass for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.0).expect("a certificate"), key)
    }

    /// Starts TLS for `name` in front of `server`, such as `127.0.0.1:80`; only clients with a certificate of ours are let
    /// through where `wants_clients` says so.
    pub async fn front(&self, name: &str, server: &str, wants_clients: bool) -> (SocketAddr, AbortOnDropHandle<()>) {
        let Front { address, task, .. } = Front::start(self.server(name, wants_clients), server).await;
        (address, task)
    }

    /// What a server called `name` needs; only clients with a certificate of ours are let in where `wants_clients` says so.
    pub fn server(&self, name: &str, wants_clients: bool) -> ServerConfig {
        let (certificate, key) = self.issue(name);
        let config = if wants_clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).expect("a certificate");
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("roots");
            ServerConfig::builder().with_client_cert_verifier(verifier)
        } else {
            ServerConfig::builder().with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        config.with_single_cert(vec![certificate.der().clone()], key).expect("a pair")
    }

    /// What a server called `name` needs, with a certificate that ends then.
    pub fn server_until(&self, name: &str, end: OffsetDateTime) -> ServerConfig {
        let (certificate, key) = self.issue_until(name, end);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth();
        config.with_single_cert(vec![certificate.der().clone()], key).expect("a pair")
    }
}

/// TLS in front of a server in plain text, with certificates that can be exchanged.
#[derive(Debug)]
pub struct Front {
    pub address: SocketAddr,
    current: Arc<Mutex<Current>>,
    task: AbortOnDropHandle<()>,
}

struct Current {
    acceptor: TlsAcceptor,
    /// Ends when the certificates are exchanged.
    connections: JoinSet<()>,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("connections", &self.connections.len()).finish_non_exhaustive()
    }
}

impl Current {
    fn new(config: ServerConfig) -> Self {
        Current { acceptor: TlsAcceptor::from(Arc::new(config)), connections: JoinSet::new() }
    }
}

impl Front {
    pub async fn start(config: ServerConfig, server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (current, server) = (Arc::new(Mutex::new(Current::new(config))), server.to_owned());
        let shared = Arc::clone(&current);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut current = shared.lock().expect("no panic");
                let (acceptor, server) = (current.acceptor.clone(), server.clone());
                current.connections.spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = TcpStream::connect(server).await.expect("it listens");
                    // Either side may end it.
                    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
                });
            }
        });
        Front { address, current, task: AbortOnDropHandle::new(task) }
    }

    /// Cuts all connections, and serves with this from now on.
    pub fn exchange(&self, config: ServerConfig) {
        *self.current.lock().expect("no panic") = Current::new(config);
    }
}
