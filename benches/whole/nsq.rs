//! Messages that a real nsqd has taken, against NSQ's own bench_writer with as many messages of the same mean size in each `MPUB`, over one connection too. Both
//! nsqd keep everything on disk.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nomad_sim::{GeneratorOptions, Sim};

use crate::{
    common::{Setup, installed, nsq::Nsqd},
    program::Program,
    table::{Table, median},
};

const WHAT: &str = "NSQ, of bench_writer";
const ROUNDS: usize = 3;
/// How long each of them measures; ours behind a start that is not counted.
const SPAN: Duration = Duration::from_secs(10);
/// The most records in one of our batches.
const BATCH: u64 = 1_000;

pub(crate) async fn measure(table: &mut Table) {
    let options = GeneratorOptions { allocations: 200_000, churn: 0.01, seed: 1 };
    let sim = Sim::builder().generated(options).start().await.expect("the simulator starts");
    let (mut ratios, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        // A server each: gigabytes of the round before would cost the next one.
        let nsqd = Nsqd::start(&[]).await;
        let (ours, size, seen) = ours(&sim, &nsqd).await;
        drop(nsqd);
        let nsqd = Nsqd::start(&[]).await;
        let address = nsqd.address();
        let theirs = tokio::task::spawn_blocking(move || theirs(&address, size)).await.expect("no panic");
        ratios.push(ours / theirs);
        last = format!("ours {ours:.0}/s, bench_writer {theirs:.0}/s, {size} bytes, {seen}");
    }
    table.at_least(WHAT, median(ratios), 0.9, last);
}

/// Records a second, their mean size, and what they cost.
async fn ours(sim: &Sim, nsqd: &Nsqd) -> (f64, u64, String) {
    let setup = Setup::new(&["allocations"], &sim.url(0))
        .env("SINK_TYPE", "nsq")
        .env("SINK_NSQ_ADDR", nsqd.address())
        .env("SINK_NSQ_TOPIC_NAME", "ours");
    let started = Instant::now();
    let program = Program::start(setup).await;
    program.until(10_000).await;
    let (begun, (before, _), cpu) = (Instant::now(), program.delivered().await, program.cost(started).cpu);
    tokio::time::sleep(SPAN).await;
    let (records, bytes) = program.delivered().await;
    let rate = (records - before) as f64 / begun.elapsed().as_secs_f64();
    let cost = program.cost(started);
    drop(program);
    let taken = nsqd.count("ours").await;
    assert!(taken >= records, "{taken} messages of {records}");
    let each = (cost.cpu - cpu) * 1e6 / (records - before) as f64;
    (rate, bytes / records, format!("{each:.1} µs of CPU a record, {} MiB at the peak", cost.peak >> 20))
}

/// Messages a second of bench_writer.
fn theirs(address: &str, size: u64) -> f64 {
    let output = Command::new(installed("nsqd").with_file_name("bench_writer"))
        .args([format!("--nsqd-tcp-address={address}"), "--topic=theirs".to_owned(), format!("--size={size}")])
        .args([format!("--batch-size={BATCH}"), format!("--runfor={}s", SPAN.as_secs())])
        // It opens a connection for each processor that Go is given.
        .env("GOMAXPROCS", "1")
        .stdin(Stdio::null())
        .output()
        .expect("bench_writer starts");
    // duration: 10.001s - 93.219mb/s - 488741.005ops/s - 2.046us/op
    let text = String::from_utf8_lossy(&output.stderr);
    let rate = text.split(" - ").find_map(|part| part.strip_suffix("ops/s")?.parse().ok());
    rate.unwrap_or_else(|| panic!("bench_writer: {text}"))
}
