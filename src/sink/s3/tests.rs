//! Objects in a directory, which has the same code in front of it as the other services: see `tests/sink_s3.rs` for S3.

use std::{fs, io::Read as _};

use proptest::prelude::*;

use super::{
    config::{Place, Service},
    *,
};
use crate::{
    delivery::testing::Book,
    sink::ndjson::{Compression, Pattern},
};

fn config(directory: &std::path::Path) -> Config {
    Config {
        place: Place { service: Service::Local(directory.to_owned()), bucket: String::new(), prefix: String::new() },
        key: "{Kind}/%Y/{Key}".parse::<Pattern>().expect("a pattern"),
        batch_bytes: 8 << 20,
        batch_interval: Duration::from_secs(30),
        compression: Compression::Zstd(3),
        endpoint: None,
        region: None,
        path_style: None,
    }
}

fn keys(directory: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(
                keys(&path)
                    .into_iter()
                    .map(|key| format!("{}/{key}", path.file_name().and_then(|name| name.to_str()).expect("UTF-8"))),
            );
        } else {
            found.push(path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned());
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn each_directory_of_a_batch_is_an_object_and_a_repeat_replaces_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (sink, policy) = config(directory.path()).build(None).expect("valid");
    assert!(policy.is_whole && policy.linger == Duration::from_secs(30));
    let book = Book::new();
    let batch = book.records(&["a", "b/..", "a"]);
    for _ in 0..2 {
        let outcomes = sink.send(&batch).await.expect("open");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Delivered)), "{outcomes:?}");
    }
    let found = keys(directory.path());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("jobs/2") && found[0].contains("/a/00000000000000000001-"), "{found:?}");
    assert!(found[1].contains("/b%2F../00000000000000000002-") && found[1].ends_with(".ndjson.zst"), "{found:?}");
    let file = fs::File::open(directory.path().join(&found[0])).expect("there");
    let mut text = String::new();
    zstd::Decoder::new(file).expect("zstd").read_to_string(&mut text).expect("text");
    assert_eq!(text, "{}\n{}\n");
    // Other records have another name.
    let outcomes = sink.send(&book.records(&["a"])).await.expect("open");
    assert!(matches!(outcomes[0], Outcome::Delivered), "{outcomes:?}");
    assert_eq!(keys(directory.path()).len(), 3);
}

#[tokio::test]
async fn a_missing_directory_is_waited_for_and_the_keys_stay_those_of_the_first_try() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing");
    let sink = S3::new(config(&missing));
    let book = Book::new();
    let batch = book.records(&["a"]);
    let outcomes = sink.put_all(&batch).await;
    assert!(
        matches!(&outcomes[0], Outcome::Retry { reason, .. } if reason.contains("does not exist; create it")),
        "{outcomes:?}"
    );
    let first = sink.tried().clone();
    assert!(first.is_some());
    sink.put_all(&batch).await;
    assert_eq!(*sink.tried(), first);
    fs::create_dir(&missing).expect("writable");
    assert!(matches!(sink.put_all(&batch).await[0], Outcome::Delivered));
    assert_eq!(*sink.tried(), None);
    book.lease.set(LeaseState::Lost);
    assert!(matches!(&sink.put_all(&batch).await[0], Outcome::Retry { reason, .. } if reason.contains("lease")));
}

/// A batch that is given up with its lease never comes again: the time of its first try is none of the next one's.
#[tokio::test]
async fn another_batch_has_the_time_of_its_own_first_try() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing");
    let sink = S3::new(config(&missing));
    let book = Book::new();
    let mut given_up = book.records(&["a", "b"]);
    sink.put_all(&given_up).await;
    sink.tried().as_mut().expect("it was tried").stamp = Stamp::of(SystemTime::UNIX_EPOCH);
    // A part of it is the same batch: the rest of it is there.
    sink.put_all(&given_up[1..]).await;
    assert_eq!(sink.tried().as_ref().expect("it was tried").stamp, Stamp::of(SystemTime::UNIX_EPOCH));
    fs::create_dir(&missing).expect("writable");
    let next = [given_up.pop().expect("two records"), book.record("b", "{}")];
    assert!(matches!(sink.put_all(&next).await[..], [Outcome::Delivered, Outcome::Delivered]));
    let found = keys(&missing);
    assert!(found.len() == 1 && found[0].starts_with("jobs/2"), "{found:?}");
}

#[tokio::test]
async fn a_check_writes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let within = Duration::from_secs(60);
    let found = config(directory.path()).check(within).await;
    assert!(found[0].fix.is_none() && found[0].text.contains("exists and can be listed"), "{found:?}");
    assert_eq!(keys(directory.path()).len(), 0);
    let found = config(&directory.path().join("none")).check(within).await;
    assert!(found[0].fix.as_deref().is_some_and(|fix| fix.contains("SINK_S3_URL")), "{found:?}");
}

proptest! {
    #[test]
    fn an_object_has_each_line_whole(bodies in proptest::collection::vec("[a-z]{0,50}", 0..50), kind in 0..3_u8) {
        let compression = [Compression::None, Compression::Gzip(1), Compression::Zstd(1)][usize::from(kind)];
        let expected: String = bodies.iter().map(|body| format!("{body}\n")).collect();
        let bodies = bodies.into_iter().map(Bytes::from).collect();
        let bytes = object::bytes(compression, bodies).expect("memory");
        let mut text = String::new();
        compression.reader(bytes.as_slice()).expect("a decoder").read_to_string(&mut text).expect("text");
        prop_assert_eq!(text, expected);
    }
}
