//! The whole program with a real rsyslog, over each way that a message can take.

mod common;

use std::time::{Duration, Instant};

use common::{
    PATIENCE, Process, Setup, Signal, fixture_lines, flood, made,
    order::{self, Leaps},
    ports::Ports,
    rsyslog::{Rsyslog, body},
    tls::Authority,
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;

fn setup(sim: &Sim, proto: &str, addr: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "syslog")
        .env("SINK_SYSLOG_PROTO", proto)
        .env("SINK_SYSLOG_ADDR", addr)
        .env("NOMAD_FIREHOSE_RETRY_MAX", "500ms")
}

/// Waits until so many messages have come.
async fn take(rsyslog: &mut Rsyslog, messages: usize, process: &Process) -> Vec<String> {
    let (mut came, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while came.len() < messages {
        came.extend(rsyslog.more());
        assert!(Instant::now() < deadline, "{} of {messages} have come; the log:\n{}", came.len(), process.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    came
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_with_its_data() {
    let mut rsyslog = Rsyslog::start().await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = common::cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = setup(&sim, "tcp", &rsyslog.address(), "all")
        .env("SINK_SYSLOG_FACILITY", "local3")
        .env("SINK_SYSLOG_SEVERITY", "info")
        .env("SINK_SYSLOG_TAG", "firehose")
        .env("SINK_SYSLOG_HOSTNAME", "replica-1")
        .spawn();
    let messages = take(&mut rsyslog, due.len(), &process).await;
    process.until_logged("syslog cannot confirm delivery").await;
    process.stop().await;
    let all: Vec<_> = messages.iter().map(|message| seen(body(message))).collect();
    assert_exactly(&all, &due);
    for (message, seen) in messages.iter().zip(&all) {
        let head = format!("local3.info replica-1 firehose {} [nomad@32473 id=\"", seen.kind);
        assert!(message.starts_with(&head), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_and_format_reaches_the_server() {
    let mut rsyslog = Rsyslog::start().await;
    let files = tempfile::tempdir().expect("a directory");
    let ca = files.path().join("ca");
    let authority = Authority::new();
    std::fs::write(&ca, authority.pem()).expect("a file");
    let (front, _task) = authority.front("localhost", &rsyslog.address(), false).await;
    let lines: Vec<_> = (10..60).map(|index| made::evaluation(index, index % 7 + 1)).collect();
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let (tcp, tls) = (rsyslog.address(), format!("localhost:{}", front.port()));
    let socket = rsyslog.socket().display().to_string();
    let process = setup(&sim, "tls", &tls, "evaluations").spawn();
    process.until_logged("signed by an unknown authority").await;
    process.end_by(Signal::KILL).await;
    for (proto, addr, format, framing) in [
        ("tcp", &tcp, "rfc5424", "lines"),
        ("tcp", &tcp, "rfc3164", "lines"),
        ("tls", &tls, "rfc5424", "octets"),
        ("udp", &tcp, "rfc5424", "octets"),
        ("unixgram", &socket, "rfc5424", "octets"),
    ] {
        let setup = setup(&sim, proto, addr, "evaluations").env("SINK_SYSLOG_CACERT", &ca);
        let process = setup.env("SINK_SYSLOG_FORMAT", format).env("SINK_SYSLOG_FRAMING", framing).spawn();
        let messages = take(&mut rsyslog, lines.len(), &process).await;
        process.stop().await;
        let repeats = order::assert_order(messages.iter().map(|message| body(message)), &lines, Leaps::Never);
        assert_eq!(repeats, 0, "{proto} {format} {framing}");
        assert!(messages.iter().all(|message| message.starts_with("kern.notice ")), "{}", messages[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_datagram_can_carry_is_a_dead_letter_with_its_size() {
    let mut rsyslog = Rsyslog::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let size = |n: u64| if n == 15 { 70_000 } else { 100 };
    sim.append_lines((10..20).map(|n| made::job(n, n, size(n)))).await.expect("lines of a stream");
    let process = setup(&sim, "udp", &rsyslog.address(), "jobs")
        .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()))
        .spawn();
    take(&mut rsyslog, 9, &process).await;
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("a dead letter", || letters().lines().count() == 1).await;
    process.stop().await;
    assert!(
        letters().contains("too large for a datagram to syslog server")
            && letters().contains("set SINK_SYSLOG_PROTO to tcp")
    );
}

/// Long, but with no fault: what a fault costs cannot be known here.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn many_records_arrive_in_order() {
    let mut rsyslog = Rsyslog::start().await;
    let records = flood::records(20_000);
    let sim = flood::cluster(records).await;
    let ports = Ports::reserve();
    let process =
        setup(&sim, "tcp", &rsyslog.address(), "evaluations").env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn();
    process.until_logged("subscribed to the event stream").await;
    flood::until_count(&process, records, async || flood::delivered(ports.base).await).await;
    process.stop().await;
    let mut came = flood::Came::new(records);
    let deadline = Instant::now() + PATIENCE;
    while came.distinct < records && Instant::now() < deadline {
        for message in rsyslog.more() {
            came.take(body(&message));
        }
    }
    came.assert_all();
}
