//! The whole program with a real Apache Kafka: whatever becomes of connections, brokers and rights, every record arrives.
//! `RECORDS` says how many there are in the long test.

#![cfg(feature = "kafka")]

mod common;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use common::{
    Setup, flood,
    gate::Gate,
    kafka::{Kafka, Listener, PASSWORD, SCRAM, WRITER},
    made,
    order::{Leaps, assert_order},
    ports::Ports,
    tls::Authority,
    topic::{self, Reader},
    truth::{ALL, assert_exactly, expected, seen},
};
use nomad_sim::Sim;
use tokio::sync::Mutex;

/// A node that tests share as long as any of them runs.
struct Node {
    server: Kafka,
    files: tempfile::TempDir,
    ports: Ports,
}

static NODE: Mutex<Weak<Node>> = Mutex::const_new(Weak::new());

impl Node {
    async fn shared() -> Arc<Self> {
        let mut shared = NODE.lock().await;
        if let Some(node) = shared.upgrade() {
            return node;
        }
        let (ports, files) = (Ports::reserve(), tempfile::tempdir().expect("a directory"));
        let listener = |protocol, port, advertised| Listener { protocol, port, advertised };
        let listeners = [
            // A test has a gate there.
            listener("SASL_PLAINTEXT", ports.base, ports.base + 3),
            listener("SASL_PLAINTEXT", ports.base + 1, ports.base + 1),
            listener("SASL_SSL", ports.base + 2, ports.base + 2),
        ];
        let settings = certificates(files.path());
        let server = Kafka::start_with(1, &listeners, &settings).await;
        let node = Arc::new(Node { server, files, ports });
        *shared = Arc::downgrade(&node);
        node
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// The listener with a login, without the gate.
    fn with_login(&self) -> String {
        format!("127.0.0.1:{}", self.ports.base + 1)
    }

    fn with_tls(&self) -> String {
        format!("localhost:{}", self.ports.base + 2)
    }
}

/// An authority, a certificate by it with its key, and the settings of a broker that has these and wants such a certificate of
/// clients.
fn certificates(directory: &Path) -> String {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    let both = format!("{}{}", key.serialize_pem(), certificate.pem());
    for (name, text) in
        [("ca", authority.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem()), ("both", both)]
    {
        std::fs::write(directory.join(name), text).expect("a file");
    }
    let file = |name: &str| directory.join(name).display().to_string();
    format!(
        "ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         listener.name.l2.ssl.client.auth=required",
        file("both"),
        file("ca")
    )
}

fn setup(sim: &Sim, brokers: &str, topic: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "kafka")
        .env("SINK_KAFKA_BROKERS", brokers)
        .env("SINK_KAFKA_TOPIC", topic)
}

fn log_in(setup: Setup) -> Setup {
    setup.env("SINK_KAFKA_USER", WRITER).env("SINK_KAFKA_PASSWORD", PASSWORD)
}

/// A cluster with so many records.
async fn cluster(records: u64) -> (Sim, Vec<String>) {
    let sim = Sim::builder().buffer(10_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..10 + records).map(|index| made::evaluation(index, index % 20 + 1)).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    (sim, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_with_topic_key_and_headers() {
    let node = Node::shared().await;
    let brokers = node.server.brokers();
    let topics = ALL.map(|kind| format!("recording.{kind}"));
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    topic::create(&brokers, &topics, 3).await;
    let stream = common::fixture_lines("stream-complete.ndjson");
    let sim = common::cluster(&stream).await;
    let due: Vec<_> = ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = setup(&sim, &brokers, "recording.{Kind}", "all")
        .env("SINK_KAFKA_COMPRESSION", "zstd")
        .env("NOMAD_FIREHOSE_CLUSTER", "prod")
        .spawn();
    let messages = Reader::new(&brokers, &topics, 3).take(due.len());
    process.stop().await;
    let all: Vec<_> = messages.iter().map(|message| seen(&message.body)).collect();
    assert_exactly(&all, &due);
    let mut partitions = HashMap::new();
    for (message, seen) in messages.iter().zip(&all) {
        assert_eq!(message.topic, format!("recording.{}", seen.kind));
        assert_eq!(message.header("kind"), Some(seen.kind));
        assert_eq!(message.header("cluster"), Some("prod"));
        assert_eq!(message.header("content-type"), Some("application/json"));
        assert!(!message.key.is_empty() && message.timestamp > 1_700_000_000_000, "{message:?}");
        assert_eq!(message.header("namespace").is_none(), seen.kind == "nodes" || seen.key.contains("  "), "{seen:?}");
        let partition = *partitions.entry((seen.kind, message.key.clone())).or_insert(message.partition);
        assert_eq!(partition, message.partition, "one key is in one partition");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_event_has_its_attributes_in_the_headers_or_in_the_message() {
    let node = Node::shared().await;
    let brokers = node.server.brokers();
    for (envelope, content_type) in
        [("cloudevents-binary", "application/json"), ("cloudevents", "application/cloudevents+json")]
    {
        topic::create(&brokers, &[envelope], 1).await;
        let (sim, _) = cluster(1).await;
        let process = setup(&sim, &brokers, envelope, "evaluations").env("SINK_ENVELOPE", envelope).spawn();
        let message = Reader::new(&brokers, &[envelope], 1).take(1).remove(0);
        process.stop().await;
        assert_eq!(message.header("content-type"), Some(content_type));
        let body: serde_json::Value = serde_json::from_str(&message.body).expect("JSON");
        let is_binary = envelope == "cloudevents-binary";
        for (name, value) in [
            ("specversion", "1.0"),
            ("type", "nomad-firehose.evaluation.version"),
            ("id", message.header("id").expect("an id")),
            ("nomadindex", "10"),
        ] {
            assert_eq!(message.header(&format!("ce_{name}")), is_binary.then_some(value), "{name}");
            assert_eq!(body[name].as_str(), (!is_binary).then_some(value), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_again_and_again_causes_no_repeats() {
    let node = Node::shared().await;
    let gate = Gate::start_at(node.ports.base + 3, &format!("127.0.0.1:{}", node.ports.base)).await;
    let (brokers, topic) = (node.server.brokers(), "cuts");
    topic::create(&brokers, &[topic], 2).await;
    let (sim, mut lines) = cluster(500).await;
    let listen = Ports::reserve();
    let process = log_in(setup(&sim, &gate.addr().to_string(), topic, "evaluations"))
        .env("NOMAD_FIREHOSE_LISTEN", listen.address())
        .spawn();
    let (reader, mut messages) = (Reader::new(&brokers, &[topic], 2), Vec::new());
    messages.extend(reader.take(500));
    for cut in 1..=4 {
        // All can be there before it is connected again, and whoever connects waits for answers.
        flood::until_count(&process, lines.len() as u64, async || flood::delivered(listen.base).await).await;
        // Whatever is on its way has no answer.
        gate.shut_outwards();
        let more: Vec<_> = (0..500).map(|n| made::evaluation(10 + cut * 500 + n, n % 20 + 1)).collect();
        sim.append_lines(more.clone()).await.expect("lines of a stream");
        lines.extend(more);
        let stored = reader.take(1);
        gate.open();
        gate.cut_once();
        messages.extend(stored);
        while messages.len() < lines.len() {
            messages.extend(reader.next());
        }
    }
    process.stop().await;
    messages.extend(reader.read());
    assert_eq!(assert_order(messages.iter().map(|message| &*message.body), &lines, Leaps::Never), 0, "repeats");
    assert_eq!(process_ids(&messages), lines.len());
}

fn process_ids(messages: &[topic::Message]) -> usize {
    messages.iter().map(|message| message.header("id").expect("an id")).collect::<HashSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_client_certificate_and_a_login_by_scram() {
    let node = Node::shared().await;
    let (brokers, topic) = (node.server.brokers(), "tls");
    topic::create(&brokers, &[topic], 1).await;
    let (sim, lines) = cluster(20).await;
    let bare = setup(&sim, &node.with_tls(), topic, "evaluations")
        .env("SINK_KAFKA_USER", SCRAM)
        .env("SINK_KAFKA_PASSWORD", PASSWORD)
        .env("SINK_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512");
    // The authorities of the system did not sign it.
    let process = bare.clone().env("SINK_KAFKA_TLS", "true").spawn();
    process.until_logged("TLS failed; correct SINK_KAFKA_CA_CERT_PATH").await;
    drop(process);
    let trusting = bare.env("SINK_KAFKA_CA_CERT_PATH", node.file("ca"));
    let process = trusting
        .env("SINK_KAFKA_CLIENT_CERT", node.file("cert"))
        .env("SINK_KAFKA_CLIENT_KEY", node.file("key"))
        .env("LOG_LEVEL", "trace")
        .spawn();
    let messages = Reader::new(&brokers, &[topic], 1).take(lines.len());
    assert_eq!(assert_order(messages.iter().map(|message| &*message.body), &lines, Leaps::Never), 0);
    let log = process.log();
    assert!(!log.contains(PASSWORD) && !log.contains("PRIVATE KEY"), "{log}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_topic_or_the_right_to_write_it_waits_with_one_message() {
    let node = Node::shared().await;
    let (brokers, topic) = (node.server.brokers(), "missing");
    let (sim, lines) = cluster(50).await;
    let process = log_in(setup(&sim, &node.with_login(), topic, "evaluations")).env("LOG_LEVEL", "trace").spawn();
    process.until_logged("the topic missing does not exist; create it").await;
    topic::create(&brokers, &[topic], 1).await;
    let reader = Reader::new(&brokers, &[topic], 1);
    let messages = reader.take(lines.len());
    assert_eq!(assert_order(messages.iter().map(|message| &*message.body), &lines, Leaps::Never), 0);
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("kafka refuses the records"), 1);
    topic::forbid(&brokers, &node.with_login(), topic, true).await;
    sim.append_lines([made::evaluation(100, 1)]).await.expect("lines of a stream");
    process.until_logged("may not write to the topic missing; allow it Write").await;
    topic::forbid(&brokers, "", topic, false).await;
    assert_eq!(reader.take(1).len(), 1);
    assert_eq!(process.logged("kafka refuses the records"), 2);
    assert!(!process.log().contains(PASSWORD));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_of_once() {
    let node = Node::shared().await;
    let (sim, _) = cluster(10).await;
    let process = log_in(setup(&sim, &node.with_login(), "any", "evaluations"))
        .env("SINK_KAFKA_PASSWORD", "hush-wrong")
        .env("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "100ms")
        .spawn();
    process.until_logged("kafka refuses the records").await;
    process.until_logged("the brokers refuse the login; correct SINK_KAFKA_USER, SINK_KAFKA_PASSWORD").await;
    assert_eq!(process.logged("kafka refuses the records"), 1);
    assert!(!process.log().contains("hush-wrong"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_topic_is_a_dead_letter_and_the_rest_arrives() {
    let node = Node::shared().await;
    let (brokers, topic) = (node.server.brokers(), "small");
    topic::create(&brokers, &[topic], 1).await;
    topic::limit(&brokers, topic, Some(5_000)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..60).map(|n| made::job(n, n, if n % 10 == 0 { 6_000 } else { 100 })).collect();
    sim.append_lines(lines).await.expect("lines of a stream");
    let process = setup(&sim, &brokers, topic, "jobs")
        .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()))
        .spawn();
    let messages = Reader::new(&brokers, &[topic], 1).take(45);
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("all dead letters are written", || letters().lines().count() >= 5).await;
    process.stop().await;
    assert!(messages.iter().all(|message| message.body.len() < 5_000));
    let letters = letters();
    assert_eq!(letters.lines().count(), 5);
    assert!(letters.lines().all(|letter| letter.contains("too large for the topic small")), "{letters}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_brokers_login_and_topic() {
    let node = Node::shared().await;
    let (brokers, topic) = (node.server.brokers(), "checked");
    topic::create(&brokers, &[topic], 2).await;
    let check = |brokers: &str, topic: &str, password: &str| {
        let setup = Setup::new(&["check", "jobs"], "http://127.0.0.1:1").env("SINK_TYPE", "kafka");
        let setup = setup.env("SINK_KAFKA_BROKERS", brokers).env("SINK_KAFKA_TOPIC", topic);
        setup.env("SINK_KAFKA_USER", WRITER).env("SINK_KAFKA_PASSWORD", password).output()
    };
    let said = |(_, printed, logged): (Option<i32>, String, String)| {
        assert!(!printed.contains(PASSWORD) && !logged.contains(PASSWORD), "{printed}{logged}");
        printed
    };
    let well = said(check(&node.with_login(), topic, PASSWORD));
    assert!(well.contains("logged in, 1 brokers") && well.contains("checked: 2 partitions"), "{well}");
    let missing = said(check(&node.with_login(), "nowhere", PASSWORD));
    assert!(missing.contains("nowhere does not exist") && missing.contains("SINK_KAFKA_TOPIC"), "{missing}");
    let wrong = said(check(&node.with_login(), topic, "hush-wrong"));
    assert!(wrong.contains("refuse the login") && wrong.contains("SINK_KAFKA_PASSWORD"), "{wrong}");
    let away = said(check("127.0.0.1:1", topic, PASSWORD));
    assert!(away.contains("no connection") && away.contains("SINK_KAFKA_BROKERS"), "{away}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "three nodes and a dead leader take a minute: make chaos goes through it"]
async fn the_death_of_a_leader_of_three_nodes_loses_and_repeats_nothing() {
    let mut kafka = Kafka::start_with(3, &[], "").await;
    let (brokers, topic) = (kafka.brokers(), "deaths");
    topic::create(&brokers, &[topic], 1).await;
    let records = flood::records(100_000);
    let sim = flood::cluster(records).await;
    let ports = Ports::reserve();
    let process = setup(&sim, &brokers, topic, "evaluations")
        .env("SINK_KAFKA_COMPRESSION", "lz4")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address())
        .spawn();
    process.until_logged("subscribed to the event stream").await;
    for third in 1..=2 {
        flood::until_count(&process, records * third / 3, async || flood::delivered(ports.base).await).await;
        let leader = topic::leader(&brokers, topic);
        kafka.kill(leader);
        let died = Instant::now();
        let before = flood::delivered(ports.base).await;
        flood::until_count(&process, before + 10, async || flood::delivered(ports.base).await).await;
        println!("leader {leader} died; records go on after {:?}", died.elapsed());
        kafka.restart(leader).await;
    }
    flood::until_count(&process, records, async || flood::delivered(ports.base).await).await;
    process.stop().await;
    let (repeats, ids) = drain(&brokers, topic, 1, records);
    println!("{records} records, {repeats} repeats");
    assert_eq!((repeats, ids), (0, records));
}

/// Holds the topic to all records of a flood, in order. Returns how many were repeats, and how many ids there were.
fn drain(brokers: &str, topic: &str, partitions: i32, records: u64) -> (u64, u64) {
    let (mut came, mut ids) = (flood::Came::new(records), HashSet::new());
    for message in Reader::new(brokers, &[topic], partitions).read() {
        ids.insert(message.header("id").expect("an id").to_owned());
        came.take(&message.body);
    }
    came.assert_all();
    (came.repeats, ids.len() as u64)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn restarts_cuts_and_slowness_lose_nothing() {
    const TOPIC: &str = "long";
    let ports = Ports::reserve();
    let gate = Gate::start(&format!("127.0.0.1:{}", ports.base)).await;
    let listener = Listener { protocol: "SASL_PLAINTEXT", port: ports.base, advertised: gate.addr().port() };
    let mut kafka = Kafka::start_with(1, &[listener], "").await;
    let brokers = kafka.brokers();
    topic::create(&brokers, &[TOPIC], 3).await;
    let records = flood::records(20_000);
    let sim = flood::cluster(records).await;
    let listen = Ports::reserve();
    let begun = Instant::now();
    let process = log_in(setup(&sim, &gate.addr().to_string(), TOPIC, "evaluations"))
        .env("NOMAD_FIREHOSE_LISTEN", listen.address())
        .env("SINK_KAFKA_COMPRESSION", "zstd")
        .spawn();
    process.until_logged("subscribed to the event stream").await;
    let mut cuts = 0;
    for eighth in 1..=8 {
        let until = records * eighth / 8;
        let delivered = async || flood::delivered(listen.base).await;
        match eighth % 4 {
            // Killed, and started again.
            1 => kafka.restart(1).await,
            // Slow, for a while.
            2 => {
                gate.slow_down(256 << 10);
                let before = delivered().await;
                flood::until_count(&process, (before + 1_000).min(until), delivered).await;
                gate.open();
            }
            // Cut off again and again.
            3 => {
                while delivered().await < until {
                    gate.cut_once();
                    cuts += 1;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            }
            // Away for longer than the client hopes.
            _ => {
                gate.cut();
                process.until_logged("delivery failed").await;
                gate.open();
            }
        }
        flood::until_count(&process, until, delivered).await;
        println!("{eighth} eighths after {:?}", begun.elapsed());
    }
    let (took, peak) = (begun.elapsed(), process.peak_memory());
    process.stop().await;
    let (repeats, ids) = drain(&brokers, TOPIC, 3, records);
    println!("{records} records, {repeats} repeats, {cuts} cuts, {} MiB, {took:?}", peak >> 20);
    assert_eq!(ids, records);
    assert!(peak < 128 << 20, "{peak} bytes");
}
