//! How fast each pure stage takes a recorded cluster's lines, as a ratio to finding their ends, measured in the same run.
//!
//! `make bench` runs it. The figures and what they mean stand in `docs/performance.md`.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use nomad_firehose::{
    kind::Kind,
    resource,
    source::line::{Line, Occurrences, Text},
};

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nomad-2.0.5/stream-complete.ndjson");
const AT_LEAST: Duration = Duration::from_secs(2);

fn main() {
    let text = Bytes::from(std::fs::read(RECORDING).expect("the recording is part of the project"));
    let mut lines = Vec::new();
    let mut rest = text.clone();
    while let Some(end) = memchr::memchr(b'\n', &rest) {
        lines.push(Text::new(rest.split_to(end + 1).slice(..end)));
    }
    let events: usize = lines.iter().map(|line| parse(line, &mut Occurrences::default()).events.len()).sum();
    println!("{} lines, {events} events, {} bytes; one core", lines.len(), text.len());

    let reference = measure(text.len(), || {
        black_box(memchr::memchr_iter(b'\n', &text).count());
    });
    report("find the lines (reference)", reference, reference, events, text.len());
    let rate = measure(text.len(), || {
        let mut occurrences = Occurrences::default();
        lines.iter().for_each(|line| {
            black_box(parse(line, &mut occurrences));
        });
    });
    report("take the lines apart", rate, reference, events, text.len());
    for kind in Kind::ALL {
        let rate = measure(text.len(), || {
            let mut occurrences = Occurrences::default();
            for line in &lines {
                for event in &parse(line, &mut occurrences).events {
                    black_box(
                        resource::from_event(kind, event, resource::Known::marks(&|_| None), None)
                            .expect("a recorded event"),
                    );
                }
            }
        });
        report(&format!("the same, and {kind} records"), rate, reference, events, text.len());
    }
}

fn parse<'a>(line: &'a Text, occurrences: &mut Occurrences) -> Line<'a> {
    Line::parse(line, occurrences).unwrap_or_else(|_| Line {
        index: Default::default(),
        events: vec![],
        unusable: vec![],
    })
}

/// Bytes a second, over at least two seconds of rounds.
fn measure(bytes: usize, mut round: impl FnMut()) -> f64 {
    round();
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < AT_LEAST {
        round();
        rounds += 1;
    }
    (rounds * bytes) as f64 / start.elapsed().as_secs_f64()
}

fn report(what: &str, rate: f64, reference: f64, events: usize, bytes: usize) {
    let micros = bytes as f64 / rate / events as f64 * 1e6;
    let megabytes = rate / 1e6;
    println!("{what:<40} {megabytes:>8.0} MB/s  {micros:>6.2} µs an event  {:>7.4} of the reference", rate / reference);
}
