//! How fast each pure stage takes a recorded cluster's lines, as a ratio to finding their ends, measured in the same run.
//!
//! `make bench` runs it. The figures and what they mean stand in `docs/performance.md`.

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{Bencher, Criterion, Throughput};
use nomad_firehose::{
    kind::Kind,
    nomad::line::{Line, Occurrences, Text},
    resource,
};

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nomad-2.0.5/stream-complete.ndjson");
const REFERENCE: &str = "find the lines";
const APART: &str = "take the lines apart";

fn main() {
    let text = Bytes::from(std::fs::read(RECORDING).expect("the recording is part of the project"));
    let mut lines = Vec::new();
    let mut rest = text.clone();
    while let Some(end) = memchr::memchr(b'\n', &rest) {
        lines.push(Text::new(rest.split_to(end + 1).slice(..end)));
    }
    let mut events = 0;
    each(&lines, |line| events += line.events.len());

    let mut criterion = Criterion::default().measurement_time(Duration::from_secs(2)).configure_from_args();
    let mut group = criterion.benchmark_group("stages");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(REFERENCE, |bencher| bencher.iter(|| memchr::memchr_iter(b'\n', black_box(&text)).count()));
    group
        .bench_function(APART, |bencher: &mut Bencher<'_>| bencher.iter(|| each(&lines, |line| drop(black_box(line)))));
    for kind in Kind::ALL {
        group.bench_function(kind.name(), |bencher| bencher.iter(|| each(&lines, |line| records(kind, &line))));
    }
    group.finish();
    criterion.final_summary();

    println!("\n{} lines, {events} events, {} bytes; one core", lines.len(), text.len());
    let Some(reference) = seconds(REFERENCE) else { return };
    let stages = [REFERENCE, APART].into_iter().chain(Kind::ALL.map(Kind::name));
    for (stage, seconds) in stages.filter_map(|stage| Some((stage, seconds(stage)?))) {
        let (rate, each) = (text.len() as f64 / seconds / 1e6, seconds * 1e6 / events as f64);
        println!(
            "{stage:<22} {rate:>8.0} MB/s  {each:>6.2} µs an event  {:>7.4} of the reference",
            reference / seconds
        );
    }
}

/// Reads all lines, as those of one connection.
fn each(lines: &[Text], mut with: impl FnMut(Line<'_>)) {
    let mut occurrences = Occurrences::default();
    // The first one is a heartbeat.
    lines.iter().filter_map(|line| Line::parse(line, &mut occurrences).ok()).for_each(&mut with);
}

/// Makes the records of a kind, every task event being new.
fn records(kind: Kind, line: &Line<'_>) {
    for event in &line.events {
        let made = resource::from_event(kind, event, resource::Known::task_cursors(&|_| None));
        black_box(made.expect("a recorded event"));
    }
}

/// The mean time of a stage in this run; `None` where it was left out of it.
fn seconds(stage: &str) -> Option<f64> {
    let path = criterion_directory()?.join("stages").join(stage).join("new/estimates.json");
    let estimates: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    estimates["mean"]["point_estimate"].as_f64().map(|nanoseconds| nanoseconds / 1e9)
}

/// Where criterion writes: beside what cargo has built this from.
fn criterion_directory() -> Option<std::path::PathBuf> {
    let here = std::env::current_exe().ok()?;
    here.ancestors().find(|folder| folder.join("criterion").is_dir()).map(|folder| folder.join("criterion"))
}
