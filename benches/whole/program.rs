//! The program under measurement: what it has delivered, and what that cost.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::common::{Setup, ports::Ports, probe};

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

    /// Records and bytes delivered so far.
    pub(crate) async fn delivered(&self) -> (u64, u64) {
        let text = probe::get(&format!("http://{}/metrics", self.ports.address())).await;
        let sum = |name: &str| {
            let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
            values.filter_map(|value| value.parse::<u64>().ok()).sum()
        };
        (sum("nomad_firehose_records_delivered_total"), sum("nomad_firehose_bytes_delivered_total"))
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

    /// What it has cost since `begun`.
    pub(crate) fn cost(&self, begun: Instant) -> Cost {
        let id = self.child.id();
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{id}/{name}")).expect("it runs");
        // Behind the name in parentheses; utime and stime are the 14th and 15th field of all (proc(5)).
        let stat = read("stat");
        let fields = stat.rsplit(") ").next().expect("fields").split(' ').skip(11);
        let ticks: f64 = fields.take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        let status = read("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
        let peak: usize = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        // USER_HZ is 100 on every Linux that this runs on.
        Cost { wall: begun.elapsed(), cpu: ticks / 100.0, peak: peak << 10 }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
