//! From the start of the process to its first record.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    time::{Duration, Instant},
};

use nomad_sim::Sim;

use crate::{
    common::{Setup, fixture},
    huge::cluster,
    program::Program,
    table::{Table, median},
};

const ROUNDS: usize = 5;
/// Transactions among which there are some of allocations.
const CYCLE: u64 = 16;
/// All that follows a record is delivered by then.
const QUIET: Duration = Duration::from_secs(1);

pub(crate) async fn measure(table: &mut Table) {
    // What happened in a young cluster is still in its server's buffer.
    let sim = Sim::builder().recording(fixture("stream-complete.ndjson")).buffer(1_000).preload(u64::MAX);
    let sim = sim.start().await.expect("the simulator starts");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(first_record(&sim, tempfile::tempdir().expect("a directory").path()).await);
    }
    let silent = first_record(&cluster(5).await, tempfile::tempdir().expect("a directory").path()).await;
    let seen = format!("{silent:.0} ms where the server's buffer is empty: so long it is waited for what it streams");
    table.at_most("start to first record, a young cluster, no checkpoint", median(times), 50.0, "ms", seen);

    let sim = cluster(100_000).await;
    sim.pause();
    let data_dir = tempfile::tempdir().expect("a directory");
    let process = Program::start(Setup::new(&["allocations"], &sim.url(0)).data_dir(data_dir.path())).await;
    process.until(400_000).await;
    let (reconciled, _) = process.delivered().await;
    // The position is to be that of a line that the buffer holds.
    sim.step(CYCLE).await;
    process.until(reconciled + 1).await;
    tokio::time::sleep(QUIET).await;
    process.stop().await;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        sim.step(CYCLE).await;
        let before = sim.requests().len();
        times.push(first_record(&sim, data_dir.path()).await);
        let asked = sim.requests();
        let pages = asked[before..].iter().filter(|request| request.target.contains("per_page=500")).count();
        assert_eq!(pages, 0, "with proof, no list is read");
    }
    table.at_most(
        "start to first record, 100,000 allocations, with proof",
        median(times),
        200.0,
        "ms",
        "no page of a list was asked for".to_owned(),
    );
}

/// In ms. What follows the first record is delivered, and stored by a clean stop.
async fn first_record(sim: &Sim, data_dir: &Path) -> f64 {
    let begun = Instant::now();
    let (program, pipe) = Program::piped(Setup::new(&["allocations"], &sim.url(0)).data_dir(data_dir));
    let printed = tokio::task::spawn_blocking(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = String::new();
        pipe.read_line(&mut line).expect("text");
        assert!(line.ends_with('\n'), "a record: {line:?}");
        let took = begun.elapsed();
        let rest = std::thread::spawn(move || std::io::copy(&mut pipe, &mut std::io::sink()));
        (took, rest)
    });
    let (took, rest) = printed.await.expect("no panic");
    tokio::time::sleep(QUIET).await;
    program.stop().await;
    rest.join().expect("no panic").expect("a pipe");
    took.as_secs_f64() * 1e3
}
