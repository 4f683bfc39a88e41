//! Entries of a stream of a real Redis, against `redis-benchmark` with the same command, bodies of the same mean size and one connection,
//! pipelined by as many as a batch of ours has.

use std::{path::Path, process::Command};

use crate::{
    common::{installed, redis::Redis},
    sink::{self, ROUNDS},
    table::{Table, median},
};

const WHAT: &str = "Redis, XADD, of redis-benchmark";
/// How many commands the reference sends.
const COMMANDS: u64 = 400_000;
/// How many of them go at once: as many as a batch of ours.
const PIPELINE: usize = 1_000;

pub(crate) async fn measure(table: &mut Table) {
    let sim = sink::cluster().await;
    let redis = Redis::start().await;
    let program = installed("redis").join("redis-benchmark");
    let (mut ratios, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        redis.ctl("FLUSHALL SYNC");
        let url = redis.url();
        let variables = [
            ("SINK_TYPE", "redis"),
            ("SINK_REDIS_URL", &url),
            ("SINK_REDIS_MODE", "stream"),
            ("SINK_REDIS_KEY", "ours"),
        ];
        let ours = sink::ours(&sim, &variables).await;
        let ::redis::Value::Int(stored) = redis.ctl("XLEN ours") else { panic!("XLEN") };
        assert!(stored.unsigned_abs() >= ours.records, "{stored} entries of {}", ours.records);
        redis.ctl("FLUSHALL SYNC");
        let theirs = theirs(&program, &redis.address(), ours.size).await;
        ratios.push(ours.rate / theirs);
        let sink::Ours { rate, size, cost, .. } = ours;
        last = format!("ours {rate:.0}/s, redis-benchmark {theirs:.0}/s, {size} bytes, {cost}");
    }
    table.at_least(WHAT, median(ratios), 0.5, last);
}

/// Commands a second of redis-benchmark.
async fn theirs(program: &Path, address: &str, size: u64) -> f64 {
    let (host, port) = address.split_once(':').expect("host and port");
    let body = "x".repeat(usize::try_from(size).expect("a size"));
    let id = "allocations/3f0e1c52-7d0a-4a8e-9f5d-5d1d0a6f9c11/server/6f1d0c2b9a8e7f53";
    let key = "3f0e1c52-7d0a-4a8e-9f5d-5d1d0a6f9c11";
    let mut command = Command::new(program);
    command
        .args(["-h", host, "-p", port, "-c", "1", "--csv"])
        .args(["-n", &COMMANDS.to_string(), "-P", &PIPELINE.to_string()])
        .args(["XADD", "theirs", "*", "id", id, "kind", "allocations", "key", key])
        .args(["namespace", "default", "job", "web", "body", &body]);
    let text = sink::output(command).await;
    // The line of the command, whose name is all of it, and then its rate.
    let rate = text.lines().rev().find_map(|line| line.split("\",\"").nth(1)?.trim_matches('"').parse().ok());
    rate.unwrap_or_else(|| panic!("redis-benchmark: {}", text.chars().take(500).collect::<String>()))
}
