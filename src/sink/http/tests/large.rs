//! Requests that are too large: servers answer before they have read all of one.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A server that answers 413 as soon as it has the head, and then closes: at once, or once it has read the rest.
async fn hasty(lingers: bool) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.expect("a request") > 0);
            let answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!";
            stream.write_all(answer.as_bytes()).await.expect("a client");
            stream.shutdown().await.expect("a client");
            while lingers && matches!(stream.read(&mut head).await, Ok(1..)) {}
        }
    });
    (address, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn a_record_that_is_refused_before_it_is_sent_is_rejected() {
    for lingers in [true, false] {
        let (address, _server) = hasty(lingers).await;
        for bytes in [1 << 10, 32 << 20] {
            let sink = sink(config(&address));
            let outcomes = send(&sink, &[Book::new().record("a", vec![b'x'; bytes])]).await;
            // A server that closes at once can lose its own answer.
            let expected: &[_] = if lingers { &["X"] } else { &["X", "r"] };
            assert!(expected.contains(&letters(&outcomes).as_str()), "{outcomes:?}");
        }
    }
}

#[tokio::test]
async fn what_a_server_takes_is_remembered() {
    let server = Server::start(|came| say(if came.body.len() > 100 { 413 } else { 200 }, "")).await;
    let sink = sink(Config { format: Format::Array, ..config(&server.address) });
    let book = Book::new();
    let batch: Vec<_> = (0..40).map(|_| book.record("a", "\"12345678\"")).collect();
    let too_large = || server.came().iter().filter(|came| came.body.len() > 100).count();
    assert_eq!(letters(&send(&sink, &batch).await), "D".repeat(40));
    let found = too_large();
    assert!(found > 0);
    assert_eq!(letters(&send(&sink, &batch).await), "D".repeat(40));
    assert_eq!(too_large(), found, "it is asked once");
    // A record that is too large by itself is sent alone at once, and the others of its batch do not suffer.
    let mut batch: Vec<_> = (0..4).map(|_| book.record("a", "1")).collect();
    batch.insert(2, book.record("a", "2".repeat(200)));
    assert_eq!(letters(&send(&sink, &batch).await), "DDXDD");
    assert_eq!(too_large(), found + 1);
}

#[tokio::test]
async fn a_limit_that_was_raised_is_noticed() {
    let is_raised = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let raised = Arc::clone(&is_raised);
    let server =
        Server::start(move |_| say(if raised.load(std::sync::atomic::Ordering::Relaxed) { 200 } else { 413 }, ""))
            .await;
    let sink = sink(Config { format: Format::Array, ..config(&server.address) });
    let book = Book::new();
    let batch: Vec<_> = (0..8).map(|_| book.record("a", "x".repeat(100))).collect();
    assert_eq!(letters(&send(&sink, &batch).await), "X".repeat(8), "nothing is small enough");
    is_raised.store(true, std::sync::atomic::Ordering::Relaxed);
    for _ in 0..250 {
        assert_eq!(letters(&send(&sink, &batch).await), "D".repeat(8));
    }
    let before = server.came().len();
    assert_eq!(letters(&send(&sink, &batch).await), "D".repeat(8));
    assert_eq!(server.came().len() - before, 1, "the batch is whole again");
}
