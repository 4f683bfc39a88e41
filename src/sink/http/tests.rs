//! Tests against a real server that gives the answers of the test.

mod endless;
mod large;
mod tls;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use flate2::read::GzDecoder;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::*;
use crate::{
    dead_letter::{DeadLetters, Place},
    delivery::{self, testing::Book},
    http::{Secret, TokenSource},
    lease::LeaseState,
    record::Envelope,
};

/// The requests that arrived, in order.
#[derive(Clone, Debug)]
struct Came {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Came {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

type Reply = Arc<dyn Fn(&Came) -> Response + Send + Sync>;

/// A server that keeps all requests.
struct Server {
    address: String,
    came: Arc<Mutex<Vec<Came>>>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    async fn start(reply: impl Fn(&Came) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let came = Arc::default();
        let router = router(Arc::clone(&came), Arc::new(reply));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves until aborted") });
        Server { address, came, _task: AbortOnDropHandle::new(task) }
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().expect("no panic").clone()
    }

    fn bodies(&self) -> Vec<String> {
        self.came().iter().map(|came| came.text().to_owned()).collect()
    }
}

fn router(came: Arc<Mutex<Vec<Came>>>, reply: Reply) -> Router {
    type Shared = (Arc<Mutex<Vec<Came>>>, Reply);
    async fn answer(State((all, reply)): State<Shared>, request: axum::extract::Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("a whole body");
        let came = Came { method: parts.method, target: parts.uri.to_string(), headers: parts.headers, body };
        all.lock().expect("no panic").push(came.clone());
        reply(&came)
    }
    Router::new().fallback(answer).with_state((came, reply))
}

fn say(status: u16, text: &str) -> Response {
    (StatusCode::from_u16(status).expect("a status"), text.to_owned()).into_response()
}

fn config(address: &str) -> Config {
    Config {
        url: Link::new(address.parse().expect("a URL")),
        basic_auth: None,
        token: TokenSource::None,
        tls: http::Tls::default(),
        method: Method::POST,
        headers: Vec::new(),
        format: Format::Single,
        compression: Compression::None,
        workers: 1,
        timeout: Duration::from_secs(20),
        health: None,
        batch_count: 500,
        batch_bytes: 1 << 20,
        batch_linger: Duration::ZERO,
    }
}

fn sink(config: Config) -> Http {
    Http::new(config, None).expect("good settings")
}

/// Records whose bodies are their own numbers.
fn records(book: &Book, keys: &[&str]) -> Vec<Record> {
    keys.iter().zip(1..).map(|(key, number)| book.record(key, format!("{number}"))).collect()
}

/// A letter for each outcome.
fn letters(outcomes: &[Outcome]) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Outcome::Delivered => 'D',
        Outcome::Retry { .. } => 'r',
        Outcome::Reject { .. } => 'X',
    };
    outcomes.iter().map(letter).collect()
}

async fn send(sink: &Http, batch: &[Record]) -> Vec<Outcome> {
    sink.outcomes(batch).await
}

fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Delivered => "",
        Outcome::Retry { reason, .. } | Outcome::Reject { reason } => reason,
    }
}

#[tokio::test]
async fn one_worker_sends_one_record_a_request_in_order() {
    let server = Server::start(|_| say(200, "ok")).await;
    let config = config(&format!("{}/a%20b?c=%2F", server.address));
    let sink = Http::new(config, Some("eu 1")).expect("good settings");
    let book = Book::new();
    let outcomes = send(&sink, &records(&book, &["a", "b", "a", "c"])).await;
    assert_eq!(letters(&outcomes), "DDDD");
    assert_eq!(server.bodies(), ["1", "2", "3", "4"]);
    let first = &server.came()[0];
    assert_eq!((first.method.as_str(), first.target.as_str()), ("POST", "/a%20b?c=%2F"));
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        ("idempotency-key", "a/1"),
        ("x-nomad-firehose-kind", "jobs"),
        ("x-nomad-firehose-cluster", "eu 1"),
        ("user-agent", concat!("nomad-firehose/", env!("CARGO_PKG_VERSION"))),
        ("authorization", ""),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn batches_are_an_array_or_lines() {
    let server = Server::start(|_| say(202, "")).await;
    let book = Book::new();
    for (format, body, content_type) in
        [(Format::Array, "[1,2,3]", "application/json"), (Format::Ndjson, "1\n2\n3\n", "application/x-ndjson")]
    {
        let sink = sink(Config { format, method: Method::PUT, ..config(&server.address) });
        assert_eq!(letters(&send(&sink, &records(&book, &["a", "b", "a"])).await), "DDD");
        let came = server.came().pop().expect("a request");
        assert_eq!((came.text(), came.header("content-type"), &came.method), (body, content_type, &Method::PUT));
        assert!(came.header("idempotency-key").ends_with("-3"));
    }
    assert_eq!(server.came().len(), 2);
}

#[tokio::test]
async fn a_cloud_event_replaces_the_content_type_but_for_one_that_is_given() {
    let server = Server::start(|_| say(200, "")).await;
    let structured = "application/cloudevents+json; charset=utf-8";
    let attributes = || Envelope::Attributes(Box::new([("id".to_owned(), "a b".to_owned())].into()));
    for (envelope, headers, content_type, id) in [
        (Envelope::CloudEvent, "", structured, ""),
        (Envelope::CloudEvent, "Content-Type: text/plain", "text/plain", ""),
        (attributes(), "", "application/json", "a%20b"),
        (attributes(), "Content-Type: text/plain", "text/plain", "a%20b"),
    ] {
        let headers = headers.split_once(": ").into_iter();
        let headers = headers.map(|(name, value)| (name.to_owned(), Secret::new(value))).collect();
        let sink = sink(Config { headers, ..config(&server.address) });
        let record = Record { envelope, ..Book::new().record("a", "1") };
        assert_eq!(letters(&send(&sink, &[record]).await), "D");
        let came = server.came().pop().expect("a request");
        assert_eq!((came.header("content-type"), came.header("ce-id"), came.text()), (content_type, id, "1"));
    }
}

#[tokio::test]
async fn bodies_are_compressed() {
    let server = Server::start(|_| say(200, "")).await;
    let long = "x".repeat(100_000);
    for (compression, name) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let sink = sink(Config { compression, ..config(&server.address) });
        for body in ["short", &long] {
            assert_eq!(letters(&send(&sink, &[Book::new().record("a", body.to_owned())]).await), "D");
            let came = server.came().pop().expect("a request");
            assert_eq!(came.header("content-encoding"), name);
            let plain = match compression {
                Compression::Gzip => {
                    let mut plain = Vec::new();
                    std::io::Read::read_to_end(&mut GzDecoder::new(&came.body[..]), &mut plain).expect("gzip");
                    plain
                }
                _ => zstd::bulk::decompress(&came.body, 1 << 20).expect("zstd"),
            };
            assert_eq!(plain, body.as_bytes());
        }
    }
}

#[tokio::test]
async fn credentials_and_headers_are_sent_and_never_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "hush-1\n").expect("writable");
    let echo = |came: &Came| say(500, &format!("no: {}", came.header("authorization")));
    let server = Server::start(echo).await;
    let secret = || Secret::new("hush");
    let auth = Some(BasicAuth { user: "me".to_owned(), password: secret() });
    for (config, sent) in [
        (Config { basic_auth: auth, ..config(&server.address) }, "Basic bWU6aHVzaA=="),
        (Config { token: TokenSource::Fixed(secret()), ..config(&server.address) }, "Bearer hush"),
        (Config { token: TokenSource::File(file.clone()), ..config(&server.address) }, "Bearer hush-1"),
        (Config { headers: vec![("authorization".to_owned(), secret())], ..config(&server.address) }, "hush"),
    ] {
        assert!(!format!("{config:?}").contains("hush"), "{config:?}");
        let is_file = matches!(config.token, TokenSource::File(_));
        let sink = sink(config);
        let outcomes = send(&sink, &Book::new().records(&["a"])).await;
        assert_eq!(server.came().pop().expect("a request").header("authorization"), sent);
        let said = format!("{outcomes:?} {sink:?}");
        assert!(!said.contains(if is_file { "hush-1" } else { "hush" }) && !said.contains("bWU6"), "{said}");
    }
    let headers = [("Content-Type", "text/x"), ("X-A", "1"), ("X-A", "2")];
    let headers = headers.map(|(name, value)| (name.to_owned(), Secret::new(value))).to_vec();
    let sink = sink(Config { headers, ..config(&server.address) });
    send(&sink, &Book::new().records(&["a"])).await;
    let came = server.came().pop().expect("a request");
    assert_eq!(came.header("content-type"), "text/x");
    assert_eq!(came.headers.get_all("x-a").iter().count(), 2);
}

#[tokio::test]
async fn a_refusal_names_what_is_configured() {
    let server = Server::start(|_| say(403, "no")).await;
    let plain = config(&server.address);
    let user = Some(BasicAuth { user: "me".to_owned(), password: Secret::new("hush-of-403") });
    for (config, wanted, unwanted) in [
        (plain.clone(), "no credentials are set", "the credentials"),
        (Config { basic_auth: user, ..plain.clone() }, "SINK_HTTP_AUTH", "SINK_HTTP_TOKEN"),
        (
            Config { token: TokenSource::Fixed(Secret::new("token-of-403")), ..plain },
            "SINK_HTTP_TOKEN",
            "SINK_HTTP_AUTH",
        ),
    ] {
        let outcomes = send(&sink(config), &records(&Book::new(), &["a"])).await;
        let reason = reason(&outcomes[0]);
        assert!(reason.contains(wanted) && !reason.contains(unwanted), "{reason}");
    }
}

#[tokio::test]
async fn workers_never_send_two_of_a_key_at_a_time() {
    let running = Arc::new(Mutex::new((HashMap::<String, usize>::new(), 0)));
    let (seen, book) = (Arc::clone(&running), Book::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let order = Arc::clone(&arrived);
    let meet = Arc::new(tokio::sync::Barrier::new(3));
    let answer = move |headers: HeaderMap| {
        let (seen, order, meet) = (Arc::clone(&seen), Arc::clone(&order), Arc::clone(&meet));
        async move {
            let id = headers["idempotency-key"].to_str().expect("ASCII").to_owned();
            let key = id.split('/').next().expect("a key").to_owned();
            {
                let mut running = seen.lock().expect("no panic");
                *running.0.entry(key.clone()).or_default() += 1;
                running.1 = running.1.max(running.0.values().sum());
                assert_eq!(running.0[&key], 1, "two of a key");
                order.lock().expect("no panic").push(id);
            }
            // Three are under way at a time, or nothing goes on.
            meet.wait().await;
            *seen.lock().expect("no panic").0.get_mut(&key).expect("it is there") -= 1;
        }
    };
    let router = Router::new().fallback(answer);
    let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves until aborted") });
    let sink = sink(Config { workers: 3, ..config(&address) });
    let batch = records(&book, &["a", "a", "b", "c", "b", "c", "a", "b", "c"]);
    assert_eq!(letters(&send(&sink, &batch).await), "DDDDDDDDD");
    task.abort();
    assert_eq!(running.lock().expect("no panic").1, 3);
    let arrived = arrived.lock().expect("no panic");
    for key in ["a", "b", "c"] {
        let of_key: Vec<_> = arrived.iter().filter(|id| id.starts_with(key)).collect();
        assert!(of_key.is_sorted() && of_key.len() == 3, "{of_key:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_after_a_failure() {
    let server = Server::start(|came| say(if came.text() == "2" { 500 } else { 200 }, "")).await;
    let sink = sink(config(&server.address));
    let outcomes = send(&sink, &records(&Book::new(), &["a", "b", "c", "b"])).await;
    assert_eq!(letters(&outcomes), "Drrr");
    assert!(reason(&outcomes[1]).contains("500 Internal Server Error"), "{outcomes:?}");
    assert_eq!(server.bodies(), ["1", "2"]);
}

#[tokio::test]
async fn a_refused_record_holds_no_other() {
    let server = Server::start(|came| say(if came.text() == "2" { 422 } else { 200 }, "no such field")).await;
    let sink = sink(config(&server.address));
    let outcomes = send(&sink, &records(&Book::new(), &["a", "b", "b"])).await;
    assert_eq!(letters(&outcomes), "DXD");
    assert!(reason(&outcomes[1]).contains("no such field"), "{outcomes:?}");
}

#[tokio::test]
async fn nothing_is_sent_without_the_lease() {
    let server = Server::start(|_| say(200, "")).await;
    for format in [Format::Single, Format::Array] {
        let book = Book::new();
        book.lease.set(LeaseState::Suspended);
        let sink = sink(Config { format, ..config(&server.address) });
        let outcomes = send(&sink, &book.records(&["a", "b"])).await;
        assert_eq!(letters(&outcomes), "rr");
        assert!(reason(&outcomes[0]).contains("lease"), "{outcomes:?}");
    }
    assert_eq!(server.came().len(), 0);
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_server_asks() {
    let server = Server::start(|_| {
        let mut response = say(429, "");
        response.headers_mut().insert("retry-after", HeaderValue::from_static("7"));
        response
    })
    .await;
    for format in [Format::Single, Format::Ndjson] {
        let sink = sink(Config { format, ..config(&server.address) });
        let outcomes = send(&sink, &Book::new().records(&["a", "b"])).await;
        let after = Some(Duration::from_secs(7));
        assert!(matches!(&outcomes[0], Outcome::Retry { after: asked, .. } if *asked == after), "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_silent_server_and_none_at_all_are_tried_again() {
    let reserved = nomad_sim::Address::free().expect("a free port");
    let listener = reserved.listen(None).expect("it is ours");
    let address = format!("http://{}", reserved.addr());
    let silent = sink(Config { timeout: Duration::from_millis(50), ..config(&address) });
    let outcomes = send(&silent, &Book::new().records(&["a"])).await;
    assert!(reason(&outcomes[0]).contains("may have arrived"), "{outcomes:?}");
    drop(listener);
    let outcomes = send(&sink(config(&address)), &Book::new().records(&["a"])).await;
    assert!(reason(&outcomes[0]).contains("cannot be reached"), "{outcomes:?}");
    assert!(!reason(&outcomes[0]).contains("may have arrived"), "{outcomes:?}");
}

#[tokio::test]
async fn the_first_record_waits_for_health() {
    let healthy = Arc::new(Mutex::new(false));
    let state = Arc::clone(&healthy);
    let server = Server::start(move |came| match came.target.as_str() {
        "/health?a" if *state.lock().expect("no panic") => say(204, ""),
        "/health?a" => say(200, ""),
        _ => say(200, ""),
    })
    .await;
    let url = Link::new(format!("{}/health?a", server.address).parse().expect("a URL"));
    let health = Some(Health { url, status: StatusCode::NO_CONTENT });
    let token = TokenSource::Fixed(Secret::new("hush"));
    let sink = sink(Config { health, token, ..config(&server.address) });
    let batch = Book::new().records(&["a", "b"]);
    let outcomes = send(&sink, &batch).await;
    assert_eq!(letters(&outcomes), "rr");
    assert!(reason(&outcomes[0]).contains("health check") && reason(&outcomes[0]).contains("204"), "{outcomes:?}");
    *healthy.lock().expect("no panic") = true;
    assert_eq!(letters(&send(&sink, &batch).await), "DD");
    assert_eq!(letters(&send(&sink, &batch).await), "DD");
    let asked: Vec<_> = server.came().into_iter().filter(|came| came.method == Method::GET).collect();
    assert_eq!(asked.len(), 2, "once it is well it is not asked again");
    assert!(asked.iter().all(|came| came.header("authorization") == "Bearer hush"));
}

#[tokio::test]
async fn another_server_of_health_sees_no_credentials() {
    let health = Server::start(|_| say(200, "")).await;
    let server = Server::start(|_| say(200, "")).await;
    let url = Link::new(health.address.parse().expect("a URL"));
    let config = Config {
        health: Some(Health { url, status: StatusCode::OK }),
        token: TokenSource::Fixed(Secret::new("hush")),
        headers: vec![("x-key".to_owned(), Secret::new("hush"))],
        ..config(&server.address)
    };
    assert_eq!(letters(&send(&sink(config), &Book::new().records(&["a"])).await), "D");
    assert!(!format!("{:?}", health.came()).contains("hush"));
    assert_eq!(server.came()[0].header("x-key"), "hush");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// In any batch, exactly the guilty records are refused, and the others arrive once and in order.
    #[test]
    fn a_batch_is_taken_apart_to_find_the_guilty(guilty in proptest::collection::vec(proptest::bool::weighted(0.1), 1..60), ndjson: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let server = Server::start(|came| say(if came.text().contains('x') { 400 } else { 200 }, "")).await;
            let format = if ndjson { Format::Ndjson } else { Format::Array };
            let sink = sink(Config { format, ..config(&server.address) });
            let book = Book::new();
            let body = |(number, guilty): (usize, &bool)| format!("\"{number}{}\"", if *guilty { "x" } else { "" });
            let batch: Vec<_> = guilty.iter().enumerate().map(|each| book.record("k", body(each))).collect();
            let outcomes = send(&sink, &batch).await;
            let expected: String = guilty.iter().map(|guilty| if *guilty { 'X' } else { 'D' }).collect();
            assert_eq!(letters(&outcomes), expected);
            let taken: Vec<usize> = server.bodies().iter().filter(|body| !body.contains('x'))
                .flat_map(|body| body.split(['[', ']', ',', '\n']).filter(|part| !part.is_empty())
                    .map(|part| part.trim_matches('"').parse().expect("a number")).collect::<Vec<_>>())
                .collect();
            let innocent: Vec<usize> = guilty.iter().enumerate().filter(|(_, guilty)| !**guilty).map(|(n, _)| n).collect();
            assert_eq!(taken, innocent);
        });
    }
}

/// No request is answered before all of them are under way.
#[tokio::test]
async fn batches_under_way_do_not_wait_for_each_other() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const WORKERS: usize = 4;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}/", listener.local_addr().expect("bound"));
    let config = Config { format: Format::Array, workers: WORKERS, batch_count: 2, ..config(&address) };
    let (sink, policy) = config.build(None).expect("good settings");
    let (letters, cancel) = (DeadLetters::new(Place::Stop), CancellationToken::new());
    let (handle, _task) = delivery::spawn(sink, policy, letters, Arc::new(()), cancel);
    let book = Book::new();
    let records = (0..2 * WORKERS).map(|key| book.record(&key.to_string(), "{}")).collect();
    let server = async {
        let mut streams = Vec::new();
        while streams.len() < WORKERS {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            assert!(stream.read(&mut [0; 4096]).await.expect("a request") > 0);
            streams.push(stream);
        }
        for stream in &mut streams {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("it is read");
        }
        streams
    };
    let both = futures_util::future::join(handle.submit(records), server);
    let (submitted, _streams) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("all are under way");
    submitted.expect("it runs");
    handle.drain().await.expect("it runs");
    assert_eq!(book.acknowledged(), 2 * WORKERS as u64);
}
