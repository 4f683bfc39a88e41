//! How the program ends: when nobody reads any more, when it is asked twice, and when its disk is full.

mod common;

use std::{
    io::Read,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Setup, Signal, fixture, fixture_lines,
    ports::Ports,
    probe::metric,
    truth::{all_seen, assert_exactly, expected_by_line},
    until,
};
use nomad_sim::Sim;
use serde_json::Value;

const RECORDING: &str = "stream-complete.ndjson";

async fn lived() -> Sim {
    let sim = Sim::builder().recording(fixture(RECORDING)).buffer(1_000).preload(u64::MAX);
    sim.start().await.expect("the simulator starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_ends_it_cleanly_and_leaves_the_checkpoint() {
    let (sim, data_dir) = (lived().await, tempfile::tempdir().expect("a directory"));
    let setup = Setup::new(&["allocations"], &sim.url(0)).data_dir(data_dir.path());
    let mut child = setup.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // As `head` does: read a little, then close. Much more is written than the pipe holds.
    let mut little = [0; 1_000];
    child.stdout.take().expect("piped").read_exact(&mut little).expect("records come");
    let mut status = None;
    until("it ends", || {
        status = child.try_wait().expect("our child");
        status.is_some()
    })
    .await;
    let mut log = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut log).expect("UTF-8");
    assert_eq!(status.expect("it has ended").code(), Some(0), "{log}");
    assert!(!log.contains("panic"), "{log}");
    // A batch of which only a part went into the pipe is not delivered: the next run begins at the checkpoint before it.
    let process = setup.spawn();
    process.until_logged("became leader").await;
    let (lines, from) = (fixture_lines(RECORDING), stored_position(&process.log()));
    let due = expected_by_line("allocations", &lines).into_iter().zip(&lines);
    let due: Vec<_> = due.filter(|(_, line)| index(line) > from).flat_map(|(seen, _)| seen).collect();
    assert!(due.len() > 200, "the pipe held most of it: {}", process.log());
    process.until_printed(due.len()).await;
    assert_exactly(&all_seen(&process.stop().await), &due);
}

/// The index that the log says the checkpoint is at; 0 where none was stored.
fn stored_position(log: &str) -> u64 {
    let position = log.split_once("positions=*@").map(|(_, rest)| rest.split_whitespace().next().expect("a number"));
    position.map_or(0, |position| position.parse().expect("an index"))
}

fn index(line: &str) -> u64 {
    let line: Value = serde_json::from_str(line).expect("a line is JSON");
    line["Index"].as_u64().expect("an index")
}

/// Where there is no standard output, Rust opens `/dev/null` in its place: every record would go to nobody.
#[test]
fn a_closed_standard_output_is_refused() {
    let closed = Command::new("/bin/sh")
        .args(["-c", "exec \"$0\" nodes --coordinator none >&-", env!("CARGO_BIN_EXE_nomad-firehose")])
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    assert_eq!(closed.status.code(), Some(2));
    let log = String::from_utf8_lossy(&closed.stderr);
    assert!(log.contains("SINK_TYPE") && log.contains("the standard output is closed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupt_stops_it_as_cleanly_as_terminate() {
    let sim = lived().await;
    let process = Setup::new(&["allocations"], &sim.url(0)).spawn();
    process.until_printed(315).await;
    assert_eq!(process.end_by(Signal::INT).await.status.code(), Some(0));
}

/// `systemctl reload`, log rotation and the end of a terminal send SIGHUP, also where there is no file to read again; people send
/// the others by mistake.
#[tokio::test(flavor = "multi_thread")]
async fn signals_that_mean_nothing_to_it_do_not_end_it() {
    let sim = lived().await;
    let process = Setup::new(&["allocations"], &sim.url(0)).spawn();
    process.until_printed(315).await;
    for (signal, name) in [
        (Signal::HUP, "no configuration file to reload"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::VTALARM, "SIGVTALRM"),
        (Signal::PROF, "SIGPROF"),
        (Signal::IO, "SIGIO"),
        (Signal::POWER, "SIGPWR"),
        (Signal::XFSZ, "SIGXFSZ"),
        // Ignored by every program in Rust: a pipe that closes is an error of the write.
        (Signal::PIPE, ""),
    ] {
        process.signal(signal);
        process.until_logged(name).await;
    }
    assert_eq!(process.logged("signal ignored"), 8, "{}", process.log());
    assert_eq!(process.stop().await.len(), 315);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let sim = lived().await;
    let setup = Setup::new(&["run", "--resources", "all"], &sim.url(0)).env("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "10m");
    // Nobody reads, so that nothing can be drained.
    let mut child = setup.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (log, reader) = common::collect(child.stderr.take().expect("piped"));
    let logged = |text: &str| log.lock().expect("nobody panics").iter().any(|line: &String| line.contains(text));
    let pid = rustix::process::Pid::from_child(&child);
    let pipe = child.stdout.take().expect("piped");
    // How much a full pipe holds depends on how its pages were filled; full is what has stopped to grow.
    let (mut held, mut looks) = (0, 0);
    until("the pipe is full", || {
        let now = rustix::io::ioctl_fionread(&pipe).expect("a pipe");
        looks = if now == held { looks + 1 } else { 0 };
        held = now;
        held > 0 && looks > 50
    })
    .await;
    let mut status = None;
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        assert!(child.try_wait().expect("our child").is_none(), "one signal is for draining");
        rustix::process::kill_process(pid, signal).expect("our child");
        until("the signal is seen", || logged(name)).await;
    }
    until("it ends", || {
        status = child.try_wait().expect("our child");
        status.is_some()
    })
    .await;
    reader.join().expect("it only reads");
    let status = status.expect("it has ended");
    assert_eq!((status.code(), status.signal()), (Some(1), None), "not everything was delivered");
}

/// Needs a file system that can be full; where none may be mounted, a directory in the place of the new file fails
/// every save in its stead.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_cannot_be_stored_is_an_error_and_not_the_end() {
    let (sim, data_dir, ports) = (lived().await, tempfile::tempdir().expect("a directory"), Ports::reserve());
    std::fs::create_dir(data_dir.path().join("allocations.json.tmp")).expect("an empty directory");
    let setup = Setup::new(&["allocations"], &sim.url(0))
        .data_dir(data_dir.path())
        .env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "100ms")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let process = setup.spawn();
    process.until_printed(315).await;
    let deadline = Instant::now() + PATIENCE;
    while metric(ports.base, r#"nomad_firehose_checkpoint_failures_total{kind="allocations"}"#).await < 3 {
        assert!(Instant::now() < deadline, "it tries more than once; the log:\n{}", process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(process.logged("cannot store checkpoint"), 1, "the same failure is logged once a minute");
    std::fs::remove_dir(data_dir.path().join("allocations.json.tmp")).expect("it is empty");
    process.until("it is stored", || data_dir.path().join("allocations.json").exists()).await;
    assert_eq!(process.stop().await.len(), 315);
    // Nothing comes again.
    let process = setup.spawn();
    process.until_logged("subscribed to the event stream").await;
    assert_eq!(process.stop().await, [""; 0]);
}

/// Without a coordinator no checkpoint is stored, a list that owed nothing is none of an operator's concern, and what was
/// never read is not delivered.
#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_happen_is_neither_counted_nor_logged() {
    let (sim, ports) = (Sim::builder().start().await.expect("the simulator starts"), Ports::reserve());
    let setup = Setup::new(&["evaluations"], &sim.url(0))
        .env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "100ms")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let process = setup.spawn();
    process.until_logged("subscribed to the event stream").await;
    process
        .until("its list is read", || sim.requests().iter().any(|asked| asked.target.starts_with("/v1/evaluations?")))
        .await;
    // So that several checkpoints are due.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        assert_eq!(metric(ports.base, r#"nomad_firehose_checkpoints_total{kind="evaluations"}"#).await, 0);
    }
    let ended = process.end_by(Signal::TERM).await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    for words in ["backfill finished", "0ns", "everything that was read is delivered"] {
        assert!(!ended.log.contains(words), "{words}:\n{}", ended.log);
    }
}
