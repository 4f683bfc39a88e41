//! TLS in front of Kinesis, under a private authority: how every real endpoint is reached.

use std::{net::Ipv4Addr, path::Path, sync::Arc};

use nomad_sim::Sim;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Kinesis, Leaps, STREAM, assert_order, bodies,
    common::{Signal, made},
    setup, take,
};

/// Starts TLS for `localhost` in front of `server`, and writes the authority to a file. Gives the address.
async fn start(server: &str, authority: &Path) -> (String, AbortOnDropHandle<()>) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
    std::fs::write(authority, issuer.pem()).expect("a file");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    // With the authority's own name it would pass for one that signed itself.
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = format!("https://localhost:{}", listener.local_addr().expect("bound").port());
    let server = server.trim_start_matches("http://").to_owned();
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

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_who_is_trusted_is_written_to() {
    let kinesis = Kinesis::start().await;
    kinesis.create_stream(STREAM, 1).await;
    let directory = tempfile::tempdir().expect("a directory");
    let authority = directory.path().join("ca.pem");
    let (address, _task) = start(&kinesis.url(), &authority).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..60).map(|n| made::evaluation(n, n)).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let setup = setup(&sim, &address, "evaluations");
    let process = setup.spawn();
    process.until_logged("UnknownIssuer").await;
    process.end_by(Signal::KILL).await;
    let process = setup.env("SSL_CERT_FILE", &authority).spawn();
    let all = take(&kinesis, &process, lines.len()).await;
    process.stop().await;
    assert_eq!(assert_order(bodies(&all), &lines, Leaps::Never), 0);
}
