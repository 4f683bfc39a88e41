//! The proxies of the environment, end to end: the servers' names lead nowhere but through the proxy.

mod common;

use common::{
    Process, Setup,
    forward_proxy::ForwardProxy,
    made::evaluation,
    server::{Reply, Server},
    tls::Authority,
};
use nomad_sim::Sim;

/// The password of the proxy, which may never be logged.
const CREDENTIALS: &str = "me:hush-hush";

async fn cluster() -> Sim {
    let sim = Sim::builder().buffer(1_000).start().await.expect("starts");
    sim.append_lines((10..=19).map(|index| evaluation(index, index))).await.expect("lines of events");
    sim
}

/// `host:port` of a server.
fn place(url: &str) -> String {
    let rest = url.trim_start_matches("http://");
    rest.split('/').next().expect("a host").to_owned()
}

fn to_sink(sim: &Sim, address: &str) -> Setup {
    Setup::new(&["evaluations"], &sim.url(0)).env("SINK_TYPE", "http").env("SINK_HTTP_ADDRESS", address)
}

fn proxy_with(credentials: &str, proxy: &ForwardProxy) -> String {
    format!("http://{credentials}@{}", proxy.address())
}

/// The log names the proxy, and never its password.
fn assert_named(process: &Process, variable: &str, proxy: &ForwardProxy) {
    let log = process.log();
    let said = log.lines().find(|line| line.contains("using proxy"));
    let said = said.unwrap_or_else(|| panic!("no proxy is named: {log}"));
    assert!(said.contains(&format!("http://{}", proxy.address())) && said.contains(variable), "{said}");
    assert_no_secret(process);
}

fn assert_no_secret(process: &Process) {
    let log = process.log();
    assert!(!log.contains("hush-hush") && !log.contains("bWU6aHVzaC1odXNo"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_sink_is_reached_in_plain_text() {
    let (sim, server) = (cluster().await, Server::start(|_| Reply::Take).await);
    let proxy = ForwardProxy::start(&[("sink.example:80", &place(&server.url()))], Some(CREDENTIALS)).await;
    let process = to_sink(&sim, "http://sink.example/records")
        .env("HTTP_PROXY", proxy_with(CREDENTIALS, &proxy))
        .env("LOG_LEVEL", "trace")
        .spawn();
    process.until("all arrive", || server.taken().len() == 10).await;
    assert!(proxy.served().iter().all(|line| line == "POST http://sink.example/records HTTP/1.1"));
    assert_named(&process, "HTTP_PROXY", &proxy);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_sink_is_reached_over_tls_through_a_tunnel() {
    let (sim, server) = (cluster().await, Server::start(|_| Reply::Take).await);
    let (authority, directory) = (Authority::new(), tempfile::tempdir().expect("a directory"));
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("a file");
    let (front, _task) = authority.front("sink.example", &place(&server.url()), false).await;
    let proxy = ForwardProxy::start(&[("sink.example:443", &front.to_string())], Some(CREDENTIALS)).await;
    let process = to_sink(&sim, "https://sink.example/records")
        .env("SINK_HTTP_CACERT", directory.path().join("ca.pem"))
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("https_proxy", proxy_with(CREDENTIALS, &proxy))
        .env("LOG_LEVEL", "trace")
        .spawn();
    process.until("all arrive", || server.taken().len() == 10).await;
    assert!(proxy.served().iter().all(|line| line == "CONNECT sink.example:443 HTTP/1.1"));
    assert_named(&process, "https_proxy", &proxy);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nomad_is_streamed_through_the_proxy() {
    let sim = cluster().await;
    let proxy = ForwardProxy::start(&[("nomad.example:4646", &place(&sim.url(0)))], Some(CREDENTIALS)).await;
    let process = Setup::new(&["evaluations"], "http://nomad.example:4646")
        .env("HTTP_PROXY", proxy_with(CREDENTIALS, &proxy))
        .env("LOG_LEVEL", "trace")
        .spawn();
    process.until_printed(10).await;
    sim.append_lines((20..=29).map(|index| evaluation(index, index))).await.expect("lines of events");
    process.until_printed(20).await;
    let streams = proxy.served().iter().filter(|line| line.contains("nomad.example:4646/v1/event/stream")).count();
    assert!(streams > 0, "{:?}", proxy.served());
    assert_named(&process, "HTTP_PROXY", &proxy);
    process.stop().await;
}

#[cfg(feature = "kinesis")]
#[tokio::test(flavor = "multi_thread")]
async fn kinesis_is_written_through_a_tunnel() {
    use common::kinesis::Kinesis;
    let (sim, kinesis) = (cluster().await, Kinesis::start().await);
    kinesis.create_stream("nomad", 1).await;
    let (authority, directory) = (Authority::new(), tempfile::tempdir().expect("a directory"));
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("a file");
    let (front, _task) = authority.front("kinesis.example", &place(&kinesis.url()), false).await;
    let proxy = ForwardProxy::start(&[("kinesis.example:443", &front.to_string())], Some(CREDENTIALS)).await;
    let setup = Setup::new(&["evaluations"], &sim.url(0))
        .env("SINK_TYPE", "kinesis")
        .env("SINK_KINESIS_STREAM_NAME", "nomad")
        .env("AWS_ENDPOINT_URL_KINESIS", "https://kinesis.example")
        .env("AWS_CA_BUNDLE", directory.path().join("ca.pem"))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDTEST")
        .env("AWS_SECRET_ACCESS_KEY", "key")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent");
    // The proxy wants a password.
    let process = setup.clone().env("HTTPS_PROXY", format!("http://{}", proxy.address())).spawn();
    assert_refused(&process, "HTTPS_PROXY", &proxy).await;
    drop(process);
    let process = setup.env("HTTPS_PROXY", proxy_with(CREDENTIALS, &proxy)).spawn();
    let (mut consumer, mut came) = (kinesis.consumer("nomad").await, 0);
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while came < 10 {
        assert!(std::time::Instant::now() < deadline, "{came} have come; the log:\n{}", process.log());
        came += consumer.read().await.len();
    }
    assert!(proxy.served().iter().all(|line| line == "CONNECT kinesis.example:443 HTTP/1.1"));
    assert_named(&process, "HTTPS_PROXY", &proxy);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_proxy_lists_is_reached_directly() {
    let (sim, server) = (cluster().await, Server::start(|_| Reply::Take).await);
    let proxy = ForwardProxy::start(&[("sink.example:80", &place(&server.url()))], None).await;
    // The name leads nowhere without the proxy.
    let process = to_sink(&sim, "http://sink.example/records")
        .env("HTTP_PROXY", format!("http://{}", proxy.address()))
        .env("NO_PROXY", "other.example, .example:80")
        .spawn();
    process.until_logged("http://sink.example cannot be reached").await;
    assert_eq!(process.logged("proxy"), 0, "{}", process.log());
    assert_eq!(proxy.served(), Vec::<String>::new());
    assert_eq!(server.taken().len(), 0);
}

/// The log says that it is the proxy that refuses, and where its password belongs.
async fn assert_refused(process: &Process, variable: &str, proxy: &ForwardProxy) {
    let address = format!("the proxy http://{} ({variable})", proxy.address());
    let fix = format!("set {variable} with user and password");
    process
        .until("the proxy is named", || {
            process.log().lines().any(|line| line.contains(&address) && line.contains("407") && line.contains(&fix))
        })
        .await;
    assert_no_secret(process);
    assert_eq!(proxy.served(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_wants_another_password_is_named() {
    let (sim, server) = (cluster().await, Server::start(|_| Reply::Take).await);
    let to = place(&server.url());
    let names = [("sink.example:80", to.as_str()), ("sink.example:443", to.as_str())];
    let proxy = ForwardProxy::start(&names, Some(CREDENTIALS)).await;
    for (scheme, variable) in [("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY")] {
        for credentials in ["", "me:hush-hush-wrong@"] {
            let process = to_sink(&sim, &format!("{scheme}://sink.example/records"))
                .env(variable, format!("http://{credentials}{}", proxy.address()))
                .spawn();
            assert_refused(&process, variable, &proxy).await;
        }
    }
    let process = Setup::new(&["evaluations"], "http://nomad.example:4646")
        .env("HTTP_PROXY", format!("http://{}", proxy.address()))
        .spawn();
    assert_refused(&process, "HTTP_PROXY", &proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_down_or_does_not_know_the_name_is_named() {
    let (sim, proxy) = (cluster().await, ForwardProxy::start(&[], None).await);
    let free = nomad_sim::Address::free().expect("a free port").addr();
    for (scheme, variable) in [("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY")] {
        let setup = to_sink(&sim, &format!("{scheme}://sink.example/records"));
        let process = setup.clone().env(variable, format!("http://{CREDENTIALS}@{free}")).spawn();
        let said = format!("the proxy http://{free} ({variable}) cannot be reached");
        process.until_logged(&said).await;
        process.until_logged(&format!("set {variable} to a running proxy, or list the server in NO_PROXY")).await;
        assert_no_secret(&process);
        let process = setup.env(variable, proxy_with(CREDENTIALS, &proxy)).spawn();
        let said = if scheme == "http" { "502 Bad Gateway" } else { "refuses to connect" };
        let address = format!("the proxy http://{} ({variable})", proxy.address());
        let is_said =
            |process: &Process| process.log().lines().any(|line| line.contains(said) && line.contains(&address));
        process.until("the proxy is named", || is_said(&process)).await;
        assert_no_secret(&process);
    }
}
