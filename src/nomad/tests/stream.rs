//! Tests the event stream and its refusals.

use super::*;
use crate::position::RaftIndex;

type Pieces = mpsc::Sender<Result<Bytes, std::io::Error>>;

/// A server whose streams the test feeds.
async fn streaming() -> (TestServer, mpsc::Receiver<Pieces>) {
    let (sender, receiver) = mpsc::channel(4);
    let server = serve(move |path| {
        let sender = sender.clone();
        async move {
            if !path.starts_with("/v1/event/stream") {
                return say(404, "");
            }
            let (pieces, response) = pieces();
            send(&pieces, "{}\n").await;
            sender.send(pieces).await.expect("the test waits for it");
            response
        }
    })
    .await;
    (server, receiver)
}

fn query(topics: &[&str]) -> StreamQuery {
    StreamQuery {
        namespace: "*".to_owned(),
        topics: topics.iter().map(|text| text.parse().expect("a topic")).collect(),
        index: RaftIndex(42),
    }
}

async fn line(stream: &mut EventStream) -> Option<String> {
    stream.next_line().await.expect("a healthy stream").map(|line| String::from_utf8(line.to_vec()).expect("text"))
}

#[tokio::test]
async fn lines_come_without_heartbeats_and_half_lines() {
    let (server, mut opened) = streaming().await;
    let mut stream = client(&server.address).stream(&query(&["Job", "Node:n-1"])).await.expect("a stream");
    assert_eq!(stream.server(), server.address);
    let pieces = opened.recv().await.expect("opened");
    send(&pieces, "{\"Index\":1}\n{}\n{\"Ind").await;
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":1}"));
    send(&pieces, "ex\":2}\n{ }\n\n{\"Index\":3").await;
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":2}"));
    drop(pieces);
    assert_eq!(line(&mut stream).await, None);
    assert_eq!(line(&mut stream).await, None);
    assert_eq!(server.asked.paths(), ["/v1/event/stream?namespace=*&index=42&topic=Job&topic=Node%3An-1"]);
}

/// A proxy, or a busy reader, joins several lines to one piece.
#[tokio::test(start_paused = true)]
async fn a_line_that_comes_in_one_piece_with_a_heartbeat_waits_for_nothing() {
    let (pieces, mut stream) = in_memory();
    let start = tokio::time::Instant::now();
    send(&pieces, "{}\n{\"Index\":1}\n{}\n").await;
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":1}"));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn waiting_can_be_cancelled_at_any_time() {
    let (server, mut opened) = streaming().await;
    let mut stream = client(&server.address).stream(&query(&["Job"])).await.expect("a stream");
    let pieces = opened.recv().await.expect("opened");
    for piece in ["{\"Ind", "ex\":1", "}\n{\"Index\":2}\n"] {
        send(&pieces, piece).await;
        for _ in 0..20 {
            tokio::select! {
                biased;
                read = stream.next_line() => {
                    assert_eq!(read.expect("healthy").as_deref(), Some(b"{\"Index\":1}".as_slice()));
                    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":2}"));
                    return;
                }
                () = tokio::task::yield_now() => {}
            }
        }
    }
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":1}"));
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":2}"));
}

/// A stream without a socket, so that time can be paused.
fn in_memory() -> (Pieces, EventStream) {
    in_memory_with(&Limits::default())
}

fn in_memory_with(limits: &Limits) -> (Pieces, EventStream) {
    let (sender, receiver) = mpsc::channel(16);
    let stream = futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async move {
        receiver.recv().await.map(|piece: Result<Bytes, std::io::Error>| (piece, receiver))
    });
    let response = axum::http::Response::new(reqwest::Body::wrap_stream(stream)).into();
    (sender, EventStream::over(response, "memory".to_owned(), limits))
}

#[tokio::test(start_paused = true)]
async fn silence_is_death_and_a_heartbeat_is_life() {
    let (pieces, mut stream) = in_memory();
    let start = tokio::time::Instant::now();
    let beating = tokio::spawn(async move {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(30)).await;
            send(&pieces, "{}\n").await;
        }
        send(&pieces, "{\"Index\":9}\n").await;
        pieces
    });
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":9}"));
    assert_eq!(start.elapsed().as_secs(), 300);
    let _open = beating.await.expect("no panic");
    let error = stream.next_line().await.expect_err("silence");
    assert!(matches!(error, Error::Silent { .. }), "{error}");
    assert_eq!(start.elapsed().as_secs(), 340);
    assert_eq!(line(&mut stream).await, None);
}

#[tokio::test(start_paused = true)]
async fn the_stream_goes_on_behind_a_line_that_is_too_long() {
    let (pieces, mut stream) = in_memory_with(&Limits { line: 20, ..Limits::default() });
    send(&pieces, "{\"Index\":1}\n{\"Events\":[\"xxxxxxxxx").await;
    send(&pieces, "xxxxx\"],\"Index\":2}\n{}\n{\"Index\":3}\n").await;
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":1}"));
    let error = stream.next_line().await.expect_err("it is too long");
    assert_eq!(error.to_string(), "cannot read a line of the event stream of memory: it is too long, with 39 bytes");
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":3}"));
    // It never ends.
    for _ in 0..20 {
        send(&pieces, "xxxxxxxxxxxxxxxxxxxx").await;
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), stream.next_line()).await {
            assert!(matches!(error, Error::Garbage { .. }), "{error}");
            assert_eq!(line(&mut stream).await, None);
            return;
        }
    }
    panic!("it is read for ever");
}

#[tokio::test(start_paused = true)]
async fn silence_is_counted_over_cancelled_waits() {
    let (_pieces, mut stream) = in_memory();
    let start = tokio::time::Instant::now();
    let error = loop {
        tokio::select! {
            read = stream.next_line() => break read.expect_err("silence"),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    };
    assert!(matches!(error, Error::Silent { .. }), "{error}");
    // A wait that begins right at the deadline has a grace period.
    assert!((40..=42).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_long_away_does_not_take_it_for_silence() {
    let (pieces, mut stream) = in_memory();
    tokio::select! {
        biased;
        read = stream.next_line() => panic!("nothing was sent: {read:?}"),
        () = tokio::task::yield_now() => {}
    }
    tokio::time::sleep(Duration::from_secs(100)).await;
    let late = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        send(&pieces, "{\"Index\":1}\n").await;
        pieces
    });
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":1}"));
    // Backpressure between two lines is not a silent server either.
    let pieces = late.await.expect("no panic");
    tokio::time::sleep(Duration::from_secs(100)).await;
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(39)).await;
        send(&pieces, "{\"Index\":2}\n").await;
    });
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":2}"));
}

#[tokio::test]
async fn a_line_that_is_no_event_is_given_with_its_words() {
    let (server, mut opened) = streaming().await;
    let mut stream = client(&server.address).stream(&query(&["Job"])).await.expect("a stream");
    let pieces = opened.recv().await.expect("opened");
    send(&pieces, "rpc error: subscription closed by server\n{\"Index\":1}\n").await;
    assert_eq!(line(&mut stream).await.as_deref(), Some("rpc error: subscription closed by server"));
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":1}"));
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_from_one_that_ends() {
    let (server, mut opened) = streaming().await;
    let mut stream = client(&server.address).stream(&query(&["Job"])).await.expect("a stream");
    let pieces = opened.recv().await.expect("opened");
    pieces.send(Err(std::io::Error::other("cut"))).await.expect("the client still reads");
    let error = stream.next_line().await.expect_err("broken");
    assert!(matches!(error, Error::Broken { .. }), "{error}");
}

#[tokio::test]
async fn an_event_in_place_of_the_first_heartbeat_is_kept() {
    let server = serve(|_| async { say(200, "{\"Index\":1}\n{}\n{\"Index\":2}\n") }).await;
    let mut stream = client(&server.address).stream(&query(&["Job"])).await.expect("a stream");
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":1}"));
    assert_eq!(line(&mut stream).await.as_deref(), Some("{\"Index\":2}"));
}

/// The refusal of a stream that the server closes without a word, while `rest` answers other requests.
async fn refusal(token: bool, query: StreamQuery, rest: fn(&str) -> (u16, &'static str)) -> Error {
    let server = serve(move |path| async move {
        match path.split('?').next() {
            Some("/v1/event/stream") => say(200, ""),
            _ => {
                let (code, text) = rest(&path);
                say(code, text)
            }
        }
    })
    .await;
    let token = if token { TokenSource::Fixed(Secret::new("t0ken")) } else { TokenSource::None };
    let client = Client::new(Config { token, ..config(&[&server.address]) }).expect("plain");
    let error = client.stream(&query).await.expect_err("refused");
    assert!(!error.to_string().contains("t0ken"), "{error}");
    error
}

#[tokio::test]
async fn a_refusal_names_each_missing_permission() {
    let query = StreamQuery { namespace: "team-a".to_owned(), ..query(&["Job", "Node", "Evaluation"]) };
    let error = refusal(true, query, |path| match path {
        "/v1/acl/token/self" => (200, r#"{"AccessorID":"a","Type":"client"}"#),
        "/v1/namespace/team-a" => (200, "{}"),
        "/v1/nodes?per_page=1" => (200, "[]"),
        _ => (403, "Permission denied"),
    })
    .await;
    let text = error.to_string();
    assert!(matches!(error, Error::Denied { token: true, .. }), "{text}");
    assert!(text.contains("Evaluation, Job:"), "{text}");
    assert!(text.ends_with(r#"needs namespace "team-a" { capabilities = ["list-jobs", "read-job"] }"#), "{text}");
}

#[tokio::test]
async fn a_refused_star_is_tried_in_each_namespace() {
    let error = refusal(true, query(&["Allocation"]), |path| match path {
        "/v1/acl/token/self" => (200, r#"{"AccessorID":"a","Type":"client"}"#),
        "/v1/namespaces" => (200, r#"[{"Name":"default","CreateIndex":1},{"Name":"team-b","CreateIndex":9}]"#),
        "/v1/allocations?namespace=default&per_page=1" => (200, "[]"),
        _ => (403, "Permission denied"),
    })
    .await;
    let text = error.to_string();
    assert!(text.contains(r#"namespace "team-b" { capabilities = ["read-job"] }"#), "{text}");
    assert!(!text.contains("default"), "{text}");
}

#[tokio::test]
async fn a_namespace_the_token_cannot_see_is_guessed_at() {
    let error = refusal(true, query(&["Allocation"]), |path| match path {
        "/v1/acl/token/self" => (404, "ACL token not found for a workload"),
        "/v1/namespaces" => (200, r#"[{"Name":"default","CreateIndex":1}]"#),
        "/v1/agent/self" => (403, "Permission denied"),
        _ => (200, "[]"),
    })
    .await;
    assert!(matches!(&error, Error::Refused { reason, .. } if reason.contains("NOMAD_NAMESPACE")), "{error}");
}

#[tokio::test]
async fn topics_for_managers_say_so() {
    for topics in [&["NodePool"][..], &["*"], &[]] {
        let error = refusal(false, query(topics), |path| match path {
            "/v1/acl/token/self" => (200, r#"{"AccessorID":"anonymous","Type":"client"}"#),
            "/v1/namespaces" => (200, "[]"),
            _ => (200, "[]"),
        })
        .await;
        let text = error.to_string();
        assert!(matches!(error, Error::Denied { token: false, .. }), "{text}");
        assert!(text.contains("needs a management token") && text.contains("NOMAD_TOKEN"), "{text}");
    }
}

#[tokio::test]
async fn a_bad_token_is_found_behind_a_silent_refusal() {
    let error = refusal(true, query(&["Job"]), |_| (403, "Permission denied")).await;
    assert!(matches!(error, Error::BadToken { .. }), "{error}");
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_is_named() {
    let query = StreamQuery { namespace: "nope".to_owned(), ..query(&["Job"]) };
    let error = refusal(true, query, |path| match path {
        "/v1/acl/token/self" => (200, r#"{"AccessorID":"a","Type":"management"}"#),
        "/v1/namespace/nope" => (404, "Namespace not found"),
        _ => (403, "Permission denied"),
    })
    .await;
    assert!(matches!(&error, Error::NoNamespace { namespace } if namespace == "nope"), "{error}");
}

#[tokio::test]
async fn a_cluster_without_a_broker_is_told_apart() {
    let error = refusal(false, query(&["Job"]), |path| match path {
        "/v1/acl/token/self" => (400, "ACL support disabled"),
        "/v1/agent/self" => (200, r#"{"config":{"Server":{"Enabled":true,"EnableEventBroker":false}}}"#),
        _ => (200, "[]"),
    })
    .await;
    assert!(matches!(error, Error::NoStream { .. }), "{error}");

    let silent = refusal(false, query(&["Job"]), |path| match path {
        "/v1/acl/token/self" => (400, "ACL support disabled"),
        "/v1/agent/self" => (200, r#"{"config":{"Server":{"Enabled":true,"EnableEventBroker":true}}}"#),
        _ => (200, "[]"),
    })
    .await;
    assert!(matches!(silent, Error::Refused { .. }) && silent.is_retryable(), "{silent}");

    let no_leader = refusal(false, query(&["Job"]), |_| (500, "No cluster leader")).await;
    assert!(matches!(no_leader, Error::Status { code: 500, .. }), "{no_leader}");
}

#[tokio::test]
async fn statuses_of_older_servers_are_understood() {
    for (code, text, none) in [
        (500, "EventBroker not configured", true),
        (404, "404 page not found", true),
        (500, "rpc error: unknown rpc method: \"Event.Stream\"", true),
        (500, "No cluster leader", false),
        (400, "Unable to parse index", false),
    ] {
        let server = serve(move |_| async move { say(code, text) }).await;
        let error = client(&server.address).stream(&query(&["Job"])).await.expect_err("no stream");
        assert_eq!(matches!(error, Error::NoStream { .. }), none, "{error}");
        assert_eq!(matches!(error, Error::Status { .. }), !none, "{error}");
    }
}

#[tokio::test]
async fn a_denial_with_its_proper_status_is_explained_too() {
    let server = serve(|path| async move {
        match path.split('?').next() {
            Some("/v1/acl/token/self") => say(200, r#"{"AccessorID":"anonymous","Type":"client"}"#),
            Some("/v1/namespaces") => indexed(1, "[]"),
            _ => say(403, "Permission denied"),
        }
    })
    .await;
    let error = client(&server.address).stream(&query(&["Node"])).await.expect_err("denied");
    assert!(matches!(&error, Error::Denied { needs, .. } if needs == "node { policy = \"read\" }"), "{error}");
}

#[tokio::test]
async fn a_stream_without_a_first_line_is_held_back() {
    let server = serve(|path| async move {
        if path.starts_with("/v1/event/stream") {
            let (pieces, response) = pieces();
            tokio::spawn(async move { pieces.closed().await });
            return response;
        }
        say(400, "ACL support disabled")
    })
    .await;
    let limits = Limits { open: Duration::from_millis(50), connect: Duration::from_millis(500), ..Limits::default() };
    let client = Client::with_limits(config(&[&server.address]), limits).expect("plain");
    let error = client.stream(&query(&["Job"])).await.expect_err("no line");
    assert!(matches!(error, Error::HeldBack { .. }), "{error}");
}

#[tokio::test]
async fn a_stream_moves_on_to_the_address_that_answers() {
    let (server, _opened) = streaming().await;
    let down = nowhere().await;
    let client = Client::new(config(&[&down, &server.address])).expect("plain");
    let stream = client.stream(&query(&["Job"])).await.expect("a stream");
    assert_eq!(stream.server(), server.address);
}
