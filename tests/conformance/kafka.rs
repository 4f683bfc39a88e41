//! The sink `kafka`: topics and a listener of their own for each check, on one node of Apache Kafka.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Mutex;

use crate::{
    common::{
        gate::Gate,
        kafka::{Kafka as Server, Listener, PASSWORD, WRITER},
        order::Leaps,
        ports::Ports,
        topic::{self, Reader},
    },
    rig::{Cause, Rig, suffer_at},
};

/// How many checks there are at most at a time.
const CHECKS: usize = 12;

/// The namespaces of the records: each has a topic.
const MARKS: [&str; 3] = ["default", "busy", "other"];

const PARTITIONS: i32 = 2;

/// A node, and the ports of its listeners with those that they name to clients: a check has its gate there.
struct Node {
    server: Server,
    free: Mutex<Vec<(u16, u16)>>,
    _ports: Vec<Ports>,
}

/// The node that checks share as long as any of them runs.
static NODE: Mutex<Weak<Node>> = Mutex::const_new(Weak::new());

async fn node() -> Arc<Node> {
    let mut shared = NODE.lock().await;
    if let Some(node) = shared.upgrade() {
        return node;
    }
    // Four ports each, for two listeners with their gates.
    let ports: Vec<Ports> = (0..CHECKS / 2).map(|_| Ports::reserve()).collect();
    let free: Vec<_> = ports.iter().flat_map(|it| [(it.base, it.base + 1), (it.base + 2, it.base + 3)]).collect();
    let listener =
        |(port, advertised): &(u16, u16)| Listener { protocol: "SASL_PLAINTEXT", port: *port, advertised: *advertised };
    let listeners: Vec<_> = free.iter().map(listener).collect();
    let server = Server::start_with(1, &listeners, "").await;
    let node = Arc::new(Node { server, free: Mutex::new(free), _ports: ports });
    *shared = Arc::downgrade(&node);
    node
}

/// A node behind a gate, and a consumer that does not go through it.
struct Kafka {
    gate: Gate,
    /// Before the names of its topics.
    name: String,
    reader: Reader,
    node: Arc<Node>,
}

impl Kafka {
    async fn start() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let node = node().await;
        let name = format!("check-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let topics = MARKS.map(|mark| format!("{name}-{mark}"));
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let brokers = node.server.brokers();
        topic::create(&brokers, &topics, PARTITIONS).await;
        let reader = Reader::new(&brokers, &topics, PARTITIONS);
        let (port, gate) = node.free.lock().await.pop().expect("a listener for each check");
        let gate = Gate::start_at(gate, &format!("127.0.0.1:{port}")).await;
        Kafka { gate, name, reader, node }
    }

    fn topic(&self, mark: &str) -> String {
        format!("{}-{mark}", self.name)
    }
}

impl Rig for Kafka {
    /// A partition that does not take a record does not hold the others.
    const LEAPS: Leaps = Leaps::SentAgain;
    const TROUBLES: &'static [Cause] = &[Cause::Silent, Cause::Down, Cause::Slow];
    const REFUSAL: &'static str = "too large for the topic";
    const SECRETS: &'static [&'static str] = &[PASSWORD];

    /// The client's copies of what is under way, its threads, and what its allocator keeps.
    const BUFFERS: u64 = 8 << 20;

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "kafka".into()),
            ("SINK_KAFKA_BROKERS", self.gate.addr().to_string()),
            ("SINK_KAFKA_TOPIC", self.topic("{Namespace}")),
            ("SINK_KAFKA_USER", WRITER.into()),
            ("SINK_KAFKA_PASSWORD", PASSWORD.into()),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        self.reader.read().into_iter().map(|message| message.body).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        let brokers = self.node.server.brokers();
        match cause {
            Cause::Partial => {
                let through = self.gate.addr().to_string();
                topic::forbid(&brokers, &through, &self.topic("busy"), true).await;
            }
            Cause::Refusing => topic::limit(&brokers, &self.topic("other"), Some(1)).await,
            cause => suffer_at(&self.gate, cause),
        }
    }

    async fn recover(&mut self) {
        self.gate.open();
        let brokers = self.node.server.brokers();
        topic::forbid(&brokers, "", &self.topic("busy"), false).await;
        topic::limit(&brokers, &self.topic("other"), None).await;
    }

    /// Within its deadline the client asks again over another connection, and learns what became of the records. It gives up when no
    /// broker can be reached.
    async fn end_silence(&mut self) {
        self.gate.cut();
    }
}

suite! {
    Kafka::start().await;
    order_per_key: passes,
    partial_failure: passes,
    unknown_outcome: passes,
    reject_with_stop: passes,
    reject_to_file: passes,
    drain_on_stop: passes,
    reconnect: passes,
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: passes,
    kill_in_mid_batch: passes,
}
