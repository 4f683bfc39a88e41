//! The sink `otlp` with the whole program, over HTTP and over gRPC: log records of a recording, partial successes, refused credentials, and a long run.
//! `RECORDS` says how many records that has.

#![cfg(feature = "otlp")]

mod common;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use common::{
    Setup, cluster, fixture_lines, flood,
    gate::Gate,
    log_store::LogStore,
    long_run::{self, Overload, Passed},
    made,
    otlp::{Mood, Receiver},
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;

/// A receiver for each protocol.
async fn receivers() -> [(&'static str, Receiver); 2] {
    [("http/protobuf", Receiver::start().await), ("grpc", Receiver::start_grpc().await)]
}

fn setup(sim: &Sim, address: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "otlp")
        .env("SINK_OTLP_ADDRESS", address)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_with_severity_and_attributes() {
    for (protocol, receiver) in receivers().await {
        let stream = fixture_lines("stream-complete.ndjson");
        let sim = cluster(&stream).await;
        let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
        let setup = setup(&sim, &receiver.server.url(), "all").env("SINK_OTLP_PROTOCOL", protocol);
        let setup = setup.env("NOMAD_FIREHOSE_CLUSTER", "prod");
        let process = setup.env("OTEL_RESOURCE_ATTRIBUTES", "team=platform").spawn();
        process.until("all records have come", || receiver.stored_since(0).len() >= due.len()).await;
        process.stop().await;
        let stored = receiver.stored_since(0);
        let all: Vec<_> = stored.iter().map(|entry| seen(&entry.body)).collect();
        assert_exactly(&all, &due);
        let mut severities = BTreeMap::<&str, usize>::new();
        for (entry, seen) in stored.iter().zip(&all) {
            assert_eq!(entry.attributes["nomad.kind"], seen.kind);
            assert_eq!((&*entry.resource["service.name"], &*entry.resource["nomad.cluster"]), ("nomad", "prod"));
            assert_eq!(entry.resource["team"], "platform");
            assert!(entry.attributes["nomad.index"].parse::<u64>().is_ok() && !entry.attributes["nomad.id"].is_empty());
            assert!(seen.kind != "allocations" || entry.time > 1_700_000_000_000_000_000, "{entry:?}");
            *severities.entry(&entry.severity).or_default() += 1;
        }
        println!("{severities:?}");
        assert!(["DEBUG", "INFO", "ERROR"].iter().all(|severity| severities.contains_key(severity)), "{severities:?}");
    }
}

/// What a receiver has taken of a request that it rejects in part comes again with the halves, with the same id.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_partial_success_the_rejected_are_dead_letters_and_the_others_arrive() {
    for (protocol, receiver) in receivers().await {
        receiver.is(Mood::Rejecting(r#""TriggeredBy":"other""#));
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("dead");
        let line = |n: u64| {
            let line = made::evaluation(n, n);
            if n.is_multiple_of(10) {
                line.replace(r#""TriggeredBy":"test""#, r#""TriggeredBy":"other""#)
            } else {
                line
            }
        };
        let sim = cluster(&(10..60).map(line).collect::<Vec<_>>()).await;
        let process = setup(&sim, &receiver.server.url(), "evaluations")
            .env("SINK_OTLP_PROTOCOL", protocol)
            .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()))
            .spawn();
        let letters = || std::fs::read_to_string(&file).unwrap_or_default();
        let different = || {
            let stored = receiver.stored_since(0);
            stored
                .into_iter()
                .map(|entry| entry.attributes["nomad.id"].clone())
                .collect::<std::collections::BTreeSet<_>>()
        };
        process.until("all dead letters are written", || letters().lines().count() >= 5).await;
        process.until("the others have come", || different().len() >= 45).await;
        process.stop().await;
        assert_eq!((different().len(), letters().lines().count()), (45, 5));
        assert!(letters().lines().all(|letter| letter.contains("the tenant has no such stream")), "{}", letters());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_and_a_wrong_path_are_reported_and_healed() {
    for (protocol, receiver) in receivers().await {
        receiver.wants(Some("Bearer other"));
        let sim = cluster(&(10..20).map(|n| made::evaluation(n, n)).collect::<Vec<_>>()).await;
        let setup = |address: &str| setup(&sim, address, "evaluations").env("SINK_OTLP_PROTOCOL", protocol);
        let process = setup(&receiver.server.url()).env("SINK_OTLP_TOKEN", "hush-hush").spawn();
        process.until_logged("SINK_OTLP_TOKEN is not accepted").await;
        receiver.wants(None);
        process.until("all have come", || receiver.stored_since(0).len() == 10).await;
        process.until_logged("delivery recovered").await;
        assert_eq!(process.logged("hush-hush"), 0);
        process.stop().await;
        let process = setup(&format!("{}/elsewhere", receiver.server.url())).spawn();
        let fix = if protocol == "grpc" {
            "it takes no logs over gRPC: see SINK_OTLP_ADDRESS"
        } else {
            "see the path in SINK_OTLP_ADDRESS"
        };
        process.until_logged(fix).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_other_protocol_is_an_outage_with_what_to_fix() {
    let sim = cluster(&(10..20).map(|n| made::evaluation(n, n)).collect::<Vec<_>>()).await;
    for (protocol, receiver) in [("grpc", Receiver::start().await), ("http/protobuf", Receiver::start_grpc().await)] {
        let setup = setup(&sim, &receiver.server.url(), "evaluations").env("SINK_OTLP_PROTOCOL", protocol);
        let process = setup.spawn();
        let other = if protocol == "grpc" { "http/protobuf" } else { "grpc" };
        process.until_logged(&format!("set SINK_OTLP_PROTOCOL={other}")).await;
    }
}

/// The receiver is busy, away, and cut off, each for seconds.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn overload_restarts_and_cuts_lose_nothing() {
    for (protocol, receiver) in receivers().await {
        go_through(protocol, receiver).await;
    }
}

async fn go_through(protocol: &str, mut receiver: Receiver) {
    let records = flood::records(20_000);
    let came = Arc::new(Mutex::new(flood::Came::new(records)));
    let shared = Arc::clone(&came);
    receiver.pass_on(move |entry| shared.lock().expect("no panic").take(&entry.body));
    let gate = Gate::start(&receiver.server.addr().to_string()).await;
    let set = |sim: &Sim| setup(sim, &gate.url(), "evaluations").env("SINK_OTLP_PROTOCOL", protocol);
    let server = async |told| match told {
        Overload::Busy => receiver.is(Mood::Busy("ModifyIndex")),
        Overload::Well => receiver.is(Mood::Well),
        Overload::Stop => receiver.server.stop().await,
        Overload::GoOn => receiver.server.go_on(),
    };
    let Passed { took, peak } = long_run::through_overload(&came, records, &gate, set, server).await;
    let came = came.lock().expect("no panic");
    came.assert_all();
    println!("{protocol}: {records} records, {} repeats, {} MiB, {took:?}", came.repeats, peak >> 20);
    assert!(came.repeats > 0, "the receiver did nothing");
    assert!(peak < 96 << 20, "{peak} bytes");
}

/// The collector decodes with its own code, passes on what it got, and answers as what is behind it does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "builds a collector for two minutes: make sinks-test goes through it"]
async fn real_collector_passes_every_record_on_through_overload_and_its_own_death() {
    let receiver = Receiver::start().await;
    let mut collector = LogStore::collector(&receiver.server.url()).await;
    for protocol in ["http/protobuf", "grpc"] {
        pass_on(&receiver, &mut collector, protocol).await;
    }
}

async fn pass_on(receiver: &Receiver, collector: &mut LogStore, protocol: &str) {
    let address = if protocol == "grpc" { collector.grpc_url() } else { collector.url() };
    let before = receiver.stored_since(0).len();
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    receiver.is(Mood::Busy("a"));
    let process = setup(&sim, &address, "all").env("SINK_OTLP_PROTOCOL", protocol).spawn();
    process.until_logged("delivery failed").await;
    receiver.is(Mood::Well);
    process.until("all records have come", || receiver.stored_since(before).len() >= due.len()).await;
    let all: Vec<_> = receiver.stored_since(before).iter().map(|entry| seen(&entry.body)).collect();
    assert_exactly(&all, &due);
    process.until_logged("delivery recovered").await;
    collector.kill();
    sim.append_lines([made::evaluation(1_000_000, 1)]).await.expect("a line");
    process.until("the outage is reported", || process.logged("delivery failed") >= 2).await;
    collector.go_on().await;
    process.until("the last record has come", || receiver.stored_since(before).len() > due.len()).await;
    process.stop().await;
}
