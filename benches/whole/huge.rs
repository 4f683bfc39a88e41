//! Clusters of up to a million allocations: the first reconcile, and lists that are polled.

use std::{
    io::Read as _,
    process::ChildStdout,
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use nomad_sim::{GeneratorOptions, Sim};

use crate::{
    common::Setup,
    program::{Cost, Program},
    table::{Table, median},
};

const ROUNDS: usize = 3;
/// Of figures that may differ by noise alone.
const LINEAR: f64 = 1.2;

/// A cluster of so many allocations that nothing happens in.
pub(crate) async fn cluster(allocations: u64) -> Sim {
    let options = GeneratorOptions { allocations, churn: 0.01, seed: 1 };
    Sim::builder().generated(options).start().await.expect("the simulator starts")
}

/// What a first reconcile came to.
struct First {
    records: u64,
    bytes: u64,
    cost: Cost,
}

impl First {
    fn seen(&self, allocations: u64) -> String {
        let Cost { wall, cpu, peak } = self.cost;
        format!(
            "{} records of {allocations} allocations, {:.0} MB, in {:.2} s: {cpu:.2} s of CPU, {:.1} µs an allocation; {} MiB at the peak",
            self.records,
            self.bytes as f64 / 1e6,
            wall.as_secs_f64(),
            self.cpu_each(allocations),
            peak >> 20,
        )
    }

    fn cpu_each(&self, allocations: u64) -> f64 {
        self.cost.cpu * 1e6 / allocations as f64
    }

    fn wall_each(&self, allocations: u64) -> f64 {
        self.cost.wall.as_secs_f64() * 1e6 / allocations as f64
    }
}

pub(crate) async fn measure(table: &mut Table) {
    let small = first(10_000).await;
    eprintln!("{}", small.seen(10_000));
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(first(100_000).await);
    }
    let cpu = median(rounds.iter().map(|round| round.cost.cpu).collect());
    let peak = median(rounds.iter().map(|round| mebibytes(round.cost.peak)).collect());
    let last = rounds.last().expect("there was a round");
    table.at_most("first reconcile of 100,000 allocations, CPU", cpu, 1.2, "s", last.seen(100_000));
    table.at_most("the same, memory at the peak", peak, 48.0, "MiB", String::new());
    let large = first(1_000_000).await;
    let (cpu, wall) = (
        large.cpu_each(1_000_000) / median(rounds.iter().map(|round| round.cpu_each(100_000)).collect()),
        large.wall_each(1_000_000) / median(rounds.iter().map(|round| round.wall_each(100_000)).collect()),
    );
    let small = format!(
        "at 10,000 {:.1} µs of CPU and {:.1} µs an allocation",
        small.cpu_each(10_000),
        small.wall_each(10_000)
    );
    table.at_most("CPU an allocation of 1,000,000, to 100,000", cpu, LINEAR, "×", large.seen(1_000_000));
    table.at_most("time an allocation of 1,000,000, to 100,000", wall, LINEAR, "×", small);
    table.at_most(
        "first reconcile of 1,000,000, memory at the peak",
        mebibytes(large.cost.peak),
        160.0,
        "MiB",
        String::new(),
    );
}

async fn first(allocations: u64) -> First {
    let sim = cluster(allocations).await;
    let data_dir = tempfile::tempdir().expect("a directory");
    let begun = Instant::now();
    let (program, pipe) = Program::piped(Setup::new(&["allocations"], &sim.url(0)).data_dir(data_dir.path()));
    let (records, bytes, last) =
        tokio::task::spawn_blocking(move || until_quiet(&lines(pipe))).await.expect("no panic");
    assert!(records >= 4 * allocations, "{records} records");
    let cost = Cost { wall: last.expect("there were records") - begun, ..program.cost(begun) };
    drop(program);
    sim.stop().await;
    First { records, bytes, cost }
}

/// A change of ten allocations among 100,000, where lists are polled.
pub(crate) async fn measure_polled(table: &mut Table) {
    /// Transactions before those that update allocations, and how many of these make ten allocations.
    const OTHERS: u64 = 6;
    const TEN: u64 = 5;
    let sim = cluster(100_000).await;
    sim.pause();
    let data_dir = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&["allocations"], &sim.url(0)).data_dir(data_dir.path());
    let (program, pipe) = Program::piped(setup.env("NOMAD_FIREHOSE_SOURCE", "poll"));
    let printed = lines(pipe);
    let quiet = async |printed: Receiver<_>| {
        let waited = tokio::task::spawn_blocking(move || (until_quiet(&printed), printed));
        waited.await.expect("no panic")
    };
    let (_, printed) = quiet(printed).await;
    sim.step(OTHERS).await;
    let (_, mut printed) = quiet(printed).await;
    let mut costs = Vec::new();
    for _ in 0..2 {
        let (before, lists) = (cpu_seconds(&program), lists(&sim));
        sim.step(TEN).await;
        let seen;
        (seen, printed) = quiet(printed).await;
        assert!(seen.0 >= 10, "{} records of a change", seen.0);
        let lists = self::lists(&sim) - lists;
        costs.push((cpu_seconds(&program) - before) / lists as f64);
        eprintln!("{} records in {lists} lists", seen.0);
    }
    let cost = program.cost(Instant::now());
    let each = median(costs);
    table.at_most("a change of 10 allocations among 100,000, polled, CPU a list", each, 0.5, "s", String::new());
    table.at_most("the same, memory at the peak", mebibytes(cost.peak), 48.0, "MiB", String::new());
    drop(program);
}

/// How often the list was begun.
fn lists(sim: &Sim) -> usize {
    let is_first = |url: &str| url.contains("per_page=500") && !url.contains("next_token");
    sim.requests().iter().filter(|request| is_first(&request.target)).count()
}

/// Seconds of a processor that it has had, in ns as the scheduler counts them.
pub(crate) fn cpu_seconds(program: &Program) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", program.id())).expect("it runs");
    let spent = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    spent.sum::<f64>() / 1e9
}

pub(crate) fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Each piece that comes out of a pipe: line breaks, bytes, when.
pub(crate) fn lines(mut pipe: ChildStdout) -> Receiver<(u64, u64, Instant)> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 18];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            let breaks = memchr::memchr_iter(b'\n', &buffer[..length]).count() as u64;
            if sender.send((breaks, length as u64, Instant::now())).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What comes until nothing more does for a while, and when the last of it came.
fn until_quiet(printed: &Receiver<(u64, u64, Instant)>) -> (u64, u64, Option<Instant>) {
    /// Two lists that are polled are a second apart.
    const QUIET: Duration = Duration::from_secs(4);
    let (mut lines, mut bytes, mut last) = (0, 0, None);
    while let Ok((breaks, length, at)) = printed.recv_timeout(QUIET) {
        (lines, bytes, last) = (lines + breaks, bytes + length, Some(at));
    }
    (lines, bytes, last)
}
