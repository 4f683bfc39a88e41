//! The sink with a server that speaks as nsqd does, by hand.

use std::sync::Mutex as StdMutex;

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::{delivery::testing::Book, lease::LeaseState, settings::testing};

const WITHIN: Duration = Duration::from_secs(10);

/// What becomes of the messages of a command.
type Judge = fn(&[String]) -> Result<(), &'static str>;

/// What was taken: a topic and its messages, command by command.
type Taken = Arc<StdMutex<Vec<(String, Vec<String>)>>>;

/// A listener and a sink that publishes to it.
async fn listener(topic: &str) -> (TcpListener, Nsq) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let variables = [("SINK_NSQ_ADDR", address.as_str()), ("SINK_NSQ_TOPIC_NAME", topic)];
    let config = testing::read(DEFINITION.settings, &variables, settings::read).expect("valid settings").0;
    (listener, Nsq::new(config).expect("no TLS"))
}

/// A server that asks `judge`, and a sink that publishes to it.
async fn server(topic: &str, judge: Judge) -> (AbortOnDropHandle<()>, Taken, Nsq) {
    let (listener, nsq) = listener(topic).await;
    let taken = Taken::default();
    let shared = Arc::clone(&taken);
    let task = tokio::spawn(async move {
        loop {
            let mut stream = accept(&listener).await;
            while let Some((topic, messages)) = published(&mut stream).await {
                if let Err(words) = judge(&messages) {
                    say(&mut stream, 1, words).await;
                    break;
                }
                shared.lock().expect("no panic").push((topic, messages));
                say(&mut stream, 0, "OK").await;
            }
        }
    });
    (AbortOnDropHandle::new(task), taken, nsq)
}

/// The next connection, which has said who it is.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut hello = [0; 13];
    stream.read_exact(&mut hello).await.expect("a greeting");
    assert_eq!(hello, *b"  V2IDENTIFY\n");
    let identity: serde_json::Value = serde_json::from_slice(&body(&mut stream).await).expect("JSON");
    assert_eq!((&identity["feature_negotiation"], &identity["tls_v1"]), (&true.into(), &false.into()));
    assert_eq!(identity["user_agent"], crate::identity::PRODUCT);
    say(&mut stream, 0, r#"{"version":"1.3.0","max_rdy_count":2500}"#).await;
    stream
}

async fn body(stream: &mut TcpStream) -> Vec<u8> {
    let size = stream.read_u32().await.expect("a size");
    let mut bytes = vec![0; usize::try_from(size).expect("it is small")];
    stream.read_exact(&mut bytes).await.expect("a body");
    bytes
}

async fn line(stream: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await.ok()? {
            b'\n' => return String::from_utf8(line).ok(),
            byte => line.push(byte),
        }
    }
}

/// The topic and the messages of the next command; `None` at the end of the connection.
async fn published(stream: &mut TcpStream) -> Option<(String, Vec<String>)> {
    let line = line(stream).await?;
    let (command, topic) = line.split_once(' ').expect("a topic");
    let mut body = Bytes::from(body(stream).await);
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let messages = match command {
        "PUB" => vec![text(body)],
        "MPUB" => {
            let count = body.get_u32();
            let mut next = || {
                let size = usize::try_from(body.get_u32()).expect("it is small");
                text(body.split_to(size))
            };
            (0..count).map(|_| next()).collect()
        }
        other => panic!("{other} is not expected"),
    };
    Some((topic.to_owned(), messages))
}

async fn say(stream: &mut TcpStream, kind: u32, words: &str) {
    let size = u32::try_from(4 + words.len()).expect("a few bytes");
    let frame = [&size.to_be_bytes()[..], &kind.to_be_bytes(), words.as_bytes()].concat();
    stream.write_all(&frame).await.expect("it reads");
}

/// Records of a key each, with these bodies.
fn records(book: &Book, bodies: &[&'static str]) -> Vec<Record> {
    bodies.iter().map(|body| book.record(body, *body)).collect()
}

/// Each outcome by its first letter.
fn letters(outcomes: &[Outcome]) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Outcome::Delivered => 'd',
        Outcome::Retry { class: ErrorClass::Unsent, .. } => 'u',
        Outcome::Retry { .. } => 'r',
        Outcome::Reject { .. } => 'x',
    };
    outcomes.iter().map(letter).collect()
}

#[tokio::test]
async fn a_heartbeat_is_answered_while_nothing_is_sent() {
    let (listener, nsq) = listener("t").await;
    let (answered, is_answered) = oneshot::channel();
    let server = async {
        let mut stream = accept(&listener).await;
        assert_eq!(published(&mut stream).await, Some(("t".to_owned(), vec!["one".to_owned()])));
        say(&mut stream, 0, "OK").await;
        for _ in 0..2 {
            say(&mut stream, 0, "_heartbeat_").await;
            assert_eq!(line(&mut stream).await.as_deref(), Some("NOP"));
        }
        answered.send(()).expect("somebody waits");
        // The same connection is used again.
        assert_eq!(published(&mut stream).await, Some(("t".to_owned(), vec!["two".to_owned()])));
        say(&mut stream, 0, "OK").await;
    };
    let book = Book::new();
    let client = async {
        assert_eq!(letters(&nsq.publish(&records(&book, &["one"])).await), "d");
        is_answered.await.expect("it says so");
        assert_eq!(letters(&nsq.publish(&records(&book, &["two"])).await), "d");
    };
    timeout(WITHIN, async { tokio::join!(server, client) }).await.expect("both end");
}

#[tokio::test]
async fn halves_find_what_is_refused_without_a_limit() {
    let judge: Judge = |messages| match messages.iter().any(|message| message == "no") {
        true => Err("E_BAD_MESSAGE it is not wanted"),
        false => Ok(()),
    };
    let (_server, taken, nsq) = server("t", judge).await;
    let outcomes = nsq.publish(&records(&Book::new(), &["a", "b", "no", "c", "d", "no", "e"])).await;
    assert_eq!(letters(&outcomes), "ddxddxd");
    let Outcome::Reject { reason } = &outcomes[2] else { panic!("{outcomes:?}") };
    assert!(reason.contains("E_BAD_MESSAGE it is not wanted"), "{reason}");
    let all: Vec<String> = taken.lock().expect("no panic").iter().flat_map(|(_, messages)| messages.clone()).collect();
    assert_eq!(all, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_limit_is_kept_for_the_next_batch() {
    let judge: Judge = |messages| match messages.iter().any(|message| message.len() > 3) {
        true => Err("E_BAD_MESSAGE MPUB message too big 5 > 3"),
        false => Ok(()),
    };
    let (_server, taken, nsq) = server("t", judge).await;
    let book = Book::new();
    for _ in 0..2 {
        let outcomes = nsq.publish(&records(&book, &["a", "large", "b"])).await;
        assert_eq!(letters(&outcomes), "dxd");
        let Outcome::Reject { reason } = &outcomes[1] else { panic!("{outcomes:?}") };
        assert!(reason.contains("no message of 5 bytes: nsqd's --max-msg-size is 3"), "{reason}");
    }
    assert_eq!(taken.lock().expect("no panic").len(), 2);
}

#[tokio::test]
async fn a_topic_that_fails_holds_no_other_one_and_nothing_follows_in_it() {
    let judge: Judge = |messages| match messages.iter().any(|message| message.contains("busy")) {
        true => Err("E_MPUB_FAILED MPUB failed exiting"),
        false => Ok(()),
    };
    let (_server, taken, nsq) = server("t.{Type}", judge).await;
    let bodies = [r#"{"Type":"a"}"#, r#"{"Type":"busy"}"#, r#"{"Type":"b/c"}"#, r#"{"Type":"busy"}"#, "", "{}"];
    let outcomes = nsq.publish(&records(&Book::new(), &bodies)).await;
    assert_eq!(letters(&outcomes), "drdrxd");
    let topics: Vec<String> = taken.lock().expect("no panic").iter().map(|(topic, _)| topic.clone()).collect();
    assert_eq!(topics, ["t.a", "t.b_c", "t.-"]);
}

/// nsqd says it with the code of bad data when its own deadline for reading is over.
#[tokio::test]
async fn a_command_that_nsqd_could_not_read_whole_is_sent_again() {
    let (_server, taken, nsq) = server("t", |_| Err("E_BAD_MESSAGE MPUB failed to read message body")).await;
    let outcomes = nsq.publish(&records(&Book::new(), &["a", "b"])).await;
    assert_eq!(letters(&outcomes), "rr");
    assert!(outcomes.iter().all(|outcome| outcome.class() == Some(ErrorClass::Connection)), "{outcomes:?}");
    assert!(taken.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_lease_that_ends_ends_the_wait_and_the_connection() {
    let (listener, nsq) = listener("t").await;
    let book = Book::new();
    let server = async {
        let mut stream = accept(&listener).await;
        published(&mut stream).await.expect("a command");
        book.lease.set(LeaseState::Lost);
        assert_eq!(stream.read_u8().await.ok(), None, "the connection goes on");
    };
    let batch = records(&book, &["a"]);
    let (outcomes, ()) = timeout(WITHIN, async { tokio::join!(nsq.publish(&batch), server) }).await.expect("both end");
    assert_eq!(letters(&outcomes), "u");
}
