//! Confirmed messages to a real RabbitMQ, against RabbitMQ's own PerfTest with as many unconfirmed messages and bodies of
//! the same mean size, into the same queue.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use lapin::{
    Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions},
    types::FieldTable,
};
use nomad_sim::{GeneratorOptions, Sim};

use crate::{
    common::{Setup, rabbitmq::Rabbitmq},
    program::Program,
    table::{Table, median},
};

const WHAT: &str = "AMQP with confirms, of PerfTest";
const LIKE: &str = "the same, of PerfTest with our properties";
const EXCHANGE: &str = "nomad";
const QUEUE: &str = "all";
/// For both the same.
const ROUTING_KEY: &str = "nomad.default.web";
/// What our messages carry beside their bodies. A broker keeps it in memory taken apart, which costs it about as much as
/// the body does; PerfTest by itself sends none.
const PROPERTIES: &str = "contentType=application/json,type=allocations,appId=nomad-firehose,\
    messageId=allocations/3f0e1c52-7d0a-4a8e-9f5d-5d1d0a6f9c11/server/6f1d0c2b9a8e7f53,timestamp=2026-01-01T00:00:00Z,\
    kind=allocations,namespace=default,job=web";
const ROUNDS: usize = 3;
/// How long each measures, behind a start that is not counted.
const SPAN: Duration = Duration::from_secs(15);
/// As the sink has, over all its connections.
const UNCONFIRMED: usize = nomad_firehose::sink::amqp::UNCONFIRMED;

pub(crate) async fn measure(table: &mut Table) {
    let class_path = match perftest() {
        Ok(class_path) => class_path,
        Err(why) => return table.skipped(WHAT, why.trim()),
    };
    let options = GeneratorOptions { allocations: 200_000, churn: 0.01, seed: 1 };
    let sim = Sim::builder().generated(options).start().await.expect("the simulator starts");
    let rabbitmq = Rabbitmq::start().await;
    let url = format!("{}%2f", rabbitmq.url());
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("it takes connections");
    let channel = connection.create_channel().await.expect("a channel");
    declare(&channel).await;
    let (mut ratios, mut last) = ([Vec::new(), Vec::new()], [String::new(), String::new()]);
    for _ in 0..ROUNDS {
        let (ours, size, seen) = ours(&sim, &rabbitmq, &channel).await;
        purge(&channel).await;
        for (number, properties) in [&[][..], &["-mp", PROPERTIES]].into_iter().enumerate() {
            let (class_path, url) = (class_path.clone(), url.clone());
            let measured = tokio::task::spawn_blocking(move || theirs(&class_path, &url, size, properties));
            let theirs = measured.await.expect("no panic");
            purge(&channel).await;
            ratios[number].push(ours / theirs);
            last[number] =
                format!("ours {ours:.0}/s, PerfTest {theirs:.0}/s, {UNCONFIRMED} unconfirmed, {size} bytes, {seen}");
        }
    }
    for (((what, bar), ratios), seen) in [(WHAT, 0.9), (LIKE, 0.95)].into_iter().zip(ratios).zip(last) {
        table.at_least(what, median(ratios), bar, seen);
    }
}

fn perftest() -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install-perftest");
    let output = Command::new(script).stdin(Stdio::null()).output().expect("the script runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

async fn declare(channel: &Channel) {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default());
    declared.await.expect("an exchange");
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), durable, FieldTable::default()).await.expect("a queue");
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind(QUEUE.into(), EXCHANGE.into(), "#".into(), options, FieldTable::default());
    bound.await.expect("a binding");
}

async fn purge(channel: &Channel) {
    channel.queue_purge(QUEUE.into(), QueuePurgeOptions::default()).await.expect("it is there");
}

/// Records a second, their mean size, and what they cost.
async fn ours(sim: &Sim, rabbitmq: &Rabbitmq, channel: &Channel) -> (f64, u64, String) {
    let setup = Setup::new(&["allocations"], &sim.url(0))
        .env("SINK_TYPE", "amqp")
        .env("SINK_AMQP_CONNECTION", rabbitmq.url())
        .env("SINK_AMQP_EXCHANGE", EXCHANGE)
        .env("SINK_AMQP_ROUTING_KEY", ROUTING_KEY);
    let started = Instant::now();
    let program = Program::start(setup).await;
    program.until(10_000).await;
    let (begun, (before, _), cpu) = (Instant::now(), program.delivered().await, program.cost(started).cpu);
    tokio::time::sleep(SPAN).await;
    let (records, bytes) = program.delivered().await;
    let rate = (records - before) as f64 / begun.elapsed().as_secs_f64();
    let cost = program.cost(started);
    drop(program);
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(QUEUE.into(), options, FieldTable::default()).await.expect("it is there");
    assert!(u64::from(queue.message_count()) >= records, "{} messages of {records}", queue.message_count());
    let each = (cost.cpu - cpu) * 1e6 / (records - before) as f64;
    (rate, bytes / records, format!("{each:.1} µs of CPU a record, {} MiB at the peak", cost.peak >> 20))
}

/// Messages a second of PerfTest.
fn theirs(class_path: &str, url: &str, size: u64, properties: &[&str]) -> f64 {
    let (unconfirmed, size, span) = (UNCONFIRMED.to_string(), size.to_string(), SPAN.as_secs().to_string());
    let output = Command::new("java")
        .args(["-cp", class_path, "com.rabbitmq.perf.PerfTest", "-h", url, "-x", "1", "-y", "0"])
        .args(["-c", &unconfirmed, "-f", "persistent", "-f", "mandatory", "-s", &size, "-z", &span])
        .args(["-p", "-e", EXCHANGE, "-t", "topic", "-k", ROUTING_KEY, "-u", QUEUE])
        .args(properties)
        .stdin(Stdio::null())
        .output()
        .expect("java is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let average = text.lines().find_map(|line| line.split("sending rate avg: ").nth(1));
    let average = average.and_then(|rest| rest.split(' ').next()).and_then(|rate| rate.parse().ok());
    average.unwrap_or_else(|| panic!("PerfTest: {text}{}", String::from_utf8_lossy(&output.stderr)))
}
