use prost::Message as _;

use super::*;
use crate::{
    delivery::testing::Book,
    sink::push::testing::{self, Came, Server, letters, reason, say},
};

const MINUTE: u64 = 60_000_000_000;

fn config(address: &str) -> Config {
    let label =
        |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.parse().expect("a template") };
    Config {
        push: testing::config(address),
        labels: [("job", "nomad"), ("task", "{Task}")].map(label).to_vec(),
        max_streams: 2,
        max_age: Duration::from_secs(1800),
        structured_metadata: true,
    }
}

fn request(body: &[u8]) -> Request {
    let plain = snap::raw::Decoder::new().decompress_vec(body).expect("Snappy");
    Request::decode(&plain[..]).expect("a request")
}

fn now() -> u64 {
    u64::try_from(std::time::SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos())
        .expect("before 2554")
}

fn record(book: &Book, task: &str, time: u64) -> Record {
    Record { time: Time::new(time), ..book.record("k", format!(r#"{{"Task":"{task}"}}"#)) }
}

/// Labels, nanoseconds, line and metadata of an entry.
type Found = (String, u64, String, Vec<(String, String)>);

fn entries(came: &Came) -> Vec<Found> {
    let streams = request(&came.body).streams.into_iter();
    let of_stream = |Stream { labels, entries }: Stream| {
        entries.into_iter().map(move |entry| {
            let time = entry.timestamp.expect("a time");
            let time = u64::try_from(time.seconds).expect("after 1970") * 1_000_000_000
                + u64::try_from(time.nanos).expect("positive");
            let line = String::from_utf8(entry.line.to_vec()).expect("UTF-8");
            let pairs = entry.structured_metadata.into_iter().map(|Pair { name, value }| (name, value)).collect();
            (labels.clone(), time, line, pairs)
        })
    };
    streams.flat_map(of_stream).collect()
}

#[tokio::test]
async fn entries_have_labels_times_and_metadata() {
    let server = Server::start(|_| say(204, "")).await;
    let sink = config(&server.address).sink(Some("e{u")).expect("a sink");
    let (book, before) = (Book::new(), now());
    let batch =
        [record(&book, "a", before - 29 * MINUTE), record(&book, "a", before - 31 * MINUTE), record(&book, "a", 0)];
    assert_eq!(letters(&sink.send(&batch).await.expect("open")), "DDD");
    let came = &server.came()[0];
    assert_eq!(came.header("content-type"), "application/x-protobuf");
    let entries = entries(came);
    assert!(entries.iter().all(|(labels, ..)| labels == r#"{cluster="e{u", job="nomad", task="a"}"#), "{entries:?}");
    let times: Vec<u64> = entries.iter().map(|(_, time, ..)| *time).collect();
    assert_eq!(times[0], before - 29 * MINUTE, "its own");
    assert!(times[1] >= before && times[2] == times[1] + 1, "the time of sending, in order: {times:?}");
    let metadata = |number: usize, name: &str| {
        entries[number].3.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    };
    assert_eq!(metadata(0, "id").as_deref(), Some("k/1"));
    assert_eq!(metadata(0, "key").as_deref(), Some("k"));
    assert_eq!(metadata(2, "index").as_deref(), Some("3"));
    assert_eq!((metadata(0, "time"), metadata(2, "time")), (None, None));
    assert!(metadata(1, "time").is_some_and(|time| time.ends_with('Z')), "its own time is not lost");
    assert_eq!(entries[0].2, r#"{"Task":"a"}"#);
}

#[tokio::test]
async fn beyond_the_bound_labels_become_metadata() {
    let server = Server::start(|_| say(204, "")).await;
    let sink = config(&server.address).sink(None).expect("a sink");
    let book = Book::new();
    let batch: Vec<_> = ["a", "b", "c", "a"].iter().map(|task| record(&book, task, 0)).collect();
    assert_eq!(letters(&sink.send(&batch).await.expect("open")), "DDDD");
    let entries = entries(&server.came()[0]);
    let of = |line: &str| entries.iter().filter(move |entry| entry.2.contains(line)).collect::<Vec<_>>();
    assert_eq!(of(r#""c""#)[0].0, r#"{job="nomad", overflow="true"}"#);
    assert!(of(r#""c""#)[0].3.contains(&("task".to_owned(), "c".to_owned())));
    assert!(of(r#""a""#).iter().all(|entry| entry.0 == r#"{job="nomad", task="a"}"#) && of(r#""a""#).len() == 2);
}

#[tokio::test]
async fn without_structured_metadata_there_is_none() {
    let server = Server::start(|_| say(204, "")).await;
    let sink = Config { structured_metadata: false, ..config(&server.address) }.sink(None).expect("a sink");
    let outcomes = sink.send(&[record(&Book::new(), "a", 0)]).await.expect("open");
    assert_eq!(letters(&outcomes), "D");
    assert!(entries(&server.came()[0])[0].3.is_empty());
}

/// A half looks as it did in the whole, so that Loki drops what it has.
#[tokio::test]
async fn a_half_has_the_times_of_the_whole() {
    let server = Server::start(|came| {
        let is_bad = entries(came).iter().any(|entry| entry.2.contains("bad"));
        let words = "max entry size '262144' bytes exceeded for stream '{job=\"nomad\"}' while adding an entry with length '300000' bytes";
        if is_bad { say(400, words) } else { say(204, "") }
    })
    .await;
    let sink = config(&server.address).sink(None).expect("a sink");
    let book = Book::new();
    let batch: Vec<_> = ["a", "bad", "b", "a"].iter().map(|task| record(&book, task, 0)).collect();
    let outcomes = sink.send(&batch).await.expect("open");
    assert_eq!(letters(&outcomes), "DXDD");
    assert!(
        reason(&outcomes[1]).contains("raise limits_config.max_line_size")
            && reason(&outcomes[1]).contains("max entry size")
    );
    let came = server.came();
    let mut whole = entries(&came[0]);
    whole.sort();
    for half in &came[1..] {
        for entry in entries(half) {
            assert!(whole.contains(&entry), "{entry:?} is not in {whole:?}");
        }
    }
}

#[tokio::test]
async fn answers_of_loki() {
    for (status, words, letter, wanted) in [
        (200, "<html>", 'r', "that is no answer of the API: see SINK_LOKI_ADDRESS"),
        (401, "no org id", 'r', "set SINK_LOKI_TENANT"),
        (
            400,
            "stream '{}' includes structured metadata, but this feature is disallowed. Please see `limits_config.allow_structured_metadata`",
            'r',
            "SINK_LOKI_STRUCTURED_METADATA=false",
        ),
        (
            400,
            "entry with timestamp 2024-05-05 00:00:00 +0000 UTC ignored, reason: 'entry too far behind'",
            'X',
            "SINK_LOKI_MAX_AGE",
        ),
        (400, "entry for stream '{}' has 16 label names; limit 15", 'X', "SINK_LOKI_LABELS"),
        // A proxy in front of it: none of the records is to blame.
        (400, "<html>\r\n<head><title>400 The SSL certificate error</title>", 'r', "SINK_LOKI_CLIENT_CERT"),
        (400, "Client sent an HTTP request to an HTTPS server.", 'r', "https:// in SINK_LOKI_ADDRESS"),
        (415, "", 'r', "see SINK_LOKI_ADDRESS"),
        (
            500,
            "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5 vs. 4)",
            'X',
            "SINK_LOKI_BATCH_BYTES",
        ),
        (500, "at least 2 live replicas required", 'r', "live replicas"),
        (429, "ingestion rate limit exceeded for user fake", 'r', "rate limit"),
        (404, "404 page not found", 'r', "the path in SINK_LOKI_ADDRESS"),
    ] {
        let server = Server::start(move |_| say(status, words)).await;
        let sink = config(&server.address).sink(None).expect("a sink");
        let outcomes = sink.send(&[record(&Book::new(), "a", 0)]).await.expect("open");
        assert_eq!(letters(&outcomes), letter.to_string(), "{status} {words}");
        assert!(reason(&outcomes[0]).contains(wanted), "{outcomes:?}");
    }
}
