//! A real Alertmanager: a process on loopback. It is the one that `scripts/install-alertmanager` names, which fetches it where it may.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::net::TcpStream;

use super::{PATIENCE, Signal, ports::Ports, probe};

/// A running one. Dropping it kills it and forgets its alerts.
#[derive(Debug)]
pub struct Alertmanager {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
}

impl Alertmanager {
    /// Starts one, and waits until it answers.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("alertmanager").tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("config.yml"), "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
            .expect("writable");
        let ports = Ports::reserve();
        let log = File::create(path("out")).expect("a log file");
        let program = program();
        // Beside one that was unpacked and not installed are its templates.
        let beside =
            program.parent().map(|bin| bin.join("../share/prometheus/alertmanager")).filter(|path| path.is_dir());
        let server = Command::new(program)
            .current_dir(beside.as_deref().unwrap_or(directory.path()))
            .arg(format!("--config.file={}", path("config.yml")))
            .arg(format!("--storage.path={}", path("data")))
            .arg(format!("--web.listen-address={}", ports.address()))
            // It needs no others.
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("Alertmanager starts");
        let mut alertmanager = Alertmanager { server, directory, ports };
        alertmanager.until_ready().await;
        alertmanager
    }

    /// Its address for `SINK_ALERTMANAGER_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.ports.address())
    }

    /// The alerts that it has, in no order.
    pub async fn alerts(&self) -> Vec<Value> {
        let text = probe::get(&format!("{}/api/v2/alerts", self.url())).await;
        serde_json::from_str(&text).expect("a list of alerts")
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Alertmanager says `OK` once it takes alerts.
            let is_there = TcpStream::connect(self.ports.address()).await.is_ok();
            if is_there && probe::get(&format!("{}/-/ready", self.url())).await.contains("OK") {
                return;
            }
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
                panic!("Alertmanager is not ready; it ended: {ended:?}; its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let group = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw);
        // Until it is waited for, its id is nobody else's. It may have ended by itself.
        rustix::process::kill_process_group(group.expect("a process id"), Signal::KILL).ok();
        self.server.wait().expect("it is our child");
    }
}

/// The path that the script gives, asked for once in a process.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| super::installed("alertmanager"))
}
