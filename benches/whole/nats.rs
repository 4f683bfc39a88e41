//! Acknowledged messages to a stream of a real NATS, against `nats bench` of NATS's own command line with bodies of the same mean size, a
//! message id each as ours, and as many without an acknowledgement, into a stream of the same kind.

use std::process::Command;

use serde_json::json;

use crate::{
    common::nats::Nats,
    sink::{self, ROUNDS},
    table::{Table, median},
};

const WHAT: &str = "NATS JetStream, of `nats bench`";
/// How many messages the reference sends.
const MESSAGES: u64 = 300_000;
/// How many of them wait for their acknowledgements: as many as a batch of ours.
const BATCH: usize = 1_000;

pub(crate) async fn measure(table: &mut Table) {
    let program = match sink::installed("nats-cli") {
        Ok(program) => program,
        Err(why) => return table.skipped(WHAT, &why),
    };
    let sim = sink::cluster().await;
    let (mut ratios, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        let nats = Nats::start("hush").await;
        let mut client = nats.client().await;
        for stream in ["ours", "theirs"] {
            client.create_stream(stream, &[&format!("{stream}.>")], json!({})).await;
        }
        let url = format!("nats://{}", nats.address());
        let variables = [
            ("SINK_TYPE", "nats"),
            ("SINK_NATS_URL", &url),
            ("SINK_NATS_SUBJECT", "ours.allocations"),
            ("SINK_NATS_USERNAME", "writer"),
            ("SINK_NATS_PASSWORD", "hush"),
        ];
        let ours = sink::ours(&sim, &variables).await;
        let stored = client.count("ours").await;
        assert!(stored >= ours.records, "{stored} messages of {}", ours.records);
        client.delete_stream("ours").await;
        let theirs = theirs(&program, &url, ours.size).await;
        ratios.push(ours.rate / theirs);
        let sink::Ours { rate, size, cost, .. } = ours;
        last = format!("ours {rate:.0}/s, nats bench {theirs:.0}/s, {size} bytes, {cost}");
    }
    table.at_least(WHAT, median(ratios), 0.9, last);
}

/// Messages a second of `nats bench`.
async fn theirs(program: &str, url: &str, size: u64) -> f64 {
    let mut command = Command::new(program);
    command
        .args(["--server", url, "--user", "admin", "--password", "admin", "--no-context"])
        .args(["bench", "js", "pub", "async", "theirs.allocations", "--stream", "theirs", "--dedup", "--no-progress"])
        .args(["--batch", &BATCH.to_string(), "--msgs", &MESSAGES.to_string(), "--size", &format!("{size}B")]);
    let text = sink::output(command).await;
    // NATS JetStream asynchronous publisher stats: 12,345 msgs/sec ~ 11 MiB/sec ~ 81.00us
    let rate = text.lines().rev().find_map(|line| line.split_once(" msgs/sec")?.0.rsplit(' ').next());
    let rate = rate.and_then(|rate| rate.replace(',', "").parse().ok());
    rate.unwrap_or_else(|| panic!("nats bench: {text}"))
}
