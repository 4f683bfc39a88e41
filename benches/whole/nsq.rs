//! Messages that a real nsqd has taken, against NSQ's own bench_writer with as many messages of the same mean size in each `MPUB`, over one connection too. Both
//! nsqd keep everything on disk.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    common::{installed, nsq::Nsqd},
    sink::{self, Ours, ROUNDS},
    table::{Table, median},
};

const WHAT: &str = "NSQ, of bench_writer";
/// How long the reference measures.
const SPAN: Duration = Duration::from_secs(10);
/// The most records in one of our batches.
const BATCH: u64 = 1_000;

pub(crate) async fn measure(table: &mut Table) {
    let sim = sink::cluster().await;
    let (mut ratios, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        // A server each: gigabytes of the round before would cost the next one.
        let nsqd = Nsqd::start(&[]).await;
        let address = nsqd.address();
        let variables = [("SINK_TYPE", "nsq"), ("SINK_NSQ_ADDR", address.as_str()), ("SINK_NSQ_TOPIC_NAME", "ours")];
        let Ours { rate: ours, records, size, cost } = sink::ours(&sim, &variables).await;
        let taken = nsqd.count("ours").await;
        assert!(taken >= records, "{taken} messages of {records}");
        drop(nsqd);
        let nsqd = Nsqd::start(&[]).await;
        let address = nsqd.address();
        let theirs = tokio::task::spawn_blocking(move || theirs(&address, size)).await.expect("no panic");
        ratios.push(ours / theirs);
        last = format!("ours {ours:.0}/s, bench_writer {theirs:.0}/s, {size} bytes, {cost}");
    }
    table.at_least(WHAT, median(ratios), 0.9, last);
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
