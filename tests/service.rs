//! What the service manager hears, at a real socket.

mod common;

use std::{
    os::unix::net::UnixDatagram,
    path::PathBuf,
    time::{Duration, Instant},
};

use common::{Setup, Signal};
use nomad_sim::Sim;

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _directory: tempfile::TempDir,
    /// All assignments so far.
    heard: Vec<String>,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        Manager { socket, path, _directory: directory, heard: Vec::new() }
    }

    fn setup(&self, setup: Setup) -> Setup {
        setup.env("NOTIFY_SOCKET", self.path.to_str().expect("UTF-8"))
    }

    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(count) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            self.heard.extend(text.lines().map(str::to_owned));
        }
    }

    /// Waits for an assignment that begins with `wanted`, and forgets everything up to it.
    fn until(&mut self, wanted: &str) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            self.listen();
            if let Some(place) = self.heard.iter().position(|line| line.starts_with(wanted)) {
                return self.heard.drain(..=place).next_back().expect("it is there");
            }
            assert!(Instant::now() < until, "no {wanted} in {:?}", self.heard);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_and_a_standby_are_started_and_say_what_they_are() {
    let sim = Sim::builder().start().await.expect("starts");
    let data = tempfile::tempdir().expect("a directory");
    let mut managers = [Manager::new(), Manager::new()];
    let start = |manager: &Manager| {
        let setup = Setup::bare(&["jobs", "--coordinator", "file", "--data-dir", data.path().to_str().expect("UTF-8")])
            .env("NOMAD_ADDR", sim.url(0))
            .env("WATCHDOG_USEC", "2000000");
        manager.setup(setup).spawn()
    };
    let leader = start(&managers[0]);
    managers[0].until("READY=1");
    managers[0].until("STATUS=leader: jobs");
    let standby = start(&managers[1]);
    managers[1].until("READY=1");
    managers[1].until("STATUS=standby: jobs");
    managers[1].until("WATCHDOG=1");
    for _ in 0..3 {
        managers[0].until("WATCHDOG=1");
    }
    leader.end_by(Signal::TERM).await;
    managers[0].until("STOPPING=1");
    managers[1].until("STATUS=leader: jobs");
    drop(standby);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nomad_that_is_down_holds_up_no_start() {
    let mut manager = Manager::new();
    let setup = Setup::bare(&["jobs", "--coordinator", "none"]).env("NOMAD_ADDR", "http://127.0.0.1:1");
    let process = manager.setup(setup).spawn();
    manager.until("READY=1");
    manager.until("STATUS=blocked: jobs: ");
    drop(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_has_a_beginning_and_an_end() {
    let sim = Sim::builder().start().await.expect("starts");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("firehose.toml");
    std::fs::write(&file, "coordinator = \"none\"\n[pipeline.a]\nresources = [\"jobs\"]\n").expect("writable");
    let mut manager = Manager::new();
    let setup = Setup::bare(&["run", "--config", file.to_str().expect("UTF-8")]).env("NOMAD_ADDR", sim.url(0));
    let process = manager.setup(setup).spawn();
    manager.until("READY=1");
    process.signal(Signal::HUP);
    manager.until("RELOADING=1");
    let time = manager.until("MONOTONIC_USEC=");
    assert!(time.trim_start_matches("MONOTONIC_USEC=").parse::<u64>().is_ok_and(|time| time > 0), "{time}");
    manager.until("READY=1");
    drop(process);
}
