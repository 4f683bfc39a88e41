//! Ten million events of a busy cluster, as quickly as they go through: what memory is at the end, of what it was after the
//! first million.

use std::time::Instant;

use nomad_sim::{GeneratorOptions, Sim};

use crate::{common::Setup, program::Program, table::Table};

/// With `MILLIONS` fewer or more, for a look at it.
const MILLIONS: u64 = 10;
/// Transactions that the cluster is ahead at most. The server's buffer holds them all.
const AHEAD: u64 = 1 << 14;

pub(crate) async fn measure(table: &mut Table) {
    let millions = std::env::var("MILLIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(MILLIONS);
    let options = GeneratorOptions { allocations: 10_000, churn: 0.001, seed: 1 };
    let sim = Sim::builder().generated(options).buffer(2 * AHEAD as usize).start().await.expect("the simulator starts");
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&["run", "--resources", "all"], &sim.url(0)).data_dir(directory.path());
    let begun = Instant::now();
    let program = Program::start(setup).await;
    let mut after_first = None;
    let mut events = 0;
    while events < millions * 1_000_000 {
        sim.step(AHEAD).await;
        program.until_at("events", sim.last_index().await).await;
        events = program.records("events").await;
        if events >= 1_000_000 {
            after_first.get_or_insert_with(|| program.resident());
        }
    }
    let (first, end, cost) = (after_first.expect("more than a million"), program.resident(), program.cost(begun));
    let (records, _) = program.delivered().await;
    let seen = format!(
        "{events} events, {records} records in {:.0} s: {} MiB after the first million, {} MiB at the end, {} MiB at the peak, \
         {:.1} µs of CPU an event",
        cost.wall.as_secs_f64(),
        first >> 20,
        end >> 20,
        cost.peak >> 20,
        cost.cpu * 1e6 / events as f64,
    );
    table.at_most("memory after ten million events, of that after one", end as f64 / first as f64, 1.1, "×", seen);
}
