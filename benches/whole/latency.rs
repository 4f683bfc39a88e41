//! The time between the simulator's write of an event and its record in the pipe, at a thousand events a second, with
//! checkpoints going on.

use std::{
    io::{BufRead as _, BufReader},
    time::{Duration, Instant},
};

use nomad_sim::Sim;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    common::{Setup, made},
    program::Program,
    table::Table,
};

const EVENTS: u64 = 30_000;
const EVERY: Duration = Duration::from_millis(1);
/// The first events find a program that has just started.
const WARM_UP: usize = 1000;

pub(crate) async fn measure(table: &mut Table) {
    let sim = Sim::builder().start().await.expect("the simulator starts");
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&["evaluations"], &sim.url(0)).data_dir(directory.path());
    let (program, pipe) = Program::piped(setup.env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "1s"));
    let came = std::thread::spawn(move || {
        let mut came = Vec::with_capacity(EVENTS as usize);
        let mut lines = BufReader::with_capacity(1 << 16, pipe);
        let mut line = String::new();
        while came.len() < EVENTS as usize && lines.read_line(&mut line).is_ok_and(|length| length > 0) {
            came.push(Instant::now());
            line.clear();
        }
        came
    });
    let mut sent = Vec::with_capacity(EVENTS as usize);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begun = Instant::now();
    for n in 0..EVENTS {
        ticks.tick().await;
        let line = made::evaluation(10 + n, n % 5000);
        sent.push(Instant::now());
        sim.append_line(line).await.expect("a line");
    }
    let rate = EVENTS as f64 / begun.elapsed().as_secs_f64();
    let came = tokio::task::spawn_blocking(|| came.join()).await.expect("no panic").expect("no panic");
    assert_eq!(came.len(), sent.len());
    drop(program);
    let mut took: Vec<f64> =
        sent.iter().zip(&came).skip(WARM_UP).map(|(sent, came)| (*came - *sent).as_secs_f64() * 1e3).collect();
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let seen = format!("{} events at {rate:.0} a second", took.len());
    table.at_most("latency p50", at(0.5), 0.5, "ms", seen);
    table.at_most("latency p99", at(0.99), 3.0, "ms", String::new());
    table.at_most("latency max", at(1.0), 20.0, "ms", String::new());
}
