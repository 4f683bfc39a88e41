//! The sink `http` with the whole program: a real server that fails in every way, and a cluster that goes on meanwhile.

mod common;
#[path = "sink_http/long.rs"]
mod long;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use common::{
    Process, Setup, Signal,
    made::*,
    outage,
    server::{Reply, Server},
    tls::Authority,
};
use nomad_sim::Sim;

/// How many evaluations have versions, over and over.
const KEYS: u64 = 20;

async fn cluster() -> Sim {
    Sim::builder().buffer(100_000).start().await.expect("starts")
}

/// New versions of evaluations, one at each of these indexes.
async fn append(sim: &Sim, indexes: std::ops::RangeInclusive<u64>) {
    let lines: Vec<_> = indexes.map(|index| evaluation(index, index % KEYS)).collect();
    sim.append_lines(lines).await.expect("lines of events");
}

fn setup(sim: &Sim, server: &Server) -> Setup {
    Setup::new(&["evaluations"], &sim.url(0)).env("SINK_TYPE", "http").env("SINK_HTTP_ADDRESS", server.url())
}

/// The indexes of what arrived, and of which evaluation each is, in the order of arrival.
fn arrived(server: &Server) -> Vec<(String, u64)> {
    let versions = server.taken().into_iter().map(|record| {
        let index = record["ModifyIndex"].as_u64().expect("an index");
        (record["ID"].as_str().expect("an id").to_owned(), index)
    });
    versions.collect()
}

fn missing(server: &Server, wanted: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    let seen: std::collections::BTreeSet<_> = arrived(server).into_iter().map(|(_, index)| index).collect();
    wanted.filter(|index| !seen.contains(index)).collect()
}

async fn until_all(process: &Process, server: &Server, wanted: std::ops::RangeInclusive<u64>) {
    process.until("everything arrives", || missing(server, wanted.clone()).is_empty()).await;
}

/// Whatever goes back within a key is a stretch that was sent again: each step but those back goes on by one version, or
/// is the same again.
fn assert_in_order(arrived: &[(String, u64)]) -> usize {
    let mut keys: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (key, index) in arrived {
        keys.entry(key).or_default().push(*index);
    }
    let mut repeats = 0;
    for (key, versions) in keys {
        let mut newest = 0;
        for pair in versions.windows(2) {
            newest = newest.max(pair[0]);
            let (before, after) = (pair[0], pair[1]);
            // Forward it goes by one version, and back only to what had arrived.
            assert!(after == before + KEYS || after <= newest, "{key}: {before}, then {after}");
            repeats += usize::from(after <= newest);
        }
    }
    repeats
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_server_gets_everything_once() {
    for format in ["single", "array", "ndjson"] {
        let (sim, server) = (cluster().await, Server::start(|_| Reply::Take).await);
        append(&sim, 20..=219).await;
        let setup = setup(&sim, &server).env("SINK_HTTP_FORMAT", format).env("SINK_WORKER_COUNT", "4");
        let process = setup.spawn();
        until_all(&process, &server, 20..=219).await;
        append(&sim, 220..=1_019).await;
        until_all(&process, &server, 20..=1_019).await;
        process.stop().await;
        let arrived = arrived(&server);
        // The list shows the newest version of each, the stream may show the rest; nothing comes twice.
        assert_eq!(assert_in_order(&arrived), 0);
        assert_eq!(arrived.len(), 1_000, "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_server_does_everything_arrives_in_order() {
    // A record a request fails far more often than a batch: fewer faults, or the pauses grow to their longest. Behind each
    // fault a batch leaves in small parts at first, each of which can fail, too.
    for (format, batch, faces) in [("single", "10", 60), ("array", "50", 40), ("ndjson", "50", 40)] {
        let seed = common::seed();
        // Never more than three faults in a row: each doubles the pause behind it.
        // The first request is taken without a word, so that something comes again whatever the dice say.
        // Once it takes a request and lets it wait: each time costs the whole timeout.
        let state = std::sync::Mutex::new((fastrand::Rng::with_seed(seed), 0, 0));
        let dice = move |_: &str| {
            let mut state = state.lock().expect("no panic");
            let (random, faults, requests) = &mut *state;
            *requests += 1;
            let thrown = match (*requests, *faults) {
                (1, _) => 3,
                (3, _) => 6,
                (_, ..3) => random.u32(0..faces),
                _ => faces,
            };
            *faults = if thrown < 6 || *requests == 3 { *faults + 1 } else { 0 };
            match thrown {
                0 => Reply::Status(500),
                1 => Reply::RetryAfter(429, "0"),
                2 => Reply::RetryAfter(503, "Sun, 06 Nov 1994 08:49:37 GMT"),
                // Taken, and nobody says so.
                3 => Reply::TakeAndReset,
                4 => Reply::Reset,
                5 => Reply::ResetInHead,
                6 if *requests == 3 => Reply::TakeAndStall,
                _ => Reply::Take,
            }
        };
        let (sim, server) = (cluster().await, Server::start(dice).await);
        let newest = if format == "single" { 419 } else { 4_019 };
        let setup = setup(&sim, &server)
            .env("SINK_HTTP_FORMAT", format)
            .env("SINK_WORKER_COUNT", "4")
            .env("SINK_BATCH_COUNT", batch)
            // Longer than a good answer takes on the busiest machine.
            .env("SINK_HTTP_TIMEOUT", "5s");
        append(&sim, 20..=newest).await;
        let process = setup.spawn();
        until_all(&process, &server, 20..=newest).await;
        let ended = process.end_by(Signal::TERM).await;
        assert_eq!(ended.status.code(), Some(0), "not a clean end:\n{}", ended.log);
        let log = ended.log;
        assert!(log.contains("delivery failed") && log.contains("delivery recovered"), "{log}");
        let repeats = assert_in_order(&arrived(&server));
        println!("{format}: {repeats} of {} records came again", arrived(&server).len());
        assert!(repeats > 0, "the server did nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_longer_than_the_buffer_all_that_can_be_known_comes() {
    let came = Arc::new(Mutex::new(outage::Came::default()));
    let taker = Arc::clone(&came);
    let take = move |body: &str| {
        let records: Vec<serde_json::Value> = serde_json::from_str(body).expect("JSON");
        records.iter().for_each(|record| taker.lock().expect("no panic").take(record));
        Reply::Status(200)
    };
    let until = async |process: &Process, newest: u64| {
        let is_all = || came.lock().expect("no panic").is_all(newest);
        process.until("all that can be known comes", is_all).await;
    };
    let sim = outage::cluster().await;
    let server = Server::start(take.clone()).await;
    outage::append(&sim, outage::BEFORE).await;
    let process = outage::setup(&sim)
        .env("SINK_TYPE", "http")
        .env("SINK_HTTP_ADDRESS", server.url())
        .env("SINK_HTTP_FORMAT", "array")
        .spawn();
    until(&process, *outage::BEFORE.end()).await;
    let address = server.stop().await;
    outage::append(&sim, outage::MEANWHILE).await;
    process.until_logged("cannot be reached").await;
    let _server = Server::start_at(address, take).await;
    until(&process, *outage::MEANWHILE.end()).await;
    let peak = process.peak_memory();
    process.stop().await;
    came.lock().expect("no panic").assert_known();
    println!("{} MiB", peak >> 20);
    assert!(peak < outage::BOUND, "{peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_left_alone_as_long_as_it_asks() {
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let times = std::sync::Arc::clone(&asked);
    let reply = move |_: &str| {
        let mut times = times.lock().expect("no panic");
        times.push(std::time::Instant::now());
        if times.len() == 1 { Reply::RetryAfter(429, "2") } else { Reply::Take }
    };
    let (sim, server) = (cluster().await, Server::start(reply).await);
    append(&sim, 20..=29).await;
    let process = setup(&sim, &server).env("SINK_HTTP_FORMAT", "ndjson").spawn();
    until_all(&process, &server, 20..=29).await;
    process.stop().await;
    let asked = asked.lock().expect("no panic");
    assert!(asked[1] - asked[0] >= std::time::Duration::from_secs(2), "it was asked again too soon");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_path_and_refused_credentials_are_said_and_mended() {
    let fault = std::sync::Arc::new(std::sync::atomic::AtomicU16::new(404));
    let now = std::sync::Arc::clone(&fault);
    let reply = move |_: &str| match now.load(std::sync::atomic::Ordering::SeqCst) {
        200 => Reply::Take,
        307 => Reply::Redirect("http://elsewhere/x?token=hunter2"),
        status => Reply::Status(status),
    };
    let (sim, server) = (cluster().await, Server::start(reply).await);
    append(&sim, 20..=29).await;
    for (status, word) in [(404, "SINK_HTTP_ADDRESS"), (401, "SINK_HTTP_TOKEN"), (307, "http://elsewhere/x")] {
        fault.store(status, std::sync::atomic::Ordering::SeqCst);
        let process = setup(&sim, &server).env("SINK_HTTP_TOKEN", "hunter2").spawn();
        process.until_logged(word).await;
        fault.store(200, std::sync::atomic::Ordering::SeqCst);
        process.until_logged("delivery recovered").await;
        assert_eq!(process.logged("hunter2"), 0, "{}", process.log());
        process.stop().await;
    }
    assert!(missing(&server, 20..=29).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_under_a_private_authority_gets_everything_once_it_is_trusted() {
    let (sim, server) = (cluster().await, Server::start(|_| Reply::Take).await);
    append(&sim, 20..=119).await;
    let directory = tempfile::tempdir().expect("a directory");
    let behind = server.url().trim_start_matches("http://").trim_end_matches("/records").to_owned();
    let authority = Authority::new();
    let (address, _tls) = authority.front("collector.example.com", &behind, true).await;
    let (certificate, key) = authority.issue("firehose");
    let path = |name| directory.path().join(name);
    let files = [("ca.pem", authority.pem()), ("client.pem", certificate.pem()), ("client.key", key.serialize_pem())];
    for (name, text) in files {
        std::fs::write(path(name), text).expect("a file");
    }
    let setup =
        setup(&sim, &server).env("SINK_HTTP_ADDRESS", format!("https://{address}")).env("SINK_HTTP_FORMAT", "array");
    let setup = setup.env("SINK_HTTP_CACERT", path("ca.pem"));
    let process = setup.spawn();
    process.until_logged("SINK_HTTP_TLS_SERVER_NAME").await;
    drop(process);
    let setup = setup.env("SINK_HTTP_TLS_SERVER_NAME", "collector.example.com");
    let process = setup.spawn();
    process.until_logged("SINK_HTTP_CLIENT_CERT").await;
    drop(process);
    let setup = setup.env("SINK_HTTP_CLIENT_CERT", path("client.pem"));
    let setup = setup.env("SINK_HTTP_CLIENT_KEY", path("client.key"));
    let process = setup.spawn();
    until_all(&process, &server, 20..=119).await;
    process.stop().await;
    assert_eq!(arrived(&server).len(), 100);
}

#[test]
fn a_wrong_configuration_names_all_problems_and_no_secret() {
    let wrong = [
        ("SINK_HTTP_ADDRESS", "http://me:hunter2@collector:port/x?key=hunter2"),
        ("SINK_HTTP_FORMAT", "xml"),
        ("SINK_WORKER_COUNT", "many"),
        ("SINK_BATCH_BYTES", "1MB"),
        ("SINK_HTTP_TIMEOUT", "10"),
        ("SINK_HTTP_HEADERS", "hunter2"),
        ("SINK_HTTP_TOKEN", "hunter2 hunter2"),
        ("SINK_HTTP_CLIENT_CERT", "/cert.pem"),
        ("SINK_HTTP_COMPRESSION", "lzma"),
    ];
    let setup = Setup::bare(&["jobs"]).env("NOMAD_FIREHOSE_COORDINATOR", "none").env("SINK_TYPE", "http");
    let (code, _, log) = wrong.iter().fold(setup, |setup, (name, value)| setup.env(name, value)).output();
    assert_eq!(code, Some(2), "{log}");
    for (name, _) in wrong {
        assert!(log.contains(name), "{name} is not named in:\n{log}");
    }
    assert!(!log.contains("hunter2"), "{log}");
}
