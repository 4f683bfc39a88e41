//! Answers whose body never ends: the status is the answer, and no record waits for the body.

use std::io::{self, Write};

use futures_util::{StreamExt as _, stream};
use tokio::time::timeout;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// Far below the deadline of a request in these tests, and far above what an answer takes.
const SOON: Duration = Duration::from_secs(120);

/// The log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

/// A server whose answers have this status and a first word.
async fn endless(status: u16) -> (Server, Http) {
    let reply = move |_: &Came| {
        let word = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"overloaded"))]);
        let mut response = Response::new(axum::body::Body::from_stream(word.chain(stream::pending())));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response
    };
    let server = Server::start(reply).await;
    let sink = sink(Config { timeout: Duration::from_secs(600), ..config(&server.address) });
    (server, sink)
}

#[tokio::test]
async fn a_good_answer_is_delivered_at_its_head_and_the_log_says_once_what_it_costs() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (_server, sink) = endless(200).await;
    let book = Book::new();
    for _ in 0..2 {
        let outcomes = timeout(SOON, send(&sink, &book.records(&["a", "b"]))).await;
        assert_eq!(letters(&outcomes.expect("long before the deadline of a request")), "DD");
    }
    let text = log.text();
    assert_eq!(text.matches("server does not end its answer").count(), 1, "{text}");
}

#[tokio::test]
async fn a_bad_answer_is_judged_by_its_head_and_what_has_come() {
    for (status, letter) in [(500, "r"), (503, "r"), (403, "r"), (400, "X")] {
        let (_server, sink) = endless(status).await;
        let outcomes = timeout(SOON, send(&sink, &Book::new().records(&["a"]))).await;
        let outcomes = outcomes.expect("long before the deadline of a request");
        assert_eq!(letters(&outcomes), letter, "{status}");
        let reason = reason(&outcomes[0]);
        assert!(reason.contains(&status.to_string()) && reason.contains("overloaded"), "{reason}");
    }
}
