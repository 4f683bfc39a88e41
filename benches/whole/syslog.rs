//! Messages over TCP to a real rsyslog that writes them to a file, against `logger` with bodies of the same mean size. Syslog
//! acknowledges nothing, so the file counts, for both.

use std::{
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    common::rsyslog::Rsyslog,
    sink::{self, ROUNDS},
    table::{Table, median},
};

const WHAT: &str = "syslog over TCP to rsyslog, of logger";
/// The start, which is not counted, and the end.
const SPAN: [u64; 2] = [20_000, 300_000];
/// What there is to send: some more.
const MESSAGES: u64 = 320_000;
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(table: &mut Table) {
    let sim = sink::cluster().await;
    let (mut ratios, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        let (ours, size, cost) = {
            let rsyslog = Rsyslog::start().await;
            let address = rsyslog.address();
            let variables = [("SINK_TYPE", "syslog"), ("SINK_SYSLOG_PROTO", "tcp"), ("SINK_SYSLOG_ADDR", &address)];
            let (program, started) = sink::start(&sim, &variables).await;
            let ours = written(&rsyslog.file()).await;
            let (cost, (records, bytes)) = (program.cost(started), program.delivered().await);
            let each = cost.cpu * 1e6 / records as f64;
            let cost = format!("{each:.1} µs of CPU a record, {} MiB at the peak", cost.peak >> 20);
            (ours, bytes / records, cost)
        };
        let theirs = theirs(size).await;
        ratios.push(ours / theirs);
        last = format!("ours {ours:.0}/s, logger {theirs:.0}/s, {size} bytes, {cost}");
    }
    table.at_least(WHAT, median(ratios), 0.9, last);
}

/// Messages a second of logger.
async fn theirs(size: u64) -> f64 {
    let mut bodies = tempfile::NamedTempFile::new().expect("a file");
    let line = format!("{{{}}}\n", "x".repeat(usize::try_from(size).expect("a size") - 2));
    for _ in 0..MESSAGES {
        bodies.write_all(line.as_bytes()).expect("writable");
    }
    bodies.flush().expect("writable");
    let rsyslog = Rsyslog::start().await;
    let address = rsyslog.address();
    let (host, port) = address.split_once(':').expect("host and port");
    let mut child = Command::new("logger")
        .args(["--server", host, "--port", port, "--tcp", "--octet-count", "--rfc5424", "--size", "65536", "--file"])
        .arg(bodies.path())
        .spawn()
        .expect("logger is installed");
    let rate = written(&rsyslog.file()).await;
    // It may have ended by itself.
    child.kill().ok();
    child.wait().expect("it is our child");
    rate
}

/// Lines a second that a file grows by.
async fn written(file: &Path) -> f64 {
    let (mut tail, mut begun) = (Tail::default(), None);
    let waits = Instant::now();
    loop {
        tail.read(file);
        match begun {
            None if tail.lines >= SPAN[0] => begun = Some((Instant::now(), tail.lines)),
            Some((begun, before)) if tail.lines >= SPAN[1] => {
                return (tail.lines - before) as f64 / begun.elapsed().as_secs_f64();
            }
            _ => assert!(waits.elapsed() < PATIENCE, "{} lines of {}", tail.lines, SPAN[1]),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How far a growing file is read.
#[derive(Default)]
struct Tail {
    file: Option<std::fs::File>,
    lines: u64,
    buffer: Vec<u8>,
}

impl Tail {
    /// Reads what is new.
    fn read(&mut self, path: &Path) {
        use std::io::Read as _;
        if self.file.is_none() {
            self.file = std::fs::File::open(path).ok();
        }
        let Some(file) = &mut self.file else { return };
        self.buffer.clear();
        file.read_to_end(&mut self.buffer).expect("readable");
        self.lines += memchr::memchr_iter(b'\n', &self.buffer).count() as u64;
    }
}
