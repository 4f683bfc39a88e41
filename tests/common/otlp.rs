//! A receiver of OTLP logs over HTTP or gRPC: it decodes with the published messages, and rejects records as a collector does.

use std::{
    collections::BTreeMap,
    io::Read as _,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{body::Body, http::HeaderMap, response::Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    logs::v1::LogRecord,
};
use prost::Message as _;

use super::stand_in::{Request, StandIn, say};

/// What the receiver does, beside taking log records.
#[derive(Clone, Copy, Debug, Default)]
pub enum Mood {
    #[default]
    Well,
    /// A request with such a body is answered with 503 or `UNAVAILABLE`, and nothing of it is taken.
    Busy(&'static str),
    /// A request with such a body is answered with 400 or `INVALID_ARGUMENT`, and nothing of it is taken.
    Refusing(&'static str),
    /// A log record with such a body is rejected, and the others of its request are taken.
    Rejecting(&'static str),
}

/// One log record.
#[derive(Clone, Debug)]
pub struct Entry {
    pub resource: BTreeMap<String, String>,
    pub time: u64,
    pub severity: String,
    pub body: String,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    mood: Mood,
    authorization: Option<String>,
    stored: Vec<Entry>,
    /// What gets the log records in place of the list.
    on_stored: Option<OnStored>,
}

type OnStored = Box<dyn FnMut(&Entry) + Send>;

/// A running receiver.
pub struct Receiver {
    pub server: StandIn,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = StandIn::start(move |request| shared.lock().expect("no panic").post(&request)).await;
        Receiver { server, state }
    }

    /// One that takes them over gRPC.
    pub async fn start_grpc() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = StandIn::start_http2(move |request| shared.lock().expect("no panic").call(&request)).await;
        Receiver { server, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    pub fn is(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// The credentials that a request has to have.
    pub fn wants(&self, authorization: Option<&str>) {
        self.state().authorization = authorization.map(str::to_owned);
    }

    /// The log records stored since there were so many.
    pub fn stored_since(&self, count: usize) -> Vec<Entry> {
        self.state().stored[count..].to_vec()
    }

    /// Passes log records on from now on, and keeps none.
    pub fn pass_on(&self, to: impl FnMut(&Entry) + Send + 'static) {
        self.state().on_stored = Some(Box::new(to));
    }
}

impl State {
    fn is_refused(&self, request: &Request) -> bool {
        self.authorization.as_ref().is_some_and(|wanted| request.header("authorization") != wanted)
    }

    /// OTLP over HTTP.
    fn post(&mut self, request: &Request) -> Response {
        if self.is_refused(request) {
            return say(401, "");
        }
        if request.path != "/v1/logs" {
            return say(404, "404 page not found\n");
        }
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        match self.export(&plain(request.header("content-encoding"), &request.body)) {
            Ok(answer) => say(200, answer.encode_to_vec()),
            Err(Refusal::Busy) => say(503, ""),
            Err(Refusal::Bad) => say(400, "no such stream"),
        }
    }

    /// OTLP over gRPC.
    fn call(&mut self, request: &Request) -> Response {
        if self.is_refused(request) {
            return status(16, "who%20are you%3F");
        }
        if request.path != "/opentelemetry.proto.collector.logs.v1.LogsService/Export" {
            return status(12, "unknown service");
        }
        assert_eq!((request.header("content-type"), request.header("te")), ("application/grpc", "trailers"));
        assert!(request.header("grpc-timeout").ends_with('m'), "{:?}", request.headers);
        let (prefix, message) = request.body.split_first_chunk::<5>().expect("a message");
        assert_eq!(prefix[1..], u32::try_from(message.len()).expect("a length").to_be_bytes());
        let encoding = if prefix[0] == 1 { request.header("grpc-encoding") } else { "" };
        match self.export(&plain(encoding, message)) {
            Ok(answer) => {
                let answer = answer.encode_to_vec();
                let length = u32::try_from(answer.len()).expect("a length").to_be_bytes();
                let body = Full::new(Bytes::from([&[0][..], &length, &answer].concat()));
                let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), 0.into())]);
                let body = Body::new(body.with_trailers(std::future::ready(Some(Ok(trailers)))));
                Response::builder().header("content-type", "application/grpc").body(body).expect("a response")
            }
            Err(Refusal::Busy) => status(14, "busy"),
            Err(Refusal::Bad) => status(3, "no%20such stream"),
        }
    }

    fn export(&mut self, message: &[u8]) -> Result<ExportLogsServiceResponse, Refusal> {
        let request = ExportLogsServiceRequest::decode(message).expect("a request");
        let entries: Vec<Entry> = request
            .resource_logs
            .into_iter()
            .flat_map(|logs| {
                let resource = pairs(logs.resource.expect("a resource").attributes);
                let records = logs.scope_logs.into_iter().flat_map(|scope| scope.log_records);
                records.map(move |record| entry(resource.clone(), record)).collect::<Vec<_>>()
            })
            .collect();
        if let Mood::Busy(mark) = self.mood
            && entries.iter().any(|entry| entry.body.contains(mark))
        {
            return Err(Refusal::Busy);
        }
        if let Mood::Refusing(mark) = self.mood
            && entries.iter().any(|entry| entry.body.contains(mark))
        {
            return Err(Refusal::Bad);
        }
        let mut rejected = 0;
        for entry in entries {
            if matches!(self.mood, Mood::Rejecting(mark) if entry.body.contains(mark)) {
                rejected += 1;
                continue;
            }
            match &mut self.on_stored {
                Some(pass) => pass(&entry),
                None => self.stored.push(entry),
            }
        }
        let message = if rejected > 0 { "the tenant has no such stream" } else { "" };
        let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: message.to_owned() };
        Ok(ExportLogsServiceResponse { partial_success: Some(partial) })
    }
}

/// Why nothing of a request is taken.
enum Refusal {
    Busy,
    Bad,
}

fn plain(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        "gzip" => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut plain).expect("gzip")),
        "" => plain.extend_from_slice(body),
        other => panic!("{other} is no encoding of this receiver"),
    }
    plain
}

/// A status of gRPC without a message, percent-encoded words included.
fn status(number: u16, words: &'static str) -> Response {
    let response = Response::builder().header("content-type", "application/grpc").header("grpc-status", number);
    response.header("grpc-message", words).body(Body::empty()).expect("a response")
}

fn entry(resource: BTreeMap<String, String>, record: LogRecord) -> Entry {
    Entry {
        resource,
        time: record.time_unix_nano,
        severity: record.severity_text,
        body: text(record.body),
        attributes: pairs(record.attributes),
    }
}

fn pairs(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        other => panic!("{other:?} is no text"),
    }
}
