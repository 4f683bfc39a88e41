//! The whole program with a real NATS: whatever becomes of connections and server, every record is stored, and stored once. `RECORDS` says
//! how many in the long test.

mod common;

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Setup, Signal, cluster, fixture_lines, flood,
    gate::Gate,
    long_run::{self, Passed, Silence},
    made,
    nats::{Client, Nats, Stored},
    order::{self, Leaps},
    ports::Ports,
    tls::{Authority, Front},
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;
use serde_json::json;

const STREAM: &str = "NOMAD";
const SECRET: &str = "hush-hush";

fn setup(sim: &Sim, address: impl std::fmt::Display, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "nats")
        .env("SINK_NATS_URL", format!("nats://writer:{SECRET}@{address}"))
        .env("SINK_NATS_SUBJECT", "nomad.{Kind}.{JobID}")
}

async fn server() -> (Nats, Client) {
    let nats = Nats::start(SECRET).await;
    let mut client = nats.client().await;
    client.create_stream(STREAM, &["nomad.>"], json!({})).await;
    client.consume(STREAM).await;
    (nats, client)
}

/// Lines with one record each, of a few keys.
fn lines(indexes: std::ops::Range<u64>) -> Vec<String> {
    indexes.map(|index| made::evaluation(index, index % 300 + 1)).collect()
}

/// Waits until the stream holds so many messages, and takes them.
async fn take(client: &mut Client, count: usize) -> Vec<Stored> {
    let (deadline, count) = (Instant::now() + PATIENCE, count as u64);
    loop {
        let held = client.count(STREAM).await;
        if held >= count {
            assert_eq!(held, count, "a record is stored twice");
            return client.take(STREAM, count).await;
        }
        assert!(Instant::now() < deadline, "{held} of {count} messages");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Holds the messages to the order of each key: the number of repeats.
fn assert_order(messages: &[Stored], lines: &[String]) -> usize {
    order::assert_order(messages.iter().map(|message| message.body.as_str()), lines, Leaps::Never)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_is_stored_once_with_its_headers() {
    let (nats, mut client) = server().await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = setup(&sim, nats.address(), "all")
        .env("SINK_NATS_SUBJECT", "nomad.{Kind}.{TaskEvent.Type}")
        .env("SINK_NATS_STREAM", STREAM)
        .env("NOMAD_FIREHOSE_CLUSTER", "eu \u{e9}")
        .spawn();
    let messages = take(&mut client, due.len()).await;
    process.stop().await;
    let all: Vec<_> = messages.iter().map(|message| seen(&message.body)).collect();
    assert_exactly(&all, &due);
    let ids: HashSet<_> = messages.iter().map(|message| message.header("Nats-Msg-Id").expect("an id")).collect();
    assert_eq!(ids.len(), due.len());
    // Clusters can share a stream: the label keeps their ids apart.
    assert!(ids.iter().all(|id| id.starts_with("eu \u{e9}/")), "{ids:?}");
    for (message, seen) in messages.iter().zip(&all) {
        let body: serde_json::Value = serde_json::from_str(&message.body).expect("JSON");
        let event = body["TaskEvent"]["Type"].as_str().filter(|_| seen.kind == "allocations").unwrap_or("-");
        assert_eq!(message.subject, format!("nomad.{}.{}", seen.kind, event.replace(' ', "%20")));
        assert_eq!(message.header("kind"), Some(seen.kind));
        assert_eq!(message.header("cluster"), Some("eu%20%C3%A9"));
        assert_eq!(message.header("Content-Type"), Some("application/json"));
        assert_eq!(message.header("Nats-Expected-Stream"), Some(STREAM));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_event_has_its_attributes_in_the_headers_or_in_the_message() {
    let (nats, mut client) = server().await;
    for (number, (envelope, content_type)) in
        [("cloudevents-binary", "application/json"), ("cloudevents", "application/cloudevents+json")]
            .into_iter()
            .enumerate()
    {
        let sim = Sim::builder().start().await.expect("the simulator starts");
        let index = 20 + number as u64;
        sim.append_lines([made::evaluation(index, 1)]).await.expect("lines of a stream");
        let process = setup(&sim, nats.address(), "evaluations").env("SINK_ENVELOPE", envelope).spawn();
        let deadline = Instant::now() + PATIENCE;
        while client.count(STREAM).await <= number as u64 {
            assert!(Instant::now() < deadline, "nothing came:\n{}", process.log());
        }
        process.stop().await;
        let message = client.get(STREAM, number as u64 + 1).await;
        assert_eq!(message.header("Content-Type"), Some(content_type));
        let body: serde_json::Value = serde_json::from_str(&message.body).expect("JSON");
        let is_binary = envelope == "cloudevents-binary";
        for (name, value) in [
            ("specversion", "1.0"),
            ("type", "nomad-firehose.evaluation.version"),
            ("id", message.header("Nats-Msg-Id").expect("an id")),
            ("datacontenttype", "application/json"),
        ] {
            assert_eq!(message.header(&format!("ce-{name}")), is_binary.then_some(value), "{name}");
            assert_eq!(body[name].as_str(), (!is_binary).then_some(value), "{name}");
        }
        let record = if is_binary { &body } else { &body["data"] };
        assert_eq!(record["ModifyIndex"], index);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_stream_it_waits_with_one_message_and_no_password() {
    let nats = Nats::start(SECRET).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..510);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process = setup(&sim, nats.address(), "evaluations").env("LOG_LEVEL", "trace").spawn();
    process.until_logged("no stream is bound to the subject nomad.evaluations").await;
    let mut client = nats.client().await;
    client.create_stream(STREAM, &["nomad.>"], json!({})).await;
    client.consume(STREAM).await;
    let messages = take(&mut client, lines.len()).await;
    assert_eq!(assert_order(&messages, &lines), 0);
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("nats refuses records"), 1);
    assert!(!process.log().contains(SECRET));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_wrong_stream_are_reported_and_waited_for() {
    let (nats, mut client) = server().await;
    nats.reconfigure(SECRET, "another");
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..20);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process = setup(&sim, nats.address(), "evaluations").env("SINK_NATS_STREAM", "OTHER").spawn();
    process.until_logged("login refused; correct SINK_NATS_USERNAME").await;
    nats.reconfigure("another", SECRET);
    process.until_logged("another stream than SINK_NATS_STREAM is bound").await;
    process.end_by(Signal::KILL).await;
    assert_eq!(client.count(STREAM).await, 0);
    let process = setup(&sim, nats.address(), "evaluations").env("SINK_NATS_STREAM", STREAM).spawn();
    let messages = take(&mut client, lines.len()).await;
    assert_eq!(assert_order(&messages, &lines), 0);
    assert!(!process.log().contains(SECRET));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_right_to_publish_is_told_at_once() {
    let user = format!(
        "{{user: writer, password: \"{SECRET}\", permissions: {{publish: [\"other.>\"], subscribe: [\"_INBOX.me.>\"]}}}}"
    );
    let nats = Nats::start_with(|_| String::new(), &user).await;
    let mut client = nats.client().await;
    client.create_stream(STREAM, &["nomad.>"], json!({})).await;
    client.consume(STREAM).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..20);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let setup = setup(&sim, nats.address(), "evaluations");
    let process = setup.spawn();
    process.until_logged("the user may not receive acknowledgements").await;
    process.end_by(Signal::KILL).await;
    // Far longer than the answer of the server takes: it is not waited for.
    let setup = setup.env("SINK_NATS_INBOX_PREFIX", "_INBOX.me").env("SINK_NATS_ACK_TIMEOUT", "5m");
    let process = setup.spawn();
    process.until_logged("the user may not publish to this subject").await;
    nats.reconfigure("other.>", "nomad.>");
    let messages = take(&mut client, lines.len()).await;
    assert_eq!(assert_order(&messages, &lines), 0);
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
async fn over_tls_with_a_client_certificate_and_with_an_nkey() {
    let files = tempfile::tempdir().expect("a directory");
    certificates(files.path());
    let file = |name: &str| files.path().join(name).display().to_string();
    let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    std::fs::write(files.path().join("seed"), format!("# for a test\n{seed}\n")).expect("a file");
    // The client of the tests speaks no TLS: it is let in without, and the sink insists on it.
    let nats = Nats::start_with(
        |_| {
            let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
            format!("tls {{ca_file: \"{ca}\", cert_file: \"{cert}\", key_file: \"{key}\", verify: true}}\nallow_non_tls: true")
        },
        "{nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4}",
    )
    .await;
    let mut client = nats.client().await;
    client.create_stream(STREAM, &["nomad.>"], json!({})).await;
    client.consume(STREAM).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..110);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let port = nats.address().rsplit(':').next().expect("a port").to_owned();
    let setup = setup(&sim, "", "evaluations")
        .env("SINK_NATS_URL", format!("tls://localhost:{port}"))
        .env("SINK_NATS_NKEY", file("seed"))
        .env("LOG_LEVEL", "trace");
    // Neither side trusts an unknown one.
    let process = setup.spawn();
    process.until_logged("signed by an unknown authority").await;
    process.end_by(Signal::KILL).await;
    let setup = setup.env("SINK_NATS_CACERT", file("ca"));
    let process = setup.spawn();
    process.until_logged("client certificate").await;
    process.end_by(Signal::KILL).await;
    let setup = setup.env("SINK_NATS_CLIENT_CERT", file("cert")).env("SINK_NATS_CLIENT_KEY", file("key"));
    let process = setup.spawn();
    let messages = take(&mut client, lines.len()).await;
    assert_eq!(assert_order(&messages, &lines), 0);
    assert!(!process.log().contains(seed));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_ends_tls_and_with_certificates_that_are_renewed() {
    let (nats, mut client) = server().await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let all: Vec<_> = (10..30).map(|index| made::evaluation(index, index % 3 + 1)).collect();
    sim.append_lines(all[..10].to_vec()).await.expect("lines of a stream");
    let (first, second) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().expect("a directory");
    let write = |authority: &Authority| std::fs::write(directory.path().join("ca"), authority.pem()).expect("a file");
    write(&first);
    let front = Front::start(first.server("localhost", false), &nats.address()).await;
    let process = setup(&sim, format!("localhost:{}", front.address.port()), "evaluations")
        .env("SINK_NATS_TLS_FIRST", "true")
        .env("SINK_NATS_CACERT", directory.path().join("ca"))
        .spawn();
    let deadline = Instant::now() + PATIENCE;
    while client.count(STREAM).await < 10 {
        assert!(Instant::now() < deadline, "the first records do not come:\n{}", process.log());
    }
    write(&second);
    front.exchange(second.server("localhost", false));
    sim.append_lines(all[10..].to_vec()).await.expect("lines of a stream");
    let messages = take(&mut client, all.len()).await;
    assert_eq!(assert_order(&messages, &all), 0);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_server_is_a_dead_letter_and_the_rest_arrives() {
    let users = format!("{{user: writer, password: \"{SECRET}\"}}");
    let nats = Nats::start_with(|_| "max_payload: 5000".to_owned(), &users).await;
    let mut client = nats.client().await;
    client.create_stream(STREAM, &["nomad.>"], json!({})).await;
    client.consume(STREAM).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..60).map(|n| made::job(n, n, if n % 10 == 0 { 6_000 } else { 100 })).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process = setup(&sim, nats.address(), "jobs")
        .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()))
        .spawn();
    let messages = take(&mut client, 45).await;
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("all dead letters are written", || letters().lines().count() >= 5).await;
    process.stop().await;
    assert!(messages.iter().all(|message| message.body.len() < 5_000));
    assert!(letters().lines().all(|letter| letter.contains("its max_payload is 5000")));
}

/// A gate lets each acknowledgement come late: waited for one by one, they would take longer than the busiest machine needs.
/// The server says what an account may send after the login alone, and closes the connection over more.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_account_is_a_dead_letter_and_the_rest_arrives() {
    let nats = Nats::start_with_account("max_payload: 5000", SECRET).await;
    let mut client = nats.client().await;
    client.create_stream(STREAM, &["nomad.>"], json!({})).await;
    client.consume(STREAM).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..60).map(|n| made::job(n, n, if n % 10 == 0 { 6_000 } else { 100 })).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process = setup(&sim, nats.address(), "jobs")
        .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()))
        .spawn();
    let messages = take(&mut client, 45).await;
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("all dead letters are written", || letters().lines().count() >= 5).await;
    assert_eq!(process.logged("delivery failed"), 0, "{}", process.log());
    process.stop().await;
    assert!(messages.iter().all(|message| message.body.len() < 5_000));
    assert!(letters().lines().all(|letter| letter.contains("its max_payload is 5000")));
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_does_not_wait_for_each_acknowledgement() {
    const LATE: Duration = Duration::from_millis(200);
    let (nats, mut client) = server().await;
    let gate = Gate::start(&nats.address()).await;
    gate.delay_answers(LATE);
    let sim = Sim::builder().buffer(10_000).start().await.expect("the simulator starts");
    let lines = lines(10..2_010);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let begun = Instant::now();
    let process = setup(&sim, gate.addr(), "evaluations").spawn();
    let messages = take(&mut client, lines.len()).await;
    let took = begun.elapsed();
    process.stop().await;
    assert_eq!(assert_order(&messages, &lines), 0);
    println!("{} records in {took:?}", lines.len());
    assert!(took < 2_000 * LATE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_takes_over_and_an_idle_connection_stays() {
    let users = format!("{{user: writer, password: \"{SECRET}\"}}");
    // A client that answers no ping is cut off after a fifth of a second.
    let settings = |_: &Path| "ping_interval: \"100ms\"\nping_max: 1".to_owned();
    let nats = Nats::start_with(settings, &users).await;
    let mut client = nats.client().await;
    client.create_stream(STREAM, &["nomad.>"], json!({})).await;
    drop(client);
    let nobody = Ports::reserve();
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..30);
    let process = setup(&sim, nobody.address(), "evaluations")
        .env("SINK_NATS_URL", format!("nats://writer:{SECRET}@{},nats://{}", nobody.address(), nats.address()))
        .spawn();
    for (number, part) in lines.chunks(10).enumerate() {
        sim.append_lines(part.to_vec()).await.expect("lines of a stream");
        let deadline = Instant::now() + PATIENCE;
        while nats.client().await.count(STREAM).await < 10 * (number as u64 + 1) {
            assert!(Instant::now() < deadline, "part {number} does not come:\n{}", process.log());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(process.logged("delivery failed"), 0, "{}", process.log());
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_the_stream_and_what_is_wrong() {
    let (nats, _client) = server().await;
    let sim = Sim::builder().start().await.expect("the simulator starts");
    let check = |variables: &[(&str, &str)]| {
        let setup = Setup::new(&["check", "evaluations"], &sim.url(0))
            .env("SINK_TYPE", "nats")
            .env("SINK_NATS_URL", format!("nats://writer:{SECRET}@{}", nats.address()))
            .env("SINK_NATS_SUBJECT", "nomad.all");
        variables.iter().fold(setup, |setup, (name, value)| setup.env(name, *value)).output().1
    };
    for (variables, parts) in [
        (&[][..], &["logged in, NATS 2.", "NOMAD: 1 replicas, duplicate window 120s"][..]),
        (&[("SINK_NATS_SUBJECT", "other")], &["no stream is bound to the subject other"]),
        (&[("SINK_NATS_STREAM", "OTHER")], &["there is no stream OTHER"]),
        (&[("SINK_NATS_SUBJECT", "nomad.{Kind}")], &["has fields of the record"]),
        (
            &[("SINK_NATS_URL", &*format!("nats://writer:wrong@{}", nats.address()))],
            &["login refused", "correct SINK_NATS_USERNAME"],
        ),
    ] {
        let text = check(variables);
        assert!(parts.iter().all(|part| text.contains(part)) && !text.contains(SECRET), "{variables:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn restarts_cuts_slowness_and_a_frozen_server_lose_nothing_and_repeat_nothing() {
    let (mut nats, client) = server().await;
    drop(client);
    let gate = Gate::start(&nats.address()).await;
    let records = flood::records(20_000);
    let set = |sim: &Sim| {
        let setup = setup(sim, gate.addr(), "evaluations").env("NOMAD_FIREHOSE_RETRY_MAX", "2s");
        setup.env("SINK_NATS_ACK_TIMEOUT", "3s")
    };
    let server = async |told| match told {
        Silence::Restart => nats.restart().await,
        Silence::Freeze => nats.freeze(true),
        Silence::Thaw => nats.freeze(false),
    };
    let Passed { took, peak } = long_run::through_silence(records, &gate, set, server).await;
    let mut client = nats.client().await;
    let held = client.count(STREAM).await;
    let (mut came, mut ids) = (flood::Came::new(records), HashSet::new());
    let mut left = held;
    while left > 0 {
        for message in client.take(STREAM, left.min(1_000)).await {
            ids.insert(message.header("Nats-Msg-Id").expect("an id").to_owned());
            came.take(&message.body);
            left -= 1;
        }
    }
    came.assert_all();
    println!("{records} records, {} repeats, {} MiB, {took:?}", came.repeats, peak >> 20);
    assert_eq!((ids.len() as u64, held, came.repeats), (records, records, 0));
    assert!(peak < 96 << 20, "{peak} bytes");
}
