//! Several pipelines of one configuration file: each gets what its table asks for, and none holds up another.

#[path = "../common/mod.rs"]
mod common;

mod isolation;
mod reload;
mod spread;

use std::{fs, path::PathBuf};

use common::{
    Setup,
    consul::Consul,
    made,
    ports::Ports,
    server::{Reply, Server},
};
use nomad_sim::Sim;
use serde_json::Value;
use tempfile::TempDir;

/// A cluster with these many jobs, at the raft indexes from 1 on.
async fn cluster(jobs: u64) -> Sim {
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    sim.append_lines((1..=jobs).map(|index| made::job(index, index, 1))).await.expect("lines of a stream");
    sim
}

/// A configuration file, and the directory for everything beside it.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Place { directory: tempfile::tempdir().expect("a directory") }
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("firehose.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.config(), text).expect("there is room");
    }

    /// The program with this file, its status at the first of `ports`, and checkpoints in the directory.
    fn run(&self, sim: &Sim, ports: &Ports) -> Setup {
        Setup::new(&["run"], &sim.url(0))
            .env("NOMAD_FIREHOSE_CONFIG", self.config())
            .env("NOMAD_FIREHOSE_LISTEN", format!("127.0.0.1:{}", ports.base))
            .data_dir(&self.directory.path().join("data"))
    }
}

/// A server that takes everything.
async fn taker() -> Server {
    Server::start(|_| Reply::Take).await
}

/// The table of a pipeline that carries jobs to `server`.
fn table(name: &str, server: &Server) -> String {
    let url = server.url();
    format!("[pipeline.{name}]\nresources = 'jobs'\nsink-type = 'http'\nsink-http-address = '{url}'\n")
}

/// The ids of the jobs that a server has taken, in their order.
fn ids(server: &Server) -> Vec<String> {
    let id = |record: &Value| record["ID"].as_str().expect("an id").to_owned();
    server.taken().iter().map(id).collect()
}

async fn until_taken(server: &Server, records: usize) {
    common::until("records arrive", || server.taken().len() >= records).await;
}
