//! A program that has nothing to do.

use std::time::Duration;

use crate::{
    common::Setup,
    huge::{cluster, cpu_seconds},
    program::Program,
    table::Table,
};

/// How long it is watched.
const SPAN: Duration = Duration::from_secs(30);

pub(crate) async fn measure(table: &mut Table) {
    for arguments in [&["allocations"][..], &["run", "--resources", "all"]] {
        let sim = cluster(10_000).await;
        let data_dir = tempfile::tempdir().expect("a directory");
        let program = Program::start(Setup::new(arguments, &sim.url(0)).data_dir(data_dir.path())).await;
        program.until(40_000).await;
        // The first reconcile, its checkpoint, and what else follows a start.
        tokio::time::sleep(Duration::from_secs(15)).await;
        let before = cpu_seconds(&program);
        tokio::time::sleep(SPAN).await;
        let share = 100.0 * (cpu_seconds(&program) - before) / SPAN.as_secs_f64();
        let what = format!("`{}` on a quiet cluster of 10,000 allocations", arguments.join(" "));
        let resident = program.resident() as f64 / f64::from(1 << 20);
        table.at_most(&format!("{what}, memory"), resident, 20.0, "MiB", String::new());
        table.at_most(&format!("{what}, CPU"), share, 0.1, "%", format!("over {} s", SPAN.as_secs()));
        drop(program);
        sim.stop().await;
    }
}
