//! A real Apache Kafka: nodes on loopback that are broker and controller (KRaft), each with its data in a directory of its own, so that
//! they can be killed and started again.
//!
//! The jars are those that `scripts/install-kafka` names, which fetches them where it may.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::net::TcpStream;

use super::{PATIENCE, ports::Ports};

/// The user of listeners with SASL, by PLAIN.
pub const WRITER: &str = "writer";

/// The user that is known for SCRAM-SHA-512 (`scripts/install-kafka`).
pub const SCRAM: &str = "scram";

/// The password of both.
pub const PASSWORD: &str = "hush-hush";

/// A further listener of a node.
#[derive(Clone, Debug)]
pub struct Listener {
    /// `SASL_PLAINTEXT`, `SSL` …
    pub protocol: &'static str,
    /// Where it listens.
    pub port: u16,
    /// What clients are told to connect to: a gate, perhaps.
    pub advertised: u16,
}

/// Running nodes. Dropping them kills them and forgets their data.
#[derive(Debug)]
pub struct Kafka {
    nodes: Vec<Node>,
    _directory: tempfile::TempDir,
}

#[derive(Debug)]
struct Node {
    server: Option<Child>,
    directory: PathBuf,
    ports: Ports,
}

impl Kafka {
    /// One node.
    pub async fn start() -> Self {
        Self::start_with(1, &[], "").await
    }

    /// So many nodes; the first has these listeners besides, and all have these settings, lines of properties.
    pub async fn start_with(nodes: u16, listeners: &[Listener], settings: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("kafka").tempdir().expect("a temporary directory");
        let ports: Vec<Ports> = (0..nodes).map(|_| Ports::reserve()).collect();
        let voters: Vec<_> =
            (1..).zip(&ports).map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.base + 1)).collect();
        let nodes = (1..).zip(ports).map(|(id, ports)| {
            let listeners = if id == 1 { listeners } else { &[] };
            let mut text = properties(&ports, listeners);
            let home = directory.path().join(format!("node-{id}"));
            let replicas = nodes;
            write!(
                text,
                "node.id={id}\ncontroller.quorum.voters={}\nlog.dirs={}\nmin.insync.replicas={}\n\
                 default.replication.factor={replicas}\n{settings}\n",
                voters.join(","),
                home.join("data").display(),
                replicas.div_ceil(2),
            )
            .expect("a string takes everything");
            format(&home, id);
            fs::write(home.join("properties"), text).expect("the directory can be written");
            Node { server: None, directory: home, ports }
        });
        let mut kafka = Kafka { nodes: nodes.collect(), _directory: directory };
        for node in &mut kafka.nodes {
            node.serve();
        }
        for node in &mut kafka.nodes {
            node.until_ready().await;
        }
        kafka
    }

    /// What `SINK_KAFKA_BROKERS` can be: listeners without a login, with all rights.
    pub fn brokers(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.ports.address()).collect();
        addresses.join(",")
    }

    /// Kills a node by its number, 1 or more, as a machine that loses power does.
    pub fn kill(&mut self, id: i32) {
        self.node(id).kill();
    }

    /// Starts it again, on the same ports with the same data; kills it before, where it runs. Waits until it is ready.
    pub async fn restart(&mut self, id: i32) {
        let node = self.node(id);
        node.kill();
        node.serve();
        node.until_ready().await;
    }

    fn node(&mut self, id: i32) -> &mut Node {
        let number = usize::try_from(id - 1).expect("nodes count from one");
        self.nodes.get_mut(number).expect("there is such a node")
    }
}

impl Node {
    fn serve(&mut self) {
        let log = File::options().create(true).append(true).open(self.directory.join("out")).expect("a log file");
        let classes = format!("{}/lib/*", home().display());
        let mut command = Command::new("java");
        command
            .args(["-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &classes, "kafka.Kafka"])
            .arg(self.directory.join("properties"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.server = Some(command.spawn().expect("Kafka starts"));
    }

    /// Waits until it takes connections: that is after it has joined the cluster.
    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.ports.base)).await.is_err() {
            let server = self.server.as_mut().expect("it was started");
            let ended = server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.join("out")).unwrap_or_default();
                panic!("Kafka is not ready; it ended: {ended:?}; its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("it is our child");
            server.wait().expect("it is our child");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What does not depend on the other nodes.
fn properties(ports: &Ports, listeners: &[Listener]) -> String {
    let (direct, controller) = (ports.base, ports.base + 1);
    let mut bound = format!("DIRECT://127.0.0.1:{direct},CONTROLLER://127.0.0.1:{controller}");
    let mut advertised = format!("DIRECT://127.0.0.1:{direct}");
    let mut protocols = "CONTROLLER:PLAINTEXT,DIRECT:PLAINTEXT".to_owned();
    let mut logins = String::new();
    for (number, Listener { protocol, port, advertised: told }) in listeners.iter().enumerate() {
        write!(bound, ",L{number}://127.0.0.1:{port}").expect("a string takes everything");
        // Certificates are for the name.
        let host = if protocol.ends_with("SSL") { "localhost" } else { "127.0.0.1" };
        write!(advertised, ",L{number}://{host}:{told}").expect("a string takes everything");
        write!(protocols, ",L{number}:{protocol}").expect("a string takes everything");
        if protocol.starts_with("SASL") {
            let name = format!("listener.name.l{number}");
            write!(
                logins,
                "{name}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\n\
                 {name}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{WRITER}=\"{PASSWORD}\";\n\
                 {name}.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n",
            )
            .expect("a string takes everything");
        }
    }
    format!(
        "process.roles=broker,controller\n\
         listeners={bound}\nadvertised.listeners={advertised}\nlistener.security.protocol.map={protocols}\n{logins}\
         controller.listener.names=CONTROLLER\ninter.broker.listener.name=DIRECT\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         allow.everyone.if.no.acl.found=true\nsuper.users=User:ANONYMOUS\n\
         auto.create.topics.enable=false\nnum.network.threads=1\nnum.io.threads=2\nlog.cleaner.enable=false\n\
         broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\ncontroller.quorum.election.timeout.ms=500\n\
         controller.quorum.fetch.timeout.ms=1500\nunclean.leader.election.enable=false\n\
         offsets.topic.replication.factor=1\n"
    )
}

/// The storage of a new node, as `scripts/install-kafka` made it for the node 1.
fn format(home_of_node: &Path, id: u16) {
    const METADATA: &str = "__cluster_metadata-0";
    let (from, to) = (home().join("formatted"), home_of_node.join("data"));
    fs::create_dir_all(to.join(METADATA)).expect("a directory");
    for entry in fs::read_dir(from.join(METADATA)).expect("it is formatted") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), to.join(METADATA).join(entry.file_name())).expect("a copy");
    }
    let text = fs::read_to_string(from.join("meta.properties")).expect("it is formatted");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for line in &mut lines {
        if line.starts_with("node.id=") {
            *line = format!("node.id={id}");
        }
        // Sixteen bytes in base64, which no two directories may share.
        if line.starts_with("directory.id=") {
            *line = format!("directory.id={}", URL_SAFE_NO_PAD.encode(format!("directory-{id:06}")));
        }
    }
    fs::write(to.join("meta.properties"), lines.join("\n")).expect("the directory can be written");
}

/// The directory that the script gives, asked for once in a process.
fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| super::installed("kafka"))
}
