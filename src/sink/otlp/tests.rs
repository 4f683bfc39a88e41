use axum::response::Response;
use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    common::v1::{AnyValue, any_value::Value as Any},
    logs::v1::LogRecord,
};
use reqwest::header::HeaderValue;

use super::*;
use crate::{
    delivery::testing::Book,
    kind::Kind,
    record::Time,
    sink::push::testing::{self, Came, Server, letters, reason, say},
};

fn config(address: &str) -> Config {
    Config {
        push: testing::config(address),
        protocol: Protocol::Http,
        body: Body::Text,
        resource: vec![("team".to_owned(), "a".to_owned())],
    }
}

fn log_records(came: &Came) -> Vec<LogRecord> {
    let request = ExportLogsServiceRequest::decode(came.body.clone()).expect("a request");
    request.resource_logs.into_iter().flat_map(|logs| logs.scope_logs).flat_map(|scope| scope.log_records).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn attribute_of(record: &LogRecord, name: &str) -> String {
    let found = record.attributes.iter().find(|attribute| attribute.key == name);
    found.map(|attribute| text(attribute.value.as_ref())).unwrap_or_default()
}

fn partial(rejected: i64, message: &str) -> Response {
    let partial_success =
        Some(ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: message.to_owned() });
    say(200, ExportLogsServiceResponse { partial_success }.encode_to_vec())
}

#[tokio::test]
async fn a_record_is_a_log_record_with_time_severity_and_attributes() {
    let server = Server::start(|_| say(200, "")).await;
    let sink = config(&server.address).sink(Some("eu")).expect("a sink");
    let task = r#"{"AllocID":"a","TaskName":"t","TaskEvent":{"Type":"Terminated","Time":1700000000000000001,"ExitCode":1,"Details":{"exit_code":"1","oom_killed":"false"},"FailsTask":true}}"#;
    let book = Book::new();
    let failed =
        Record { kind: Kind::Allocations, time: Time::new(1_700_000_000_000_000_001), ..book.record("k", task) };
    let plain = book.record("l", r#"{"ID":"web","Status":"running"}"#);
    assert_eq!(letters(&sink.send(&[failed, plain]).await.expect("open")), "DD");
    let came = &server.came()[0];
    assert_eq!((came.header("content-type"), &*came.target), ("application/x-protobuf", "/"));
    let request = ExportLogsServiceRequest::decode(came.body.clone()).expect("a request");
    let resource = request.resource_logs[0].resource.clone().expect("a resource");
    let attributes: Vec<_> = resource.attributes.iter().map(|it| (it.key.as_str(), text(it.value.as_ref()))).collect();
    let wanted = [("team", "a"), ("service.name", "nomad"), ("nomad.cluster", "eu")];
    assert_eq!(attributes, wanted.map(|(name, value)| (name, value.to_owned())));
    let records = log_records(came);
    assert_eq!((records[0].time_unix_nano, records[1].time_unix_nano), (1_700_000_000_000_000_001, 0));
    assert!(records[0].observed_time_unix_nano > 1_700_000_000_000_000_001);
    assert_eq!((records[0].severity_text.as_str(), records[0].severity_number), ("ERROR", 17));
    assert_ne!(records[1].severity_text, "ERROR");
    assert_eq!(text(records[0].body.as_ref()), task);
    assert_eq!(attribute_of(&records[0], "nomad.kind"), "allocations");
    assert_eq!(attribute_of(&records[1], "nomad.id"), "l/2");
    assert_eq!(attribute_of(&records[1], "nomad.index"), "2");
    assert_eq!(attribute_of(&records[1], "nomad.node"), "");
}

#[tokio::test]
async fn a_body_can_be_taken_apart() {
    let server = Server::start(|_| say(200, "")).await;
    let sink = Config { body: Body::Map, ..config(&server.address) }.sink(None).expect("a sink");
    let book = Book::new();
    let batch = [book.record("k", r#"{"ID":"web"}"#), book.record("k", "no JSON")];
    assert_eq!(letters(&sink.send(&batch).await.expect("open")), "DD");
    let records = log_records(&server.came()[0]);
    assert!(matches!(records[0].body.as_ref().and_then(|body| body.value.as_ref()), Some(Any::KvlistValue(_))));
    assert_eq!(text(records[1].body.as_ref()), "no JSON");
}

#[tokio::test]
async fn a_partial_success_is_taken_apart_until_the_guilty_stand_alone() {
    let server = Server::start(|came| {
        let bad = log_records(came).iter().filter(|record| text(record.body.as_ref()).contains("bad")).count();
        partial(i64::try_from(bad).expect("a few"), if bad > 0 { "no such tenant" } else { "" })
    })
    .await;
    let sink = config(&server.address).sink(None).expect("a sink");
    let book = Book::new();
    let batch: Vec<_> =
        ["a", "bad", "b", "bad", "bad"].iter().map(|it| book.record("k", format!("\"{it}\""))).collect();
    let outcomes = sink.send(&batch).await.expect("open");
    assert_eq!(letters(&outcomes), "DXDXX");
    assert!(reason(&outcomes[1]).contains("no such tenant"), "{outcomes:?}");
    // All of one request are rejected at once.
    let before = server.came().len();
    let batch: Vec<_> = (0..8).map(|_| book.record("k", "\"bad\"")).collect();
    assert_eq!(letters(&sink.send(&batch).await.expect("open")), "XXXXXXXX");
    assert_eq!(server.came().len(), before + 1);
}

#[tokio::test]
async fn answers_of_a_receiver() {
    for (status, letter, wanted) in [
        (400, 'X', "the words"),
        (413, 'X', "the words"),
        (415, 'r', "change SINK_OTLP_COMPRESSION"),
        (401, 'r', "SINK_OTLP_AUTH"),
        (404, 'r', "the path in SINK_OTLP_ADDRESS"),
        (429, 'r', "the words"),
        (503, 'r', "the words"),
    ] {
        let server = Server::start(move |_| {
            // `google.rpc.Status`: its code, and its message.
            let mut answer = say(status, [&[8, 3, 18, 9][..], b"the words"].concat());
            answer.headers_mut().insert("content-type", HeaderValue::from_static("application/x-protobuf"));
            answer
        })
        .await;
        let sink = config(&server.address).sink(None).expect("a sink");
        let outcomes = sink.send(&[Book::new().record("k", "1")]).await.expect("open");
        assert_eq!(letters(&outcomes), letter.to_string(), "{status}");
        let reason = reason(&outcomes[0]);
        assert!(reason.contains(wanted) && reason.ends_with(": the words"), "{reason}");
    }
    let server = Server::start(|_| say(200, "<html>log in</html>")).await;
    let sink = config(&server.address).sink(None).expect("a sink");
    let outcomes = sink.send(&[Book::new().record("k", "1")]).await.expect("open");
    assert_eq!(letters(&outcomes), "r");
    assert!(reason(&outcomes[0]).contains("no answer of OTLP: see SINK_OTLP_ADDRESS"), "{outcomes:?}");
}
