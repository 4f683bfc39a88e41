//! The whole program with a stand-in for Kinesis: whatever becomes of calls, every record arrives. `RECORDS` says how many
//! in the tests of many, 9,000 where it is unset.

#![cfg(feature = "kinesis")]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod tls;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Setup, fixture_lines,
    kinesis::{Kinesis, Stored},
    kinesis_proxy::{Call, Proxy, Reply},
    made,
    order::{Leaps, assert_order},
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;

const STREAM: &str = "nomad";
const SECRETS: [&str; 2] = ["hush-hush-key", "hush-hush-token"];

/// The program, which writes to the Kinesis at `url`. It sees no machine around it.
fn setup(sim: &Sim, url: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "kinesis")
        .env("SINK_KINESIS_STREAM_NAME", STREAM)
        .env("AWS_ENDPOINT_URL_KINESIS", url)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDTEST")
        .env("AWS_SECRET_ACCESS_KEY", SECRETS[0])
        .env("AWS_SESSION_TOKEN", SECRETS[1])
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent")
}

fn records() -> u64 {
    std::env::var("RECORDS").ok().and_then(|records| records.parse().ok()).unwrap_or(9_000)
}

/// Waits until the stream holds so many different records, and gives all that it holds, each shard in its order.
async fn take(kinesis: &Kinesis, process: &common::Process, records: usize) -> Vec<Stored> {
    let mut consumer = kinesis.consumer(STREAM).await;
    let (mut all, mut different) = (Vec::new(), HashSet::new());
    let mut last = Instant::now();
    while different.len() < records {
        let more = consumer.read().await;
        if more.is_empty() {
            let log = || process.log();
            assert!(
                last.elapsed() < PATIENCE,
                "{} of {records} records have come; the log:\n{}",
                different.len(),
                log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        last = Instant::now();
        different.extend(more.iter().map(|stored| stored.body.clone()));
        all.extend(more);
    }
    all
}

fn bodies(all: &[Stored]) -> impl Iterator<Item = &str> {
    all.iter().map(|stored| stored.body.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_with_its_partition_key() {
    let kinesis = Kinesis::start().await;
    kinesis.create_stream(STREAM, 5).await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = common::cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = setup(&sim, &kinesis.url(), "all").spawn();
    let (mut consumer, mut all) = (kinesis.consumer(STREAM).await, Vec::new());
    let deadline = Instant::now() + PATIENCE;
    while all.len() < due.len() {
        assert!(Instant::now() < deadline, "{} of {} records have come:\n{}", all.len(), due.len(), process.log());
        all.extend(consumer.read().await);
    }
    process.stop().await;
    all.extend(consumer.read().await);
    all.sort_by_key(|stored| stored.shard);
    let came: Vec<_> = bodies(&all).map(seen).collect();
    assert_exactly(&came, &due);
    // What is about one object has one partition key, and so one shard, which keeps its order.
    let mut keys: HashMap<(&str, &str), (&str, usize)> = HashMap::new();
    let mut order: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (stored, seen) in all.iter().zip(&came) {
        let at = (&*stored.partition_key, stored.shard);
        assert_eq!(*keys.entry((seen.kind, &seen.key)).or_insert(at), at, "{seen:?}");
        order.entry((seen.kind, &seen.key)).or_default().push(&seen.version);
    }
    let mut order_due: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for seen in &due {
        order_due.entry((seen.kind, &seen.key)).or_default().push(&seen.version);
    }
    assert_eq!(order, order_due);
    let shards: HashSet<_> = all.iter().map(|stored| stored.shard).collect();
    assert_eq!(shards.len(), 5);
    let node = all.iter().zip(&came).find(|(_, seen)| seen.kind == "nodes").expect("there are nodes").0;
    let body: serde_json::Value = serde_json::from_str(&node.body).expect("JSON");
    assert!(node.partition_key.contains(body["ID"].as_str().expect("an id")), "{}", node.partition_key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_key_can_hold_fields_of_the_record_and_a_stream_can_be_an_arn() {
    let kinesis = Kinesis::start().await;
    kinesis.create_stream(STREAM, 2).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..60).map(|n| made::evaluation(n, n)).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process = setup(&sim, &kinesis.url(), "evaluations")
        .env("SINK_KINESIS_STREAM_NAME", format!("arn:aws:kinesis:us-east-1:000000000000:stream/{STREAM}"))
        .env("SINK_KINESIS_PARTITION_KEY", "{Namespace}/{JobID}/{TriggeredBy}")
        .env("AWS_REGION", "eu-west-1")
        .spawn();
    let all = take(&kinesis, &process, lines.len()).await;
    process.stop().await;
    assert_eq!(assert_order(bodies(&all), &lines, Leaps::Never), 0);
    assert!(all.iter().all(|stored| stored.partition_key == "default/job/test"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_calls_are_full() {
    let kinesis = Kinesis::start().await;
    kinesis.create_stream(STREAM, 40).await;
    // Load is what comes faster than it can be written, on a busy machine too: each call takes its time.
    let slowly = |_: &Call| {
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(500)));
        Reply::Pass
    };
    let proxy = Proxy::start(kinesis.url(), slowly).await;
    let sim = Sim::builder().buffer(1_000_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..10 + records()).map(|n| made::evaluation(n, n % 6_000 + 1)).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process = setup(&sim, &proxy.url(), "evaluations").spawn();
    proxy.until_stored(lines.len(), &process).await;
    let peak = process.peak_memory();
    process.stop().await;
    let all = kinesis.consumer(STREAM).await.read().await;
    assert_eq!(assert_order(bodies(&all), &lines, Leaps::Never), 0);
    let sizes: Vec<usize> = proxy.calls().iter().map(|(call, _)| call.records).collect();
    // The first ones carry what had come by then, and the last ones what is left.
    let loaded = &sizes[6..sizes.len() - 4];
    let fill = loaded.iter().sum::<usize>() * 100 / (loaded.len() * 500);
    println!("{} records in {} calls, {fill} % full, {} MiB; {sizes:?}", lines.len(), sizes.len(), peak >> 20);
    assert!(fill >= 95, "{fill} %: {sizes:?}");
    assert!(peak < 96 << 20, "{peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_a_dead_letter_and_the_rest_arrives() {
    let kinesis = Kinesis::start().await;
    kinesis.create_stream(STREAM, 2).await;
    let proxy = Proxy::start(kinesis.url(), |call: &Call| {
        // One that the stream takes offence at for another reason, whatever call it is in.
        let guilty = call.keys.iter().any(|key| key.contains("job-33"));
        let said = || "1 validation error detected: Value at 'records.3.member.data' failed".to_owned();
        if guilty { Reply::Error(400, "ValidationException", said()) } else { Reply::Pass }
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..60).map(|n| made::job(n, n, if n == 20 { 1 << 20 } else { 100 })).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process =
        setup(&sim, &proxy.url(), "jobs").env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display())).spawn();
    let all = take(&kinesis, &process, 48).await;
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("all dead letters are written", || letters().lines().count() >= 2).await;
    process.stop().await;
    assert_eq!(all.len(), 48);
    let letters = letters();
    assert_eq!(letters.lines().count(), 2, "{letters}");
    let (large, invalid) = letters.split_once('\n').expect("two lines");
    assert!(large.contains("1048576 are the most (SINK_KINESIS_MAX_RECORD_SIZE)") && large.contains("job-20"));
    assert!(invalid.contains("ValidationException: 1 validation error") && invalid.contains("job-33"), "{invalid}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_record_goes_to_a_stream_that_is_said_to_take_it_and_kinesis_has_the_last_word() {
    let kinesis = Kinesis::start().await;
    kinesis.create_stream(STREAM, 1).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..20).map(|n| made::job(n, n, if n == 15 { 2 << 20 } else { 100 })).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process = setup(&sim, &kinesis.url(), "jobs")
        .env("SINK_KINESIS_MAX_RECORD_SIZE", "4MiB")
        .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()))
        .spawn();
    let all = take(&kinesis, &process, 9).await;
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("the dead letter is written", || letters().lines().count() >= 1).await;
    process.stop().await;
    assert_eq!(all.len(), 9);
    assert!(letters().contains("exceeds the stream's max record size"), "{}", &letters()[..500]);
}

#[test]
fn wrong_settings_are_all_named_at_once() {
    let setup = Setup::bare(&["nodes"])
        .env("SINK_TYPE", "kinesis")
        .env("SINK_KINESIS_PARTITION_KEY", "{a")
        .env("SINK_KINESIS_MAX_RECORD_SIZE", "5GiB");
    let (code, printed, log) = setup.output();
    assert_eq!((code, printed.as_str()), (Some(2), ""), "{log}");
    for name in ["SINK_KINESIS_STREAM_NAME", "SINK_KINESIS_PARTITION_KEY", "SINK_KINESIS_MAX_RECORD_SIZE"] {
        assert!(log.contains(name), "{name} is not named in:\n{log}");
    }
}
