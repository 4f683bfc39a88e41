//! A large stream of recorded frames, and how fast curl drains it.

use std::{
    io::Read as _,
    process::{Command, Stdio},
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
    const QUIET: Duration = Duration::from_secs(1);
    let mut child = Command::new("curl")
        .args(["-sN", &format!("{url}/v1/event/stream?namespace=*&index=1")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let begun = Instant::now();
    let mut pipe = child.stdout.take().expect("it is piped");
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            if sender.send((length, Instant::now())).is_err() {
                return;
            }
        }
    });
    let (mut bytes, mut last) = (0, begun);
    while let Ok((length, at)) = receiver.recv_timeout(QUIET) {
        (bytes, last) = (bytes + length as u64, at);
    }
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    drop(receiver);
    reader.join().expect("it does not panic");
    (bytes, last - begun)
}
