//! What a real server cannot be brought to do at the right moment.

use futures_util::{FutureExt as _, future::join};
use redis::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{delivery::testing::Book, http::Tls, lease::LeaseState, sink::dial::Place};

/// A sink, and where it connects to.
async fn sink(wait: Option<Wait>) -> (Redis, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let place = Place::Tcp { host: "127.0.0.1".to_owned(), port };
    let server = Server { place, secure: false, user: None, password: None, database: 0 };
    let key = "nomad".parse().expect("a template");
    let config = Config { server, mode: Mode::Stream, key, max_length: None, wait, tls: Tls::default() };
    (Redis::new(config, None).expect("valid"), listener)
}

/// The server's side of a connection, with what is read of it and not yet looked at.
struct Far {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Far {
    /// Takes a connection, and answers the two commands that come before any record.
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut far = Far { stream, read: Vec::new() };
        for (command, answer) in [("CLIENT", "+OK\r\n"), ("CONFIG", "*0\r\n")] {
            assert_eq!(far.commands(1).await, [command]);
            far.answer(answer).await;
        }
        far
    }

    /// The names of the next commands.
    async fn commands(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        while names.len() < count {
            match redis::parse_redis_value(&self.read) {
                Ok(value @ Value::Array(_)) => {
                    let Value::Array(parts) = &value else { unreachable!() };
                    let Value::BulkString(name) = &parts[0] else { panic!("{value:?}") };
                    names.push(String::from_utf8(name.clone()).expect("ASCII"));
                    let mut command = redis::Cmd::new();
                    for part in parts {
                        let Value::BulkString(part) = part else { panic!("{part:?}") };
                        command.arg(part);
                    }
                    self.read.drain(..command.get_packed_command().len());
                }
                _ => assert!(self.stream.read_buf(&mut self.read).await.expect("it is open") > 0, "it has ended"),
            }
        }
        names
    }

    async fn answer(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("it is open");
    }

    async fn until_ended(&mut self) {
        while let Ok(1..) = self.stream.read_buf(&mut self.read).await {}
    }
}

fn classes(outcomes: Result<Vec<Outcome>, Closed>) -> Vec<&'static str> {
    let name = |outcome: &Outcome| match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Retry { class, .. } => class.name(),
        Outcome::Reject { .. } => "reject",
    };
    outcomes.expect("it is never closed").iter().map(name).collect()
}

#[tokio::test]
async fn batches_under_way_have_each_their_own_answers() {
    let (sink, listener) = sink(None).await;
    let book = Book::new();
    let batches = [[book.record("a", "{}"), book.record("b", "{}")], [book.record("c", "{}"), book.record("d", "{}")]];
    let far = async {
        let mut far = Far::accept(&listener).await;
        // All four have come before the first is answered.
        assert_eq!(far.commands(4).await, ["XADD"; 4]);
        far.answer("$3\r\n1-0\r\n-OOM no memory\r\n-NOPERM not there\r\n$3\r\n1-1\r\n").await;
        far
    };
    let sent = join(sink.send(&batches[0]), sink.send(&batches[1]));
    let ((first, second), far) = join(sent, far).await;
    assert_eq!(classes(first), ["delivered", "throttled"]);
    assert_eq!(classes(second), ["refused", "delivered"]);
    drop(far);
}

#[tokio::test]
async fn a_batch_that_is_given_up_ends_the_connection_and_none_behind_it_overtakes_it() {
    let (sink, listener) = sink(None).await;
    let book = Book::new();
    let batches = [[book.record("a", "{}")], [book.record("a", "{}")], [book.record("a", "{}")]];
    let mut first = sink.send(&batches[0]);
    let mut far = tokio::select! {
        _ = &mut first => panic!("nobody has answered"),
        far = async {
            let mut far = Far::accept(&listener).await;
            far.commands(1).await;
            far
        } => far,
    };
    let mut second = sink.send(&batches[1]);
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    far.until_ended().await;
    assert_ne!(classes(second.await), ["delivered"]);
    // The next one has a connection of its own.
    let far = async {
        let mut far = Far::accept(&listener).await;
        far.commands(1).await;
        far.answer("$3\r\n1-0\r\n").await;
        far
    };
    assert_eq!(classes(join(sink.send(&batches[2]), far).await.0), ["delivered"]);
}

/// Redis refuses the first of two batches as a whole. The second is written, and could be executed behind a third one that goes over
/// the next connection.
#[tokio::test]
async fn the_next_connection_waits_until_all_is_answered_on_the_one_before() {
    let (sink, listener) = sink(None).await;
    let book = Book::new();
    let batches = [[book.record("a", "{}")], [book.record("b", "{}")], [book.record("b", "{}")]];
    let (mut first, mut second) = (sink.send(&batches[0]), sink.send(&batches[1]));
    let mut far = tokio::select! {
        _ = join(&mut first, &mut second) => panic!("nobody has answered"),
        far = async {
            let mut far = Far::accept(&listener).await;
            far.commands(2).await;
            far
        } => far,
    };
    far.answer("-READONLY You can't write against a read only replica.\r\n").await;
    assert_eq!(classes(first.await), ["refused"]);
    let mut third = sink.send(&batches[2]);
    tokio::select! {
        _ = &mut third => panic!("there is no connection for it"),
        _ = listener.accept() => panic!("it does not wait"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    far.answer("$3\r\n1-0\r\n").await;
    assert_eq!(classes(second.await), ["delivered"]);
    let next = async {
        let mut far = Far::accept(&listener).await;
        far.commands(1).await;
        far.answer("$3\r\n1-1\r\n").await;
        far
    };
    assert_eq!(classes(join(third, next).await.0), ["delivered"]);
}

#[tokio::test]
async fn a_lease_that_ends_before_the_answer_ends_the_connection() {
    let (sink, listener) = sink(None).await;
    let book = Book::new();
    let batch = [book.record("a", "{}")];
    let far = async {
        let mut far = Far::accept(&listener).await;
        far.commands(1).await;
        book.lease.set(LeaseState::Suspended);
        far.until_ended().await;
    };
    let (outcomes, ()) = join(sink.send(&batch), far).await;
    assert_eq!(classes(outcomes), ["unsent"]);
    book.lease.set(LeaseState::Held);
}

#[tokio::test]
async fn too_few_replicas_make_what_was_taken_a_retry() {
    let wait = Wait { replicas: 2, timeout: Duration::from_millis(100) };
    for (answer, expected) in [("2", "delivered"), ("3", "delivered"), ("1", "server")] {
        let (sink, listener) = sink(Some(wait)).await;
        let batch = [Book::new().record("a", "{}")];
        let far = async {
            let mut far = Far::accept(&listener).await;
            assert_eq!(far.commands(2).await, ["XADD", "WAIT"]);
            far.answer(&format!("$3\r\n1-0\r\n:{answer}\r\n")).await;
            far
        };
        assert_eq!(classes(join(sink.send(&batch), far).await.0), [expected], "{answer}");
    }
}

#[tokio::test]
async fn what_is_no_answer_of_redis_is_a_broken_connection() {
    let (sink, listener) = sink(None).await;
    let batch = [Book::new().record("a", "{}")];
    let far = async {
        let mut far = Far::accept(&listener).await;
        far.commands(1).await;
        far.answer("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        far
    };
    assert_eq!(classes(join(sink.send(&batch), far).await.0), ["connection"]);
}
