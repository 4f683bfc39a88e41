use std::time::{Duration, SystemTime};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;
use crate::{
    kind::Kind,
    position::RaftIndex,
    telemetry::{Leadership, Metrics, Outline, SourceState, Status, recent::Seen},
};

const PATIENCE: Duration = Duration::from_secs(120);

/// A listener, and what it shows.
struct Scene {
    address: SocketAddr,
    status: Status,
    board: Board,
    listening: Listening,
}

fn start_for(kinds: &[Kind]) -> Scene {
    let (metrics, status, board) = (Metrics::new(kinds), Status::new(kinds), Board::default());
    if kinds.contains(&Kind::Nodes) {
        metrics.delivered(Kind::Nodes, 42, 1);
    }
    board.show(None, &metrics, &status, Outline { sink: "stdout", ..Outline::default() });
    let about =
        About { cluster: Some("blue".to_owned()), holder: "process 7 on here".to_owned(), started: SystemTime::now() };
    let view = View::new(board.clone(), Journal::default(), about);
    // A port that is free now can be taken a moment later, but not in this process by another listener.
    let address = bind(([127, 0, 0, 1], 0).into())
        .and_then(|free| free.local_addr().map_err(|source| BindError { address: ([127, 0, 0, 1], 0).into(), source }));
    let address = address.expect("a free port");
    let listening = start(Some(address), view).expect("it listens");
    Scene { address, status, board, listening }
}

async fn connect(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    stream
}

async fn ask_as(address: SocketAddr, path: &str, accept: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    let mut stream = connect(address, &request).await;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("it answers");
    answer
}

async fn ask(address: SocketAddr, path: &str) -> String {
    ask_as(address, path, "*/*").await
}

/// Reads until `text` has come.
async fn until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = String::new();
    let mut buffer = vec![0; 1 << 16];
    while !seen.contains(text) {
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time").expect("it goes on");
        assert!(read > 0, "it ended: {seen}");
        seen += &String::from_utf8_lossy(&buffer[..read]);
    }
    seen
}

const STREAM: &str = "GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";

#[tokio::test]
async fn it_serves_its_pages() {
    let Scene { address, status, .. } = &start_for(&[Kind::Nodes]);
    for path in ["/healthz", "/health/live"] {
        assert!(ask(*address, path).await.starts_with("HTTP/1.1 200"));
    }
    for path in ["/readyz", "/health/ready"] {
        let answer = ask(*address, path).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("nodes: starting\n"), "{answer}");
    }
    status.lease(Kind::Nodes, Leadership::Leading);
    status.source(Kind::Nodes, "*", SourceState::Streaming);
    assert!(ask(*address, "/health/ready").await.starts_with("HTTP/1.1 200"));
    let answer = ask(*address, "/").await;
    assert!(answer.contains("cluster blue") && answer.contains("leader") && answer.contains("42"), "{answer}");
    assert!(answer.contains("All is well: this replica leads nodes"), "{answer}");
    assert!(ask(*address, "/nope").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let Scene { address, .. } = &start_for(&[Kind::Nodes]);
    let text = ask(*address, "/metrics").await;
    assert!(text.contains("text/plain; version=0.0.4") && text.contains("{kind=\"nodes\"} 42\n"), "{text}");
    assert!(!text.contains("# EOF"), "{text}");
    let open = ask_as(*address, "/metrics", "application/openmetrics-text; version=1.0.0, text/plain;q=0.5").await;
    assert!(open.contains("application/openmetrics-text; version=1.0.0") && open.ends_with("# EOF\n"), "{open}");
}

#[tokio::test]
async fn status_is_json() {
    let Scene { address, status, .. } = &start_for(&[Kind::Nodes, Kind::Jobs]);
    status.lease(Kind::Nodes, Leadership::Leading);
    status.lease(Kind::Jobs, Leadership::Standby);
    status.holder(Kind::Jobs, Some("process 8 on \u{202e}there".to_owned()));
    let answer = ask(*address, "/status").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("application/json") && head.contains("nosniff") && head.contains("no-store"), "{head}");
    let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&json["cluster"], &json["holder"]), (&"blue".into(), &"process 7 on here".into()));
    let resources = &json["pipelines"][0]["resources"];
    assert_eq!((&resources[0]["kind"], &resources[0]["holder"]), (&"nodes".into(), &"process 7 on here".into()));
    assert_eq!((&resources[0]["state"], &resources[0]["delivered"]), (&"connecting".into(), &42.into()));
    assert_eq!((&resources[1]["state"], &resources[1]["is_leader"]), (&"standby".into(), &false.into()));
    assert_eq!(resources[1]["holder"], "process 8 on \u{fffd}there");
    assert_eq!(json["pipelines"][0]["sink"]["type"], "stdout");
}

#[tokio::test]
async fn a_browser_gets_a_page_that_may_do_nothing_else() {
    let Scene { address, .. } = &start_for(&[Kind::Nodes]);
    let answer = ask_as(*address, "/", "text/html,application/xhtml+xml,*/*;q=0.8").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(body.starts_with("<!doctype html>"));
    let head = head.to_lowercase();
    for wanted in ["script-src 'sha256-", "style-src 'sha256-", "default-src 'none'", "nosniff", "no-store"] {
        assert!(head.contains(wanted), "{head}");
    }
    assert!(!head.contains("unsafe"), "{head}");
}

#[tokio::test]
async fn viewers_get_the_state_and_new_records_and_are_bounded() {
    let Scene { address, board, listening, .. } = start_for(&[Kind::Nodes]);
    let tap = board.recent().tap(None, None);
    let pass = |id: &str| {
        let namespace = Arc::from("");
        let body = br#"{"Name":"</script><script>alert(1)</script>"}"#;
        tap.pass(1, std::iter::once(Seen { kind: Kind::Nodes, id, namespace: &namespace, index: RaftIndex(3), body }));
    };
    pass("first");
    let mut viewer = connect(address, STREAM).await;
    let seen = until(&mut viewer, "\"id\":\"first\"").await;
    assert!(seen.contains("event: status") && seen.contains("text/event-stream"), "{seen}");
    pass("second");
    let seen = until(&mut viewer, "\"id\":\"second\"").await;
    assert!(!seen.contains("\"id\":\"first\""), "{seen}");
    let mut viewers = vec![viewer];
    while viewers.len() < events::VIEWERS {
        let mut viewer = connect(address, STREAM).await;
        until(&mut viewer, "event: status").await;
        viewers.push(viewer);
    }
    assert!(ask(address, "/events").await.starts_with("HTTP/1.1 503"));
    // Those who view do not count as idle connections.
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(address).await.expect("it listens"));
    }
    assert!(ask(address, "/health/live").await.starts_with("HTTP/1.1 200"));
    for viewer in &mut viewers {
        until(viewer, "event: status").await;
    }
    // The end of the listener is the end of what they get.
    drop(listening);
    for mut viewer in viewers {
        let mut rest = Vec::new();
        timeout(PATIENCE, viewer.read_to_end(&mut rest)).await.expect("in time").ok();
    }
}

#[tokio::test]
async fn it_speaks_http_1_alone() {
    let Scene { address, .. } = &start_for(&[]);
    // The preface of HTTP/2 with prior knowledge (RFC 9113, section 3.4), and an empty SETTINGS frame.
    let mut stream = connect(*address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut answer = Vec::new();
    // A connection that the server closes before it has read everything is reset.
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time").ok();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_client_that_never_asks_does_not_hold_up_the_stop() {
    let Scene { address, listening, .. } = start_for(&[]);
    let mut silent = connect(address, "GET / HT").await;
    // The answer proves that the first connection, which was opened before, was accepted too.
    ask(address, "/healthz").await;
    drop(listening);
    let mut rest = Vec::new();
    timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("in time").ok();
}

#[test]
fn a_port_in_use_is_told_by_its_variable() {
    let first = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let error = bind(first.local_addr().expect("it is bound")).expect_err("it is taken");
    assert!(error.to_string().contains("NOMAD_FIREHOSE_LISTEN"), "{error}");
}
