//! What the tests of the whole program share: the real binary as a child process, and what a recording says must come.
//!
//! Begin with [`Setup`], which starts the program; [`truth`] tells what it has to print.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

pub mod alertmanager;
pub mod aws;
pub mod aws_faults;
pub mod bulk;
pub mod consul;
pub mod disk;
pub mod elasticmq;
#[cfg(feature = "mongodb")]
pub mod ferretdb;
pub mod files;
pub mod flood;
pub mod forward_proxy;
pub mod gate;
pub mod kafka;
pub mod kinesis;
pub mod kinesis_proxy;
pub mod log_store;
#[cfg(feature = "loki")]
pub mod loki;
pub mod long_run;
pub mod made;
pub mod moto;
pub mod nats;
pub mod nginx;
pub mod nsq;
pub mod order;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod outage;
pub mod ports;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod probe;
pub mod proxy;
#[cfg(feature = "amqp")]
pub mod queue;
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
pub mod rsyslog;
pub mod s3;
pub mod server;
pub mod smtp;
pub mod stand_in;
pub mod tls;
#[cfg(feature = "kafka")]
pub mod topic;
pub mod truth;

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nomad_sim::Sim;
pub use rustix::process::Signal;

/// How long a test waits for anything before it fails. Far more than is needed, for machines that are busy: it only ends
/// a test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// The program, not yet started. The child sees no variable but those given here.
#[derive(Clone, Debug)]
pub struct Setup {
    /// A program that starts it.
    around: Vec<OsString>,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

impl Setup {
    /// The program with these arguments, such as `["run", "--resources", "all"]`, reading the cluster at `url`. It
    /// keeps nothing, unless [`Setup::data_dir`] says where.
    pub fn new(arguments: &[&str], url: &str) -> Self {
        Setup { around: Vec::new(), arguments: arguments.iter().map(OsString::from).collect(), variables: Vec::new() }
            .env("NOMAD_ADDR", url)
            .env("NOMAD_FIREHOSE_COORDINATOR", "none")
            // A stop that delivers everything is at once over; on a busy machine "at once" can be long.
            .env("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "2m")
    }

    /// The program with these arguments and no variable at all.
    pub fn bare(arguments: &[&str]) -> Self {
        Setup { around: Vec::new(), arguments: arguments.iter().map(OsString::from).collect(), variables: Vec::new() }
    }

    /// One more variable, or another value of it.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.retain(|(given, _)| given != name);
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The same for several variables.
    pub fn envs(self, variables: &[(&str, &str)]) -> Self {
        variables.iter().fold(self, |setup, (name, value)| setup.env(name, value))
    }

    /// One more argument.
    pub fn flag(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With what no operator needs in the log: lists that had nothing to give, say.
    pub fn verbose(self) -> Self {
        self.env("LOG_LEVEL", "debug")
    }

    /// Without this variable.
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(given, _)| given != name);
        self
    }

    /// Started by this program with these arguments.
    pub fn within(self, around: &[&str]) -> Self {
        Setup { around: around.iter().map(OsString::from).collect(), ..self }
    }

    /// Checkpoints in this directory.
    pub fn data_dir(self, path: &Path) -> Self {
        self.env("NOMAD_FIREHOSE_COORDINATOR", "file").env("NOMAD_FIREHOSE_DATA_DIR", path)
    }

    /// The command, for tests that want its pipes otherwise.
    pub fn command(&self) -> Command {
        let program = OsString::from(env!("CARGO_BIN_EXE_nomad-firehose"));
        let mut words = self.around.iter().chain([&program]);
        let mut command = Command::new(words.next().unwrap_or(&program));
        command.args(words);
        command.args(&self.arguments).env_clear().envs(self.variables.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// Starts it and collects what it prints.
    pub fn spawn(&self) -> Process {
        Process::spawn(self.command())
    }

    /// Starts it with its standard output going elsewhere: what it prints there is not collected.
    pub fn spawn_into(&self, stdout: impl Into<Stdio>) -> Process {
        Process::spawn_into(self.command(), stdout.into())
    }

    /// Runs it to its end: exit code, stdout, stderr.
    pub fn output(&self) -> (Option<i32>, String, String) {
        let output = self.command().output().expect("the program starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
    logged: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (printed, from_stdout) = collect(child.stdout.take().expect("stdout is piped"));
        let (logged, from_stderr) = collect(child.stderr.take().expect("stderr is piped"));
        Process { child, printed, logged, readers: vec![from_stdout, from_stderr] }
    }

    fn spawn_into(mut command: Command, stdout: Stdio) -> Self {
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (logged, from_stderr) = collect(child.stderr.take().expect("stderr is piped"));
        Process { child, printed: Lines::default(), logged, readers: vec![from_stderr] }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The whole lines printed so far, without their line ends. A line cut by the process's death is none.
    pub fn printed(&self) -> Vec<String> {
        lock(&self.printed).clone()
    }

    /// How many these are.
    pub fn count(&self) -> usize {
        lock(&self.printed).len()
    }

    /// What was logged so far.
    pub fn log(&self) -> String {
        lock(&self.logged).join("\n")
    }

    /// How many log lines hold this text.
    pub fn logged(&self, text: &str) -> usize {
        lock(&self.logged).iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until so many lines are printed. More may follow.
    pub async fn until_printed(&self, lines: usize) {
        self.until(&format!("{lines} lines are printed"), || self.count() >= lines).await;
    }

    /// Waits until this text is logged.
    pub async fn until_logged(&self, text: &str) {
        self.until(&format!("{text:?} is logged"), || self.logged(text) > 0).await;
    }

    /// Waits until the condition holds; fails with the program's log when it does not in time.
    pub async fn until(&self, what: &str, condition: impl FnMut() -> bool) {
        if !holds_in_time(condition).await {
            panic!("not in time: {what}; {} lines were printed; the log:\n{}", self.count(), self.log());
        }
    }

    /// Gathers what `more` gives until so many have come.
    pub async fn until_come<T>(&self, count: usize, mut more: impl AsyncFnMut() -> Vec<T>) -> Vec<T> {
        let (mut came, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        while came.len() < count {
            came.extend(more().await);
            assert!(Instant::now() < deadline, "{} of {count} have come; the log:\n{}", came.len(), self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        came
    }

    /// Waits until `count` gives so many, and holds it to be no more.
    pub async fn until_exactly(&self, due: u64, mut count: impl AsyncFnMut() -> u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let there = count().await;
            assert!(there <= due, "{there} are there, and only {due} are due");
            if there == due {
                return;
            }
            assert!(Instant::now() < deadline, "{there} of {due} are there; the log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// See [`peak_memory`].
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.child.id())
    }

    /// Sends a signal; nothing where it has ended already.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        // Until it is waited for, its id is nobody else's.
        rustix::process::kill_process(id.expect("a process id"), signal).expect("it is our child");
    }

    /// Waits for its end: its status and what it printed and logged altogether.
    pub async fn end(mut self) -> Ended {
        let mut status = None;
        let ended = holds_in_time(|| {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        assert!(ended.await, "it does not end; the log:\n{}", self.log());
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        Ended { status: status.expect("it has ended"), printed: self.printed(), log: self.log() }
    }

    /// Sends a signal and waits for the end.
    pub async fn end_by(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.end().await
    }

    /// Stops it as an operator does, and holds it to a clean end: the lines it printed altogether.
    pub async fn stop(self) -> Vec<String> {
        let ended = self.end_by(Signal::TERM).await;
        assert_eq!(ended.status.code(), Some(0), "not a clean end:\n{}", ended.log);
        ended.printed
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// The whole lines it printed.
    pub printed: Vec<String>,
    /// What it logged.
    pub log: String,
}

/// Waits until the condition holds, and fails when it does not in time.
pub async fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_in_time(condition).await, "not in time: {what}");
}

async fn holds_in_time(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    true
}

/// A file of the recordings: `stream-complete.ndjson`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nomad-2.0.5").join(name)
}

/// The lines of such a file.
pub fn fixture_lines(name: &str) -> Vec<String> {
    let path = fixture(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    text.lines().filter(|line| !line.is_empty() && *line != "{}").map(str::to_owned).collect()
}

/// A cluster that has the namespaces of the recordings, and these lines in its stream.
pub async fn cluster(lines: &[String]) -> Sim {
    let names = ["team-a", "team-b", "late"];
    let sim = names.iter().fold(Sim::builder().buffer(100_000), |sim, name| sim.namespace(name, 1));
    let sim = sim.start().await.expect("the simulator starts");
    sim.append_lines(lines.to_vec()).await.expect("lines of a stream");
    sim
}

/// The path that `scripts/install-NAME` prints, which installs a server where it may.
pub fn installed(name: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scripts/install-{name}"));
    let output = Command::new(script).stdin(Stdio::null()).output().expect("the script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim_end())
}

/// A seed for a randomised test: `SEED` where it is set, to repeat a failure. It is printed.
pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    seed
}

/// Lines that a thread collects.
pub type Lines = Arc<Mutex<Vec<String>>>;

/// Collects the whole lines of a pipe, until it ends.
pub fn collect(pipe: impl std::io::Read + Send + 'static) -> (Lines, JoinHandle<()>) {
    let lines = Lines::default();
    let collected = Arc::clone(&lines);
    let reader = std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
            if line.pop() == Some(b'\n') {
                lock(&lines).push(String::from_utf8(std::mem::take(&mut line)).expect("it prints UTF-8"));
            }
            line.clear();
        }
    });
    (collected, reader)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most memory in bytes that a process has had so far, without what is mapped from files: that is mostly the text of the
/// program, of which a build with debug assertions has much.
pub fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let size = |name: &str| {
        let text = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        text.and_then(|text| text.parse::<u64>().ok()).expect("a size") * 1024
    };
    size("VmHWM:").saturating_sub(size("RssFile:"))
}
