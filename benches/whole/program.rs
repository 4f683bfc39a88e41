//! The program under measurement: what it has delivered, and what that cost.

use std::{
    process::{Child, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use crate::common::{Setup, Signal, ports::Ports, probe};

/// How long any figure may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running program with its metrics.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    ports: Ports,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// Seconds of a processor.
    pub(crate) cpu: f64,
    /// The most memory it had, bytes.
    pub(crate) peak: usize,
}

impl Program {
    /// Starts it, and waits until it listens.
    pub(crate) async fn start(setup: Setup) -> Self {
        let ports = Ports::reserve();
        let setup = setup.env("NOMAD_FIREHOSE_LISTEN", ports.address()).env("LOG_LEVEL", "error");
        let child = setup.command().stdout(Stdio::null()).spawn().expect("the program starts");
        let program = Program { child, ports };
        crate::common::until("it listens", || std::net::TcpStream::connect(program.ports.address()).is_ok()).await;
        program
    }

    /// Starts it with its standard output in a pipe.
    pub(crate) fn piped(setup: Setup) -> (Self, ChildStdout) {
        let ports = Ports::reserve();
        let setup = setup.env("NOMAD_FIREHOSE_LISTEN", ports.address()).env("LOG_LEVEL", "error");
        let mut child = setup.command().stdout(Stdio::piped()).spawn().expect("the program starts");
        let pipe = child.stdout.take().expect("it is piped");
        (Program { child, ports }, pipe)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Records and bytes delivered so far.
    pub(crate) async fn delivered(&self) -> (u64, u64) {
        let text = probe::get(&format!("http://{}/metrics", self.ports.address())).await;
        let sum = |name: &str| {
            let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
            values.filter_map(|value| value.parse::<u64>().ok()).sum()
        };
        (sum("nomad_firehose_records_delivered_total"), sum("nomad_firehose_bytes_delivered_total"))
    }

    /// Records delivered or filtered so far.
    pub(crate) async fn done(&self) -> u64 {
        let text = probe::get(&format!("http://{}/metrics", self.ports.address())).await;
        let names = ["nomad_firehose_records_delivered_total", "nomad_firehose_records_filtered_total"];
        let lines = text.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Records of a kind delivered so far.
    pub(crate) async fn records(&self, kind: &str) -> u64 {
        probe::metric(self.ports.base, &format!("nomad_firehose_records_delivered_total{{kind=\"{kind}\"}}")).await
    }

    /// Waits until a kind has been read up to an index.
    pub(crate) async fn until_at(&self, kind: &str, index: u64) {
        let series = format!("nomad_firehose_position_index{{kind=\"{kind}\"}}");
        let begun = Instant::now();
        while probe::metric(self.ports.base, &series).await < index {
            assert!(begun.elapsed() < PATIENCE, "not at {index}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The memory it has, in bytes.
    pub(crate) fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    fn memory(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let size = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells");
        let size: usize = size.trim().trim_end_matches(" kB").parse().expect("a number");
        size << 10
    }

    /// Waits until so many records are delivered.
    pub(crate) async fn until(&self, records: u64) {
        let begun = Instant::now();
        loop {
            let (delivered, _) = self.delivered().await;
            if delivered >= records {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{delivered} of {records} records");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it cleanly.
    pub(crate) async fn stop(mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, Signal::TERM).expect("it runs");
        crate::common::until("it has ended", || self.child.try_wait().expect("it is our child").is_some()).await;
    }

    /// What it has cost since `begun`.
    pub(crate) fn cost(&self, begun: Instant) -> Cost {
        let id = self.child.id();
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{id}/{name}")).expect("it runs");
        // Behind the name in parentheses; utime and stime are the 14th and 15th field of all (proc(5)).
        let stat = read("stat");
        let fields = stat.rsplit(") ").next().expect("fields").split(' ').skip(11);
        let ticks: f64 = fields.take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        // USER_HZ is 100 on every Linux that this runs on.
        Cost { wall: begun.elapsed(), cpu: ticks / 100.0, peak: self.memory("VmHWM:") }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
