//! Tests the client against small servers with answers that the real Consul cannot be made to give. The tests against the
//! real one are in `tests/consul_client.rs`.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, http::StatusCode, response::Response};
use futures_util::StreamExt as _;
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;

pub(super) fn client_at(address: &str, change: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config {
        address: address.parse().expect("an address"),
        token: TokenSource::None,
        basic_auth: None,
        namespace: None,
        partition: None,
        datacenter: None,
        tls: Tls::default(),
        folder: "firehose".to_owned(),
    };
    change(&mut config);
    Client::new(config).expect("a plain configuration")
}

const DEADLINE: Duration = Duration::from_secs(120);

/// A request line, headers, and a body.
type Asked = (String, Vec<(String, String)>, String);

/// A server that runs until this is dropped, and keeps the requests.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Gives each request the same answer.
async fn serve(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&asked);
    let router = Router::new().fallback(move |request: Request| {
        let (keep, answer) = (Arc::clone(&keep), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes())));
            let whole: Asked = (format!("{} {}", head.method, head.uri), headers.collect(), text(&body));
            keep.lock().expect("no panic while locked").push(whole);
            answer()
        }
    });
    let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves until aborted") });
    Server { address, asked, task }
}

fn say(code: u16, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

async fn get(address: &str) -> Result<Read<Option<Entry>>, Error> {
    client_at(address, |_| {}).get("firehose/k", Get::default(), DEADLINE).await
}

#[tokio::test]
async fn every_request_carries_what_the_settings_say() {
    let server = serve(|| say(200, r#"{"Results":[],"Errors":null}"#)).await;
    let client = client_at(&server.address, |config| {
        config.token = TokenSource::Fixed(Secret::new("hush"));
        config.basic_auth = Some(crate::http::BasicAuth { user: "me".to_owned(), password: Secret::new("pass") });
        config.namespace = Some("team".to_owned());
        config.partition = Some("part".to_owned());
        config.datacenter = Some("eu".to_owned());
    });
    let op = Op::Delete { key: "k".to_owned() };
    let done = client.transact(&[op], DEADLINE).await.expect("an answer");
    assert_eq!(done, Transaction::Done(Vec::new()));
    let asked = server.asked.lock().expect("no panic while locked").clone();
    let [(line, headers, body)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(line, "PUT /v1/txn?dc=eu&ns=team&partition=part");
    let header = |name| headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
    assert_eq!(header("x-consul-token"), Some("hush"));
    assert_eq!(header("authorization"), Some("Basic bWU6cGFzcw=="));
    // In a transaction they belong to the operations.
    assert_eq!(body, r#"[{"KV":{"Verb":"delete","Key":"k","Namespace":"team","Partition":"part"}}]"#);
    assert!(!format!("{client:?}").contains("hush"));
}

#[tokio::test]
async fn refusals_come_with_their_meaning() {
    type Is = fn(&Error) -> bool;
    let cases: [(u16, &'static str, Is); 8] = [
        (429, "Your IP is issuing too many concurrent connections", |error| matches!(error, Error::Busy { .. })),
        (500, "No cluster leader", |error| matches!(error, Error::NoLeader { .. })),
        (500, "leadership lost while committing log", |error| matches!(error, Error::Status { code: 500, .. })),
        (400, "Client sent an HTTP request to an HTTPS server.\n", |error| matches!(error, Error::WantsTls { .. })),
        (400, "Invalid query parameter: \"partition\" - Partitions are a Consul Enterprise feature", |error| {
            matches!(error, Error::Enterprise { variable: "CONSUL_PARTITION", .. })
        }),
        (403, "Permission denied", |error| matches!(error, Error::Denied { token: false, .. })),
        // A 404 with words comes from something in front of Consul, and must not count as a missing key.
        (404, "404 page not found", |error| matches!(error, Error::Garbage { .. })),
        (200, "<html>", |error| matches!(error, Error::Garbage { .. })),
    ];
    for (code, text, is) in cases {
        let server = serve(move || say(code, text)).await;
        let error = get(&server.address).await.expect_err("no answer");
        assert!(is(&error), "{code} {text}: {error:?}");
    }
}

#[tokio::test]
async fn credentials_follow_no_redirect() {
    let elsewhere = serve(|| say(200, "[]")).await;
    let to = format!("{}/v1/kv/k", elsewhere.address);
    let server = serve(move || {
        let mut response = say(307, "moved");
        response.headers_mut().insert("location", to.parse().expect("a header"));
        response
    })
    .await;
    let error = get(&server.address).await.expect_err("a redirect");
    assert!(error.to_string().contains("not followed"), "{error}");
    assert!(elsewhere.asked.lock().expect("no panic while locked").is_empty());
}

#[tokio::test]
async fn the_deadline_holds_until_the_last_byte_and_no_answer_is_without_bound() {
    let silent = serve(|| {
        let piece = futures_util::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"[")) });
        Response::new(Body::from_stream(piece.chain(futures_util::stream::pending())))
    })
    .await;
    let client = client_at(&silent.address, |_| {});
    let error = client.get("k", Get::default(), Duration::from_millis(200)).await.expect_err("no end");
    assert!(matches!(error, Error::Timeout { .. }), "{error}");

    let endless = serve(|| {
        let piece = || async { Some((Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 64 << 10])), ())) };
        Response::new(Body::from_stream(futures_util::stream::unfold((), move |()| piece())))
    })
    .await;
    let error = get(&endless.address).await.expect_err("too much");
    assert!(matches!(&error, Error::Garbage { text, .. } if text.contains("more than")), "{error}");
}

#[tokio::test]
async fn tls_where_there_is_none_names_the_fix() {
    let server = serve(|| say(200, "[]")).await;
    let directory = tempfile::tempdir().expect("a directory");
    let issuer = rcgen::generate_simple_self_signed(vec!["consul".to_owned()]).expect("a certificate");
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, issuer.cert.pem()).expect("writable");
    let tls = Tls { ca_cert: Some(path), ..Tls::default() };
    let client = client_at(&server.address.replace("http://", "https://"), |config| config.tls = tls);
    let error = client.get("k", Get::default(), DEADLINE).await.expect_err("no TLS");
    assert!(matches!(&error, Error::Tls { fix, .. } if fix.contains("http://")) && !error.is_passing(), "{error}");

    let missing = Tls { ca_cert: Some("/does/not/exist".into()), ..Tls::default() };
    let address = "https://consul:8501".parse().expect("an address");
    let config = Config {
        address,
        token: TokenSource::None,
        basic_auth: None,
        namespace: None,
        partition: None,
        datacenter: None,
        tls: missing,
        folder: String::new(),
    };
    let error = Client::new(config).expect_err("no such file");
    assert!(matches!(error, Error::File { variable: "CONSUL_CACERT", .. }), "{error}");
}

#[tokio::test]
async fn nothing_that_listens_names_the_address() {
    let reserved = nomad_sim::Address::free().expect("a free port");
    let address = format!("http://{}", reserved.addr());
    let error = get(&address).await.expect_err("nobody listens");
    assert!(error.to_string().contains(&address) && error.to_string().contains("CONSUL_HTTP_ADDR"), "{error}");
    let error = get("unix:///does/not/exist").await.expect_err("no such socket");
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
}

/// Answers of a proxy or a broken agent instead of Consul.
const EMPTY: [&str; 5] = ["{}", "[]", "null", r#"{"Results":null,"Errors":null}"#, r#"{"Results":[],"Errors":null}"#];

#[tokio::test]
async fn a_transaction_is_done_only_where_each_operation_has_its_result() {
    let session = SessionId::new("s");
    let lock = Op::Lock { key: "f/l".into(), session: session.clone(), value: "".into(), flags: 0 };
    let set = Op::Set { key: "f/h".into(), value: "".into(), flags: 0 };
    let check = Op::CheckSession { key: "f/l".into(), session };
    let half = r#"{"Results":[{"KV":{"Key":"f/l"}}],"Errors":null}"#;
    let other = r#"{"Results":[{"KV":{"Key":"f/l"}},{"KV":{"Key":"f/x"}}],"Errors":null}"#;
    let more = r#"{"Results":[{"KV":{"Key":"f/l"}},{"KV":{"Key":"f/h"}},{"KV":{"Key":"f/h"}}],"Errors":null}"#;
    let none = r#"{"Results":[{"KV":{"Key":"f/l"}},{"KV":null}],"Errors":null}"#;
    for text in EMPTY.into_iter().chain([half, other, more, none]) {
        let server = serve(move || say(200, text)).await;
        let client = client_at(&server.address, |_| {});
        for ops in [[lock.clone(), set.clone()], [check.clone(), set.clone()]] {
            let answered = client.transact(&ops, DEADLINE).await;
            assert!(
                matches!(&answered, Err(error @ Error::Garbage { .. }) if error.may_have_happened()),
                "{text}: {answered:?}"
            );
        }
    }
    let whole = r#"{"Results":[{"KV":{"Key":"f/l"}},{"KV":{"Key":"f/h"}}],"Errors":null}"#;
    let server = serve(move || say(200, whole)).await;
    let done = client_at(&server.address, |_| {}).transact(&[lock, set], DEADLINE).await;
    assert!(matches!(&done, Ok(Transaction::Done(entries)) if entries.len() == 2), "{done:?}");
}

#[tokio::test]
async fn an_empty_answer_is_no_look_no_key_and_no_renewal() {
    for text in EMPTY {
        let server = serve(move || say(200, text)).await;
        let client = client_at(&server.address, |_| {});
        let look = client.look(&[Op::GetTree { prefix: "f/".into() }], DEADLINE).await;
        assert!(matches!(look, Err(Error::Garbage { .. })), "{text}: {look:?}");
        let entry = client.get("f/l", Get::default(), DEADLINE).await;
        assert!(matches!(entry, Err(Error::Garbage { .. })), "{text}: {entry:?}");
        let tree = client.tree("f/", DEADLINE).await;
        assert!(matches!(tree, Err(Error::Garbage { .. })), "{text}: {tree:?}");
        let renewed = client.renew_session(&SessionId::new("s"), DEADLINE).await;
        assert!(matches!(renewed, Err(Error::Garbage { .. })), "{text}: {renewed:?}");
        let ended = client.destroy_session(&SessionId::new("s"), DEADLINE).await;
        assert!(matches!(ended, Err(Error::Garbage { .. })), "{text}: {ended:?}");
    }
    // The answer to another request.
    let server = serve(|| say(200, r#"[{"Key":"g/l","Value":null,"ID":"t"}]"#)).await;
    let client = client_at(&server.address, |_| {});
    let entry = client.get("f/l", Get::default(), DEADLINE).await;
    assert!(matches!(entry, Err(Error::Garbage { .. })), "{entry:?}");
    let tree = client.tree("f/", DEADLINE).await;
    assert!(matches!(tree, Err(Error::Garbage { .. })), "{tree:?}");
    let renewed = client.renew_session(&SessionId::new("s"), DEADLINE).await;
    assert!(matches!(renewed, Err(Error::Garbage { .. })), "{renewed:?}");
}
