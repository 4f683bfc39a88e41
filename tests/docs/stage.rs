//! What the commands of a page find: a directory, the program, and the servers that they need.

use std::{
    collections::BTreeMap,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nomad_sim::Sim;
use tempfile::TempDir;

use super::common::{
    consul::{Consul, Options},
    fixture,
    ports::Ports,
};

/// The surroundings of one page.
pub(crate) struct Stage {
    directory: TempDir,
    /// Whether servers that take long to start, and packages that may be missing, are wanted.
    is_whole: bool,
    sim: Option<Sim>,
    consul: Option<Consul>,
    #[cfg(feature = "amqp")]
    rabbitmq: Option<super::common::rabbitmq::Rabbitmq>,
    ports: Ports,
    /// What addresses of the pages stand for.
    addresses: BTreeMap<&'static str, String>,
}

impl Stage {
    pub(crate) fn new(is_whole: bool) -> Self {
        let directory = tempfile::Builder::new().prefix("docs").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        // As the build leaves it, and as an installation would.
        for place in ["bin", "target/release"] {
            let place = directory.path().join(place);
            std::fs::create_dir_all(&place).expect("a directory");
            symlink(env!("CARGO_BIN_EXE_nomad-firehose"), place.join("nomad-firehose")).expect("a link");
        }
        let addresses = BTreeMap::from([("127.0.0.1:9646", ports.address())]);
        Stage {
            directory,
            is_whole,
            sim: None,
            consul: None,
            #[cfg(feature = "amqp")]
            rabbitmq: None,
            ports,
            addresses,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The directory of the program, for `PATH`.
    pub(crate) fn programs(&self) -> PathBuf {
        self.directory.path().join("bin")
    }

    /// Makes sure that something is there.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(crate) async fn provide(&mut self, need: &str) -> Result<(), String> {
        match need {
            "sim" => self.start_sim().await,
            "consul" | "rabbitmq" if !self.is_whole => return Err(format!("needs {need}: make docs-test runs it")),
            "consul" => self.start_consul().await,
            #[cfg(feature = "amqp")]
            "rabbitmq" => self.start_rabbitmq().await,
            other => return has(other),
        }
        Ok(())
    }

    /// The text with the addresses of the servers that are there.
    pub(crate) fn adapted(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    pub(crate) async fn end(self) {
        if let Some(sim) = self.sim {
            sim.stop().await;
        }
        drop(self.ports);
    }

    async fn start_sim(&mut self) {
        if self.sim.is_none() {
            let sim = Sim::builder().recording(fixture("stream-complete.ndjson")).buffer(1_000).namespace("late", 13);
            let sim = sim.preload(u64::MAX).start().await.expect("the simulator starts");
            let address = sim.url(0).trim_start_matches("http://").to_owned();
            self.addresses.insert("127.0.0.1:4646", address.clone());
            self.addresses.insert("https://nomad.example.com:4646", format!("http://{address}"));
            self.sim = Some(sim);
        }
    }

    async fn start_consul(&mut self) {
        if self.consul.is_none() {
            let consul = Consul::start(Options::default()).await;
            self.addresses.insert("127.0.0.1:8500", consul.url().trim_start_matches("http://").to_owned());
            self.consul = Some(consul);
        }
    }

    #[cfg(feature = "amqp")]
    async fn start_rabbitmq(&mut self) {
        if self.rabbitmq.is_none() {
            let rabbitmq = super::common::rabbitmq::Rabbitmq::start().await;
            let url = rabbitmq.url();
            let address = url.rsplit('@').next().unwrap_or_default().trim_end_matches('/');
            self.addresses.insert("127.0.0.1:5672", address.to_owned());
            self.rabbitmq = Some(rabbitmq);
        }
    }
}

/// Whether a program, or with `python3:NAME` a package, is installed.
fn has(need: &str) -> Result<(), String> {
    let (program, arguments) = match need.split_once(':') {
        Some((program, package)) => (program, vec!["-c".to_owned(), format!("import {package}")]),
        None => ("sh", vec!["-c".to_owned(), format!("command -v {need}")]),
    };
    let status =
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if status.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err(format!("needs {need}, which is not installed"))
    }
}
