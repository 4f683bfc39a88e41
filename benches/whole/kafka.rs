//! Acknowledged messages to a real Apache Kafka, against Kafka's own ProducerPerformance (`kafka-producer-perf-test`) with the same
//! guarantees and bodies of the same mean size, into topics of the same kind.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nomad_sim::{GeneratorOptions, Sim};

use crate::{
    common::{
        Setup, installed,
        kafka::Kafka,
        topic::{self, Reader},
    },
    program::Program,
    table::{Table, median},
};

const WHAT: &str = "Kafka with acks=all, of ProducerPerformance";
const ROUNDS: usize = 3;
/// How long ours measures, behind a start that is not counted.
const SPAN: Duration = Duration::from_secs(10);
/// How many records the reference sends, its start included.
const RECORDS: u64 = 600_000;
const PARTITIONS: i32 = 3;

pub(crate) async fn measure(table: &mut Table) {
    let options = GeneratorOptions { allocations: 200_000, churn: 0.01, seed: 1 };
    let sim = Sim::builder().generated(options).start().await.expect("the simulator starts");
    let (mut ratios, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        // A node each: gigabytes of the round before would cost the next one.
        let kafka = Kafka::start().await;
        let brokers = kafka.brokers();
        topic::create(&brokers, &["ours", "theirs"], PARTITIONS).await;
        let (ours, size, seen) = ours(&sim, &brokers).await;
        let address = brokers.clone();
        let theirs = tokio::task::spawn_blocking(move || theirs(&address, size)).await.expect("no panic");
        ratios.push(ours / theirs);
        last = format!("ours {ours:.0}/s, ProducerPerformance {theirs:.0}/s, {size} bytes, {seen}");
    }
    table.at_least(WHAT, median(ratios), 0.9, last);
}

/// Records a second, their mean size, and what they cost.
async fn ours(sim: &Sim, brokers: &str) -> (f64, u64, String) {
    let setup = Setup::new(&["allocations"], &sim.url(0))
        .env("SINK_TYPE", "kafka")
        .env("SINK_KAFKA_BROKERS", brokers)
        .env("SINK_KAFKA_TOPIC", "ours");
    let started = Instant::now();
    let program = Program::start(setup).await;
    program.until(10_000).await;
    let (begun, (before, _), cpu) = (Instant::now(), program.delivered().await, program.cost(started).cpu);
    tokio::time::sleep(SPAN).await;
    let (records, bytes) = program.delivered().await;
    let rate = (records - before) as f64 / begun.elapsed().as_secs_f64();
    let cost = program.cost(started);
    drop(program);
    let stored = Reader::new(brokers, &["ours"], PARTITIONS).count();
    assert!(stored >= records, "{stored} messages of {records}");
    let each = (cost.cpu - cpu) * 1e6 / (records - before) as f64;
    (rate, bytes / records, format!("{each:.1} µs of CPU a record, {} MiB at the peak", cost.peak >> 20))
}

/// Messages a second of ProducerPerformance.
fn theirs(brokers: &str, size: u64) -> f64 {
    let classes = format!("{}/lib/*", installed("kafka").display());
    let output = Command::new("java")
        .args(["-cp", &classes, "org.apache.kafka.tools.ProducerPerformance", "--topic", "theirs"])
        .args(["--num-records", &RECORDS.to_string(), "--record-size", &size.to_string(), "--throughput", "-1"])
        .args(["--producer-props", &format!("bootstrap.servers={brokers}"), "acks=all", "enable.idempotence=true"])
        // As our client has them.
        .args(["batch.size=1000000", "linger.ms=1", "buffer.memory=16777216"])
        .stdin(Stdio::null())
        .output()
        .expect("java is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let of_all = text.lines().rev().find(|line| line.starts_with(&format!("{RECORDS} records sent")));
    let rate = of_all.and_then(|line| line.split(", ").nth(1)?.split(' ').next()?.parse().ok());
    rate.unwrap_or_else(|| panic!("ProducerPerformance: {text}{}", String::from_utf8_lossy(&output.stderr)))
}
