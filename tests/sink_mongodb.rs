//! The whole program with a server of MongoDB's protocol: whatever becomes of connections and server, every record is there, once. `RECORDS`
//! says how many; each test has its own number where it is unset.

#![cfg(feature = "mongodb")]

mod common;

use std::time::{Duration, Instant};

use ::mongodb::{
    Collection, IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};
use common::{
    PATIENCE, Process, Setup, Signal, cluster,
    ferretdb::{self, DATABASE, Ferretdb, PASSWORD, body},
    fixture_lines, flood,
    gate::Gate,
    long_run::{self, Passed},
    made,
    tls::Authority,
    truth::{assert_exactly, expected, seen},
};
use futures_util::TryStreamExt as _;
use nomad_sim::Sim;

fn setup(sim: &Sim, url: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "mongodb")
        .env("SINK_MONGODB_CONNECTION", url)
        .env("SINK_MONGODB_DATABASE", DATABASE)
        .env("SINK_MONGODB_COLLECTION", "events")
        .env("NOMAD_FIREHOSE_RETRY_MAX", "500ms")
}

async fn documents(collection: &Collection<Document>) -> Vec<Document> {
    let found = collection.find(doc! {}).await.expect("documents");
    found.try_collect().await.expect("documents")
}

/// Waits for so many documents, and holds them to be no more.
async fn until_documents(collection: &Collection<Document>, count: u64, process: &Process) {
    process.until_exactly(count, async || collection.count_documents(doc! {}).await.expect("a count")).await;
}

/// The original's variables alone, and documents as it makes them.
#[tokio::test(flavor = "multi_thread")]
async fn the_originals_variables_fill_its_collection() {
    let server = Ferretdb::start().await;
    let collection = server.collection("events").await;
    let sim = cluster(&made::evaluations(10..60, 7)).await;
    for name in ["mongodb", "mongo"] {
        let process = Setup::new(&["evaluations"], &sim.url(0))
            .env("SINK_TYPE", name)
            .env("SINK_MONGODB_CONNECTION", server.url())
            .env("SINK_MONGODB_DATABASE", DATABASE)
            .env("SINK_MONGODB_COLLECTION", "events")
            .spawn();
        // The second time they are all there.
        process.until_logged("subscribed to the event stream").await;
        until_documents(&collection, 50, &process).await;
        process.stop().await;
    }
    let documents = documents(&collection).await;
    let indexes: Vec<i64> = documents.iter().map(|it| it.get_i64("ModifyIndex").expect("a whole number")).collect();
    assert_eq!(indexes, (10..60).collect::<Vec<_>>());
    assert!(documents[0].get_str("_id").expect("an id").starts_with("evaluations/10/0/default/"));
}

/// Those whose members have no dot in their names: FerretDB 1.24 takes none, while MongoDB does.
const WITHOUT_DOTS: [&str; 4] = ["allocations", "evaluations", "jobliststubs", "deployments"];

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_is_a_document_of_its_collection() {
    let server = Ferretdb::start().await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = WITHOUT_DOTS.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = setup(&sim, &server.url(), &WITHOUT_DOTS.join(","))
        .env("SINK_MONGODB_COLLECTION", "nomad_{Kind}")
        .env("NOMAD_FIREHOSE_CLUSTER", "prod")
        .spawn();
    let (mut all, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while all.len() < due.len() {
        assert!(Instant::now() < deadline, "{} of {}; the log:\n{}", all.len(), due.len(), process.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
        all.clear();
        for kind in WITHOUT_DOTS {
            all.extend(documents(&server.collection(&format!("nomad_{kind}")).await).await);
        }
    }
    process.stop().await;
    assert!(all.iter().all(|it| it.get_str("_id").expect("an id").starts_with("prod/")));
    let all: Vec<_> = all.iter().map(|document| seen(&body(document))).collect();
    assert_exactly(&all, &due);
}

/// What no document can hold is refused alone, and so is what another unique index refuses. What follows under other keys goes on.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_a_dead_letter_and_the_rest_arrives() {
    let server = Ferretdb::start().await;
    let collection = server.collection("events").await;
    let options = IndexOptions::builder().unique(true).build();
    let index = IndexModel::builder().keys(doc! {"ModifyIndex": 1}).options(options).build();
    collection.create_index(index).await.expect("an index");
    collection.insert_one(doc! {"_id": "other", "ModifyIndex": 20_i64}).await.expect("a document");
    let mut all = made::evaluations(10..60, 7);
    all[30] = all[30].replace("\"TriggeredBy\":", "\"a\\u0000b\":1,\"TriggeredBy\":");
    let sim = cluster(&all).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let process = setup(&sim, &server.url(), "evaluations")
        .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()))
        .spawn();
    until_documents(&collection, 49, &process).await;
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("two dead letters", || letters().lines().count() == 2).await;
    process.stop().await;
    let text = letters();
    assert!(text.contains("has a null character"), "{text}");
    assert!(text.contains("a unique index of the collection refuses the record"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    let files = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    for (name, text) in [("ca", authority.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())] {
        std::fs::write(files.path().join(name), text).expect("a file");
    }
    let file = |name: &str| files.path().join(name).display().to_string();
    let server = Ferretdb::start_with(|port, _| {
        vec![
            format!("--listen-tls=127.0.0.1:{port}"),
            format!("--listen-tls-cert-file={}", file("cert")),
            format!("--listen-tls-key-file={}", file("key")),
        ]
    })
    .await;
    let collection = server.collection("events").await;
    let sim = cluster(&made::evaluations(10..60, 7)).await;
    let url = ferretdb::url(&format!("localhost:{}", server.further_port()));
    let process = setup(&sim, &format!("{url}?tls=true"), "evaluations").spawn();
    process.until_logged("no primary can be reached").await;
    process.end_by(Signal::KILL).await;
    let process = setup(&sim, &url, "evaluations").env("SINK_MONGODB_CACERT", file("ca")).spawn();
    until_documents(&collection, 50, &process).await;
    process.stop().await;
}

/// Refused logins are waited for, with what to fix, and the password is nowhere in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_reported_and_never_shown() {
    let users =
        ["--test-enable-new-auth", "--setup-database=admin", "--setup-username=writer", "--setup-password=other"];
    let server = Ferretdb::start_with(|_, _| users.map(str::to_owned).into()).await;
    let sim = cluster(&made::evaluations(10..60, 7)).await;
    let url = format!("mongodb://writer:{PASSWORD}@{}/?authSource=admin", server.address());
    let process = setup(&sim, &url, "evaluations").env("LOG_LEVEL", "trace").spawn();
    process.until_logged("MongoDB refuses the login; correct user, password and authSource").await;
    process.until_logged("mongodb refuses access").await;
    assert!(!process.log().contains(PASSWORD));
    process.end_by(Signal::KILL).await;
    let text = said(url).await;
    assert!(text.contains("MongoDB refuses the login") && !text.contains(PASSWORD), "{text}");
}

/// What `check` says.
async fn said(url: String) -> String {
    let setup = Setup::new(&["check", "jobs"], "http://127.0.0.1:9")
        .env("SINK_TYPE", "mongodb")
        .env("SINK_MONGODB_CONNECTION", url)
        .env("SINK_MONGODB_DATABASE", DATABASE)
        .env("SINK_MONGODB_COLLECTION", "events");
    tokio::task::spawn_blocking(move || setup.output().1).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tries_reading() {
    let server = Ferretdb::start().await;
    let text = said(server.url()).await;
    assert!(text.contains("a primary answers, and the user may read nomad.events"), "{text}");
    assert!(text.contains("no member of a replica set"), "{text}");
    let text = said("mongodb://127.0.0.1:9/".to_owned()).await;
    // Its own search for a primary may take longer than the check waits.
    assert!(text.contains("SINK_MONGODB_CONNECTION"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn restarts_cuts_and_slowness_leave_each_record_once() {
    let mut server = Ferretdb::start().await;
    let gate = Gate::start(&server.address()).await;
    let records = flood::records(20_000);
    let set = |sim: &Sim| setup(sim, &ferretdb::url(&gate.addr().to_string()), "evaluations");
    let passed = long_run::through_restarts(records, &gate, set, async || server.restart().await).await;
    let Passed { took, peak } = passed;
    let mut came = flood::Came::new(records);
    let found = server.collection("events").await;
    let mut found = found.find(doc! {}).await.expect("documents");
    while let Some(document) = found.try_next().await.expect("documents") {
        came.take(&body(&document));
    }
    println!("{records} records, {} repeats, {} MiB, {took:?}", came.repeats, peak >> 20);
    came.assert_all();
    assert_eq!(came.repeats, 0);
    assert!(peak < 96 << 20, "{peak} bytes");
}
