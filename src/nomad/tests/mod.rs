//! Tests the client against small servers that answer as Nomad does.

mod list;
mod stream;
mod tls;
mod wrong;

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

use super::{client::Limits, *};

/// A request to a test server: path with query, and headers.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<(String, HeaderMap)>>>);

impl Asked {
    fn paths(&self) -> Vec<String> {
        self.0.lock().expect("no panic while locked").iter().map(|(path, _)| path.clone()).collect()
    }

    fn header(&self, name: &str) -> Vec<Option<String>> {
        let asked = self.0.lock().expect("no panic while locked");
        let value = |headers: &HeaderMap| headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        asked.iter().map(|(_, headers)| value(headers)).collect()
    }
}

/// A server that runs until this is dropped.
struct TestServer {
    address: String,
    asked: Asked,
    task: JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers each request, given as path with query, by `answer`.
fn router<F, A>(asked: Asked, answer: F) -> Router
where
    F: Fn(String) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    Router::new().fallback(move |request: Request| {
        let path = request.uri().to_string();
        asked.0.lock().expect("no panic while locked").push((path.clone(), request.headers().clone()));
        answer(path)
    })
}

async fn serve<F, A>(answer: F) -> TestServer
where
    F: Fn(String) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = Asked::default();
    let router = router(asked.clone(), answer);
    let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves until aborted") });
    TestServer { address, asked, task }
}

/// An address without a listener.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("http://{}", listener.local_addr().expect("bound"))
}

fn config(addresses: &[&str]) -> Config {
    Config {
        addresses: addresses.iter().map(|text| text.parse().expect("an address")).collect(),
        region: None,
        token: TokenSource::None,
        basic_auth: None,
        tls: Tls::default(),
        timeout: Duration::from_secs(10),
    }
}

fn client(address: &str) -> Client {
    Client::new(config(&[address])).expect("a plain configuration")
}

fn say(code: u16, text: &'static str) -> Response {
    (StatusCode::from_u16(code).expect("a status"), text).into_response()
}

/// A list's answer at `index`.
fn indexed(index: u64, body: &'static str) -> Response {
    ([("X-Nomad-Index", index.to_string())], body).into_response()
}

/// A body that is sent piece by piece, and ends when the sender is dropped; an error breaks the connection.
fn pieces() -> (mpsc::Sender<Result<Bytes, std::io::Error>>, Response) {
    let (sender, receiver) = mpsc::channel(16);
    let stream = futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (sender, Response::new(Body::from_stream(stream)))
}

async fn send(sender: &mpsc::Sender<Result<Bytes, std::io::Error>>, text: &'static str) {
    sender.send(Ok(Bytes::from_static(text.as_bytes()))).await.expect("the client still reads");
}

#[tokio::test]
async fn credentials_and_region_go_with_each_request() {
    let server = serve(|_| async { say(200, "{}") }).await;
    let client = Client::new(Config {
        region: Some("eu west".to_owned()),
        token: TokenSource::Fixed(Secret::new("s3cret")),
        basic_auth: Some(crate::http::BasicAuth { user: "me".to_owned(), password: Secret::new("hush") }),
        ..config(&[&server.address])
    })
    .expect("a plain configuration");
    client.node("n-1").await.expect("an answer");
    client.job("team-a", "api/v1 ü").await.expect("an answer");
    client.job_summary("team-a", "x?y#z").await.expect("an answer");
    assert_eq!(
        server.asked.paths(),
        [
            "/v1/node/n-1?region=eu+west",
            "/v1/job/api%2Fv1%20%C3%BC?namespace=team-a&region=eu+west",
            "/v1/job/x%3Fy%23z/summary?namespace=team-a&region=eu+west",
        ]
    );
    assert_eq!(server.asked.header("x-nomad-token"), vec![Some("s3cret".to_owned()); 3]);
    assert_eq!(server.asked.header("authorization"), vec![Some("Basic bWU6aHVzaA==".to_owned()); 3]);
    assert!(!format!("{client:?}").contains("hush"));
}

/// An answer of Nomad 2.0.5, cut anywhere: the rest after the newest version need not come.
#[tokio::test]
async fn the_newest_version_of_a_job_is_read_and_no_more() {
    const HEAD: &str = r#"{"Diffs":null,"Index":30,"KnownLeader":true,"LastContact":0,"NextToken":"","Vers"#;
    let server = serve(|path| async move {
        match &*path {
            "/v1/job/gone%2Fplan/versions?namespace=n" => say(404, "job versions not found"),
            "/v1/job/odd/versions?namespace=n" => say(200, "{}"),
            _ => {
                let (sender, body) = pieces();
                for part in [HEAD, r#"ions":[{"ID":"db/plan","#, r#""ModifyIndex":7},{"ID":"db/pl"#] {
                    send(&sender, part).await;
                }
                tokio::spawn(async move { sender.closed().await });
                body
            }
        }
    })
    .await;
    let client = client(&server.address);
    let newest = client.job_version("n", "db/plan").await.expect("an answer");
    assert_eq!(newest.as_deref(), Some(&br#"{"ID":"db/plan","ModifyIndex":7}"#[..]));
    assert_eq!(client.job_version("n", "gone/plan").await.expect("an answer"), None);
    let refused = client.job_version("n", "odd").await.expect_err("no versions");
    assert!(matches!(refused, Error::Garbage { .. }), "{refused}");
}

#[tokio::test]
async fn a_token_file_is_read_again_for_each_request() {
    let server = serve(|_| async { say(200, "{}") }).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nomad_token");
    std::fs::write(&path, "first\n").expect("writable");
    let client =
        Client::new(Config { token: TokenSource::File(path.clone()), ..config(&[&server.address]) }).expect("plain");
    client.node("a").await.expect("an answer");
    // The length is the same, and possibly the time stamp: only the content differs.
    std::fs::write(&path, "other\n").expect("writable");
    client.node("a").await.expect("an answer");
    assert_eq!(server.asked.header("x-nomad-token"), [Some("first".to_owned()), Some("other".to_owned())]);

    std::fs::write(&path, " \n").expect("writable");
    let error = client.node("a").await.expect_err("no token").to_string();
    assert!(error.contains("NOMAD_TOKEN_FILE") && error.contains("is empty"), "{error}");
    std::fs::remove_file(&path).expect("there");
    let error = client.node("a").await.expect_err("no file").to_string();
    assert!(error.contains("nomad_token"), "{error}");
}

#[tokio::test]
async fn a_unix_socket_serves_as_an_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nomad.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
    let router = router(Asked::default(), |_| async { say(200, "{\"ID\":\"n\"}") });
    let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves until aborted") });
    let address = format!("unix://{}", path.display());
    let node = client(&address).node("n").await.expect("an answer");
    assert_eq!(node.as_deref(), Some(b"{\"ID\":\"n\"}".as_slice()));
    task.abort();

    let missing = client("unix:///nonexistent/nomad.sock").node("n").await.expect_err("no socket");
    assert!(matches!(missing, Error::Connect { .. }), "{missing}");
}

#[tokio::test]
async fn what_does_not_exist_is_none() {
    let server = serve(|_| async { say(404, "job not found") }).await;
    assert_eq!(client(&server.address).job("default", "gone").await.expect("an answer"), None);
}

#[tokio::test]
async fn the_next_address_serves_when_one_is_down() {
    let server = serve(|_| async { say(200, "{}") }).await;
    let down = nowhere().await;
    let client = Client::new(config(&[&down, &server.address])).expect("plain");
    assert_eq!(client.address(), down);
    client.node("a").await.expect("the second answers");
    assert_eq!(client.address(), server.address);
    // A caller that saw the first address fail earlier does not move the others away from the second.
    client.fail_over(&down);
    assert_eq!(client.address(), server.address);
    client.fail_over(&server.address);
    assert_eq!(client.address(), down);
    client.clone().node("a").await.expect("the second answers");
    assert_eq!(client.address(), server.address);
}

#[tokio::test]
async fn the_first_failure_is_told_when_all_are_down() {
    let (one, two) = (nowhere().await, nowhere().await);
    let client = Client::new(config(&[&one, &two])).expect("plain");
    match client.node("a").await {
        Err(Error::Connect { address, .. }) => assert_eq!(address, one),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_after_the_timeout() {
    let hangs = serve(|_| std::future::pending()).await;
    let (pieces, response) = pieces();
    let response = Mutex::new(Some(response));
    let stalls = Arc::new(response);
    let stalls = serve(move |_| std::future::ready(stalls.lock().expect("one").take().expect("one request"))).await;
    let serves = serve(|_| async { say(200, "{}") }).await;
    let addresses = [&*hangs.address, &*stalls.address, &*serves.address];
    let client = Client::new(Config { timeout: Duration::from_millis(200), ..config(&addresses) }).expect("plain");
    for address in &addresses[..2] {
        let error = client.node("a").await.expect_err("no answer");
        assert!(matches!(&error, Error::Timeout { address: of, .. } if of == address), "{error}");
        assert!(error.to_string().contains("node \"a\""), "{error}");
    }
    // The next call starts with the third.
    assert_eq!(client.address(), addresses[2]);
    drop(pieces);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = serve(|_| async { say(200, "{}") }).await;
    let to = other.address.clone();
    let server = serve(move |_| {
        let to = to.clone();
        async move { (StatusCode::TEMPORARY_REDIRECT, [("Location", to)]).into_response() }
    })
    .await;
    let client = Client::new(Config { token: TokenSource::Fixed(Secret::new("t")), ..config(&[&server.address]) })
        .expect("plain");
    let error = client.node("a").await.expect_err("a redirect").to_string();
    assert!(error.contains("307") && error.contains(&other.address), "{error}");
    assert!(other.asked.paths().is_empty());
}

#[tokio::test]
async fn namespaces_are_watched_with_a_blocking_query() {
    let server = serve(|path| async move {
        match path.as_str() {
            "/v1/namespaces" => indexed(7, r#"[{"Name":"default","CreateIndex":1,"Meta":null}]"#),
            _ => indexed(9, "null"),
        }
    })
    .await;
    let client = client(&server.address);
    let (index, names) =
        client.namespaces(crate::position::RaftIndex(0), Duration::from_secs(1)).await.expect("a list");
    assert_eq!(names, [Namespace { name: "default".to_owned(), create_index: crate::position::RaftIndex(1) }]);
    let (later, names) = client.namespaces(index, Duration::from_secs(60)).await.expect("a list");
    assert_eq!((later.0, names), (9, vec![]));
    assert_eq!(server.asked.paths()[1], "/v1/namespaces?index=7&wait=60000ms");
}

#[tokio::test]
async fn one_namespace_can_be_asked_for() {
    let server = serve(|path| async move {
        if path.ends_with("/a") { say(200, r#"{"Name":"a","CreateIndex":3}"#) } else { say(404, "Namespace not found") }
    })
    .await;
    let client = client(&server.address);
    let found = client.namespace("a").await.expect("an answer").expect("there");
    assert_eq!((found.name.as_str(), found.create_index.0), ("a", 3));
    assert_eq!(client.namespace("nope").await.expect("an answer"), None);
}

#[test]
fn what_a_task_holds_can_move_between_threads() {
    fn movable<T: Send + 'static>(_: fn(Client) -> T) {}
    movable(|client| async move {
        let query = StreamQuery { namespace: "*".to_owned(), topics: Vec::new(), index: crate::position::RaftIndex(0) };
        let mut stream = client.stream(&query).await?;
        let mut page = client.list(&ListQuery::new(Table::Jobs, "*")).await?;
        client.namespaces(page.index, Duration::ZERO).await?;
        Ok::<_, Error>((stream.next_line().await?, page.next().await?))
    });
}

#[tokio::test]
async fn an_old_cluster_without_namespaces_is_told_apart() {
    let server = serve(|_| async { say(501, "Nomad Enterprise only endpoint") }).await;
    let asked = client(&server.address).namespaces(crate::position::RaftIndex(0), Duration::ZERO).await;
    assert!(matches!(asked, Err(Error::Unsupported { .. })), "{asked:?}");
}
