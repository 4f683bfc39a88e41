//! The whole program with a real nsqd: whatever becomes of connections and server, every record comes. `RECORDS` says how many in the long test.

mod common;

use std::path::Path;

use common::{
    Setup, Signal, cluster, fixture_lines, flood,
    gate::Gate,
    long_run::{self, Passed, Silence},
    made,
    nsq::Nsqd,
    order::{self, Leaps},
    ports::Ports,
    tls::Authority,
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;

const TOPIC: &str = "nomad-firehose";
const SECRET: &str = "hush-hush";

fn setup(sim: &Sim, address: impl std::fmt::Display, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "nsq")
        .env("SINK_NSQ_ADDR", address.to_string())
        .env("SINK_NSQ_TOPIC_NAME", TOPIC)
}

/// Lines with one record each, of a few keys.
fn lines(indexes: std::ops::Range<u64>) -> Vec<String> {
    indexes.map(|index| made::evaluation(index, index % 300 + 1)).collect()
}

/// Holds the messages to the order of each key: the number of repeats.
fn assert_order(bodies: &[String], lines: &[String]) -> usize {
    order::assert_order(bodies.iter().map(String::as_str), lines, Leaps::Never)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_comes_once_in_the_topic_of_its_fields() {
    let nsqd = Nsqd::start(&[]).await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let process = setup(&sim, nsqd.address(), "all").env("SINK_NSQ_TOPIC_NAME", "nomad.{Kind}").spawn();
    let mut all = Vec::new();
    for kind in common::truth::ALL {
        let (topic, due) = (format!("nomad.{kind}"), expected(kind, &stream));
        nsqd.until_count(&topic, due.len() as u64, || process.log()).await;
        let bodies = nsqd.consumer(&topic).await.take(due.len()).await;
        let came: Vec<_> = bodies.iter().map(|body| seen(body)).collect();
        assert!(came.iter().all(|record| record.kind == kind), "{kind}");
        assert_exactly(&came, &due);
        all.push((topic, due.len() as u64));
    }
    process.stop().await;
    for (topic, count) in all {
        assert_eq!(nsqd.count(&topic).await, count, "a record came twice to {topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_a_dead_letter_and_the_rest_comes() {
    let nsqd = Nsqd::start(&["--max-msg-size=5000", "--max-body-size=20000"]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..110).map(|n| made::job(n, n, if n % 10 == 0 { 6_000 } else { 100 })).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process = setup(&sim, nsqd.address(), "jobs")
        .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()))
        .env("LOG_LEVEL", "debug")
        .spawn();
    nsqd.until_count(TOPIC, 90, || process.log()).await;
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("all dead letters are written", || letters().lines().count() >= 10).await;
    process.stop().await;
    let bodies = nsqd.consumer(TOPIC).await.take(90).await;
    assert!(bodies.iter().all(|body| body.len() < 5_000));
    assert_eq!((nsqd.count(TOPIC).await, letters().lines().count()), (90, 10));
    assert!(letters().lines().all(|letter| letter.contains("nsqd's --max-msg-size is 5000")), "{}", letters());
    // nsqd names each of its limits at most once, in two lines. How much is in a batch, and so whether the body's is met, is left to time.
    let [message, body] = ["message too big", "body too big"].map(|words| nsqd.log().matches(words).count());
    assert!(message == 2 && body <= 2, "{}", nsqd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_raised_is_noticed() {
    let mut nsqd = Nsqd::start(&["--max-msg-size=5000"]).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    sim.append_lines([made::job(10, 10, 6_000)]).await.expect("lines of a stream");
    let process = setup(&sim, nsqd.address(), "jobs").env("NOMAD_FIREHOSE_RETRY_MAX", "1s").spawn();
    process.until_logged("pipeline held by a rejected record").await;
    nsqd.restart(&["--max-msg-size=50000"]).await;
    nsqd.until_count(TOPIC, 1, || process.log()).await;
    process.until_logged("delivery recovered").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_opens_nsqd_and_is_read_again_from_its_file() {
    let nsqd = Nsqd::start_with_secret(SECRET, ".*", &[]).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..110);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let setup = setup(&sim, nsqd.address(), "evaluations").env("LOG_LEVEL", "trace");
    let process = setup.spawn();
    process.until_logged("asks for the secret of its auth server; set SINK_NSQ_AUTH_SECRET").await;
    process.end_by(Signal::KILL).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("secret");
    std::fs::write(&file, "wrong-secret\n").expect("a file");
    let setup = setup.env("SINK_NSQ_AUTH_SECRET_FILE", &file).env("NOMAD_FIREHOSE_RETRY_MAX", "1s");
    let process = setup.spawn();
    process.until_logged("nsqd's auth server does not allow it; correct SINK_NSQ_AUTH_SECRET").await;
    std::fs::write(&file, format!("{SECRET}\n")).expect("a file");
    nsqd.until_count(TOPIC, lines.len() as u64, || process.log()).await;
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("nsqd refuses records"), 1);
    assert!(!process.log().contains(SECRET) && !process.log().contains("wrong-secret"));
    process.stop().await;
    let bodies = nsqd.consumer(TOPIC).await.take(lines.len()).await;
    assert_eq!(assert_order(&bodies, &lines), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_allowed_waits_behind_what_was_sent_before_it() {
    let nsqd = Nsqd::start_with_secret(SECRET, "nomad.evaluations", &[]).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let mut all: Vec<_> = lines(10..110).into_iter().collect();
    all.extend((110..140).map(|n| made::job(n, n, 100)));
    sim.append_lines(all).await.expect("lines of a stream");
    let process = setup(&sim, nsqd.address(), "evaluations,jobs")
        .env("SINK_NSQ_TOPIC_NAME", "nomad.{Kind}")
        .env("SINK_NSQ_AUTH_SECRET", SECRET)
        .spawn();
    process.until_logged("or allow this topic there").await;
    nsqd.until_count("nomad.evaluations", 100, || process.log()).await;
    assert_eq!(nsqd.count("nomad.jobs").await, 0);
    process.end_by(Signal::KILL).await;
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
    let argument = |name: &str, path: &str| format!("--tls-{name}={}", file(path));
    let (cert, key, ca) = (argument("cert", "cert"), argument("key", "key"), argument("root-ca-file", "ca"));
    let nsqd =
        Nsqd::start(&[&cert, &key, &ca, "--tls-client-auth-policy=require-verify", "--tls-required=tcp-https"]).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..110);
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let port = nsqd.address().rsplit(':').next().expect("a port").to_owned();
    let process = setup(&sim, format!("localhost:{port}"), "evaluations").spawn();
    process.until_logged("nsqd requires TLS; write tls:// before the server").await;
    process.end_by(Signal::KILL).await;
    let setup = setup(&sim, format!("tls://localhost:{port}"), "evaluations");
    // Neither side trusts an unknown one.
    let process = setup.spawn();
    process.until_logged("signed by an unknown authority").await;
    process.end_by(Signal::KILL).await;
    let setup = setup.env("SINK_NSQ_CACERT", file("ca"));
    let process = setup.spawn();
    process.until_logged("client certificate").await;
    process.end_by(Signal::KILL).await;
    let process = setup.env("SINK_NSQ_CLIENT_CERT", file("cert")).env("SINK_NSQ_CLIENT_KEY", file("key")).spawn();
    nsqd.until_count(TOPIC, lines.len() as u64, || process.log()).await;
    process.stop().await;
    assert_eq!(nsqd.count(TOPIC).await, lines.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_used_where_tls_is_wanted() {
    let nsqd = Nsqd::start(&[]).await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    sim.append_lines(lines(10..20)).await.expect("lines of a stream");
    let process = setup(&sim, format!("tls://{}", nsqd.address()), "evaluations").spawn();
    process.until_logged("offers no TLS; start nsqd with --tls-cert and --tls-key").await;
    assert_eq!(nsqd.count(TOPIC).await, 0);
    process.end_by(Signal::KILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_takes_over_and_what_one_holds_stays_there() {
    let (mut first, second) = (Nsqd::start(&[]).await, Nsqd::start(&[]).await);
    let nobody = Ports::reserve();
    let addresses = [nobody.address(), first.address(), second.address()].join(",");
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines = lines(10..30);
    let process = setup(&sim, addresses, "evaluations").spawn();
    sim.append_lines(lines[..10].to_vec()).await.expect("lines of a stream");
    first.until_count(TOPIC, 10, || process.log()).await;
    assert_eq!(process.logged("delivery failed"), 0, "{}", process.log());
    let mut bodies = first.consumer(TOPIC).await.take(10).await;
    first.kill();
    sim.append_lines(lines[10..].to_vec()).await.expect("lines of a stream");
    second.until_count(TOPIC, 10, || process.log()).await;
    process.stop().await;
    assert_eq!(second.count(TOPIC).await, 10);
    bodies.extend(second.consumer(TOPIC).await.take(10).await);
    assert_eq!(assert_order(&bodies, &lines), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_each_server_and_what_is_wrong() {
    let nsqd = Nsqd::start_with_secret(SECRET, ".*", &[]).await;
    let (nobody, http) = (Ports::reserve(), nsqd.http());
    let sim = Sim::builder().start().await.expect("the simulator starts");
    let check = |variables: &[(&str, &str)]| {
        let setup = Setup::new(&["check", "evaluations"], &sim.url(0))
            .env("SINK_TYPE", "nsq")
            .env("SINK_NSQ_ADDR", nsqd.address())
            .env("SINK_NSQ_AUTH_SECRET", SECRET)
            .env("SINK_NSQ_TOPIC_NAME", TOPIC);
        variables.iter().fold(setup, |setup, (name, value)| setup.env(name, *value)).output().1
    };
    let both = format!("{},{}", nsqd.address(), nobody.address());
    for (variables, parts) in [
        (&[][..], &["connected, nsqd 1.3.0", "nomad-firehose: the first record creates it"][..]),
        (&[("SINK_NSQ_TOPIC_NAME", "nomad.{Kind}")], &["has fields of the record"]),
        (&[("SINK_NSQ_ADDR", &*both)], &["connected, nsqd 1.3.0", "Connection refused", "SINK_NSQ_ADDR"]),
        (&[("SINK_NSQ_ADDR", &*http)], &["does not speak the NSQ protocol", "not its HTTP port"]),
        (&[("SINK_NSQ_AUTH_SECRET", "wrong-secret")], &["correct SINK_NSQ_AUTH_SECRET"]),
    ] {
        let text = check(variables);
        assert!(parts.iter().all(|part| text.contains(part)) && !text.contains(SECRET), "{variables:?}: {text}");
    }
    assert!(nsqd.stats(TOPIC).await.is_null(), "a check created the topic");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn restarts_cuts_slowness_and_a_frozen_server_lose_nothing() {
    let mut nsqd = Nsqd::start(&[]).await;
    let gate = Gate::start(&nsqd.address()).await;
    let records = flood::records(20_000);
    let set = |sim: &Sim| {
        let setup = setup(sim, gate.addr(), "evaluations").env("NOMAD_FIREHOSE_RETRY_MAX", "2s");
        setup.env("SINK_NSQ_ACK_TIMEOUT", "3s")
    };
    let server = async |told| match told {
        Silence::Restart => nsqd.restart(&[]).await,
        Silence::Freeze => nsqd.freeze(true),
        Silence::Thaw => nsqd.freeze(false),
    };
    let Passed { took, peak } = long_run::through_silence(records, &gate, set, server).await;
    let mut came = flood::Came::new(records);
    let mut consumer = nsqd.consumer(TOPIC).await;
    while came.distinct < records {
        // So many are there at least.
        for body in consumer.take(usize::try_from(records - came.distinct).expect("a few").min(1_000)).await {
            came.take(&body);
        }
    }
    came.assert_all();
    println!("{records} records, {} repeats, {} MiB, {took:?}", came.repeats, peak >> 20);
    assert!(peak < 96 << 20, "{peak} bytes");
}
