//! Records of every kind as CloudEvents, from the whole program to a receiver that is built on the SDK of the specification's
//! authors and checks each event against the official schema.

mod common;

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use common::{
    Lines, PATIENCE, Process, Setup, collect, fixture_lines, installed, made,
    truth::{ALL, Seen, assert_exactly, expected, seen},
};
use nomad_sim::Sim;
use serde_json::Value;

/// A running receiver. Dropping it ends it.
struct Receiver {
    child: Child,
    lines: Lines,
    port: String,
    _stdin: ChildStdin,
}

/// One request, as the receiver read it.
struct Request {
    media_type: String,
    body: String,
    headers: Value,
    events: Vec<Value>,
}

impl Request {
    /// What makes it this message: its media type, its attributes in headers, and its body.
    fn message(self) -> (String, String, String) {
        let headers = self.headers.as_object().expect("an object").iter();
        let attributes: Vec<_> = headers.filter(|(name, _)| name.starts_with("ce-")).collect();
        (self.media_type, format!("{attributes:?}"), self.body)
    }
}

impl Receiver {
    async fn start() -> Self {
        Receiver::start_with(&[]).await
    }

    async fn start_with(arguments: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("node")
            .arg(root.join("tests/cloud_events/receiver.js"))
            .arg(root.join("tests/fixtures/cloudevents/cloudevents.json"))
            .args(arguments)
            .env("NODE_PATH", installed("cloudevents"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let (lines, _) = collect(child.stdout.take().expect("it is piped"));
        let stdin = child.stdin.take().expect("it is piped");
        let mut receiver = Receiver { child, lines, port: String::new(), _stdin: stdin };
        common::until("the receiver listens", || !receiver.lines.lock().expect("no panic").is_empty()).await;
        receiver.port = receiver.lines.lock().expect("no panic")[0].trim().to_owned();
        receiver
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    fn setup(&self, sim: &Sim) -> Setup {
        Setup::new(&["run", "--resources", "all"], &sim.url(0))
            .env("SINK_TYPE", "http")
            .env("SINK_HTTP_ADDRESS", self.url())
            .env("SINK_WORKER_COUNT", "8")
            .env("NOMAD_FIREHOSE_CLUSTER", "eu west")
    }

    /// What has come so far. All of it has to be CloudEvents.
    fn requests(&self) -> Vec<Request> {
        let lines = self.lines.lock().expect("no panic");
        let requests = lines.iter().skip(1).map(|line| {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(line["error"], Value::Null, "{line}");
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            Request {
                media_type: text(&line["type"]),
                body: text(&line["body"]),
                headers: line["headers"].take(),
                events: line["events"].as_array().expect("a list").clone(),
            }
        });
        requests.collect()
    }

    /// Waits for this many events.
    async fn until(&self, process: &Process, events: usize) -> Vec<Request> {
        let came = || self.requests().iter().map(|request| request.events.len()).sum::<usize>();
        process.until(&format!("{events} events within {PATIENCE:?}"), || came() >= events).await;
        self.requests()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn cluster() -> (Sim, Vec<Seen>) {
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = common::cluster(&stream).await;
    let due = ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    (sim, due)
}

/// The attributes that every event of this kind has to have.
fn assert_attributes(event: &Value, seen: &Seen) {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    assert_eq!((text("specversion"), text("datacontenttype")), ("1.0", "application/json"), "{event}");
    assert_eq!(text("source"), format!("/nomad/eu%20west/{}", seen.kind));
    assert_eq!(text("nomadkind"), seen.kind);
    assert!(text("type").starts_with("nomad-firehose.") && text("id").starts_with(seen.kind), "{event}");
    assert!(!text("subject").is_empty() && !text("partitionkey").is_empty(), "{event}");
    assert!(text("nomadindex").parse::<u64>().is_ok(), "{event}");
    assert_eq!(event["nomadnamespace"].is_string(), seen.kind != "nodes" && !seen.key.contains("  "), "{event}");
}

fn assert_all(came: &[(Value, String)], due: &[Seen]) {
    let all: Vec<_> = came.iter().map(|(_, body)| seen(body)).collect();
    assert_exactly(&all, due);
    for ((event, _), seen) in came.iter().zip(&all) {
        assert_attributes(event, seen);
    }
    let ids: BTreeSet<_> = came.iter().map(|(event, _)| event["id"].to_string()).collect();
    assert_eq!(ids.len(), due.len(), "each has an id of its own");
    let kinds: BTreeSet<_> = all.iter().map(|seen| seen.kind).collect();
    assert_eq!(kinds.len(), ALL.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_sdk_reads_every_kind_in_structured_mode() {
    for (format, media_type) in [
        ("single", "application/cloudevents+json; charset=utf-8"),
        ("array", "application/cloudevents-batch+json; charset=utf-8"),
    ] {
        let ((sim, due), receiver) = (cluster().await, Receiver::start().await);
        let setup = receiver.setup(&sim).env("SINK_ENVELOPE", "cloudevents").env("SINK_HTTP_FORMAT", format);
        let process = setup.spawn();
        let requests = receiver.until(&process, due.len()).await;
        process.stop().await;
        assert!(requests.iter().all(|request| request.media_type == media_type));
        let came: Vec<_> = requests
            .iter()
            .flat_map(|request| {
                let body: Value = serde_json::from_str(&request.body).expect("JSON");
                let events = body.as_array().cloned().unwrap_or_else(|| vec![body]);
                let data = events.iter().map(|event| event["data"].to_string()).collect::<Vec<_>>();
                request.events.iter().cloned().zip(data)
            })
            .collect();
        assert_all(&came, &due);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_sdk_reads_every_kind_in_binary_mode() {
    let ((sim, due), receiver) = (cluster().await, Receiver::start().await);
    let binary = receiver.setup(&sim).env("SINK_ENVELOPE", "cloudevents-binary").env("SINK_HTTP_FORMAT", "single");
    let process = binary.spawn();
    let requests = receiver.until(&process, due.len()).await;
    process.stop().await;
    let came = requests.into_iter().map(|request| {
        assert_eq!(request.media_type, "application/json");
        // The receiver's SDK leaves a header's value percent-encoded, though the binding has receivers decode it.
        assert_eq!(
            request.headers["ce-source"].as_str().map(|source| source.starts_with("/nomad/eu%2520west/")),
            Some(true)
        );
        let mut event = request.events.into_iter().next().expect("one event");
        for value in event.as_object_mut().expect("an object").values_mut() {
            if let Value::String(text) = value {
                *text = percent_encoding::percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned();
            }
        }
        (event, request.body)
    });
    assert_all(&came.collect::<Vec<_>>(), &due);
}

/// A dead letter keeps its envelope: the replay sends the same headers and the same media type.
#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_event_that_was_refused_is_still_one_when_it_is_sent_again() {
    for envelope in ["cloudevents", "cloudevents-binary"] {
        let strict = Receiver::start_with(&["refuse"]).await;
        let sim = Sim::builder().start().await.expect("the simulator starts");
        sim.append_lines([made::evaluation(20, 1), made::evaluation(21, 2)]).await.expect("lines of a stream");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("letters");
        let process = Setup::new(&["evaluations"], &sim.url(0))
            .env("SINK_TYPE", "http")
            .env("SINK_HTTP_ADDRESS", strict.url())
            .env("SINK_ENVELOPE", envelope)
            .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", path.display()))
            .spawn();
        let letters = || std::fs::read_to_string(&path).unwrap_or_default().lines().count();
        process.until("both are dead letters", || letters() == 2).await;
        process.stop().await;

        let receiver = Receiver::start().await;
        let (code, _, log) = Setup::bare(&["dead-letters", "replay", path.to_str().expect("UTF-8")])
            .env("SINK_TYPE", "http")
            .env("SINK_HTTP_ADDRESS", receiver.url())
            .output();
        assert_eq!(code, Some(0), "{log}");
        // An answer can be here before the line that the receiver prints of its request.
        for receiver in [&strict, &receiver] {
            common::until("the receiver has printed both", || receiver.requests().len() >= 2).await;
        }
        let [refused, taken] = [&strict, &receiver].map(|receiver| {
            let mut requests: Vec<_> = receiver.requests().into_iter().map(Request::message).collect();
            requests.sort();
            requests.dedup();
            requests
        });
        assert_eq!(taken.len(), 2);
        assert_eq!(taken, refused, "{envelope}");
    }
}

#[test]
fn headers_that_cannot_be_sent_are_refused_at_the_start() {
    for (sink, format, part) in [
        ("http", "array", "a request with a batch has no headers of each record; set SINK_HTTP_FORMAT=single"),
        ("stdout", "single", "this sink sends no headers; choose cloudevents"),
    ] {
        let setup = Setup::bare(&["jobs"])
            .env("NOMAD_FIREHOSE_COORDINATOR", "none")
            .env("SINK_TYPE", sink)
            .env("SINK_HTTP_ADDRESS", "http://127.0.0.1:9/")
            .env("SINK_HTTP_FORMAT", format)
            .env("SINK_ENVELOPE", "cloudevents-binary");
        let (code, printed, log) = setup.output();
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{log}");
        assert!(log.contains(part), "{log}");
    }
}
