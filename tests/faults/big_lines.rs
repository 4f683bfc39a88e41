//! Lines of 64 MiB pass, with memory bounded by the window and one line.

use std::{io::Read, process::Stdio, time::Instant};

use nomad_sim::Sim;

use crate::common::{PATIENCE, Setup, collect, until};
use crate::support::*;

const LINE: usize = 64 << 20;
const WINDOW: usize = 4 << 20;
/// What the program itself takes.
const CONSTANT: usize = 32 << 20;

/// Reads stdout without keeping it; gives the length of each line.
fn lengths(pipe: impl Read, lines: usize) -> Vec<usize> {
    let mut pipe = pipe;
    let mut buffer = vec![0; 1 << 20];
    let (mut lengths, mut length) = (Vec::new(), 0);
    while lengths.len() < lines {
        let read = pipe.read(&mut buffer).expect("a pipe");
        assert!(read > 0, "it ended after {} lines", lengths.len());
        for byte in &buffer[..read] {
            if *byte == b'\n' {
                lengths.push(std::mem::take(&mut length));
            } else {
                length += 1;
            }
        }
    }
    lengths
}

async fn passes(kind: &'static str) {
    let sim = Sim::builder().buffer(8).start().await.expect("starts");
    sim.append_line(job(10, 1, 10)).await.expect("a line");
    let setup = Setup::new(&[kind], &sim.url(0)).verbose().env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", WINDOW.to_string());
    let mut child = setup.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let (log, _) = collect(child.stderr.take().expect("stderr is piped"));
    let pipe = child.stdout.take().expect("stdout is piped");
    let id = child.id();
    let reader = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let lengths = lengths(pipe, 6);
        assert!(begun.elapsed() < PATIENCE * 2);
        lengths
    });
    // The first list is read, so that the big ones come through the stream alone. Raw events have none.
    until_stream(&sim).await;
    let is_read = || log.lock().expect("no panic").iter().any(|line| line.contains("backfill finished"));
    until("the first list is read", || kind == "events" || is_read()).await;
    for index in 20..=22 {
        sim.append_lines([job(index, 2, LINE), job(index + 10, 1, 10)].into_iter().take(if index == 22 {
            2
        } else {
            1
        }))
        .await
        .expect("lines");
    }
    sim.append_line(job(40, 1, 10)).await.expect("a line");
    let lengths = reader.await.expect("six lines");
    let peak = peak_memory(id);
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    assert_eq!(lengths.iter().filter(|length| **length > LINE).count(), 3, "{lengths:?}");
    println!("{kind}: {} MiB at most", peak >> 20);
    assert!(peak < LINE + WINDOW + CONSTANT, "{} MiB", peak >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_a_raw_event() {
    passes("events").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_a_job() {
    passes("jobs").await;
}
