//! What the measurements of single sinks share: the cluster, how fast the program delivers from it, and the tools of other projects.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nomad_sim::{GeneratorOptions, Sim};

use crate::{common::Setup, program::Program};

/// How often each pair is measured, one after the other.
pub(crate) const ROUNDS: usize = 3;

/// How long ours is measured at most.
const SPAN: Duration = Duration::from_secs(10);

/// How many records the start is, which is not counted.
const START: u64 = 10_000;

/// Where the measurement ends before its span: the cluster has some more records.
const MOST: u64 = 700_000;

/// A cluster whose first backfill has 900,000 records of allocations.
pub(crate) async fn cluster() -> Sim {
    let options = GeneratorOptions { allocations: 200_000, churn: 0.01, seed: 1 };
    Sim::builder().generated(options).start().await.expect("the simulator starts")
}

/// How the program delivered.
#[derive(Debug)]
pub(crate) struct Ours {
    /// Records a second.
    pub(crate) rate: f64,
    /// How many were delivered in all.
    pub(crate) records: u64,
    /// Their mean size, bytes.
    pub(crate) size: u64,
    /// What they cost, in words.
    pub(crate) cost: String,
}

/// The program that delivers allocations into a sink with these variables.
pub(crate) async fn start(sim: &Sim, variables: &[(&str, &str)]) -> (Program, Instant) {
    let setup = Setup::new(&["allocations"], &sim.url(0));
    let setup = variables.iter().fold(setup, |setup, (name, value)| setup.env(name, *value));
    let started = Instant::now();
    (Program::start(setup).await, started)
}

/// Measures the program with these variables.
pub(crate) async fn ours(sim: &Sim, variables: &[(&str, &str)]) -> Ours {
    let (program, started) = start(sim, variables).await;
    program.until(START).await;
    let (begun, (before, _), cpu) = (Instant::now(), program.delivered().await, program.cost(started).cpu);
    let (records, bytes) = loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (records, bytes) = program.delivered().await;
        if begun.elapsed() >= SPAN || records >= MOST {
            break (records, bytes);
        }
    };
    let rate = (records - before) as f64 / begun.elapsed().as_secs_f64();
    let cost = program.cost(started);
    let each = (cost.cpu - cpu) * 1e6 / (records - before) as f64;
    let cost = format!("{each:.1} µs of CPU a record, {} MiB at the peak", cost.peak >> 20);
    Ours { rate, records, size: bytes / records, cost }
}

/// What `scripts/install-NAME` prints, or why there is nothing.
pub(crate) fn installed(name: &str) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scripts/install-{name}"));
    let output = Command::new(script).stdin(Stdio::null()).output().expect("the script runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// What a command prints, once it has ended well.
pub(crate) async fn output(mut command: Command) -> String {
    let ended = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
    let output = ended.await.expect("no panic").expect("the command is installed");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}
