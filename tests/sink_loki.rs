//! The sink `loki` with the whole program: labels, times and metadata of records, refusals of the server, TLS, and a long run.
//! `RECORDS` says how many records that has.

#![cfg(feature = "loki")]

mod common;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use common::{
    Setup, cluster, fixture_lines, flood,
    gate::Gate,
    log_store::LogStore,
    loki::{Limits, Loki, Mood},
    made,
    tls::Authority,
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;

fn setup(sim: &Sim, loki: &Loki, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "loki")
        .env("SINK_LOKI_ADDRESS", loki.server.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_in_a_few_streams() {
    let loki = Loki::start().await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = setup(&sim, &loki, "all").env("NOMAD_FIREHOSE_CLUSTER", "prod").spawn();
    process.until("all records have come", || loki.stored_since(0).len() >= due.len()).await;
    process.stop().await;
    let stored = loki.stored_since(0);
    let all: Vec<_> = stored.iter().map(|entry| seen(&entry.line)).collect();
    assert_exactly(&all, &due);
    assert_eq!(loki.dropped(), 0, "two records look like one to Loki");
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()).expect("i64");
    for (entry, seen) in stored.iter().zip(&all) {
        assert_eq!((&*entry.labels["job"], &*entry.labels["cluster"]), ("nomad", "prod"));
        assert_eq!(entry.labels["kind"], seen.kind);
        assert!(entry.labels["kind"] != "nodes" || !entry.labels.contains_key("namespace"), "{entry:?}");
        // The recording is old: its records are stored under the time of sending, and keep their own.
        assert!(now - entry.time < 300_000_000_000, "{entry:?}");
        assert!(entry.metadata.get("time").is_none_or(|time| time.ends_with('Z')), "{entry:?}");
        assert!(!entry.metadata["id"].is_empty(), "{entry:?}");
        assert!(entry.metadata["index"].parse::<u64>().is_ok() && !entry.metadata["key"].is_empty());
    }
    let streams: std::collections::BTreeSet<_> = stored.iter().map(|entry| &entry.labels).collect();
    assert!(streams.len() < 40, "{} streams", streams.len());
}

/// A record with a time of its own is stored under it, and a repeat of it changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_a_recent_record_does_not_show() {
    let loki = Loki::start().await;
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()).expect("u64");
    let lines = (1..=20).map(|n| made::failed_allocation(10 + n, n, now - n * 1_000_000));
    let sim = cluster(&lines.collect::<Vec<_>>()).await;
    for round in 0..2 {
        // It keeps no checkpoint, so that a second run sends everything again.
        let process = setup(&sim, &loki, "allocations").spawn();
        process.until("all have come", || loki.stored_since(0).len() + loki.dropped() == 20 * (round + 1)).await;
        process.stop().await;
    }
    assert_eq!((loki.stored_since(0).len(), loki.dropped()), (20, 20));
    assert!(loki.stored_since(0).iter().all(|entry| !entry.metadata.contains_key("time")));
    let times: std::collections::BTreeSet<_> = loki.stored_since(0).iter().map(|entry| entry.time).collect();
    assert_eq!(times, (1..=20).map(|n| i64::try_from(now - n * 1_000_000).expect("i64")).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_too_long_is_a_dead_letter_and_the_rest_arrives_once() {
    let loki = Loki::start().await;
    loki.limit(Limits { line: 5_000, ..Limits::default() });
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let sim =
        cluster(&(10..60).map(|n| made::job(n, n, if n.is_multiple_of(10) { 6_000 } else { 100 })).collect::<Vec<_>>())
            .await;
    let process =
        setup(&sim, &loki, "jobs").env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display())).spawn();
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("all dead letters are written", || letters().lines().count() >= 5).await;
    process.until("the others have come", || loki.stored_since(0).len() >= 45).await;
    process.stop().await;
    assert_eq!(loki.stored_since(0).len(), 45);
    assert_eq!(letters().lines().count(), 5);
    assert!(
        letters().lines().all(|letter| letter.contains("max_line_size") && letter.contains("max entry size '5000'"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_tenant_and_refused_credentials_are_reported_and_healed() {
    let loki = Loki::start().await;
    let sim = cluster(&(10..20).map(|n| made::evaluation(n, n)).collect::<Vec<_>>()).await;
    let process = setup(&sim, &loki, "evaluations");
    loki.limit(Limits { tenant: Some("team-a".to_owned()), ..Limits::default() });
    let without = process.spawn();
    without.until_logged("set SINK_LOKI_TENANT").await;
    drop(without);
    let process = process.env("SINK_LOKI_TENANT", "team-a").env("SINK_LOKI_AUTH", "me:hush-hush").spawn();
    process.until("all have come", || loki.stored_since(0).len() == 10).await;
    loki.limit(Limits { authorization: Some("Bearer other".to_owned()), ..Limits::default() });
    sim.append_lines([made::evaluation(20, 1)]).await.expect("a line");
    process.until_logged("SINK_LOKI_AUTH is not accepted").await;
    loki.limit(Limits::default());
    process.until("the last one has come", || loki.stored_since(0).len() == 11).await;
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("hush-hush"), 0);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_client_certificate() {
    let loki = Loki::start().await;
    let sim = cluster(&(10..20).map(|n| made::evaluation(n, n)).collect::<Vec<_>>()).await;
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let (address, _tls) = authority.front("loki.example.com", &loki.server.addr().to_string(), true).await;
    let (certificate, key) = authority.issue("firehose");
    let path = |name| directory.path().join(name);
    for (name, text) in
        [("ca.pem", authority.pem()), ("client.pem", certificate.pem()), ("client.key", key.serialize_pem())]
    {
        std::fs::write(path(name), text).expect("a file");
    }
    let setup = setup(&sim, &loki, "evaluations").env("SINK_LOKI_ADDRESS", format!("https://{address}"));
    let setup = setup.env("SINK_LOKI_CACERT", path("ca.pem"));
    let process = setup.spawn();
    process.until_logged("SINK_LOKI_TLS_SERVER_NAME").await;
    drop(process);
    let setup = setup.env("SINK_LOKI_TLS_SERVER_NAME", "loki.example.com");
    let process = setup.spawn();
    process.until_logged("SINK_LOKI_CLIENT_CERT").await;
    drop(process);
    let setup = setup.env("SINK_LOKI_CLIENT_CERT", path("client.pem")).env("SINK_LOKI_CLIENT_KEY", path("client.key"));
    let process = setup.spawn();
    process.until("all have come", || loki.stored_since(0).len() == 10).await;
    process.stop().await;
}

/// The server is throttled, away, and cut off, each for seconds.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn throttling_restarts_and_cuts_lose_nothing() {
    let records = flood::records(20_000);
    let sim = flood::cluster(records).await;
    let mut loki = Loki::start().await;
    let came = Arc::new(Mutex::new(flood::Came::new(records)));
    let shared = Arc::clone(&came);
    loki.pass_on(move |entry| shared.lock().expect("no panic").take(&entry.line));
    let gate = Gate::start(&loki.server.addr().to_string()).await;
    let distinct = || came.lock().expect("no panic").distinct;
    let begun = Instant::now();
    let process = setup(&sim, &loki, "evaluations").env("SINK_LOKI_ADDRESS", gate.url()).spawn();
    for part in 1..=8 {
        flood::until_count(&process, records * part / 8, async || distinct()).await;
        println!("{part} eighths after {:?}", begun.elapsed());
        match part {
            1 => loki.is(Mood::Busy("ModifyIndex")),
            2 | 6 => loki.server.stop().await,
            3 => gate.shut_outwards(),
            4 => gate.slow_down(256 << 10),
            5 | 7 => gate.cut(),
            _ => {}
        }
        tokio::time::sleep(Duration::from_secs(if part == 8 { 0 } else { 5 })).await;
        match part {
            2 | 6 => loki.server.go_on(),
            // What went through is not answered.
            3 => gate.cut_once(),
            _ => {}
        }
        loki.is(Mood::Well);
        gate.open();
    }
    let (took, peak) = (begun.elapsed(), process.peak_memory());
    process.stop().await;
    let came = came.lock().expect("no panic");
    came.assert_all();
    let (repeats, dropped) = (came.repeats, loki.dropped());
    println!("{records} records, {repeats} repeats, {dropped} more that Loki drops, {} MiB, {took:?}", peak >> 20);
    assert!(repeats > 0, "the server did nothing");
    assert!(peak < 96 << 20, "{peak} bytes");
}

/// The lines that VictoriaLogs has, each with its fields, in the order of their times.
async fn stored_in(store: &LogStore) -> Vec<serde_json::Value> {
    let path = "/select/logsql/query?query=*%20%7C%20sort%20by%20(_time)&limit=1000000&start=2020-01-01T00:00:00Z";
    let (status, text) = store.ask(reqwest::Method::GET, path, "").await.expect("an answer");
    assert_eq!(status, 200, "{text}");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A server that decodes the push API with its own code.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "builds a server for a minute: make sinks-test goes through it"]
async fn real_victorialogs_has_every_record_through_its_own_death() {
    let mut store = LogStore::victorialogs().await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = Setup::new(&["run", "--resources", "all"], &sim.url(0))
        .env("SINK_TYPE", "loki")
        .env("SINK_LOKI_ADDRESS", format!("{}/insert?disable_message_parsing=1", store.url()))
        .env("SINK_LOKI_BATCH_COUNT", "50")
        .spawn();
    let deadline = Instant::now() + common::PATIENCE;
    let mut found = Vec::new();
    while found.len() < due.len() {
        assert!(Instant::now() < deadline, "{} of {} have come; the log:\n{}", found.len(), due.len(), process.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
        found = stored_in(&store).await;
    }
    let all: Vec<_> = found.iter().map(|line| seen(line["_msg"].as_str().expect("a line"))).collect();
    assert_exactly(&all, &due);
    for (line, seen) in found.iter().zip(&all) {
        assert!(line["_stream"].as_str().expect("labels").contains(&format!("kind=\"{}\"", seen.kind)), "{line}");
        assert!(line["id"].is_string() && line["index"].is_string() && line["key"].is_string(), "{line}");
    }
    // Killed and started again.
    store.kill();
    sim.append_lines([made::evaluation(1_000_000, 1)]).await.expect("a line");
    process.until_logged("delivery failed").await;
    store.go_on().await;
    process.until_logged("delivery recovered").await;
    process.stop().await;
    while stored_in(&store).await.iter().all(|line| line["index"] != "1000000") {
        assert!(Instant::now() < deadline, "the last record does not come");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
