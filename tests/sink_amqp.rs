//! The whole program with a real RabbitMQ: whatever becomes of connections, broker and memory, every record arrives.
//! `RECORDS` says how many; each test has its own number where it is unset.

#![cfg(feature = "amqp")]

mod common;

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Setup, Signal, fixture_lines, flood,
    gate::Gate,
    made,
    order::{self, Leaps},
    outage,
    ports::Ports,
    queue::{
        EXCHANGE, Message, channel, declare_bound_exchange, declare_exchange, declare_queue, drain, take, waiting,
    },
    rabbitmq::Rabbitmq,
    tls::{Authority, Front},
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;

/// How many keys the records of the long tests are spread over.
const KEYS: u64 = 300;

fn setup(sim: &Sim, rabbitmq: &Rabbitmq, resources: &str) -> Setup {
    to(rabbitmq, Setup::new(&["run", "--resources", resources], &sim.url(0)))
}

/// With the broker as the sink.
fn to(rabbitmq: &Rabbitmq, setup: Setup) -> Setup {
    setup
        .env("SINK_TYPE", "amqp")
        .env("SINK_AMQP_CONNECTION", rabbitmq.url())
        .env("SINK_AMQP_EXCHANGE", EXCHANGE)
        .env("SINK_AMQP_ROUTING_KEY", "nomad.{Namespace}.{JobID}")
}

/// Lines with one record each.
fn lines(indexes: std::ops::Range<u64>) -> Vec<String> {
    indexes.map(|index| made::evaluation(index, index % KEYS + 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_with_its_properties() {
    let rabbitmq = Rabbitmq::start().await;
    let (_connection, channel) = channel(&rabbitmq).await;
    declare_exchange(&channel).await;
    declare_queue(&channel, "#").await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = common::cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = setup(&sim, &rabbitmq, "all")
        .env("SINK_TYPE", "rabbitmq")
        .env("SINK_AMQP_ROUTING_KEY", "nomad.{Kind}.{TaskEvent.Type}")
        .env("SINK_AMQP_WORKERS", "4")
        .env("NOMAD_FIREHOSE_CLUSTER", "prod")
        .spawn();
    let messages = take(&rabbitmq, due.len()).await;
    process.stop().await;
    let all: Vec<_> = messages.iter().map(|message| seen(&message.body)).collect();
    assert_exactly(&all, &due);
    for (message, seen) in messages.iter().zip(&all) {
        let task_event = if seen.kind == "allocations" {
            let body: serde_json::Value = serde_json::from_str(&message.body).expect("JSON");
            body["TaskEvent"]["Type"].as_str().expect("a type").to_owned()
        } else {
            "-".to_owned()
        };
        assert_eq!(message.key, format!("nomad.{}.{task_event}", seen.kind));
        let properties = &message.properties;
        assert_eq!(properties.delivery_mode(), &Some(2));
        let texts = [properties.content_type(), properties.kind(), properties.app_id()];
        let texts = texts.map(|text| text.as_ref().expect("it is set").to_string());
        assert_eq!(texts, ["application/json", seen.kind, "nomad-firehose"]);
        assert!(properties.timestamp().is_some_and(|seconds| seconds > 1_700_000_000));
        let headers = properties.headers().as_ref().expect("headers").inner();
        let header = |name: &str| headers.get(name).and_then(|value| value.as_long_string()).map(|it| it.to_string());
        assert_eq!(header("kind").as_deref(), Some(seen.kind));
        assert_eq!(header("cluster").as_deref(), Some("prod"));
        assert_eq!(header("namespace").is_none(), seen.kind == "nodes" || seen.key.contains("  "), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_event_has_its_attributes_in_the_headers_or_in_the_message() {
    for (envelope, content_type) in
        [("cloudevents-binary", "application/json"), ("cloudevents", "application/cloudevents+json")]
    {
        let rabbitmq = Rabbitmq::start().await;
        declare(&rabbitmq).await;
        let sim = Sim::builder().start().await.expect("the simulator starts");
        sim.append_lines([made::evaluation(20, 1)]).await.expect("lines of a stream");
        let setup = setup(&sim, &rabbitmq, "evaluations").env("SINK_ENVELOPE", envelope);
        let process = setup.env("NOMAD_FIREHOSE_CLUSTER", "eu \u{e9}").spawn();
        let message = take(&rabbitmq, 1).await.pop().expect("one message");
        process.stop().await;
        let properties = &message.properties;
        assert_eq!(properties.content_type().as_ref().map(|text| text.as_str()), Some(content_type));
        let headers = properties.headers().as_ref().expect("headers").inner();
        let header = |name: &str| headers.get(name).and_then(|value| value.as_long_string()).map(|it| it.to_string());
        let body: serde_json::Value = serde_json::from_str(&message.body).expect("JSON");
        let is_binary = envelope == "cloudevents-binary";
        for (name, value) in [
            ("specversion", "1.0"),
            ("source", "/nomad/eu%20%C3%A9/evaluations"),
            ("type", "nomad-firehose.evaluation.version"),
            ("id", properties.message_id().as_ref().expect("an id").as_str()),
            ("nomadcluster", "eu \u{e9}"),
            ("nomadindex", "20"),
        ] {
            let header = header(&format!("cloudEvents_{name}"));
            assert_eq!(header.as_deref(), is_binary.then_some(value), "{name}");
            assert_eq!(body[name].as_str(), (!is_binary).then_some(value), "{name}");
        }
        let record = if is_binary { &body } else { &body["data"] };
        assert_eq!(record["ModifyIndex"], 20);
        // The other headers stay.
        assert_eq!(header("kind").as_deref(), Some("evaluations"));
    }
}

/// As [`order::assert_order`].
fn assert_order(messages: &[Message], lines: &[String]) -> usize {
    order::assert_order(messages.iter().map(|message| message.body.as_str()), lines, Leaps::Never)
}

/// The exchange, and a queue for all that comes.
async fn declare(rabbitmq: &Rabbitmq) {
    let (_connection, channel) = channel(rabbitmq).await;
    declare_exchange(&channel).await;
    declare_queue(&channel, "#").await;
}

/// Holds the queue to all records of a flood, in order, each with an id of its own. Returns how many were repeats.
async fn drain_flood(rabbitmq: &Rabbitmq, records: u64) -> u64 {
    let (mut came, mut ids) = (flood::Came::new(records), HashSet::new());
    let mut left = waiting(rabbitmq).await;
    drain(rabbitmq, |id, body| {
        ids.insert(id.to_owned());
        came.take(body);
        left -= 1;
        left == 0
    })
    .await;
    came.assert_all();
    assert_eq!(ids.len() as u64, records);
    came.repeats
}

/// Waits until the broker has blocked a publisher.
async fn until_blocked(rabbitmq: &Rabbitmq) {
    let deadline = Instant::now() + PATIENCE;
    while !rabbitmq.ctl(&["list_connections", "state"]).await.contains("blocked") {
        assert!(Instant::now() < deadline, "nobody is blocked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_closed_again_and_again_lose_nothing() {
    let rabbitmq = Rabbitmq::start().await;
    declare(&rabbitmq).await;
    let records = flood::records(5_000);
    let sim = flood::cluster(records).await;
    let ports = Ports::reserve();
    rabbitmq.keep_closing_connections(Duration::from_millis(500)).await;
    let process = setup(&sim, &rabbitmq, "evaluations")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address())
        .env("SINK_AMQP_WORKERS", "3")
        .spawn();
    process.until_logged("subscribed to the event stream").await;
    flood::until_count(&process, records, async || flood::delivered(ports.base).await).await;
    process.stop().await;
    rabbitmq.stop_closing_connections().await;
    let repeats = drain_flood(&rabbitmq, records).await;
    println!("{repeats} repeats, {} connections closed", rabbitmq.closed_connections());
    assert!(rabbitmq.closed_connections() > 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn closed_connections_two_restarts_and_an_alarm_lose_nothing() {
    const CLOSE: Duration = Duration::from_secs(2);
    let mut rabbitmq = Rabbitmq::start().await;
    declare(&rabbitmq).await;
    let records = flood::records(400_000);
    let sim = flood::cluster(records).await;
    let ports = Ports::reserve();
    rabbitmq.keep_closing_connections(CLOSE).await;
    let begun = Instant::now();
    let process = setup(&sim, &rabbitmq, "evaluations").env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn();
    process.until_logged("subscribed to the event stream").await;
    for quarter in 1..=4 {
        flood::until_count(&process, records * quarter / 4, async || flood::delivered(ports.base).await).await;
        println!("{quarter} quarters after {:?}", begun.elapsed());
        match quarter {
            1 | 3 => {
                rabbitmq.restart().await;
                rabbitmq.keep_closing_connections(CLOSE).await;
            }
            2 => {
                rabbitmq.alarm(true).await;
                until_blocked(&rabbitmq).await;
                rabbitmq.alarm(false).await;
            }
            _ => {}
        }
    }
    let (took, peak) = (begun.elapsed(), process.peak_memory());
    process.stop().await;
    rabbitmq.stop_closing_connections().await;
    let repeats = drain_flood(&rabbitmq, records).await;
    let closed = rabbitmq.closed_connections();
    println!("{records} records, {repeats} repeats, {closed} connections closed, {} MiB, {took:?}", peak >> 20);
    assert!(peak < 96 << 20, "{peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_longer_than_the_buffer_all_that_can_be_known_comes() {
    let mut rabbitmq = Rabbitmq::start().await;
    declare(&rabbitmq).await;
    let sim = outage::cluster().await;
    outage::append(&sim, outage::BEFORE).await;
    let process = to(&rabbitmq, outage::setup(&sim)).spawn();
    let mut came = outage::Came::default();
    let mut until = async |rabbitmq: &Rabbitmq, newest: u64| {
        let drained = drain(rabbitmq, |_, body| {
            came.take(&serde_json::from_str(body).expect("JSON"));
            came.is_all(newest)
        });
        // Before the patience with a message ends, which does not know what is missing.
        if tokio::time::timeout(PATIENCE / 2, drained).await.is_err() {
            panic!("missing: {:?}; the log:\n{}", came.wanting(newest), process.log());
        }
    };
    until(&rabbitmq, *outage::BEFORE.end()).await;
    rabbitmq.kill();
    outage::append(&sim, outage::MEANWHILE).await;
    process.until_logged("delivery failed").await;
    rabbitmq.restart().await;
    until(&rabbitmq, *outage::MEANWHILE.end()).await;
    let peak = process.peak_memory();
    process.stop().await;
    came.assert_known();
    println!("{} MiB", peak >> 20);
    assert!(peak < outage::BOUND, "{peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_exchange_it_waits_with_one_message_and_no_password() {
    let rabbitmq = Rabbitmq::start().await;
    rabbitmq.ctl(&["add_user", "writer", "hush-hush"]).await;
    rabbitmq.ctl(&["set_permissions", "writer", "", ".*", ""]).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..510);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let url = rabbitmq.url().replace("guest:guest", "writer:hush-hush");
    let process = setup(&sim, &rabbitmq, "evaluations").env("SINK_AMQP_CONNECTION", url).env("LOG_LEVEL", "trace");
    let process = process.spawn();
    process.until_logged("the exchange does not exist; declare it").await;
    let (_connection, channel) = channel(&rabbitmq).await;
    declare_bound_exchange(&channel).await;
    let messages = take(&rabbitmq, lines.len()).await;
    assert_eq!(assert_order(&messages, &lines), 0);
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("the exchange does not exist"), 1);
    assert!(!process.log().contains("hush-hush"));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_publisher_says_why_at_once_and_sends_no_more_than_one_record_until_it_goes_on() {
    let rabbitmq = Rabbitmq::start().await;
    let (_connection, channel) = channel(&rabbitmq).await;
    declare_exchange(&channel).await;
    declare_queue(&channel, "#").await;
    rabbitmq.alarm(true).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..510);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process = setup(&sim, &rabbitmq, "evaluations").spawn();
    process.until_logged("the broker takes no messages for now: low on memory").await;
    rabbitmq.alarm(false).await;
    let messages = take(&rabbitmq, lines.len()).await;
    let repeats = assert_order(&messages, &lines);
    assert!(repeats <= 1, "{repeats} repeats");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_of_and_waited_for() {
    let rabbitmq = Rabbitmq::start().await;
    let (_connection, channel) = channel(&rabbitmq).await;
    declare_exchange(&channel).await;
    declare_queue(&channel, "#").await;
    rabbitmq.ctl(&["add_user", "writer", "other"]).await;
    rabbitmq.ctl(&["set_permissions", "writer", "", ".*", ""]).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..20);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let url = rabbitmq.url().replace("guest:guest", "writer:hush-hush");
    let process = setup(&sim, &rabbitmq, "evaluations").env("SINK_AMQP_CONNECTION", url).spawn();
    process.until_logged("the broker refuses access").await;
    rabbitmq.ctl(&["change_password", "writer", "hush-hush"]).await;
    let messages = take(&rabbitmq, lines.len()).await;
    assert_eq!(assert_order(&messages, &lines), 0);
    assert_eq!(process.logged("the broker refuses access"), 1);
    assert!(!process.log().contains("hush-hush"));
    process.stop().await;
}

/// An authority, and a certificate by it with its key, as files.
fn certificates(directory: &Path) {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    for (name, text) in [("ca", authority.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())] {
        std::fs::write(directory.join(name), text).expect("a file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_client_certificate() {
    let files = tempfile::tempdir().expect("a directory");
    certificates(files.path());
    let file = |name: &str| files.path().join(name).display().to_string();
    let rabbitmq = Rabbitmq::start_with(|port, _| {
        let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
        format!(
            r#"{{ssl_listeners, [{{"127.0.0.1", {port}}}]}}, {{ssl_options, [{{cacertfile, "{ca}"}}, {{certfile, "{cert}"}},
            {{keyfile, "{key}"}}, {{verify, verify_peer}}, {{fail_if_no_peer_cert, true}}]}}"#
        )
    })
    .await;
    let (_connection, channel) = channel(&rabbitmq).await;
    declare_exchange(&channel).await;
    declare_queue(&channel, "#").await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..110);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let setup = setup(&sim, &rabbitmq, "evaluations")
        .env("SINK_AMQP_CONNECTION", format!("amqps://guest:guest@localhost:{}/", rabbitmq.further_port()));
    // Neither side trusts an unknown one.
    let process = setup.spawn();
    process.until_logged("signed by an unknown authority").await;
    process.end_by(Signal::KILL).await;
    let setup = setup.env("SINK_AMQP_CACERT", file("ca"));
    let process = setup.spawn();
    process.until_logged("the server wants a client certificate; set SINK_AMQP_CLIENT_CERT").await;
    process.end_by(Signal::KILL).await;
    let setup = setup.env("SINK_AMQP_CLIENT_CERT", file("cert")).env("SINK_AMQP_CLIENT_KEY", file("key"));
    let process = setup.spawn();
    let messages = take(&rabbitmq, lines.len()).await;
    assert_eq!(assert_order(&messages, &lines), 0);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_renewed_are_followed() {
    let rabbitmq = Rabbitmq::start().await;
    let (_connection, channel) = channel(&rabbitmq).await;
    declare_exchange(&channel).await;
    declare_queue(&channel, "#").await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    // Several versions of each key, so that there is an order to keep.
    let all: Vec<_> = (10..30).map(|index| made::evaluation(index, index % 3 + 1)).collect();
    sim.append_lines(all[..10].to_vec()).await.expect("lines of a stream");
    let (first, second) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().expect("a directory");
    let write = |authority: &Authority| {
        let (certificate, key) = authority.issue("firehose");
        for (name, text) in [("ca", authority.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())] {
            std::fs::write(directory.path().join(name), text).expect("a file");
        }
    };
    write(&first);
    let url = rabbitmq.url();
    let place = url.rsplit('@').next().and_then(|rest| rest.split('/').next()).expect("host and port");
    let front = Front::start(first.server("localhost", true), place).await;
    let process = setup(&sim, &rabbitmq, "evaluations")
        .env("SINK_AMQP_CONNECTION", format!("amqps://guest:guest@localhost:{}/", front.address.port()))
        .env("SINK_AMQP_CACERT", directory.path().join("ca"))
        .env("SINK_AMQP_CLIENT_CERT", directory.path().join("cert"))
        .env("SINK_AMQP_CLIENT_KEY", directory.path().join("key"))
        .spawn();
    let deadline = Instant::now() + PATIENCE;
    while waiting(&rabbitmq).await < 10 {
        assert!(Instant::now() < deadline, "the first records do not come:\n{}", process.log());
    }
    write(&second);
    front.exchange(second.server("localhost", true));
    sim.append_lines(all[10..].to_vec()).await.expect("lines of a stream");
    // Records whose confirms the cut connection has lost come again. One consumer takes all: what a second one sees also
    // depends on which acknowledgements of the first the broker still took.
    let messages = take(&rabbitmq, all.len()).await;
    assert_order(&messages, &all);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_broker_is_a_dead_letter_and_the_rest_arrives() {
    let rabbitmq = Rabbitmq::start_with(|_, _| "{max_message_size, 5000}".to_owned()).await;
    let (_connection, channel) = channel(&rabbitmq).await;
    declare_exchange(&channel).await;
    declare_queue(&channel, "#").await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..60).map(|n| made::job(n, n, if n % 10 == 0 { 6_000 } else { 100 })).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process =
        setup(&sim, &rabbitmq, "jobs").env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display())).spawn();
    let messages = take(&rabbitmq, 45).await;
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("all dead letters are written", || letters().lines().count() >= 5).await;
    process.stop().await;
    assert!(messages.iter().all(|message| message.body.len() < 5_000));
    let letters = letters();
    assert_eq!(letters.lines().count(), 5);
    assert!(letters.lines().all(|letter| letter.contains("too large for") && letter.contains("max size 5000")));
}

/// A gate lets each confirm come late: waited for one by one, they would take longer than the busiest machine needs.
#[tokio::test(flavor = "multi_thread")]
async fn publishing_does_not_wait_for_each_confirm() {
    const LATE: Duration = Duration::from_millis(200);
    let rabbitmq = Rabbitmq::start().await;
    declare(&rabbitmq).await;
    let url = rabbitmq.url();
    let gate = Gate::start(url.rsplit('@').next().and_then(|rest| rest.split('/').next()).expect("a place")).await;
    gate.delay_answers(LATE);
    let sim = Sim::builder().buffer(10_000).start().await.expect("the simulator starts");
    let lines = lines(10..2_010);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let begun = Instant::now();
    let process = setup(&sim, &rabbitmq, "evaluations")
        .env("SINK_AMQP_CONNECTION", format!("amqp://guest:guest@{}/", gate.addr()))
        .env("SINK_AMQP_WORKERS", "1")
        .spawn();
    let messages = take(&rabbitmq, lines.len()).await;
    let took = begun.elapsed();
    process.stop().await;
    assert_order(&messages, &lines);
    println!("{} records in {took:?}", lines.len());
    assert!(took < 2_000 * LATE, "{took:?}");
}

/// The client's buffers hold 64 frames a connection, of the size that both sides agree on.
#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_frames_that_the_broker_names_does_not_decide_our_memory() {
    /// A record that takes many frames.
    const LARGE: usize = 1 << 20;
    const WORKERS: u64 = 4;
    let unlimited = "{frame_max, 0}, {max_message_size, 16777216}";
    let mut rabbitmq = Rabbitmq::start_with(|_, _| unlimited.to_owned()).await;
    declare(&rabbitmq).await;
    for (settings, first) in [(unlimited, 10), ("{frame_max, 16777216}, {max_message_size, 16777216}", 40)] {
        if first > 10 {
            rabbitmq.restart_with(settings).await;
        }
        let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
        let lines: Vec<_> =
            (first..first + 20).map(|n| made::job(n, n, if n % 10 == 0 { LARGE } else { 100 })).collect();
        sim.append_lines(lines.clone()).await.expect("lines of a stream");
        let process = setup(&sim, &rabbitmq, "jobs").env("SINK_AMQP_WORKERS", WORKERS.to_string()).spawn();
        let mut all = Vec::new();
        drain(&rabbitmq, |_, body| {
            all.push(seen(body));
            all.len() == lines.len()
        })
        .await;
        let peak = process.peak_memory();
        process.stop().await;
        assert_exactly(&all, &expected("jobs", &lines));
        println!("{settings}: {} MiB at most", peak >> 20);
        assert!(peak < (32 + WORKERS * 8 + 32) << 20, "{settings}: {} MiB", peak >> 20);
    }
}
