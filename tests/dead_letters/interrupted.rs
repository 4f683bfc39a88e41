//! A replay that is ended half-way: nothing is lost, and only a kill repeats anything.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::common::{
    Signal,
    server::{Reply, Server},
};

/// A file with ten letters.
fn ten() -> Place {
    let place = Place::new();
    let letter = |n: u64| {
        let body = format!("{{\"n\":{n}}}");
        let letter = serde_json::json!({"time": "2026-01-02T03:04:05Z", "kind": "jobs", "id": format!("jobs/default/web/{n}/0"),
            "key": "web", "namespace": "default", "job": "web", "sink": "http", "reason": "400", "attempts": 1, "body": body});
        format!("{letter}\n")
    };
    std::fs::write(&place.path, (0..10).map(letter).collect::<String>()).expect("writable");
    place
}

fn sink(url: String) -> Vec<(&'static str, String)> {
    vec![("SINK_TYPE", "http".into()), ("SINK_HTTP_ADDRESS", url), ("SINK_HTTP_TOKEN", SECRET.into())]
}

fn numbers(server: &Server) -> Vec<u64> {
    server.taken().iter().map(|record| record["n"].as_u64().expect("a number")).collect()
}

/// A server that takes four records, and then none.
async fn tired_server() -> Server {
    let asked = AtomicUsize::new(0);
    let reply = move |_: &str| if asked.fetch_add(1, Ordering::SeqCst) < 4 { Reply::Take } else { Reply::Status(500) };
    Server::start(reply).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_waited_for() {
    let (place, server) = (ten(), tired_server().await);
    let process = replay(&place.path, &sink(server.url())).spawn();
    process.until_logged("delivery failed").await;
    assert_eq!(numbers(&server), [0, 1, 2, 3]);
    let server = Server::start_at(server.stop().await, |_| Reply::Take).await;
    let ended = process.end().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(
        ended.log.contains("10 delivered, 0 refused again, 0 left") && !ended.log.contains(SECRET),
        "{}",
        ended.log
    );
    assert_eq!(numbers(&server), [4, 5, 6, 7, 8, 9]);
    assert_eq!(place.text(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_delivered_when_it_is_stopped_is_in_the_file() {
    for signal in [Signal::INT, Signal::TERM] {
        let (place, server) = (ten(), tired_server().await);
        let six: String = place.text().split_inclusive('\n').skip(4).collect();
        let setup = replay(&place.path, &sink(server.url())).env("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "100ms");
        let process = setup.spawn();
        process.until_logged("delivery failed").await;
        let ended = process.end_by(signal).await;
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        assert!(ended.log.contains("stopped: 4 delivered, 0 refused again, 6 left"), "{}", ended.log);
        assert_eq!(place.text(), six);
        let server = Server::start_at(server.stop().await, |_| Reply::Take).await;
        replayed(&place.path, &sink(server.url()), 0, "6 delivered, 0 refused again, 0 left");
        assert_eq!(numbers(&server), [4, 5, 6, 7, 8, 9]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_leaves_the_file_as_it_was_to_the_next() {
    let (place, server) = (ten(), tired_server().await);
    let before = place.text();
    let process = replay(&place.path, &sink(server.url())).spawn();
    process.until_logged("delivery failed").await;
    // One at a time.
    let (code, _, log) = replay(&place.path, &sink(server.url())).output();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("another replay") && !log.contains(SECRET), "{log}");
    process.end_by(Signal::KILL).await;
    assert_eq!(place.text(), before);
    let server = Server::start_at(server.stop().await, |_| Reply::Take).await;
    replayed(&place.path, &sink(server.url()), 0, "10 delivered, 0 refused again, 0 left");
    assert_eq!(numbers(&server), (0..10).collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(place.path.parent().expect("a directory")).expect("there").count(), 1);
}
