//! What a real server cannot be brought to do at the right moment.

use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, UdpSocket},
};

use super::*;
use crate::{delivery::testing::Book, http::Tls, sink::dial::Place};

fn sink(target: Target) -> Mutex<Syslog> {
    let config = Config {
        target,
        format: Format::Rfc5424,
        framing: Framing::Octets,
        tag: "tag".to_owned(),
        hostname: Some("host".to_owned()),
        priority: 13,
        max_size: None,
        tls: Tls::default(),
    };
    Mutex::new(Syslog::new(config, Some("c")).expect("valid"))
}

async fn classes(sink: &Mutex<Syslog>, batch: &[Record]) -> Vec<&'static str> {
    let name = |outcome: &Outcome| match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Retry { class, .. } => class.name(),
        Outcome::Reject { .. } => "reject",
    };
    sink.send(batch).await.expect("it is never closed").iter().map(name).collect()
}

/// A write after the server's end of the connection would succeed, and be lost.
#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_not_written_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let sink = sink(Target::Stream(Place::Tcp { host: "127.0.0.1".to_owned(), port }));
    let book = Book::new();
    for number in 1..=3 {
        let batch = [book.record("web", "{}")];
        assert_eq!(classes(&sink, &batch).await, ["delivered"]);
        let (mut stream, _) = listener.accept().await.expect("a connection of its own");
        let mut byte = [0];
        let mut text = Vec::new();
        while !text.ends_with(b"{}") {
            stream.read_exact(&mut byte).await.expect("a message");
            text.push(byte[0]);
        }
        let text = String::from_utf8(text).expect("UTF-8");
        let (length, message) = text.split_once(' ').expect("a length");
        assert_eq!(length.parse(), Ok(message.len()));
        assert!(message.starts_with("<13>1 20") && message.contains("Z host tag "), "{message}");
        let data = format!(
            " jobs [nomad@32473 id=\"web/{number}\" kind=\"jobs\" key=\"web\" namespace=\"default\" cluster=\"c\"] {{}}"
        );
        assert!(message.ends_with(&data), "{message}");
        drop(stream);
        // Until the end has arrived here.
        loop {
            let mut syslog = sink.lock().await;
            if syslog.wire.as_mut().is_none_or(Wire::is_closed) {
                break;
            }
            drop(syslog);
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_no_datagram_can_carry_is_rejected_with_its_size_and_the_rest_goes() {
    let server = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let sink = sink(Target::Udp("127.0.0.1".to_owned(), server.local_addr().expect("bound").port()));
    let book = Book::new();
    let batch = [book.record("a", "1"), book.record("a", vec![b'x'; 66_000]), book.record("a", "3")];
    assert_eq!(classes(&sink, &batch).await, ["delivered", "reject", "delivered"]);
    for end in ["] 1", "] 3"] {
        let mut buffer = vec![0; 1 << 16];
        let length = server.recv(&mut buffer).await.expect("a datagram");
        assert!(buffer[..length].ends_with(end.as_bytes()));
    }
}
