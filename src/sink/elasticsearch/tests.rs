use serde_json::{Value, json};

use super::*;
use crate::{
    delivery::testing::Book,
    http::{Secret, TokenSource},
    sink::push::{
        Scheme,
        testing::{self, Came, Server, letters, reason, say},
    },
};

fn config(address: &str) -> Config {
    let push = testing::config(&format!("{address}/_bulk"));
    Config { push, index: "nomad-{Kind}".parse().expect("a template"), layout: Layout::Nested }
}

/// The documents of a request, with the action of each.
fn documents(came: &Came) -> Vec<(Value, Value)> {
    let lines: Vec<Value> = came
        .body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    lines.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// An answer with these statuses.
fn items(statuses: &[(u16, &str, &str)]) -> String {
    let item = |(status, kind, reason): &(u16, &str, &str)| match kind {
        &"" => json!({"create": {"status": status}}),
        kind => json!({"create": {"status": status, "error": {"type": kind, "reason": reason}}}),
    };
    json!({"items": statuses.iter().map(item).collect::<Vec<_>>()}).to_string()
}

#[tokio::test]
async fn each_document_has_its_own_outcome() {
    let server = Server::start(|_| {
        say(
            200,
            items(&[
                (201, "", ""),
                (409, "version_conflict_engine_exception", "document already exists"),
                (400, "mapper_parsing_exception", "failed to parse field [body.x] of type [long]"),
                (429, "es_rejected_execution_exception", "rejected execution"),
                (400, "illegal_argument_exception", "Limit of total fields [1000] has been exceeded"),
                (403, "cluster_block_exception", "index [a] blocked by: [FORBIDDEN/12]"),
                (404, "index_not_found_exception", "no such index [a]"),
                (400, "validation_exception", "this action would add [2] shards, but this cluster has [1000]/[1000]"),
                (503, "unavailable_shards_exception", "primary shard is not active"),
                (400, "illegal_argument_exception", "pipeline with id [geo] does not exist"),
                (400, "illegal_argument_exception", "no write index is defined for alias [a]. The write index may be"),
                (400, "illegal_argument_exception", "alias [a] has more than one index associated with it [b, c]"),
            ]),
        )
    })
    .await;
    let sink = config(&server.address).sink(Some("eu")).expect("a sink");
    let batch = Book::new().records(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]);
    let outcomes = sink.send(&batch).await.expect("open");
    assert_eq!(letters(&outcomes), "DDXrXrrrrrrr");
    for (number, wanted) in [
        (2, "map body as flattened"),
        (3, "rejected execution"),
        (4, "SINK_ELASTICSEARCH_BODY=text"),
        (5, "free disk space"),
        (6, "create the index"),
        (7, "max_shards_per_node"),
        (8, "primary shard"),
        (9, "create the ingest pipeline"),
        (10, "set is_write_index"),
        (11, "set is_write_index"),
    ] {
        assert!(reason(&outcomes[number]).contains(wanted), "{outcomes:?}");
    }
    let came = &server.came()[0];
    assert_eq!(came.header("content-type"), "application/x-ndjson");
    assert_eq!(came.target, format!("/_bulk?{FILTER}"));
    let documents = documents(came);
    assert_eq!(documents[1].0, json!({"create": {"_index": "nomad-jobs", "_id": "eu/b/2"}}));
    assert_eq!(documents[1].1["nomad"]["cluster"], "eu");
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_no_delivery() {
    for (status, body, wanted) in [
        (200, "<html>".to_owned(), "no answer of the bulk API: see SINK_ELASTICSEARCH_ADDRESS"),
        (200, items(&[(201, "", "")]), "answered for 1 of 2 documents"),
        (200, "{}".to_owned(), "no answer of the bulk API"),
        (201, String::new(), "no answer of the API"),
        (401, "security_exception".to_owned(), "SINK_ELASTICSEARCH_TOKEN is not accepted"),
    ] {
        let server = Server::start(move |_| say(status, body.clone())).await;
        let mut config = config(&server.address);
        config.push.token = TokenSource::Fixed(Secret::new("hush-hush"));
        config.push.scheme = Scheme::ApiKey;
        let outcomes = config.sink(None).expect("a sink").send(&Book::new().records(&["a", "b"])).await.expect("open");
        assert_eq!(letters(&outcomes), "rr");
        assert!(reason(&outcomes[0]).contains(wanted), "{outcomes:?}");
        assert_eq!(server.came()[0].header("authorization"), "ApiKey hush-hush");
    }
}

/// Every document gets this answer: none of them is to blame.
#[tokio::test]
async fn a_request_that_the_settings_of_the_index_refuse_is_sent_again() {
    let body = r#"{"error":{"type":"illegal_argument_exception","reason":"pipeline with id [geo] does not exist"},"status":400}"#;
    let server = Server::start(move |_| say(400, body)).await;
    let sink = config(&server.address).sink(None).expect("a sink");
    let outcomes = sink.send(&Book::new().records(&["a", "b"])).await.expect("open");
    assert_eq!((letters(&outcomes), server.came().len()), ("rr".to_owned(), 1));
    assert!(reason(&outcomes[0]).contains("create the ingest pipeline"), "{outcomes:?}");
}

#[tokio::test]
async fn too_large_a_request_is_sent_in_parts() {
    let server = Server::start(|came| {
        let documents = documents(came);
        if documents.len() > 2 { say(413, "") } else { say(200, items(&vec![(201, "", ""); documents.len()])) }
    })
    .await;
    let sink = config(&server.address).sink(None).expect("a sink");
    let outcomes = sink.send(&Book::new().records(&["a", "b", "c", "d", "e"])).await.expect("open");
    assert_eq!(letters(&outcomes), "DDDDD");
}
