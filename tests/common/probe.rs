//! A look at a program that listens.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::PATIENCE;

/// The body of an answer.
pub async fn get(url: &str) -> String {
    ask(url).await.1
}

/// Whether the program that serves its status there is ready, and what it says about it; `None` where nobody listens.
pub async fn readiness(port: u16) -> Option<(bool, String)> {
    TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let (status, body) = ask(&format!("http://127.0.0.1:{port}/readyz")).await;
    Some((status.contains(" 200 "), body))
}

/// Waits until a program that listens there is ready, or is not for this reason.
pub async fn until_ready(port: u16, wanted: bool, reason: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = readiness(port).await;
        if seen.as_ref().is_some_and(|(ready, said)| *ready == wanted && said.contains(reason)) {
            return;
        }
        assert!(Instant::now() < deadline, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The value of a metric; 0 where it is not there.
pub async fn metric(port: u16, series: &str) -> u64 {
    let text = get(&format!("http://127.0.0.1:{port}/metrics")).await;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().expect("a whole number"))
}

/// The value of a metric that need not be whole; `None` where it is not there.
pub async fn value(port: u16, series: &str) -> Option<f64> {
    let text = get(&format!("http://127.0.0.1:{port}/metrics")).await;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

/// Waits until a metric has such a value.
pub async fn until_value(port: u16, series: &str, wanted: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = value(port, series).await;
        if seen.is_some_and(&wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{series} is {seen:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a viewer of the status page gets first: the state, and the last records if there are any.
pub async fn viewed(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it reads");
    let (mut seen, mut part) = (Vec::new(), vec![0; 1 << 16]);
    // The second state comes a second later.
    while String::from_utf8_lossy(&seen).matches("event: status").count() < 2 {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut part)).await.expect("in time").expect("it goes on");
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&part[..read]);
    }
    String::from_utf8(seen).expect("UTF-8")
}

/// The first line of an answer, and its body.
async fn ask(url: &str) -> (String, String) {
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("an address");
    let mut stream = TcpStream::connect(host).await.expect("it listens");
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it answers");
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { without_chunks(body) } else { body.to_owned() };
    (head.lines().next().unwrap_or_default().to_owned(), body)
}

fn without_chunks(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
