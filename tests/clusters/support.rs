//! Where the state lies, and clusters to be mixed up.

use std::{path::PathBuf, sync::Arc, time::Instant};

use nomad_sim::Sim;
use serde_json::Value;

use crate::common::{
    PATIENCE, Process, Setup,
    consul::{Consul, Options},
    made,
};

/// Where the state is.
pub(crate) enum At {
    Consul { consul: Arc<Consul>, prefix: &'static str },
    Directory(tempfile::TempDir),
}

impl At {
    pub(crate) async fn consul() -> Self {
        At::Consul { consul: Arc::new(Consul::start(Options::default()).await), prefix: "shared" }
    }

    pub(crate) fn directory() -> Self {
        At::Directory(tempfile::tempdir().expect("a directory"))
    }

    /// A place that nobody has used, which is kept in the same way.
    pub(crate) fn another(&self) -> Self {
        match self {
            At::Consul { consul, .. } => At::Consul { consul: Arc::clone(consul), prefix: "own" },
            At::Directory(_) => At::directory(),
        }
    }

    /// The variable that chooses it.
    pub(crate) fn variable(&self) -> &'static str {
        match self {
            At::Consul { .. } => "NOMAD_FIREHOSE_CONSUL_PREFIX",
            At::Directory(_) => "NOMAD_FIREHOSE_DATA_DIR",
        }
    }

    fn place(&self, setup: Setup) -> Setup {
        match self {
            At::Consul { consul, prefix } => setup
                .env("NOMAD_FIREHOSE_COORDINATOR", "consul")
                .env("CONSUL_HTTP_ADDR", consul.url())
                .env("NOMAD_FIREHOSE_CONSUL_PREFIX", *prefix),
            At::Directory(path) => setup.data_dir(path.path()),
        }
    }

    pub(crate) fn run(&self, sim: &Sim, kind: &str) -> Setup {
        self.place(Setup::new(&[kind], &sim.url(0)))
    }

    /// A first run with one job, which leaves a checkpoint that says the region.
    pub(crate) async fn lead_once(&self, sim: &Sim, region: &str) {
        let process = self.run(sim, "jobs").spawn();
        process.until_printed(1).await;
        self.until("jobs", |checkpoint| checkpoint["cluster"]["region"] == region).await;
        process.stop().await;
    }

    /// `nomad-firehose state`, which has to succeed: its standard output.
    pub(crate) async fn state(&self, arguments: &[&str]) -> String {
        let setup = self.place(Setup::bare(&[&["state"], arguments].concat()));
        let (code, text, log) = tokio::task::spawn_blocking(move || setup.output()).await.expect("it does not panic");
        assert_eq!(code, Some(0), "{text}{log}");
        text
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        match self {
            At::Consul { .. } => None,
            At::Directory(path) => Some(path.path().join(name)),
        }
    }

    /// The text under a key, or in the file that stands for it.
    async fn text(&self, kind: &str, end: &str) -> Option<String> {
        match self {
            At::Consul { consul, prefix } => {
                let bytes = consul.get(&format!("{prefix}/{kind}.{end}")).await?;
                Some(String::from_utf8(bytes).expect("UTF-8"))
            }
            At::Directory(_) if end == "state" => std::fs::read_to_string(self.file(&format!("{kind}.json"))?).ok(),
            At::Directory(_) => None,
        }
    }

    /// The checkpoint as it is stored; null where there is none.
    pub(crate) async fn checkpoint(&self, kind: &str) -> Value {
        self.text(kind, "state").await.map_or(Value::Null, |text| serde_json::from_str(&text).expect("JSON"))
    }

    /// Writes a checkpoint.
    pub(crate) async fn store(&self, kind: &str, checkpoint: &Value) {
        match self {
            At::Consul { consul, prefix } => {
                consul.put(&format!("{prefix}/{kind}.state"), &checkpoint.to_string()).await;
            }
            At::Directory(_) => {
                let path = self.file(&format!("{kind}.json")).expect("a file");
                std::fs::write(path, checkpoint.to_string()).expect("there is room");
            }
        }
    }

    /// What a leader has stored: its checkpoint and, in Consul, the original's integer.
    pub(crate) async fn snapshot(&self, kind: &str) -> (Value, Option<String>) {
        let mut checkpoint = self.checkpoint(kind).await;
        // It grows while the leader lives.
        checkpoint["cluster"]["until"] = Value::Null;
        // A quiet second after a line says that its index is whole.
        checkpoint["lanes"]["*"] = checkpoint["lanes"]["*"]["position"]["index"].clone();
        (checkpoint, self.text(kind, "value").await)
    }

    /// Waits until the stored checkpoint is so.
    pub(crate) async fn until(&self, kind: &str, condition: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let checkpoint = self.checkpoint(kind).await;
            if condition(&checkpoint) {
                return;
            }
            assert!(Instant::now() < deadline, "the checkpoint stays {checkpoint}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Waits until the checkpoint has come to this index.
    pub(crate) async fn until_position(&self, kind: &str, index: u64) {
        self.until(kind, |checkpoint| checkpoint["lanes"]["*"]["position"]["index"] == index).await;
    }
}

/// A cluster with a job for each of these indexes.
pub(crate) async fn cluster(region: &str, indexes: &[u64]) -> Sim {
    let sim = Sim::builder().region(region).buffer(100).start().await.expect("the simulator starts");
    sim.append_lines(indexes.iter().map(|index| made::job(*index, *index, 1))).await.expect("lines of a stream");
    sim
}

/// The clusters of two regions: `eu` stands at 502, and `us` has objects at 40, 700 and 900.
pub(crate) async fn regions() -> (Sim, Sim) {
    (cluster("eu", &[502]).await, cluster("us", &[40, 700, 900]).await)
}

/// The ids of the jobs that were printed, each once, in their order.
pub(crate) fn jobs(printed: &[String]) -> Vec<String> {
    let id = |record: &String| {
        let record: Value = serde_json::from_str(record).expect("JSON");
        record["ID"].as_str().expect("an id").to_owned()
    };
    let mut ids: Vec<_> = printed.iter().map(id).collect();
    ids.sort();
    ids
}

/// It says that what is stored belongs to another cluster, naming both and the variable to set.
pub(crate) async fn refuses(process: &Process, at: &At, stored: &str, ours: &str) {
    process.until_logged(at.variable()).await;
    let said = |line: &str| line.contains(stored) && line.contains(ours) && line.contains(at.variable());
    // The log escapes what is quoted.
    let log = process.log().replace('\\', "");
    assert!(log.lines().any(said), "{log}");
}
