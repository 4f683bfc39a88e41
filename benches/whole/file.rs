//! Files that are synced, against a copy of the same bytes to the same disk with an `fsync` behind each MiB.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    common::{Setup, files},
    program::Program,
    stream,
    table::{Table, median},
};

const ROUNDS: usize = 3;

/// How much the reference writes before it waits for the disk. Ours writes what has arrived meanwhile, up to four times as much.
const SYNCED: usize = 1 << 20;

pub(crate) async fn measure(table: &mut Table) {
    let (sim, events) = stream::cluster().await;
    for compression in ["none", "zstd"] {
        let (mut ratios, mut seen) = (Vec::new(), String::new());
        for _ in 0..ROUNDS {
            let directory = tempfile::tempdir().expect("a directory");
            let setup = Setup::new(&["events"], &sim.url(0))
                .env("SINK_TYPE", "file")
                .env("SINK_FILE_DIRECTORY", directory.path())
                .env("SINK_FILE_COMPRESSION", compression);
            let begun = Instant::now();
            let program = Program::start(setup).await;
            program.until(events).await;
            let cost = program.cost(begun);
            // Only then are its files finished.
            program.stop().await;
            let text: Vec<u8> =
                files::finished(directory.path()).iter().flat_map(|path| files::text(path).into_bytes()).collect();
            let bytes = text.len();
            let path = directory.path().join("reference");
            let reference = tokio::task::spawn_blocking(move || copy(&text, &path)).await.expect("no panic");
            ratios.push(reference.as_secs_f64() / cost.wall.as_secs_f64());
            let rate = |took: Duration| bytes as f64 / took.as_secs_f64() / 1e6;
            seen = format!(
                "{events} events: copy {:.0} MB/s, file {:.0} MB/s, {:.1} µs of CPU a record, {} MiB at the peak",
                rate(reference),
                rate(cost.wall),
                cost.cpu * 1e6 / events as f64,
                cost.peak >> 20,
            );
        }
        table.at_least(&format!("files, compression {compression}, of a copy with fsync"), median(ratios), 0.25, seen);
    }
}

fn copy(bytes: &[u8], path: &Path) -> Duration {
    let begun = Instant::now();
    let mut file = File::create(path).expect("writable");
    for part in bytes.chunks(SYNCED) {
        file.write_all(part).and_then(|()| file.sync_data()).expect("there is space");
    }
    begun.elapsed()
}
