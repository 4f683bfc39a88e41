//! A sink that takes nothing for a while: memory stays bounded, and what can still be known then comes.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nomad_sim::{GeneratorOptions, Sim};
use serde_json::Value;

use crate::common::{
    PATIENCE, Setup,
    made::evaluation,
    truth::{all_seen, assert_exactly},
};
use crate::support::*;

/// A child whose stdout nobody reads yet.
struct Blocked(Child);

impl Drop for Blocked {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Reads lines until one is the last that is wanted.
fn read_lines(blocked: &mut Blocked, mut is_last: impl FnMut(&str) -> bool) -> Vec<String> {
    let pipe = blocked.0.stdout.take().expect("stdout is piped");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::with_capacity(1 << 16, pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut lines: Vec<String> = Vec::new();
    while lines.last().is_none_or(|line| !is_last(line)) {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left) {
            Ok(line) => lines.push(line),
            Err(_) => panic!("not in time; {} lines were printed", lines.len()),
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_cut_off_gets_what_can_still_be_known() {
    let sim = Sim::builder()
        .buffer(200)
        .send_buffer(16 << 10)
        .refusal(Duration::from_millis(100))
        .start()
        .await
        .expect("starts");
    append_evaluations(&sim, 10..=19).await;
    let setup = Setup::new(&["run", "--resources", "evaluations,events"], &sim.url(0));
    let setup = setup.env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", "64KiB").env("LOG_LEVEL", "error");
    let mut blocked = Blocked(setup.command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts"));
    until_stream(&sim).await;
    // More than the window, the pipe and the sockets hold: the server's buffer turns over behind a reader that stands.
    let newest = 8_000;
    append_evaluations(&sim, 20..=newest).await;
    let (mut evaluations, mut last_event) = (0, false);
    let task_cursor = format!("\"ModifyIndex\":{newest},");
    let printed = read_lines(&mut blocked, |line| {
        let is_event = line.contains("\"Topic\"");
        evaluations += u64::from(!is_event);
        last_event |= is_event && line.contains(&task_cursor);
        last_event && evaluations == newest - 9
    });
    let (events, evaluations): (Vec<_>, Vec<_>) = printed.iter().partition(|line| line.contains("\"Topic\""));
    assert_exactly(&all_seen(&evaluations), &expected_of(&sim, &["evaluations"]));
    // Every raw event is there, or lies in a hole that is told of.
    let events: Vec<Value> = events.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let holes: Vec<_> = events.iter().filter(|event| event["Topic"] == "Firehose").collect();
    assert!(!holes.is_empty() && holes.len() < 10, "{} holes", holes.len());
    let is_in_a_hole = |index: u64| {
        holes.iter().any(|hole| {
            let gap = &hole["Payload"]["Gap"];
            gap["FromIndex"].as_u64() <= Some(index) && Some(index) < gap["UntilIndex"].as_u64()
        })
    };
    let seen: std::collections::BTreeSet<_> = events
        .iter()
        .filter(|event| event["Topic"] != "Firehose")
        .filter_map(|event| event["Index"].as_u64())
        .collect();
    let lost: Vec<_> = (10..=newest).filter(|index| !seen.contains(index) && !is_in_a_hole(*index)).collect();
    assert!(lost.is_empty(), "lost without a word: {lost:?}");
    // The buffer's newest were never in danger.
    assert!((newest - 150..=newest).all(|index| seen.contains(&index)));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_by_the_window_however_long_the_sink_takes_nothing() {
    let options = GeneratorOptions { allocations: 20_000, churn: 500.0, seed: 3 };
    let sim = Sim::builder().generated(options).buffer(500).start().await.expect("starts");
    sim.step(21).await;
    let setup = Setup::new(&["run", "--resources", "allocations,evaluations,events"], &sim.url(0));
    let setup = setup.env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", "8MiB").env("LOG_LEVEL", "error");
    let blocked = Blocked(setup.command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts"));
    sim.resume(f64::INFINITY);
    // Long enough for many windows: the cluster publishes tens of MiB meanwhile.
    let mut published = sim.last_index().await;
    let target = published + 8_000;
    let begun = Instant::now();
    while published < target && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
        published = sim.last_index().await;
    }
    assert!(published > target / 2, "too little happened");
    let peak = peak_memory(blocked.0.id());
    assert!(peak < (8 + 8 + 48) << 20, "{} MiB", peak >> 20);
}

/// The sink takes some records a second, for longer than the watchdog looks: the stream is not at fault, and lists would miss the versions in
/// between.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sink_is_not_taken_for_a_stream_that_is_held_back() {
    let sim = Sim::builder().buffer(100_000).start().await.expect("starts");
    append_evaluations(&sim, 10..=19).await;
    let setup = Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", "64KiB");
    let mut blocked = Blocked(setup.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts"));
    let log = blocked.0.stderr.take().expect("stderr is piped");
    let log = std::thread::spawn(move || std::io::read_to_string(log).expect("text"));
    until_stream(&sim).await;
    // Each evaluation has several versions, of which a list shows the newest.
    let lines: Vec<_> = (20..=4_000).map(|index| evaluation(index, index % 20)).collect();
    sim.append_lines(lines).await.expect("lines of events");
    let pipe = blocked.0.stdout.take().expect("stdout is piped");
    let started = Instant::now();
    let mut lines = BufReader::new(pipe).lines();
    let mut printed: Vec<String> = Vec::new();
    // Three looks of the watchdog.
    while started.elapsed() < Duration::from_secs(190) {
        printed.push(lines.next().expect("a line").expect("text"));
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    // A list has the newest version as well, so that this ends either way.
    while printed.last().is_none_or(|line| !line.contains("\"ModifyIndex\":4000")) {
        printed.push(lines.next().expect("a line").expect("text"));
    }
    drop(lines);
    drop(blocked);
    let log = log.join().expect("no panic");
    for event in ["event stream is behind its table", "event stream is held back", "polling lists"] {
        assert!(!log.contains(event), "{log}");
    }
    assert_exactly(&all_seen(&printed), &expected_of(&sim, &["evaluations"]));
}
