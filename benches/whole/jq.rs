//! Allocations through a jq program, against the same pipeline without one.

use std::time::{Duration, Instant};

use crate::{
    common::Setup,
    program::Program,
    stream,
    table::{Table, median},
};

const ROUNDS: usize = 3;

/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Programs, and the bar for each: the share of the rate without one.
const PROGRAMS: [(&str, &str, f64); 3] = [
    ("a filter", "select(.ClientStatus == \"failed\")", 0.5),
    (
        "a new shape",
        "{text: \"\\(.JobID): \\(.TaskEvent.DisplayMessage)\", key: .AllocationID, fields: {node: .NodeID, task: .TaskName}}",
        0.25,
    ),
    ("a program that reads all of a record", "del(.TaskEvent.Details)", 0.1),
];

pub(crate) async fn measure(table: &mut Table) {
    let (sim, _) = stream::cluster().await;
    let url = sim.url(0);
    let total = total(&url).await;
    for (name, code, bar) in PROGRAMS {
        let (mut ratios, mut seen) = (Vec::new(), String::new());
        for _ in 0..ROUNDS {
            let without = run(&["allocations"], &url, total).await;
            let with = run(&["allocations", "--jq", code], &url, total).await;
            ratios.push(without.as_secs_f64() / with.as_secs_f64());
            let rate = |took: Duration| total as f64 / took.as_secs_f64() / 1e3;
            seen =
                format!("{total} records: {:.0} thousand a second, without a program {:.0}", rate(with), rate(without));
        }
        table.at_least(&format!("{name} in jq, of the rate without"), median(ratios), bar, seen);
    }
}

/// How many records the cluster has.
async fn total(url: &str) -> u64 {
    let (program, pipe) = Program::piped(Setup::new(&["allocations"], url));
    let drained = tokio::task::spawn_blocking(move || stream::until_quiet(pipe)).await.expect("no panic");
    drop(program);
    drained.lines
}

/// How long it takes until all records are delivered or filtered.
async fn run(arguments: &[&str], url: &str, total: u64) -> Duration {
    let begun = Instant::now();
    let program = Program::start(Setup::new(arguments, url)).await;
    while program.done().await < total {
        assert!(begun.elapsed() < PATIENCE, "{arguments:?} takes too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}
