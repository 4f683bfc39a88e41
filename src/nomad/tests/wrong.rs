//! Tests what can be between the client and Nomad, or in its place: the message says what it is, and what to change.

use std::io::Write as _;

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use flate2::{Compression, write::GzEncoder};
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::position::RaftIndex;

fn everything() -> StreamQuery {
    StreamQuery { namespace: "*".to_owned(), topics: vec![Topic::all("Job")], index: RaftIndex(0) }
}

#[tokio::test]
async fn a_path_in_the_address_comes_before_that_of_each_request() {
    let server =
        serve(|path| async move { if path.contains("stream") { say(200, "{}\n") } else { indexed(7, "[]") } }).await;
    for (path, before) in [("/nomad/", "/nomad"), ("/nomad", "/nomad"), ("/a%20b/c//", "/a%20b/c"), ("/", "")] {
        let client = client(&format!("{}{path}", server.address));
        assert_eq!(client.address(), format!("{}{before}", server.address));
        server.asked.0.lock().expect("no panic while locked").clear();
        client.job("team-a", "api/v1 ü").await.expect("an answer");
        client.table_index(Table::Nodes, "*").await.expect("an index");
        client.stream(&everything()).await.expect("a stream");
        assert_eq!(
            server.asked.paths(),
            [
                format!("{before}/v1/job/api%2Fv1%20%C3%BC?namespace=team-a"),
                format!("{before}/v1/nodes?per_page=1"),
                format!("{before}/v1/event/stream?namespace=*&index=0&topic=Job"),
            ]
        );
    }
}

#[tokio::test]
async fn a_region_that_is_not_there_is_named_with_those_that_are() {
    let server = serve(|path| async move {
        match path.as_str() {
            "/v1/regions" => say(200, r#"["eu","global"]"#),
            // Nomad 2.0.5 answers like this: a success that ends without a line.
            path if path.contains("/event/stream") => say(200, ""),
            _ => say(500, "No path to region"),
        }
    })
    .await;
    let config = Config { region: Some("nowhere".to_owned()), ..config(&[&server.address]) };
    let client = Client::new(config).expect("plain");
    for error in [
        client.node("n").await.expect_err("no region"),
        client.table_index(Table::Jobs, "*").await.expect_err("no region"),
        client.namespaces(RaftIndex(0), Duration::ZERO).await.expect_err("no region"),
        client.stream(&everything()).await.expect_err("no region"),
    ] {
        let text = error.to_string();
        for part in ["No path to region", "\"nowhere\"", "NOMAD_REGION", "\"eu\", \"global\""] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        // All servers of a region can be unreachable for a while.
        assert!(error.is_retryable(), "{error}");
    }
    assert_eq!(server.asked.paths().iter().filter(|path| path.contains("regions")).count(), 4);
}

#[tokio::test]
async fn regions_are_asked_for_only_where_one_is_missing() {
    let server = serve(|_| async { say(500, "No cluster leader") }).await;
    let error = client(&server.address).node("n").await.expect_err("no leader").to_string();
    assert!(error.contains("No cluster leader"), "{error}");
    assert_eq!(server.asked.paths(), ["/v1/node/n"]);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

#[tokio::test]
async fn what_a_proxy_compresses_is_read_all_the_same() {
    let server = serve(|path| async move {
        let body = if path.contains("stream") { "{}\n{\"Index\":7}\n" } else { "[{\"ID\":1},{\"ID\":2}]" };
        ([("X-Nomad-Index", "7")], [(CONTENT_ENCODING, "gzip")], gzip(body)).into_response()
    })
    .await;
    let client = client(&server.address);
    assert_eq!(client.node("n").await.expect("an answer").as_deref(), Some(b"[{\"ID\":1},{\"ID\":2}]".as_slice()));
    let mut page = client.list(&ListQuery::new(Table::Jobs, "*")).await.expect("a page");
    assert_eq!(page.next().await.expect("whole").as_deref(), Some(b"{\"ID\":1}".as_slice()));
    assert_eq!(page.next().await.expect("whole").as_deref(), Some(b"{\"ID\":2}".as_slice()));
    let mut stream = client.stream(&everything()).await.expect("a stream");
    assert_eq!(stream.next_line().await.expect("a line").as_deref(), Some(b"{\"Index\":7}".as_slice()));
    // The client does not ask for compression, which would cost Nomad time.
    assert_eq!(server.asked.header("accept-encoding"), vec![Some("identity".to_owned()); 3]);
}

#[tokio::test]
async fn a_compressed_stream_is_read_as_it_comes() {
    let (sender, mut receiver) = mpsc::channel(1);
    let server = serve(move |_| {
        let (pieces, mut response) = pieces();
        response.headers_mut().insert(CONTENT_ENCODING, "gzip".parse().expect("a header"));
        sender.try_send(pieces).expect("one request");
        async { response }
    })
    .await;
    let client = client(&server.address);
    let query = everything();
    let opening = tokio::spawn(async move { client.stream(&query).await });
    let pieces = receiver.recv().await.expect("asked");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for line in ["{}\n", "{\"Index\":1}\n"] {
        encoder.write_all(line.as_bytes()).expect("memory takes it");
        encoder.flush().expect("memory takes it");
        pieces.send(Ok(Bytes::from(std::mem::take(encoder.get_mut())))).await.expect("the client still reads");
    }
    let mut stream = opening.await.expect("no panic").expect("a stream");
    assert_eq!(stream.next_line().await.expect("a line").as_deref(), Some(b"{\"Index\":1}".as_slice()));
}

#[tokio::test]
async fn another_compression_is_refused_by_its_name() {
    let server = serve(|_| async {
        ([("X-Nomad-Index", "7")], [(CONTENT_ENCODING, "br")], [0x0b, 2, 0x80, b'[', b']', 3].to_vec()).into_response()
    })
    .await;
    let client = client(&server.address);
    for error in [
        client.node("n").await.expect_err("compressed"),
        client.table_index(Table::Jobs, "*").await.expect_err("compressed"),
        client.stream(&everything()).await.expect_err("compressed"),
    ] {
        assert!(error.to_string().contains("Content-Encoding: br"), "{error}");
    }
}

#[tokio::test]
async fn a_page_for_people_is_no_answer() {
    for code in [200, 403, 404, 429, 500, 502, 503, 504] {
        let server = serve(move |_| async move {
            let status = StatusCode::from_u16(code).expect("a status");
            (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], "<!DOCTYPE html><title>Sign in</title>")
                .into_response()
        })
        .await;
        let client = client(&server.address);
        for error in [
            client.node("n").await.expect_err("a page"),
            client.table_index(Table::Jobs, "*").await.expect_err("a page"),
            client.stream(&everything()).await.expect_err("a page"),
        ] {
            let text = error.to_string();
            assert!(
                text.contains("HTML") && text.contains("NOMAD_ADDR") && text.contains(&code.to_string()),
                "{code}: {text}"
            );
            assert!(!text.contains("Sign in"), "{text}");
            assert!(error.is_retryable(), "{error}");
        }
    }
}

/// Behaves as Nomad's `http_max_conns_per_client`: sends the answer before the request, also on a TLS port, and then closes
/// the connection.
async fn refusing() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let task = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let said = "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nContent-Length: 81\r\n\
                Connection: close\r\n\r\nYour IP is issuing too many concurrent connections, please rate limit your calls\n";
            connection.write_all(said.as_bytes()).await.ok();
        }
    });
    (address, task)
}

#[tokio::test]
async fn an_agent_that_takes_no_more_connections_says_so() {
    let (address, task) = refusing().await;
    for scheme in ["http", "https"] {
        let client = client(&format!("{scheme}://{address}"));
        // The answer or the request can come first, depending on the network.
        for _ in 0..20 {
            let error = client.node("n").await.expect_err("refused");
            let text = error.to_string();
            assert!(text.contains("http_max_conns_per_client"), "{scheme}: {text}");
            assert!(error.is_of_address(), "{error}");
        }
    }
    task.abort();
}

#[tokio::test]
async fn a_wrong_path_in_the_address_is_named_before_an_old_nomad() {
    let server = serve(|_| async { say(404, "404 page not found") }).await;
    let client = client(&format!("{}/foo", server.address));
    let error = client.stream(&everything()).await.expect_err("there is no API").to_string();
    let (path, old) = (error.find("no Nomad API"), error.find("before 1.0"));
    assert!(path.is_some() && old.is_none_or(|old| path < Some(old)), "{error}");
    assert!(error.contains("NOMAD_ADDR") && error.contains("404"), "{error}");
}
