//! The whole program with a real Redis: whatever becomes of connections and server, every record arrives. `RECORDS` says how many;
//! each test has its own number where it is unset.

#![cfg(feature = "redis")]

mod common;

use std::collections::HashSet;

use common::{
    PATIENCE, Setup, Signal, cluster, fixture_lines, flood,
    gate::Gate,
    long_run::{self, Passed},
    made,
    order::{self, Leaps},
    ports::Ports,
    redis::{Entry, Reader, Redis, field},
    tls::Authority,
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;
use redis::Value;

const KEY: &str = "nomad";

fn setup(sim: &Sim, url: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "redis")
        .env("SINK_REDIS_URL", url)
        .env("SINK_REDIS_KEY", KEY)
        .env("SINK_REDIS_MODE", "stream")
        .env("NOMAD_FIREHOSE_RETRY_MAX", "500ms")
}

fn assert_order(entries: &[Entry], lines: &[String]) -> usize {
    let bodies = entries.iter().map(|entry| field(entry, "body").expect("a body"));
    order::assert_order(bodies, lines, Leaps::SentAgain)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_with_its_fields() {
    let redis = Redis::start().await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = setup(&sim, &redis.url(), "all").env("NOMAD_FIREHOSE_CLUSTER", "prod").spawn();
    let mut reader = Reader::of_stream(&redis, KEY);
    let entries = process.until_come(due.len(), async || reader.more(1_000)).await;
    process.stop().await;
    let all: Vec<_> = entries.iter().map(|entry| seen(field(entry, "body").expect("a body"))).collect();
    assert_exactly(&all, &due);
    let ids: HashSet<_> = entries.iter().map(|entry| field(entry, "id").expect("an id")).collect();
    assert_eq!(ids.len(), due.len());
    for (entry, seen) in entries.iter().zip(&all) {
        assert_eq!((field(entry, "kind"), field(entry, "cluster")), (Some(seen.kind), Some("prod")));
        assert_eq!(field(entry, "namespace").is_none(), seen.kind == "nodes" || seen.key.contains("  "), "{seen:?}");
        assert!(field(entry, "key").is_some() && field(entry, "content_type").is_none());
    }
}

/// The original's variables alone, its list, and the user that it ignores.
#[tokio::test(flavor = "multi_thread")]
async fn the_originals_variables_fill_its_list() {
    let redis = Redis::start().await;
    let mut reader = Reader::of_list(&redis, KEY);
    redis.ctl("CONFIG SET requirepass hush-hush");
    let lines = made::evaluations(10..60, 7);
    let sim = cluster(&lines).await;
    let url = redis.url().replace("redis://", "redis://anybody:hush-hush@");
    let process = Setup::new(&["evaluations"], &sim.url(0))
        .env("SINK_TYPE", "redis")
        .env("SINK_REDIS_URL", url)
        .env("SINK_REDIS_KEY", KEY)
        .spawn();
    let entries = process.until_come(lines.len(), async || reader.more(1_000)).await;
    assert_eq!(assert_order(&entries, &lines), 0);
    process.until_logged("logged in as the default user").await;
    assert!(!process.log().contains("hush-hush"));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_reaches_who_listens_and_counts_without() {
    let redis = Redis::start().await;
    let sim = cluster(&made::evaluations(10..20, 7)).await;
    let ports = Ports::reserve();
    let process = setup(&sim, &redis.url(), "evaluations")
        .env("SINK_REDIS_MODE", "channel")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address())
        .spawn();
    process.until_logged("subscribed to the event stream").await;
    flood::until_count(&process, 10, async || flood::delivered(ports.base).await).await;
    let mut connection = redis.connect();
    let mut channel = connection.as_pubsub();
    channel.subscribe(KEY).expect("it can be heard");
    channel.set_read_timeout(Some(PATIENCE)).expect("a socket");
    sim.append_lines(made::evaluations(20..30, 7)).await.expect("lines of a stream");
    for index in 20..30 {
        let body: String = channel.get_message().expect("a record").get_payload().expect("text");
        assert!(body.contains(&format!("\"ModifyIndex\":{index}")), "{body}");
    }
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_client_certificate_over_a_socket_and_into_another_database() {
    let files = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    for (name, text) in [("ca", authority.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())] {
        std::fs::write(files.path().join(name), text).expect("a file");
    }
    let file = |name: &str| files.path().join(name).display().to_string();
    let redis = Redis::start_with(|port, _| {
        let files = [("tls-ca-cert-file", "ca"), ("tls-cert-file", "cert"), ("tls-key-file", "key")];
        let files = files.into_iter().flat_map(|(setting, name)| [setting.to_owned(), file(name)]);
        ["tls-port".to_owned(), port.to_string()].into_iter().chain(files).collect()
    })
    .await;
    let lines = made::evaluations(10..60, 7);
    let sim = cluster(&lines).await;
    let url = format!("rediss://localhost:{}/3", redis.further_port());
    let setup_tls = setup(&sim, &url, "evaluations");
    // Neither side trusts an unknown one.
    let process = setup_tls.spawn();
    process.until_logged("signed by an unknown authority").await;
    process.end_by(Signal::KILL).await;
    let setup_tls = setup_tls.env("SINK_REDIS_CACERT", file("ca"));
    let process = setup_tls.spawn();
    process.until_logged("set SINK_REDIS_CLIENT_CERT").await;
    process.end_by(Signal::KILL).await;
    let process =
        setup_tls.env("SINK_REDIS_CLIENT_CERT", file("cert")).env("SINK_REDIS_CLIENT_KEY", file("key")).spawn();
    let mut reader = Reader::of_database(&redis, 3, KEY);
    assert_eq!(assert_order(&process.until_come(lines.len(), async || reader.more(1_000)).await, &lines), 0);
    process.stop().await;
    let url = format!("unix://{}?db=4", redis.socket().display());
    let process = setup(&sim, &url, "evaluations").spawn();
    let mut reader = Reader::of_database(&redis, 4, KEY);
    assert_eq!(assert_order(&process.until_come(lines.len(), async || reader.more(1_000)).await, &lines), 0);
    process.stop().await;
}

/// What only people can fix is waited for, with what to fix, once, and without the password.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_fix_and_are_waited_for() {
    let redis = Redis::start().await;
    let all = made::evaluations(10..60, 7);
    let sim = cluster(&all).await;
    let url = redis.url().replace("redis://", "redis://writer:hush-hush@");
    redis.ctl("SET nomad text");
    let process = setup(&sim, &url, "evaluations").spawn();
    process.until_logged("user or password is wrong; correct them in SINK_REDIS_URL").await;
    redis.ctl("ACL SETUSER writer on >hush-hush +@all ~other");
    process.until_logged("the user may not write there; grant the command and the key").await;
    redis.ctl("ACL SETUSER writer ~*");
    process.until_logged("the key holds something other than a stream; delete or rename it").await;
    redis.ctl("DEL nomad");
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("redis refuses access"), 1, "{}", process.log());
    assert!(!process.log().contains("hush-hush"));
    let mut reader = Reader::of_stream(&redis, KEY);
    assert_eq!(assert_order(&process.until_come(all.len(), async || reader.more(1_000)).await, &all), 0);
    // Out of memory, and a replica.
    redis.ctl("CONFIG SET maxmemory 1");
    sim.append_lines(made::evaluations(60..70, 7)).await.expect("lines of a stream");
    process.until_logged("Redis has no memory left for writes").await;
    redis.ctl("CONFIG SET maxmemory 0");
    process.until_come(10, async || reader.more(1_000)).await;
    redis.ctl("REPLICAOF 127.0.0.1 9");
    sim.append_lines(made::evaluations(70..80, 7)).await.expect("lines of a stream");
    process.until_logged("the server is a replica, which takes no writes; name the primary in SINK_REDIS_URL").await;
    redis.ctl("REPLICAOF NO ONE");
    process.until_come(10, async || reader.more(1_000)).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_cluster_that_does_not_serve_the_key_is_named() {
    // The port for other nodes would be 10,000 higher than the other one, and nobody has reserved that.
    let settings =
        |port: u16, _: &_| ["cluster-enabled", "yes", "cluster-port", &port.to_string()].map(str::to_owned).into();
    let redis = Redis::start_with(settings).await;
    let all = made::evaluations(10..20, 7);
    let sim = cluster(&all).await;
    let process = setup(&sim, &redis.url(), "evaluations").spawn();
    process.until_logged("Redis cannot serve the key for now").await;
    redis.ctl("CLUSTER ADDSLOTSRANGE 0 16383");
    let mut reader = Reader::of_stream(&redis, KEY);
    process.until_logged("delivery recovered").await;
    assert_eq!(assert_order(&process.until_come(all.len(), async || reader.more(1_000)).await, &all), 0);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_a_dead_letter_and_the_rest_arrives() {
    // With Redis's own word for its limit, and without: then it closes the connection over the record.
    for rights in ["+@all", "+@all -config"] {
        let redis = Redis::start_with(|_, _| ["proto-max-bulk-len", "1mb"].map(str::to_owned).into()).await;
        redis.ctl(&format!("ACL SETUSER writer on >hush-hush ~* {rights}"));
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("dead");
        let size = |n: u64| if n.is_multiple_of(10) { (1 << 20) + 1 } else { 100 };
        let sim = cluster(&(10..40).map(|n| made::job(n, n, size(n))).collect::<Vec<_>>()).await;
        let url = redis.url().replace("redis://", "redis://writer:hush-hush@");
        let dead_letter = format!("file:{}", file.display());
        let process = setup(&sim, &url, "jobs").env("NOMAD_FIREHOSE_DEAD_LETTER", dead_letter).spawn();
        let mut reader = Reader::of_stream(&redis, KEY);
        let entries = process.until_come(27, async || reader.more(1_000)).await;
        let letters = || std::fs::read_to_string(&file).unwrap_or_default();
        process.until("three dead letters", || letters().lines().count() == 3).await;
        process.stop().await;
        let ids: HashSet<_> = entries.iter().map(|entry| field(entry, "id")).collect();
        assert_eq!((entries.len() + reader.more(100).len(), ids.len()), (27, 27));
        assert_eq!(letters().matches("the record is larger than Redis takes").count(), 3, "{}", letters());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_wait_for_their_replicas() {
    let redis = Redis::start().await;
    let all = made::evaluations(10..20, 7);
    let sim = cluster(&all).await;
    let ports = Ports::reserve();
    let process = setup(&sim, &redis.url(), "evaluations")
        .env("SINK_REDIS_WAIT_REPLICAS", "1")
        .env("SINK_REDIS_WAIT_TIMEOUT", "50ms")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address())
        .spawn();
    process.until_logged("0 of 1 replicas have the records after 50ms").await;
    assert_eq!(flood::delivered(ports.base).await, 0);
    let primary = redis.address();
    let (host, port) = primary.split_once(':').expect("a port");
    let settings = vec!["replicaof".to_owned(), format!("{host} {port}")];
    let replica = Redis::start_with(|_, _| settings).await;
    flood::until_count(&process, 10, async || flood::delivered(ports.base).await).await;
    process.stop().await;
    assert_order(&Reader::of_stream(&replica, KEY).more(100_000), &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_trimmed_and_carries_attributes_of_cloud_events() {
    let redis = Redis::start().await;
    let all = made::evaluations(10..1_010, 7);
    let sim = cluster(&all).await;
    let ports = Ports::reserve();
    let process = setup(&sim, &redis.url(), "evaluations")
        .env("SINK_REDIS_MAX_LENGTH", "200")
        .env("SINK_ENVELOPE", "cloudevents-binary")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address())
        .spawn();
    process.until_logged("subscribed to the event stream").await;
    flood::until_count(&process, 1_000, async || flood::delivered(ports.base).await).await;
    process.stop().await;
    let entries = Reader::of_stream(&redis, KEY).more(1_000);
    assert!((200..400).contains(&entries.len()), "{}", entries.len());
    let last = entries.last().expect("an entry");
    assert_eq!((field(last, "ce_specversion"), field(last, "ce_id")), (Some("1.0"), field(last, "id")));
    assert_eq!(field(last, "content_type"), Some("application/json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tries_login_key_and_rights_without_writing() {
    let redis = Redis::start_with(|_, _| ["maxmemory-policy", "allkeys-lru"].map(str::to_owned).into()).await;
    redis.ctl("ACL SETUSER reader on >hush-hush ~* +@all -xadd");
    let said = async |url: String, key: &str| {
        let setup = Setup::new(&["check", "jobs"], "http://127.0.0.1:9")
            .env("SINK_TYPE", "redis")
            .env("SINK_REDIS_URL", url)
            .env("SINK_REDIS_KEY", key)
            .env("SINK_REDIS_MODE", "stream");
        tokio::task::spawn_blocking(move || setup.output().1).await.expect("no panic")
    };
    let text = said(redis.url(), KEY).await;
    for part in
        ["logged in, database 0", "does not exist yet; the user may write a stream", "allkeys-lru", "appendonly"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = said(redis.url().replace("redis://", "redis://reader:hush-hush@"), KEY).await;
    assert!(text.contains("the user may not write there") && !text.contains("hush-hush"), "{text}");
    redis.ctl("SET text x");
    let text = said(redis.url(), "text").await;
    assert!(text.contains("is a string") && text.contains("SINK_REDIS_MODE"), "{text}");
    assert_eq!(redis.ctl("DBSIZE"), Value::Int(1), "something was written");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn restarts_cuts_and_slowness_lose_nothing() {
    // Never two copies of the data on the disk.
    let always = ["appendonly", "yes", "appendfsync", "always", "auto-aof-rewrite-percentage", "0"];
    let mut redis = Redis::start_with(|_, _| always.map(str::to_owned).into()).await;
    let gate = Gate::start(&redis.address()).await;
    let records = flood::records(20_000);
    let set = |sim: &Sim| setup(sim, &format!("redis://{}/0", gate.addr()), "evaluations");
    let passed = long_run::through_restarts(records, &gate, set, async || redis.restart().await).await;
    let Passed { took, peak } = passed;
    // What Redis has on disk, and nothing else.
    redis.restart().await;
    let (mut came, mut ids, mut reader) = (flood::Came::new(records), HashSet::new(), Reader::of_stream(&redis, KEY));
    loop {
        let more = reader.more(10_000);
        if more.is_empty() {
            break;
        }
        for entry in &more {
            ids.insert(field(entry, "id").expect("an id").to_owned());
            came.take(field(entry, "body").expect("a body"));
        }
    }
    println!("{records} records, {} repeats, {} MiB, {took:?}", came.repeats, peak >> 20);
    came.assert_all();
    assert_eq!(ids.len() as u64, records);
    assert!(peak < 96 << 20, "{peak} bytes");
}
