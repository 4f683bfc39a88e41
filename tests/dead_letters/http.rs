//! What an HTTP server refuses.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::*;
use crate::common::server::{Reply, Server};

#[path = "firewall.rs"]
mod firewall;

/// A server that refuses some records while it is strict.
async fn strict_server(status: u16, guilty: &'static [u64]) -> (Server, Arc<AtomicBool>) {
    let strict = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&strict);
    let reply = move |body: &str| {
        let guilty = guilty.iter().any(|index| body.contains(&format!("\"ModifyIndex\":{index},")));
        if now.load(Ordering::SeqCst) && guilty { Reply::Status(status) } else { Reply::Take }
    };
    (Server::start(reply).await, strict)
}

fn sink(server: &Server, format: &str) -> Vec<(&'static str, String)> {
    vec![
        ("SINK_TYPE", "http".into()),
        ("SINK_HTTP_ADDRESS", server.url()),
        ("SINK_HTTP_FORMAT", format.into()),
        ("SINK_HTTP_TOKEN", SECRET.into()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refused_comes_when_it_takes_it() {
    for (format, status) in [("single", 413), ("single", 400), ("ndjson", 413), ("array", 400)] {
        let (server, strict) = strict_server(status, &[13, 17, 18]).await;
        let (sim, place, sink) = (cluster().await, Place::new(), sink(&server, format));
        sim.append_lines(evaluations(10..30)).await.expect("lines of a stream");
        let setup = with(Setup::new(&["evaluations"], &sim.url(0)), &sink);
        let process = setup.env("NOMAD_FIREHOSE_DEAD_LETTER", place.setting()).env("LOG_LEVEL", "trace").spawn();
        process.until("the others arrive", || server.taken().len() == 17).await;
        process.until("three are in the file", || place.letters().len() == 3).await;
        let (ids, bodies) = place.records();
        let mend = async || strict.store(false, Ordering::SeqCst);
        replayed_when_mended(&place, &sink, &status.to_string(), mend).await;
        let came: Vec<_> = server.taken().split_off(17);
        let due: Vec<Value> = bodies.iter().map(|body| serde_json::from_str(body).expect("JSON")).collect();
        assert_eq!(came, due, "{format} {status}");
        if format == "single" {
            // The key of a request with one record is the record's id.
            assert_eq!(server.keys().split_off(17), ids);
        }
        assert!(!process.log().contains(SECRET));
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_log_its_id_and_the_reason_are_logged_and_its_body_is_not() {
    let (server, _) = strict_server(413, &[33]).await;
    let sim = cluster().await;
    sim.append_lines(evaluations(20..40)).await.expect("lines of a stream");
    let setup = with(Setup::new(&["evaluations"], &sim.url(0)), &sink(&server, "single"));
    let process = setup.env("NOMAD_FIREHOSE_DEAD_LETTER", "log").spawn();
    process.until("all others arrive", || server.taken().len() == 19).await;
    process.until_logged("record rejected by the sink").await;
    process.until_logged(&made::id(33)).await;
    let log = process.log();
    assert!(log.contains("413") && !log.contains("TriggeredBy") && !log.contains(SECRET), "{log}");
    process.stop().await;
}
