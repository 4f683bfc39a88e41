//! The whole program with files: on a disk that fills up, that cannot be written to, that hangs and fails, and with a process that is
//! killed. A consumer reads only finished files.

mod common;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Setup, Signal, cluster,
    disk::{SlowDisk, SmallDisk},
    files::{self, Consumer},
    fixture_lines, flood, made,
    order::{self, Leaps},
    ports::Ports,
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;

/// The program, which writes into this directory and finishes files soon.
fn setup(sim: &Sim, directory: &Path, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "file")
        .env("SINK_FILE_DIRECTORY", directory)
        .env("SINK_FILE_ROTATE_INTERVAL", "100ms")
        .env("NOMAD_FIREHOSE_RETRY_MAX", "200ms")
}

fn assert_once(came: &[String], lines: &[String]) {
    assert_eq!(order::assert_order(came.iter().map(String::as_str), lines, Leaps::Never), 0, "records came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_in_the_files_of_its_kind() {
    let stream = fixture_lines("stream-complete.ndjson");
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    for compression in ["none", "gzip", "zstd"] {
        let directory = tempfile::tempdir().expect("a directory");
        let sim = cluster(&stream).await;
        let process = setup(&sim, directory.path(), "all")
            .env("SINK_FILE_NAME", "{Kind}/%Y-%m/x")
            .env("SINK_FILE_COMPRESSION", compression)
            .env("SINK_FILE_ROTATE_SIZE", "64KiB")
            .spawn();
        let mut consumer = Consumer::new(directory.path());
        let came = process.until_come(due.len(), async || consumer.more()).await;
        process.stop().await;
        assert_eq!(consumer.more(), Vec::<String>::new());
        assert_exactly(&came.iter().map(|body| seen(body)).collect::<Vec<_>>(), &due);
        assert_eq!(files::open(directory.path()), Vec::<std::path::PathBuf>::new());
        let end = match compression {
            "none" => ".ndjson",
            "gzip" => ".ndjson.gz",
            _ => ".ndjson.zst",
        };
        for path in files::finished(directory.path()) {
            assert!(path.display().to_string().ends_with(end), "{}", path.display());
            let text = files::text(&path);
            assert!(text.len() <= 64 << 10 || text.lines().count() == 1, "{} bytes", text.len());
            let kind = path.strip_prefix(directory.path()).expect("below").components().next().expect("a directory");
            let kind = kind.as_os_str().to_str().expect("UTF-8");
            assert!(text.lines().all(|line| seen(line).kind == kind), "{}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for_and_leaves_no_half_line_and_no_repeat() {
    for compression in ["none", "zstd"] {
        let Some(disk) = SmallDisk::new(256) else {
            println!("skipped: this user may not mount a file system");
            return;
        };
        // More than fits.
        let lines: Vec<_> = (10..4_010).map(|index| made::evaluation(index, index % 20 + 1)).collect();
        let sim = cluster(&lines).await;
        let ports = Ports::reserve();
        let setup = setup(&sim, Path::new(disk.path()), "evaluations")
            .env("SINK_FILE_COMPRESSION", compression)
            .env("SINK_FILE_ROTATE_SIZE", "1MiB")
            .env("SINK_FILE_ROTATE_INTERVAL", "1h")
            .env("NOMAD_FIREHOSE_LISTEN", ports.address());
        let process = disk.around(setup).spawn();
        process.until_logged("No space left on device").await;
        let log = process.log();
        assert!(
            log.contains("/mnt/evaluations-") && log.contains("free space there, or set SINK_FILE_KEEP_SIZE"),
            "{log}"
        );
        assert_eq!(process.logged("rejected"), 0);
        disk.remount("size=16m");
        process.until_logged("delivery recovered").await;
        flood::until_count(&process, lines.len() as u64, async || flood::delivered(ports.base).await).await;
        process.stop().await;
        let mut consumer = Consumer::new(&disk.outside());
        assert_once(&consumer.more(), &lines);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_written_to_is_waited_for_and_so_is_a_directory_that_is_missing() {
    let lines = made::evaluations(10..110, 20);
    let sim = cluster(&lines).await;
    if let Some(disk) = SmallDisk::new(4096) {
        disk.remount("ro");
        let process = disk.around(setup(&sim, Path::new(disk.path()), "evaluations")).spawn();
        process.until_logged("Read-only file system").await;
        assert!(process.log().contains("mount it so that it can be written to"), "{}", process.log());
        disk.remount("rw");
        let mut consumer = Consumer::new(&disk.outside());
        let came = process.until_come(lines.len(), async || consumer.more()).await;
        process.stop().await;
        assert_once(&came, &lines);
    } else {
        println!("skipped: this user may not mount a file system");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing");
    let process = setup(&sim, &missing, "evaluations").spawn();
    process.until_logged("create the directory that SINK_FILE_DIRECTORY names").await;
    fs::create_dir(&missing).expect("writable");
    let mut consumer = Consumer::new(&missing);
    let came = process.until_come(lines.len(), async || consumer.more()).await;
    process.stop().await;
    assert_once(&came, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_synced_counts_for_nothing_and_comes_once() {
    let (directory, disk) = (tempfile::tempdir().expect("a directory"), SlowDisk::new());
    let lines = made::evaluations(10..510, 20);
    let sim = cluster(&lines).await;
    disk.is("unsynced");
    let ports = Ports::reserve();
    let setup = setup(&sim, directory.path(), "evaluations").env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let setup = disk.variables().into_iter().fold(setup, |setup, (name, value)| setup.env(name, value));
    let process = setup.spawn();
    process.until_logged("cannot sync ").await;
    assert_eq!(flood::delivered(ports.base).await, 0);
    assert_eq!(files::finished(directory.path()), Vec::<std::path::PathBuf>::new());
    disk.is("well");
    let mut consumer = Consumer::new(directory.path());
    let came = process.until_come(lines.len(), async || consumer.more()).await;
    process.stop().await;
    assert_once(&came, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_gathered_for_one_fsync_and_not_delivered_before_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let lines = made::evaluations(10..110, 20);
    let sim = cluster(&lines).await;
    let ports = Ports::reserve();
    let process = setup(&sim, directory.path(), "evaluations")
        .env("SINK_FILE_FSYNC_INTERVAL", "60s")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address())
        .spawn();
    let deadline = Instant::now() + PATIENCE;
    let in_flight = async || common::probe::metric(ports.base, "nomad_firehose_in_flight_bytes").await;
    process.until_logged("subscribed to the event stream").await;
    while in_flight().await == 0 {
        assert!(Instant::now() < deadline, "{}", process.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(flood::delivered(ports.base).await, 0);
    // A stop does not wait for the minute.
    let begun = Instant::now();
    process.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    let came = Consumer::new(directory.path()).more();
    assert_eq!(order::assert_order(came.iter().map(String::as_str), &lines[..came.len()], Leaps::Never), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_write_to_one_directory_and_the_second_finishes_what_the_first_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let lines = made::evaluations(10..60, 20);
    let sim = cluster(&lines).await;
    let setup = setup(&sim, directory.path(), "evaluations").env("SINK_FILE_ROTATE_INTERVAL", "1h");
    let first = setup.spawn();
    first.until("its file is written", || files::open(directory.path()).iter().any(|path| whole(path) == 50)).await;
    let second = setup.spawn();
    second.until_logged("another process or pipeline writes there; end the other process").await;
    assert_eq!(files::finished(directory.path()), Vec::<std::path::PathBuf>::new());
    first.end_by(Signal::KILL).await;
    second.until_logged("finishing files of an earlier run").await;
    second.until_logged("delivery recovered").await;
    second.stop().await;
    // Both had no checkpoint.
    let came = Consumer::new(directory.path()).more();
    assert_eq!(order::assert_order(came.iter().map(String::as_str), &lines, Leaps::Never), 50);
}

fn whole(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().matches('\n').count()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_much_is_kept_where_it_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let lines = made::evaluations(10..2_010, 20);
    let sim = cluster(&lines).await;
    let process = setup(&sim, directory.path(), "evaluations")
        .env("SINK_FILE_ROTATE_SIZE", "4KiB")
        .env("SINK_FILE_KEEP_FILES", "3")
        .spawn();
    process.until_logged("oldest files deleted").await;
    let last = "\"ModifyIndex\":2009";
    let has_last = || {
        files::finished(directory.path())
            .iter()
            .any(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(last)))
    };
    process.until("the last record is in a finished file", has_last).await;
    process.stop().await;
    assert!(files::finished(directory.path()).len() <= 3, "{:?}", files::finished(directory.path()));
}

/// Kills, stops, and every sort of trouble with the disk.
async fn go_through(records: u64, outage: Duration) {
    let (directory, state) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let disk = SlowDisk::new();
    let sim = flood::cluster(records).await;
    let ports = Ports::reserve();
    let setup = setup(&sim, directory.path(), "evaluations")
        .data_dir(state.path())
        .env("SINK_FILE_COMPRESSION", "zstd")
        .env("SINK_FILE_ROTATE_SIZE", "8MiB")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let setup = disk.variables().into_iter().fold(setup, |setup, (name, value)| setup.env(name, value));
    let (mut consumer, mut came, begun) = (Consumer::new(directory.path()), flood::Came::new(records), Instant::now());
    let mut peak = 0;
    for (part, trouble) in ["failing", "stalled", "unsynced", "slow 1000000", "well"].into_iter().enumerate() {
        let process = setup.spawn();
        let until = records * (part as u64 + 1) / 5;
        flood::until_count(&process, until, async || {
            consumer.more().iter().for_each(|line| came.take(line));
            came.distinct
        })
        .await;
        disk.is(trouble);
        tokio::time::sleep(outage).await;
        peak = peak.max(process.peak_memory());
        println!("{until} records after {:?}, then {trouble}", begun.elapsed());
        if part % 2 == 0 {
            disk.is("well");
            process.stop().await;
        } else {
            process.end_by(Signal::KILL).await;
            disk.is("well");
        }
    }
    consumer.more().iter().for_each(|line| came.take(line));
    came.assert_all();
    println!(
        "{records} records, {} repeats, {} files, {} MiB, {:?}",
        came.repeats,
        consumer.files(),
        peak >> 20,
        begun.elapsed()
    );
    assert!(peak < 128 << 20, "{peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_stops_and_a_disk_in_trouble_lose_nothing() {
    go_through(10_000, Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn kills_stops_and_a_disk_in_trouble_lose_nothing_of_many() {
    go_through(flood::records(100_000), Duration::from_secs(5)).await;
}
