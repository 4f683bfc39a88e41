//! Acknowledged messages to a real Apache Kafka, against Kafka's own ProducerPerformance (`kafka-producer-perf-test`) with the same
//! guarantees and bodies of the same mean size, into topics of the same kind.

use std::process::Command;

use crate::{
    common::{
        installed,
        kafka::Kafka,
        topic::{self, Reader},
    },
    sink::{self, ROUNDS},
    table::{Table, median},
};

const WHAT: &str = "Kafka with acks=all, of ProducerPerformance";
/// How many records the reference sends, its start included.
const RECORDS: u64 = 600_000;
const PARTITIONS: i32 = 3;

pub(crate) async fn measure(table: &mut Table) {
    let sim = sink::cluster().await;
    let (mut ratios, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        // A node each: gigabytes of the round before would cost the next one.
        let kafka = Kafka::start().await;
        let brokers = kafka.brokers();
        topic::create(&brokers, &["ours", "theirs"], PARTITIONS).await;
        let variables = [("SINK_TYPE", "kafka"), ("SINK_KAFKA_BROKERS", &brokers), ("SINK_KAFKA_TOPIC", "ours")];
        let ours = sink::ours(&sim, &variables).await;
        let stored = Reader::new(&brokers, &["ours"], PARTITIONS).count();
        assert!(stored >= ours.records, "{stored} messages of {}", ours.records);
        let theirs = theirs(&brokers, ours.size).await;
        ratios.push(ours.rate / theirs);
        let sink::Ours { rate, size, cost, .. } = ours;
        last = format!("ours {rate:.0}/s, ProducerPerformance {theirs:.0}/s, {size} bytes, {cost}");
    }
    table.at_least(WHAT, median(ratios), 0.9, last);
}

/// Messages a second of ProducerPerformance.
async fn theirs(brokers: &str, size: u64) -> f64 {
    let classes = format!("{}/lib/*", installed("kafka").display());
    let mut command = Command::new("java");
    command
        .args(["-cp", &classes, "org.apache.kafka.tools.ProducerPerformance", "--topic", "theirs"])
        .args(["--num-records", &RECORDS.to_string(), "--record-size", &size.to_string(), "--throughput", "-1"])
        .args(["--producer-props", &format!("bootstrap.servers={brokers}"), "acks=all", "enable.idempotence=true"])
        // As our client has them.
        .args(["batch.size=1000000", "linger.ms=1", "buffer.memory=16777216"]);
    let text = sink::output(command).await;
    let of_all = text.lines().rev().find(|line| line.starts_with(&format!("{RECORDS} records sent")));
    let rate = of_all.and_then(|line| line.split(", ").nth(1)?.split(' ').next()?.parse().ok());
    rate.unwrap_or_else(|| panic!("ProducerPerformance: {text}"))
}
