//! A large stream of recorded frames, and how fast curl drains it.

use std::{
    io::Read as _,
    process::{ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use nomad_sim::Sim;

use crate::common::fixture;

/// How often the recording is played: 271 MB and 78,000 events.
pub(crate) const ROUNDS: u64 = 164;

/// A cluster with all of it in its buffer, and how many events that are.
pub(crate) async fn cluster() -> (Sim, u64) {
    let names = ["team-a", "team-b", "late"];
    let sim = names.iter().fold(Sim::builder(), |sim, name| sim.namespace(name, 1));
    let sim = sim.recording(fixture("stream-complete.ndjson")).rounds(ROUNDS).keep_truth(false);
    let sim = sim.buffer(1 << 20).preload(u64::MAX).start().await.expect("the simulator starts");
    let events = crate::common::fixture_lines("stream-complete.ndjson")
        .iter()
        .map(|line| line.matches("\"Topic\":").count() as u64)
        .sum::<u64>();
    (sim, events * ROUNDS)
}

/// Bytes of the stream, and how long curl takes for them: until nothing more comes for a while, which is not counted.
pub(crate) fn drain(url: &str) -> (u64, Duration) {
    let begun = Instant::now();
    let mut child = Command::new("curl")
        .args(["-sN", &format!("{url}/v1/event/stream?namespace=*&index=1")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let drained = until_quiet(child.stdout.take().expect("it is piped"));
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    (drained.bytes, drained.last - begun)
}

/// What came out of a pipe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drained {
    pub(crate) bytes: u64,
    pub(crate) lines: u64,
    /// When the last of it came.
    pub(crate) last: Instant,
}

/// Reads a pipe until it has been quiet for a second. What then still comes is read by nobody.
pub(crate) fn until_quiet(mut pipe: ChildStdout) -> Drained {
    const QUIET: Duration = Duration::from_secs(1);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            let lines = memchr::memchr_iter(b'\n', &buffer[..length]).count();
            if sender.send((length, lines, Instant::now())).is_err() {
                return;
            }
        }
    });
    let mut drained = Drained { bytes: 0, lines: 0, last: Instant::now() };
    let mut patience = Duration::from_secs(30);
    while let Ok((bytes, lines, last)) = receiver.recv_timeout(patience) {
        drained = Drained { bytes: drained.bytes + bytes as u64, lines: drained.lines + lines as u64, last };
        patience = QUIET;
    }
    drained
}
