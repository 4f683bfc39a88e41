//! A cluster, the program, and a sink.

use std::{collections::HashSet, time::Instant};

use nomad_sim::Sim;

use crate::{
    common::{PATIENCE, Process, Setup, Signal, made, order::assert_order, ports::Ports, probe},
    rig::{Cause, Rig, written},
};

/// Over how many keys records are spread.
const KEYS: u64 = 20;

/// What is published, and what came of it.
pub(crate) struct Stage<R> {
    pub(crate) rig: R,
    ports: Ports,
    sim: Sim,
    directory: tempfile::TempDir,
    lines: Vec<String>,
    came: Vec<String>,
    different: HashSet<String>,
}

impl<R: Rig> Stage<R> {
    pub(crate) async fn new(rig: R) -> Self {
        let sim = Sim::builder().buffer(100_000).namespace("busy", 1).namespace("other", 1);
        Stage {
            rig,
            ports: Ports::reserve(),
            sim: sim.start().await.expect("the simulator starts"),
            directory: tempfile::tempdir().expect("a directory"),
            lines: Vec::new(),
            came: Vec::new(),
            different: HashSet::new(),
        }
    }

    /// The program, which keeps nothing.
    pub(crate) fn setup(&self) -> Setup {
        let setup = Setup::new(&["evaluations"], &self.sim.url(0)).env("NOMAD_FIREHOSE_LISTEN", self.ports.address());
        self.rig.variables().into_iter().fold(setup, |setup, (name, value)| setup.env(name, value))
    }

    /// The program with checkpoints.
    pub(crate) fn keeping_setup(&self) -> Setup {
        self.setup().data_dir(self.directory.path()).env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "100ms")
    }

    /// A place in the directory of this stage.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Publishes so many versions of evaluations. Keys bear these marks in turn.
    pub(crate) async fn publish(&mut self, records: u64, task_cursors: &[&str]) {
        self.publish_padded(records, task_cursors, 0).await;
    }

    /// The same, with so many bytes more in each.
    pub(crate) async fn publish_padded(&mut self, records: u64, task_cursors: &[&str], bytes: usize) {
        let padding = format!("\"Status\":\"complete\",\"Padding\":\"{}\"", "x".repeat(bytes));
        let line = |index: u64| {
            let (key, count) = (index % KEYS, task_cursors.len() as u64);
            let task_cursor = task_cursors[usize::try_from(key % count).expect("a few")];
            // Another namespace is another key.
            let line = marked(made::evaluation_in(task_cursor, index, key), task_cursor);
            if bytes > 0 { line.replace("\"Status\":\"complete\"", &padding) } else { line }
        };
        self.append(records, line).await;
    }

    /// Publishes so many versions of evaluations. Those of each key bear these marks in turn.
    pub(crate) async fn publish_mixed(&mut self, records: u64, task_cursors: &[&str]) {
        let task_cursor =
            |index: u64| task_cursors[usize::try_from(index / KEYS % task_cursors.len() as u64).expect("a few")];
        self.append(records, |index| marked(made::evaluation(index, index % KEYS), task_cursor(index))).await;
    }

    async fn append(&mut self, records: u64, line: impl Fn(u64) -> String) {
        let first = 10 + self.lines.len() as u64;
        let lines: Vec<_> = (first..first + records).map(line).collect();
        self.rig.published(&lines);
        self.sim.append_lines(lines.clone()).await.expect("lines of a stream");
        self.lines.extend(lines);
    }

    /// How many records were published.
    pub(crate) fn published(&self) -> usize {
        self.lines.len()
    }

    /// How many records with a mark have come, repeats too.
    pub(crate) fn came_of(&self, task_cursor: &str) -> usize {
        self.came.iter().filter(|body| body.contains(&written(task_cursor))).count()
    }

    /// How many records have come, repeats too.
    pub(crate) fn came(&self) -> usize {
        self.came.len()
    }

    /// Takes what has come.
    pub(crate) async fn read(&mut self) -> usize {
        let more = self.rig.received().await;
        self.different.extend(more.iter().cloned());
        let count = more.len();
        self.came.extend(more);
        count
    }

    /// Waits until so many different records have come. A server that takes one at a time is slow beside others: only a standstill ends
    /// the wait.
    pub(crate) async fn until_came(&mut self, process: &Process, records: usize) {
        let mut deadline = Instant::now() + PATIENCE;
        while self.different.len() < records {
            let before = self.different.len();
            if self.read().await > 0 {
                if self.different.len() > before {
                    deadline = Instant::now() + PATIENCE;
                }
            } else {
                let came = self.different.len();
                assert!(Instant::now() < deadline, "{came} of {records} have come; the log:\n{}", process.log());
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }

    /// Waits until everything has come.
    pub(crate) async fn until_all_came(&mut self, process: &Process) {
        self.until_came(process, self.published()).await;
    }

    /// Waits until the program knows that everything has come: an answer is on its way for a moment.
    pub(crate) async fn until_acknowledged(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.in_flight().await > 0 {
            assert!(Instant::now() < deadline, "not everything is acknowledged");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// Waits until the program bears the effect of a cause: it has to send again, or what it has stays with it. A slow
    /// server may also have taken everything by now.
    pub(crate) async fn until_felt(&mut self, cause: Cause, retries_before: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let felt = match cause {
                Cause::Stalled => self.in_flight().await > 0,
                Cause::Slow => self.in_flight().await > 0 || self.has_all().await,
                _ => self.retries().await > retries_before,
            };
            if felt {
                return;
            }
            assert!(Instant::now() < deadline, "{cause:?} is not felt");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    async fn has_all(&mut self) -> bool {
        self.read().await;
        self.different.len() == self.published()
    }

    /// How often records were sent again.
    pub(crate) async fn retries(&self) -> u64 {
        probe::metric(self.ports.base, "nomad_firehose_retries_total{kind=\"evaluations\"}").await
    }

    /// How many bytes are read and not yet delivered.
    pub(crate) async fn in_flight(&self) -> u64 {
        probe::metric(self.ports.base, "nomad_firehose_in_flight_bytes").await
    }

    /// Waits until the program is ready, or is not for this reason.
    pub(crate) async fn until_ready(&self, wanted: bool, reason: &str) {
        probe::until_ready(self.ports.base, wanted, reason).await;
    }

    /// Starts the program, and waits until it is ready.
    pub(crate) async fn start(&mut self, setup: &Setup) -> Process {
        self.start_until(setup, |is_ready| is_ready).await
    }

    /// Starts the program, and waits until it says whether it is ready. It may never be, if its first records are refused before
    /// anybody asks.
    pub(crate) async fn start_unready(&mut self, setup: &Setup) -> Process {
        self.start_until(setup, |_| true).await
    }

    async fn start_until(&mut self, setup: &Setup, has_started: impl Fn(bool) -> bool) -> Process {
        let process = self.rig.spawn(setup);
        let deadline = Instant::now() + PATIENCE;
        while probe::readiness(self.ports.base).await.is_none_or(|(is_ready, _)| !has_started(is_ready)) {
            assert!(Instant::now() < deadline, "it is not ready; the log:\n{}", process.log());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        process
    }

    /// Stops the program in good order, and takes all that has come of it.
    pub(crate) async fn stop(&mut self, process: Process) {
        process.stop().await;
        self.rig.program_ended().await;
        self.read().await;
    }

    /// Kills the program, and takes what has come of it.
    pub(crate) async fn kill(&mut self, process: Process) {
        process.end_by(Signal::KILL).await;
        self.rig.program_ended().await;
        self.read().await;
    }

    /// Holds what came to what was published, and to its order per key: the number of repeats.
    pub(crate) fn assert_order(&self) -> usize {
        assert_order(self.came.iter().map(String::as_str), &self.lines, R::LEAPS)
    }
}

fn marked(line: String, task_cursor: &str) -> String {
    line.replace(&written("test"), &written(task_cursor))
}
