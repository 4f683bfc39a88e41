//! Standard output into a pipe, against curl's drain of the same stream into a pipe.

use std::time::{Duration, Instant};

use crate::{
    common::Setup,
    program::{Cost, Program},
    stream::{self, Drained},
    table::{Table, median},
};

const ROUNDS: usize = 3;

/// A way to run the program.
struct Way {
    name: &'static str,
    arguments: &'static [&'static str],
    /// Of curl's rate.
    bar: f64,
    /// µs of CPU an event, where there is a bar.
    cpu: Option<f64>,
}

const WAYS: [Way; 3] = [
    Way { name: "`events` to stdout", arguments: &["events"], bar: 0.5, cpu: Some(6.0) },
    Way { name: "`allocations` to stdout", arguments: &["allocations"], bar: 0.4, cpu: None },
    Way { name: "`run --resources all` to stdout", arguments: &["run", "--resources", "all"], bar: 0.2, cpu: None },
];

pub(crate) async fn measure(table: &mut Table) {
    let (sim, events) = stream::cluster().await;
    for way in WAYS {
        let (mut ratios, mut cpus, mut seen) = (Vec::new(), Vec::new(), String::new());
        for _ in 0..ROUNDS {
            let url = sim.url(0);
            let drained = tokio::task::spawn_blocking(move || stream::drain(&url)).await.expect("no panic");
            let (printed, cost) = ours(way.arguments, &sim.url(0)).await;
            let each = cost.cpu * 1e6 / events as f64;
            ratios.push(drained.1.as_secs_f64() / cost.wall.as_secs_f64());
            cpus.push(each);
            seen = format!(
                "{events} events, {} records: curl {:.0} MB/s, ours {:.0} MB/s, {each:.1} µs of CPU an event, {} MiB at the peak",
                printed.lines,
                rate(drained.0, drained.1),
                rate(drained.0, cost.wall),
                cost.peak >> 20,
            );
        }
        table.at_least(&format!("{}, of curl's drain", way.name), median(ratios), way.bar, seen);
        if let Some(bar) = way.cpu {
            table.at_most(&format!("{}, CPU an event", way.name), median(cpus), bar, "µs", String::new());
        }
    }
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e6
}

/// What the program printed, and what that cost until its last byte came.
async fn ours(arguments: &[&str], url: &str) -> (Drained, Cost) {
    let begun = Instant::now();
    let (program, pipe) = Program::piped(Setup::new(arguments, url));
    let drained = tokio::task::spawn_blocking(move || stream::until_quiet(pipe)).await.expect("no panic");
    let cost = Cost { wall: drained.last - begun, ..program.cost(begun) };
    (drained, cost)
}
