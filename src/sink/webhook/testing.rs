//! Tests of these sinks: a server that gives the answers of the test, and what any payload has to withstand.

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use axum::{Router, extract::State, http::Uri, response::Response};
use proptest::prelude::*;
use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderName},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{Answer, Said, Service};
use crate::{
    delivery::testing::Book,
    notify::Message,
    record::Record,
    settings::{Broken, Reader, Setting, testing},
    sink::{Outcome, Prepared},
};

type Reply = Arc<dyn Fn(&Value) -> Response + Send + Sync>;
type Came = Arc<Mutex<Vec<(String, Value)>>>;

/// A server that keeps all requests.
pub(in crate::sink) struct Server {
    pub(in crate::sink) url: String,
    came: Came,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    pub(in crate::sink) async fn start(reply: impl Fn(&Value) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let came = Came::default();
        let router = Router::new().fallback(answer).with_state((Arc::clone(&came), Arc::new(reply) as Reply));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves until aborted") });
        Server { url, came, _task: AbortOnDropHandle::new(task) }
    }

    /// The targets and the bodies of the requests.
    pub(in crate::sink) fn came(&self) -> Vec<(String, Value)> {
        self.came.lock().expect("no panic").clone()
    }
}

async fn answer(State((came, reply)): State<(Came, Reply)>, uri: Uri, body: bytes::Bytes) -> Response {
    let body = serde_json::from_slice(&body).expect("JSON");
    came.lock().expect("no panic").push((uri.to_string(), Value::clone(&body)));
    reply(&body)
}

/// An answer.
pub(in crate::sink) fn say(status: u16, headers: &[(&str, &str)], text: &str) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(text.to_owned().into()).expect("an answer")
}

/// How a service judges this answer.
pub(in crate::sink) fn judged(service: &impl Service, status: u16, headers: &[(&str, &str)], text: &str) -> Answer {
    let header =
        |(name, value): &(&str, &str)| (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
    let headers: HeaderMap = headers.iter().map(header).collect();
    let status = StatusCode::from_u16(status).expect("a status");
    let names = &service.variables().connection;
    let (server, setting, now) = ("http://a", names.address, SystemTime::UNIX_EPOCH);
    service.judge(&Said { status, headers: &headers, server, setting, names, text, now })
}

/// A letter for an answer: `d`elivered, `r`etry, retry as re`f`usal, re`x`ect.
pub(in crate::sink) fn letter(answer: &Answer) -> char {
    match answer {
        Answer::Delivered => 'd',
        Answer::Retry { refusal: None, .. } => 'r',
        Answer::Retry { refusal: Some(_), .. } => 'f',
        Answer::Reject { .. } => 'x',
    }
}

/// The result of `read` for these variables, or all problems.
pub(in crate::sink) fn read<T>(
    settings: &[&'static Setting],
    variables: &[(&str, &str)],
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Broken>,
) -> Result<T, Vec<String>> {
    testing::read(settings, variables, read).map(|(config, _)| config)
}

/// Sends one record with this body through a sink with these settings.
pub(in crate::sink) async fn sent(config: &impl Prepared, body: &Value) -> Outcome {
    let (sink, policy) = config.build(None).expect("good settings");
    assert_eq!(policy.batch_records, 1);
    assert!(!format!("{config:?} {sink:?}").contains("hush"), "{config:?} {sink:?}");
    let batch = [Book::new().record("key", body.to_string())];
    let mut outcomes = sink.send(&batch).await.expect("open");
    assert_eq!(outcomes.len(), 1);
    outcomes.pop().expect("one")
}

/// A record whose body is this message.
pub(in crate::sink) fn record(message: &Message) -> Record {
    Book::new().record("key", message.to_body())
}

/// A message with everything in it.
pub(in crate::sink) fn full() -> Message {
    let body = json!({
        "title": "Task failed", "text": "web <1> & more", "severity": "error", "count": 5, "within": "10m",
        "fields": [{"name": "Job", "value": "web"}, {"name": "Node", "value": "n-1"}], "lines": ["one", "two"],
        "link": "https://nomad.example.com/ui/jobs/web?a=1&b=2", "key": "web/failed",
    });
    Message::of(&Book::new().record("key", body.to_string()))
}

/// Messages of any size, from small to far beyond all limits.
pub(in crate::sink) fn any_message() -> impl Strategy<Value = Message> {
    let text = || prop_oneof!["[ -~é😀<>&*_\n]{1,40}", "[a<&é😀\n]{1,20}".prop_map(|text| text.repeat(400))];
    let fields = prop::collection::vec((text(), text()), 0..70);
    let lines = prop::collection::vec(text(), 0..40);
    let link = prop::option::of("https://example.com/[a-z?&=]{0,60}");
    (text(), prop::option::of(text()), 0..5_usize, fields, lines, link, prop::option::of(text()), 0..9_u64).prop_map(
        |(text, title, severity, fields, lines, link, key, count)| {
            let severity = crate::notify::Severity::ALL[severity];
            let message =
                Message { text, title, severity, fields, lines, link, key, count: Some(count), ..Message::default() };
            Message::of(&record(&message))
        },
    )
}
