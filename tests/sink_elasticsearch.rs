//! The sink `elasticsearch` with the whole program: documents of a recording, repeats, refused documents and credentials, and a
//! long run. `RECORDS` says how many records that has.

mod common;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Instant,
};

use common::{
    Setup, Signal,
    bulk::{Bulk, Mood},
    cluster, fixture_lines, flood,
    gate::Gate,
    log_store::LogStore,
    long_run::{self, Overload, Passed},
    made,
    ports::Ports,
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;
use reqwest::Method;
use serde_json::{Value, json};

fn setup(sim: &Sim, address: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "elasticsearch")
        .env("SINK_ELASTICSEARCH_ADDRESS", address)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_becomes_a_document() {
    let bulk = Bulk::start().await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let setup = setup(&sim, &bulk.server.url(), "all").env("NOMAD_FIREHOSE_CLUSTER", "prod");
    // OpenSearch is another name of the sink.
    let process = setup.env("SINK_TYPE", "opensearch").env("SINK_ELASTICSEARCH_COMPRESSION", "gzip").spawn();
    process.until("all records have come", || bulk.stored_since(0).len() >= due.len()).await;
    process.stop().await;
    let stored = bulk.stored_since(0);
    let all: Vec<_> = stored.iter().map(|document| seen(&document.source["body"].to_string())).collect();
    assert_exactly(&all, &due);
    assert_eq!(bulk.conflicts(), 0, "two records have one id");
    for (document, seen) in stored.iter().zip(&all) {
        assert_eq!(document.index, format!("nomad-{}", seen.kind));
        // Clusters can share an index: the label keeps their ids apart.
        let id = document.source["nomad"]["id"].as_str().expect("an id");
        assert_eq!(document.id, format!("prod/{id}"));
        assert_eq!(
            (&document.source["nomad"]["kind"], &document.source["nomad"]["cluster"]),
            (&seen.kind.into(), &"prod".into())
        );
    }
}

/// Effectively once: killed and started again without a checkpoint, nothing is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_no_second_document() {
    let bulk = Bulk::start().await;
    let sim = cluster(&(10..210).map(|n| made::evaluation(n, n % 20)).collect::<Vec<_>>()).await;
    for round in 0..3 {
        let process = setup(&sim, &bulk.server.url(), "evaluations").spawn();
        let come = || bulk.stored_since(0).len() + bulk.conflicts();
        process.until("all have come", || come() >= 200 * (round + 1)).await;
        process.end_by(Signal::KILL).await;
    }
    let stored = bulk.stored_since(0);
    assert_eq!(stored.len(), 200);
    assert!(bulk.conflicts() >= 400, "{} repeats", bulk.conflicts());
    let ids: BTreeSet<_> = stored.iter().map(|document| &document.id).collect();
    assert_eq!(ids.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_does_not_fit_is_a_dead_letter_and_the_rest_arrives() {
    let bulk = Bulk::start().await;
    bulk.is(Mood::Refusing(r#""TriggeredBy":"other""#));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let line = |n: u64| {
        let line = made::evaluation(n, n);
        if n.is_multiple_of(10) { line.replace(r#""TriggeredBy":"test""#, r#""TriggeredBy":"other""#) } else { line }
    };
    let sim = cluster(&(10..60).map(line).collect::<Vec<_>>()).await;
    let process = setup(&sim, &bulk.server.url(), "evaluations")
        .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()))
        .spawn();
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("all dead letters are written", || letters().lines().count() >= 5).await;
    process.until("the others have come", || bulk.stored_since(0).len() >= 45).await;
    process.stop().await;
    assert_eq!((bulk.stored_since(0).len(), bulk.conflicts(), letters().lines().count()), (45, 0, 5));
    assert!(letters().lines().all(|letter| letter.contains("map body as flattened")), "{}", letters());
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_reported_and_healed() {
    let bulk = Bulk::start().await;
    bulk.wants(Some("ApiKey hush-next"));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("key");
    std::fs::write(&file, "hush-first").expect("writable");
    let sim = cluster(&(10..20).map(|n| made::evaluation(n, n)).collect::<Vec<_>>()).await;
    let process = setup(&sim, &bulk.server.url(), "evaluations").env("SINK_ELASTICSEARCH_TOKEN_FILE", &file).spawn();
    process.until_logged("SINK_ELASTICSEARCH_TOKEN_FILE is not accepted").await;
    std::fs::write(&file, "hush-next").expect("writable");
    process.until("all have come", || bulk.stored_since(0).len() == 10).await;
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("hush-"), 0);
    process.stop().await;
}

/// The server rejects for now, is away, and cut off, each for seconds.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn overload_restarts_and_cuts_lose_nothing_and_repeat_nothing() {
    let records = flood::records(20_000);
    let mut bulk = Bulk::start().await;
    let came = Arc::new(Mutex::new(flood::Came::new(records)));
    let shared = Arc::clone(&came);
    bulk.pass_on(move |document| {
        // The record as it was sent is what the cluster has, byte by byte.
        let (_, body) = document.text.split_once(r#""body":"#).expect("a body");
        shared.lock().expect("no panic").take(body.strip_suffix('}').expect("an object"));
    });
    let gate = Gate::start(&bulk.server.addr().to_string()).await;
    let set = |sim: &Sim| setup(sim, &gate.url(), "evaluations");
    let server = async |told| match told {
        // Some of each request, so that their keys have to wait.
        Overload::Busy => bulk.is(Mood::Busy("000000-0000-4000-8000-000000000001")),
        Overload::Well => bulk.is(Mood::Well),
        Overload::Stop => bulk.server.stop().await,
        Overload::GoOn => bulk.server.go_on(),
    };
    let Passed { took, peak } = long_run::through_overload(&came, records, &gate, set, server).await;
    let came = came.lock().expect("no panic");
    came.assert_all();
    println!("{records} records, {} conflicts, {} MiB, {took:?}", bulk.conflicts(), peak >> 20);
    assert_eq!(came.repeats, 0, "a document is there twice");
    assert!(bulk.conflicts() > 0, "the server did nothing");
    assert!(peak < 96 << 20, "{peak} bytes");
}

/// The template of the documentation, for OpenSearch.
async fn create_template(store: &LogStore, is_data_stream: bool) {
    let keyword = || json!({"type": "keyword"});
    let mut template = json!({
        "index_patterns": ["nomad-*"],
        "template": {"mappings": {"dynamic": false, "properties": {
            "@timestamp": {"type": "date"},
            "nomad": {"properties": {
                "id": keyword(), "key": keyword(), "kind": keyword(), "namespace": keyword(), "job": keyword(), "node": keyword(),
                "cluster": keyword(), "index": {"type": "long"}
            }},
            "body": {"type": "flat_object"}
        }}}
    });
    if is_data_stream {
        template["data_stream"] = json!({});
    }
    let answer = store.ask(Method::PUT, "/_index_template/nomad", &template.to_string()).await.expect("an answer");
    assert_eq!(answer.0, 200, "{}", answer.1);
}

/// The documents of OpenSearch, up to ten thousand, in the order of raft indexes and times.
async fn stored_in(store: &LogStore) -> Vec<Value> {
    store.ask(Method::POST, "/nomad-*/_refresh", "").await;
    let Some((200, text)) = store.ask(Method::POST, "/nomad-*/_search", r#"{"size": 10000}"#).await else {
        return Vec::new();
    };
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let mut hits = answer["hits"]["hits"].as_array().expect("hits").clone();
    let place = |hit: &Value| {
        let time = hit["_source"]["@timestamp"].as_str().expect("a time").to_owned();
        (hit["_source"]["nomad"]["index"].as_u64().expect("an index"), time)
    };
    hits.sort_by_key(place);
    hits
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a server of Java for each test: make sinks-test goes through it"]
async fn real_opensearch_has_every_record_of_a_recording_in_data_streams_once() {
    let store = LogStore::opensearch().await;
    create_template(&store, true).await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let ports = Ports::reserve();
    let setup = setup(&sim, &store.url(), "all").env("SINK_ELASTICSEARCH_COMPRESSION", "gzip");
    let setup = setup.env("NOMAD_FIREHOSE_LISTEN", ports.address());
    for _ in 0..2 {
        // Without a checkpoint, the second run sends everything again.
        let process = setup.spawn();
        let deadline = Instant::now() + common::PATIENCE;
        let mut found = Vec::new();
        while found.len() < due.len() {
            let log = process.log();
            assert!(Instant::now() < deadline, "{} of {} have come; the log:\n{log}", found.len(), due.len());
            found = stored_in(&store).await;
        }
        // The second run finds everything there from the start: it has to send it all the same.
        flood::until_count(&process, due.len() as u64, async || flood::delivered(ports.base).await).await;
        assert_eq!(process.logged("delivery failed"), 0, "{}", process.log());
        process.stop().await;
        let found = stored_in(&store).await;
        let all: Vec<_> = found.iter().map(|hit| seen(&hit["_source"]["body"].to_string())).collect();
        assert_exactly(&all, &due);
        assert!(found.iter().all(|hit| hit["_id"] == hit["_source"]["nomad"]["id"]));
        assert!(found.iter().all(|hit| hit["_index"].as_str().is_some_and(|index| index.starts_with(".ds-nomad-"))));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a server of Java for each test: make sinks-test goes through it"]
async fn real_opensearch_refuses_what_does_not_fit_its_mapping_and_takes_the_rest() {
    let store = LogStore::opensearch().await;
    let mapping = json!({"mappings": {"properties": {"body": {"properties": {"Name": {"type": "long"}}}}}});
    let answer = store.ask(Method::PUT, "/nomad-jobs", &mapping.to_string()).await.expect("an answer");
    assert_eq!(answer.0, 200, "{}", answer.1);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let line = |n: u64| {
        let line = made::job(n, n, 3);
        if n.is_multiple_of(10) { line } else { line.replace("\"xxx\"", "\"17\"") }
    };
    let sim = cluster(&(10..60).map(line).collect::<Vec<_>>()).await;
    let process =
        setup(&sim, &store.url(), "jobs").env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display())).spawn();
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("all dead letters are written", || letters().lines().count() >= 5).await;
    while stored_in(&store).await.len() < 45 {
        assert_eq!(process.logged("delivery failed"), 0, "{}", process.log());
    }
    process.stop().await;
    assert_eq!((stored_in(&store).await.len(), letters().lines().count()), (45, 5));
    assert!(letters().lines().all(|letter| letter.contains("mapper_parsing_exception")), "{}", letters());
}

/// Effectively once: the leader is killed twenty times, and the server twice.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a server of Java for each test: make sinks-test goes through it"]
async fn real_opensearch_has_each_record_once_through_twenty_deaths() {
    let records = flood::records(20_000);
    let mut store = LogStore::opensearch().await;
    create_template(&store, false).await;
    let sim = flood::cluster(records).await;
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(&sim, &store.url(), "evaluations")
        .data_dir(directory.path())
        .env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "200ms")
        .env("SINK_ELASTICSEARCH_BATCH_COUNT", "200");
    let count = async |store: &LogStore| {
        store.ask(Method::POST, "/nomad-*/_refresh", "").await;
        let answer = store.ask(Method::GET, "/nomad-*/_count", "").await;
        let answer: Option<Value> = answer.and_then(|(_, text)| serde_json::from_str(&text).ok());
        answer.and_then(|answer| answer["count"].as_u64()).unwrap_or_default()
    };
    for death in 1..=20 {
        let process = setup.spawn();
        flood::until_count(&process, records * death / 21, async || count(&store).await).await;
        process.end_by(Signal::KILL).await;
        if death % 8 == 0 {
            store.kill();
            store.go_on().await;
        }
    }
    let process = setup.spawn();
    flood::until_count(&process, records, async || count(&store).await).await;
    process.stop().await;
    assert_eq!(count(&store).await, records);
}
