//! Certificates that are renewed on disk while the program runs, and servers that refuse the old ones from then on.

mod common;

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use common::{
    PATIENCE, Process, Setup,
    consul::{Consul, Options},
    made::evaluation,
    server::{Reply, Server},
    tls::{Authority, Front},
};
use nomad_sim::Sim;

/// The name in the servers' certificates.
const NAME: &str = "server.example.com";

async fn cluster() -> Sim {
    Sim::builder().buffer(10_000).start().await.expect("starts")
}

async fn append(sim: &Sim, indexes: std::ops::RangeInclusive<u64>) {
    let lines: Vec<_> = indexes.map(|index| evaluation(index, index)).collect();
    sim.append_lines(lines).await.expect("lines of events");
}

/// An authority's certificate, a client's certificate and its key, as files.
struct Files(tempfile::TempDir);

impl Files {
    /// Those of `authority`.
    fn of(authority: &Authority) -> Self {
        let files = Files(tempfile::tempdir().expect("a directory"));
        files.write(authority);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes them into the files there are, as Vault's agent does.
    fn write(&self, authority: &Authority) {
        write_all(self.0.path(), authority);
    }

    /// Puts new files in the place of the old ones, as cert-manager and most scripts do.
    fn rename(&self, authority: &Authority) {
        write_all(&self.path("new"), authority);
        for name in ["ca.pem", "client.pem", "client.key"] {
            std::fs::rename(self.path("new").join(name), self.path(name)).expect("a file");
        }
    }

    /// The same setup with these files for `prefix`, such as `NOMAD_`.
    fn named(&self, setup: Setup, prefix: &str) -> Setup {
        let files = [("CACERT", "ca.pem"), ("CLIENT_CERT", "client.pem"), ("CLIENT_KEY", "client.key")];
        files
            .into_iter()
            .fold(setup, |setup, (variable, name)| setup.env(&format!("{prefix}{variable}"), self.path(name)))
    }
}

fn write_all(directory: &Path, authority: &Authority) {
    std::fs::create_dir_all(directory).expect("a directory");
    let (certificate, key) = authority.issue("firehose");
    let files = [("ca.pem", authority.pem()), ("client.pem", certificate.pem()), ("client.key", key.serialize_pem())];
    for (name, text) in files {
        std::fs::write(directory.join(name), text).expect("a file");
    }
}

async fn until_taken(process: &Process, server: &Server, count: usize) {
    process.until(&format!("{count} records arrive"), || server.taken().len() >= count).await;
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches("/records").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_sink_follows_renewed_certificates() {
    let (sim, server) = (cluster().await, Server::start(|_| Reply::Take).await);
    append(&sim, 10..=19).await;
    let authority = Authority::new();
    let files = Files::of(&authority);
    let front = Front::start(authority.server(NAME, true), &host(&server.url())).await;
    let setup = Setup::new(&["evaluations"], &sim.url(0))
        .env("SINK_TYPE", "http")
        .env("SINK_HTTP_ADDRESS", format!("https://{}", front.address))
        .env("SINK_HTTP_TLS_SERVER_NAME", NAME);
    let process = files.named(setup, "SINK_HTTP_").spawn();
    until_taken(&process, &server, 10).await;

    let second = Authority::new();
    files.rename(&second);
    front.exchange(second.server(NAME, true));
    append(&sim, 20..=29).await;
    until_taken(&process, &server, 20).await;

    let third = Authority::new();
    files.write(&third);
    front.exchange(third.server(NAME, true));
    append(&sim, 30..=39).await;
    until_taken(&process, &server, 30).await;
    process.stop().await;
}

/// Kubernetes exchanges a link to a directory, below which every file is new.
#[tokio::test(flavor = "multi_thread")]
async fn nomad_is_followed_through_an_exchanged_link() {
    let sim = cluster().await;
    append(&sim, 10..=19).await;
    let (first, second) = (Authority::new(), Authority::new());
    let files = Files(tempfile::tempdir().expect("a directory"));
    write_all(&files.path("..first"), &first);
    write_all(&files.path("..second"), &second);
    symlink("..first", files.path("..data")).expect("a link");
    for name in ["ca.pem", "client.pem", "client.key"] {
        symlink(Path::new("..data").join(name), files.path(name)).expect("a link");
    }
    let front = Front::start(first.server("server.global.nomad", true), &host(&sim.url(0))).await;
    let setup = Setup::new(&["evaluations"], &format!("https://{}", front.address))
        .env("NOMAD_TLS_SERVER_NAME", "server.global.nomad");
    let process = files.named(setup, "NOMAD_").spawn();
    process.until_printed(10).await;

    symlink("..second", files.path("..data_tmp")).expect("a link");
    std::fs::rename(files.path("..data_tmp"), files.path("..data")).expect("a link");
    front.exchange(second.server("server.global.nomad", true));
    append(&sim, 20..=29).await;
    process.until_printed(20).await;
    assert_eq!(process.stop().await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn consul_is_followed() {
    use nomad_firehose::{consul, http::Tls};
    let consul = Consul::start(Options::default()).await;
    let (first, second) = (Authority::new(), Authority::new());
    let files = Files::of(&first);
    let front = Front::start(first.server("localhost", true), &host(&consul.url())).await;
    let client = consul::Client::new(consul::Config {
        address: format!("https://localhost:{}", front.address.port()).parse().expect("an address"),
        token: nomad_firehose::http::TokenSource::None,
        basic_auth: None,
        namespace: None,
        partition: None,
        datacenter: None,
        tls: Tls {
            ca_cert: Some(files.path("ca.pem")),
            client_cert: Some(files.path("client.pem")),
            client_key: Some(files.path("client.key")),
            ..Tls::default()
        },
        folder: "f".to_owned(),
    });
    let client = client.expect("good files");
    client.get("f/key", consul::Get::default(), PATIENCE).await.expect("an answer");
    front.exchange(second.server("localhost", true));
    // The first request may still find the connection that was cut.
    let mut refused = String::new();
    while !refused.contains("signed by an unknown authority") {
        refused = client.get("f/key", consul::Get::default(), PATIENCE).await.expect_err("strangers").to_string();
    }
    assert!(refused.contains("CONSUL_CACERT"), "{refused}");
    files.write(&second);
    client.get("f/key", consul::Get::default(), PATIENCE).await.expect("an answer");
}

/// What is half written does no harm, and is reported once; `/metrics` shows when the certificates expire.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_is_reported_and_the_old_one_stays() {
    let (sim, server) = (cluster().await, Server::start(|_| Reply::Take).await);
    append(&sim, 10..=19).await;
    let authority = Authority::new();
    let files = Files::of(&authority);
    let front = Front::start(authority.server(NAME, true), &host(&server.url())).await;
    let listen = nomad_sim::Address::free().expect("a free port");
    let setup = Setup::new(&["evaluations"], &sim.url(0))
        .env("NOMAD_FIREHOSE_LISTEN", listen.addr().to_string())
        .env("SINK_TYPE", "http")
        .env("SINK_HTTP_ADDRESS", format!("https://{}", front.address))
        .env("SINK_HTTP_TLS_SERVER_NAME", NAME);
    let process = files.named(setup, "SINK_HTTP_").spawn();
    until_taken(&process, &server, 10).await;
    assert_eq!(process.logged("certificate loaded"), 2, "{}", process.log());
    let pem = std::fs::read(files.path("client.pem")).expect("a file");
    std::fs::write(files.path("client.pem"), &pem[..pem.len() / 2]).expect("a file");
    for round in 2..=3 {
        front.exchange(authority.server(NAME, true));
        append(&sim, round * 10..=round * 10 + 9).await;
        until_taken(&process, &server, usize::try_from(round * 10).expect("a small number")).await;
    }
    assert_eq!(process.logged("cannot load certificate"), 1, "{}", process.log());
    let page = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let page = page.get(format!("http://{}/metrics", listen.addr())).send().await.expect("an answer");
    let page = page.text().await.expect("a text");
    let wanted =
        "nomad_firehose_certificate_expiry_timestamp_seconds{role=\"sink\",variable=\"SINK_HTTP_CLIENT_CERT\",file=";
    assert!(page.contains(wanted), "{page}");
    process.stop().await;
}
