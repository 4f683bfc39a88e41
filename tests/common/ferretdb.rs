//! A real server of MongoDB's protocol: FerretDB on loopback, which stores in SQLite files in a directory of its own, so that it can be
//! ended and started again. It is no MongoDB: it knows no replica sets and no validation,
//! and its login does not end as this client wants it (`skipEmptyExchange`), so there is none.
//!
//! The program is what `scripts/install-ferretdb` names, which builds it where it may.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use ::mongodb::{
    Client, Collection,
    bson::{Bson, Document, doc},
    options::ClientOptions,
};
use serde_json::Value;

use super::{PATIENCE, ports::Ports};

/// A password that is nobody's.
pub const PASSWORD: &str = "hush-hush";
/// The database that the sink writes to.
pub const DATABASE: &str = "nomad";

/// A running server. Dropping it ends it and forgets its data.
#[derive(Debug)]
pub struct Ferretdb {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    arguments: Vec<String>,
}

impl Ferretdb {
    /// Starts one that asks nobody for a password, and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(|_, _| Vec::new()).await
    }

    /// The same with these arguments, which are made for a free port and a directory that lives as long as the server.
    pub async fn start_with(arguments: impl FnOnce(u16, &Path) -> Vec<String>) -> Self {
        let directory = tempfile::Builder::new().prefix("ferretdb").tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("data")).expect("a directory");
        let ports = Ports::reserve();
        let arguments = arguments(ports.base + 1, directory.path());
        let server = serve(directory.path(), &ports, &arguments);
        let mut ferretdb = Ferretdb { server, directory, ports, arguments };
        ferretdb.until_ready().await;
        ferretdb
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// The port that is for the arguments of [`start_with`](Ferretdb::start_with).
    pub fn further_port(&self) -> u16 {
        self.ports.base + 1
    }

    /// What `SINK_MONGODB_CONNECTION` can be.
    pub fn url(&self) -> String {
        url(&self.address())
    }

    /// A collection of the database.
    pub async fn collection(&self, name: &str) -> Collection<Document> {
        self.client().await.database(DATABASE).collection(name)
    }

    async fn client(&self) -> Client {
        let options = ClientOptions::parse(self.url()).await.expect("a connection string");
        Client::with_options(options).expect("a client")
    }

    /// Kills it, as a crash does.
    pub fn kill(&mut self) {
        self.server.kill().ok();
        self.server.wait().expect("it is our child");
    }

    /// Starts it again with the same data; kills it before, where it runs.
    pub async fn restart(&mut self) {
        self.kill();
        self.server = serve(self.directory.path(), &self.ports, &self.arguments);
        self.until_ready().await;
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // One with users refuses this as well, once it is there.
            let listens = tokio::net::TcpStream::connect(self.address()).await.is_ok();
            if listens && self.client().await.database(DATABASE).run_command(doc! {"ping": 1}).await.is_ok() {
                return;
            }
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
                panic!("FerretDB is not ready; it ended: {ended:?}; its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Ferretdb {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The connection string of a server at this host and port.
pub fn url(address: &str) -> String {
    format!("mongodb://{address}/")
}

/// The members of a document but its `_id`, as JSON in their order.
pub fn body(document: &Document) -> String {
    let mut parts = Vec::new();
    for (name, value) in document {
        if name != "_id" {
            parts.push(format!("{}:{}", Value::from(name.as_str()), text(value)));
        }
    }
    format!("{{{}}}", parts.join(","))
}

fn text(value: &Bson) -> String {
    match value {
        Bson::Document(document) => {
            let members =
                document.iter().map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), text(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Bson::Array(values) => format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(",")),
        Bson::String(text) => Value::from(text.as_str()).to_string(),
        Bson::Int64(number) => number.to_string(),
        Bson::Int32(number) => number.to_string(),
        Bson::Double(number) => Value::from(*number).to_string(),
        Bson::Boolean(value) => value.to_string(),
        Bson::Null => "null".to_owned(),
        other => panic!("no JSON has made this: {other:?}"),
    }
}

fn serve(directory: &Path, ports: &Ports, arguments: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("out")).expect("a log file");
    let mut command = Command::new(program());
    command.args(["--handler=sqlite", "--telemetry=disable", "--debug-addr=-", "--log-level=WARN"]);
    command.arg(format!("--listen-addr={}", ports.address()));
    command.arg(format!("--state-dir={}", directory.display()));
    command.arg(format!("--sqlite-url=file:{}/data/", directory.display()));
    command.args(arguments);
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    command.spawn().expect("FerretDB starts")
}

/// The program that the script gives, asked for once in a process.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| super::installed("ferretdb"))
}
