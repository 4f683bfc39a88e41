use std::collections::BTreeMap;

use futures_util::future;
use proptest::prelude::*;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::{Headers as _, Message as _},
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::*;
use crate::{delivery::testing::Book, lease::LeaseState, record::Envelope};

/// Where nobody listens.
fn config() -> Config {
    Config {
        brokers: vec!["127.0.0.1:1".to_owned()],
        topic: "nomad.{Namespace}".parse().expect("a template"),
        key: None,
        login: None,
        tls: None,
        compression: Compression::None,
        timeout: Duration::from_secs(30),
    }
}

fn headers(message: &Message<'_>) -> BTreeMap<String, String> {
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.expect("a value").to_vec()).expect("UTF-8");
    message.headers.as_borrowed().iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

#[test]
fn a_message_has_topic_key_and_headers_of_its_record() {
    let (mut record, config) = (Book::new().record("web", "{}"), config());
    let message = Message::of(&record, &config, Some("prod")).expect("a message");
    assert_eq!((&*message.topic, &*message.key), ("nomad.default", "web"));
    let found = headers(&message);
    let of = |name: &str| found.get(name).map(String::as_str);
    assert_eq!([of("id"), of("kind"), of("namespace")], [Some(&*record.id), Some("jobs"), Some("default")]);
    assert_eq!([of("cluster"), of("content-type")], [Some("prod"), Some("application/json")]);
    let bytes: usize = found.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert_eq!(message.bytes, bytes + "web".len() + "{}".len());

    record.namespace = "".into();
    record.envelope = Envelope::CloudEvent;
    let config = Config { key: Some("{Namespace}/{Key}".parse().expect("a template")), ..config };
    let message = Message::of(&record, &config, None).expect("a message");
    assert_eq!((&*message.topic, &*message.key), ("nomad.-", "-/web"));
    let found = headers(&message);
    assert_eq!(found.get("content-type").map(String::as_str), Some("application/cloudevents+json"));
    assert!(!found.contains_key("namespace") && !found.contains_key("cluster"), "{found:?}");

    let attributes = [("specversion", "1.0"), ("id", "7")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    record.envelope = Envelope::Attributes(Box::new(attributes.into()));
    let found = headers(&Message::of(&record, &config, None).expect("a message"));
    assert_eq!(["ce_specversion", "ce_id"].map(|name| &*found[name]), ["1.0", "7"]);
}

#[test]
fn what_no_topic_can_be_called_is_the_fault_of_the_record() {
    let (mut record, config) = (Book::new().record("web", "{}"), config());
    record.namespace = "a/b".into();
    let error = Message::of(&record, &config, None).err().expect("no topic");
    assert!(error.contains("nomad.a/b") && error.contains("SINK_KAFKA_TOPIC"), "{error}");
}

#[tokio::test]
async fn without_a_broker_records_are_retried_soon_and_without_a_lease_at_once() {
    let book = Book::new();
    let sink = Kafka::new(config(), None).expect("a sink");
    let batch = book.records(&["a", "b"]);
    assert_eq!(retries(&sink, &batch, "no connection").await, 2);
    book.lease.set(LeaseState::Suspended);
    assert_eq!(retries(&sink, &batch, "the lease is not held").await, 2);
}

/// Sends a batch, and counts those that have to be sent again for this reason.
async fn retries(sink: &Kafka, batch: &[Record], part: &str) -> usize {
    let outcomes = sink.send(batch).await.expect("it is not closed");
    let is_due = |outcome: &&Outcome| matches!(outcome, Outcome::Retry { reason, .. } if reason.contains(part));
    assert_eq!(outcomes.len(), batch.len());
    assert!(outcomes.iter().all(|outcome| is_due(&outcome)), "{outcomes:?}");
    outcomes.len()
}

const TOPIC: &str = "nomad.default";

/// A cluster of the client library's own, of one broker, and a sink for it.
fn mocked() -> (MockCluster<'static, DefaultProducerContext>, Kafka) {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic(TOPIC, 1, 1).expect("a topic");
    let config = Config { brokers: vec![cluster.bootstrap_servers()], ..config() };
    (cluster, Kafka::new(config, None).expect("a sink"))
}

/// The ids of what is in the topic.
fn stored(cluster: &MockCluster<'static, DefaultProducerContext>) -> Vec<String> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "test");
    let consumer: BaseConsumer = client.create().expect("a consumer");
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(TOPIC, 0, Offset::Beginning).expect("an offset");
    consumer.assign(&all).expect("an assignment");
    let within = Duration::from_secs(30);
    let (_, end) = consumer.fetch_watermarks(TOPIC, 0, within).expect("an end");
    (0..end)
        .map(|_| {
            let message = consumer.poll(within).expect("a message in time").expect("a message");
            let headers = message.headers().expect("headers");
            let id = headers.iter().find(|header| header.key == "id").and_then(|header| header.value).expect("an id");
            String::from_utf8(id.to_vec()).expect("UTF-8")
        })
        .collect()
}

fn delivered(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| matches!(outcome, Outcome::Delivered))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_never_leaves() {
    let (book, (cluster, sink)) = (Book::new(), mocked());
    let first = book.records(&["a", "b"]);
    assert!(delivered(&sink.send(&first).await.expect("it is not closed")));
    for gives_up in ["the future is dropped", "the lease ends"] {
        cluster.broker_down(1).expect("a broker");
        let batch = book.records(&["a", "b", "c"]);
        let mut sending = sink.send(&batch);
        let early = tokio::time::timeout(Duration::from_millis(300), &mut sending).await;
        assert!(early.is_err(), "{gives_up}: there is no broker");
        if gives_up == "the lease ends" {
            book.lease.set(LeaseState::Suspended);
            let outcomes = sending.await.expect("it is not closed");
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry { .. })), "{outcomes:?}");
            book.lease.set(LeaseState::Held);
        } else {
            drop(sending);
        }
        cluster.broker_up(1).expect("a broker");
        let last = book.records(&["d"]);
        assert!(delivered(&sink.send(&last).await.expect("it is not closed")), "{gives_up}");
        assert_eq!(stored(&cluster).last().map(String::as_str), Some(&*last[0].id), "{gives_up}");
    }
    let ids = stored(&cluster);
    assert_eq!(ids.len(), 4, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_written_in_the_order_in_which_they_were_asked_for() {
    let (book, (cluster, sink)) = (Book::new(), mocked());
    let batches: Vec<_> = (0..40).map(|_| book.records(&["a", "b", "a"])).collect();
    let sends = batches.iter().map(|batch| sink.send(batch));
    for outcomes in future::join_all(sends).await {
        assert!(delivered(&outcomes.expect("it is not closed")));
    }
    let ids: Vec<_> = batches.iter().flatten().map(|record| record.id.to_string()).collect();
    assert_eq!(stored(&cluster), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_records_that_are_too_large_together_only_one_that_is_alone_is_refused() {
    let (book, (cluster, sink)) = (Book::new(), mocked());
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    let body = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    let batch = [book.record("a", body(100)), book.record("a", body(3_000)), book.record("a", body(100))];
    cluster.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    let outcomes = sink.send(&batch).await.expect("it is not closed");
    let is_less =
        |outcome: &Outcome| matches!(outcome, Outcome::Retry { reason, .. } if reason.contains("less is sent"));
    assert!(
        outcomes.iter().any(is_less) && !outcomes.iter().any(|it| matches!(it, Outcome::Reject { .. })),
        "{outcomes:?}"
    );
    // Now the second one goes alone.
    cluster.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    let outcomes = sink.send(&batch[1..2]).await.expect("it is not closed");
    assert!(
        matches!(&outcomes[..], [Outcome::Reject { reason }] if reason.contains("max.message.bytes")),
        "{outcomes:?}"
    );
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    assert!(delivered(&sink.send(&batch).await.expect("it is not closed")));
}

proptest! {
    #[test]
    fn only_names_that_kafka_takes_are_topics(name in r"[a-zA-Z0-9._/ -]{0,4}|\.{1,3}|[a-z]{249,250}") {
        let is_topic = (1..=249).contains(&name.len())
            && name != "." && name != ".."
            && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        prop_assert_eq!(message::is_topic(&name), is_topic);
    }
}
