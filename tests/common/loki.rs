//! A stand-in for Grafana Loki, which cannot be installed from a package registry: it decodes the push API, and refuses and
//! drops entries as Loki's distributor and ingester do.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::response::Response;
use prost::Message;

use super::stand_in::{Request, StandIn, say};

/// `push.proto` of Grafana Loki, all of it.
#[derive(Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<StreamAdapter>,
}

#[derive(Message)]
struct StreamAdapter {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<EntryAdapter>,
    #[prost(uint64, tag = "3")]
    hash: u64,
}

#[derive(Message)]
struct EntryAdapter {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    structured_metadata: Vec<LabelPairAdapter>,
    #[prost(message, repeated, tag = "4")]
    parsed: Vec<LabelPairAdapter>,
}

#[derive(Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Message)]
struct LabelPairAdapter {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// One stored entry.
#[derive(Clone, Debug)]
pub struct Entry {
    pub labels: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub time: i64,
    pub line: String,
    pub metadata: BTreeMap<String, String>,
}

/// What the server does, beside taking entries.
#[derive(Clone, Copy, Debug, Default)]
pub enum Mood {
    #[default]
    Well,
    /// A request with such a line is answered with 429, and nothing of it is taken.
    Busy(&'static str),
    /// Such a line is too long.
    Refusing(&'static str),
}

/// The default limits of Loki 3, and the tenant.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `max_line_size`.
    pub line: usize,
    /// How far behind the newest entry of its stream an entry may be: half of `max_chunk_age`, in nanoseconds.
    pub window: i64,
    /// The tenant that a request has to name.
    pub tenant: Option<String>,
    /// The credentials that a request has to have.
    pub authorization: Option<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { line: 256 << 10, window: 3_600_000_000_000, tenant: None, authorization: None }
    }
}

#[derive(Default)]
struct State {
    mood: Mood,
    limits: Limits,
    stored: Vec<Entry>,
    /// How many entries were dropped because their stream had them.
    dropped: usize,
    streams: HashMap<String, Stream>,
    /// What gets the entries in place of the list.
    on_stored: Option<OnStored>,
}

type OnStored = Box<dyn FnMut(&Entry) + Send>;

#[derive(Default)]
struct Stream {
    newest: i64,
    /// Times and lines, these by their hashes.
    entries: HashSet<(i64, u64)>,
}

/// A running stand-in.
pub struct Loki {
    pub server: StandIn,
    state: Arc<Mutex<State>>,
}

impl Loki {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = StandIn::start(move |request| shared.lock().expect("no panic").push(&request)).await;
        Loki { server, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    pub fn is(&self, mood: Mood) {
        self.state().mood = mood;
    }

    pub fn limit(&self, limits: Limits) {
        self.state().limits = limits;
    }

    /// The entries stored since there were so many.
    pub fn stored_since(&self, count: usize) -> Vec<Entry> {
        self.state().stored[count..].to_vec()
    }

    /// How many entries were dropped because their stream had them.
    pub fn dropped(&self) -> usize {
        self.state().dropped
    }

    /// Passes entries on from now on, and keeps none.
    pub fn pass_on(&self, to: impl FnMut(&Entry) + Send + 'static) {
        self.state().on_stored = Some(Box::new(to));
    }
}

impl State {
    fn push(&mut self, request: &Request) -> Response {
        if request.path != "/loki/api/v1/push" {
            return say(404, "404 page not found\n");
        }
        let is_wanted =
            |wanted: &Option<String>, name| wanted.as_ref().is_none_or(|wanted| request.header(name) == wanted);
        if !is_wanted(&self.limits.authorization, "authorization") {
            return say(401, "Unauthorized\n");
        }
        if !is_wanted(&self.limits.tenant, "x-scope-orgid") {
            return say(401, "no org id\n");
        }
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        let plain = snap::raw::Decoder::new().decompress_vec(&request.body).expect("Snappy's block format");
        let request = PushRequest::decode(&plain[..]).expect("a PushRequest");
        if let Mood::Busy(mark) = self.mood
            && request.streams.iter().flat_map(|stream| &stream.entries).any(|entry| entry.line.contains(mark))
        {
            return say(429, "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec)");
        }
        if request.streams.is_empty() {
            return say(422, "error at least one valid stream is required for ingestion");
        }
        // What is good is taken even if something else is not.
        let errors: Vec<_> = request.streams.into_iter().flat_map(|stream| self.take(stream)).collect();
        if errors.is_empty() { say(204, "") } else { say(400, errors.join("\n")) }
    }

    fn take(&mut self, stream: StreamAdapter) -> Vec<String> {
        assert!(!stream.entries.is_empty(), "a stream without entries");
        let labels = labels(&stream.labels);
        assert!(!labels.is_empty(), "error at least one label pair is required per stream");
        let mut errors = Vec::new();
        let count = stream.entries.len();
        for entry in stream.entries {
            let time = entry.timestamp.expect("a time");
            assert!((0..1_000_000_000).contains(&time.nanos));
            let time = time.seconds * 1_000_000_000 + i64::from(time.nanos);
            let pairs = entry.structured_metadata.into_iter().map(|pair| (pair.name, pair.value));
            let entry = Entry { labels: labels.clone(), time, line: entry.line, metadata: pairs.collect() };
            if let Err(error) = self.store(&stream.labels, entry) {
                errors.push(error);
            }
        }
        let failed = errors.len();
        if failed > 0 {
            errors.push(format!("user 'fake', total ignored: {failed} out of {count} for stream: {}", stream.labels));
        }
        errors
    }

    fn store(&mut self, labels: &str, entry: Entry) -> Result<(), String> {
        let length = entry.line.len();
        let is_refused = matches!(self.mood, Mood::Refusing(mark) if entry.line.contains(mark));
        if is_refused || length > self.limits.line {
            let most = self.limits.line;
            return Err(format!(
                "max entry size '{most}' bytes exceeded for stream '{labels}' while adding an entry with length '{length}' bytes"
            ));
        }
        let stream = self.streams.entry(labels.to_owned()).or_default();
        if entry.time < stream.newest - self.limits.window {
            let (time, oldest) = (entry.time, stream.newest - self.limits.window);
            return Err(format!(
                "entry with timestamp {time} ignored, reason: 'entry too far behind, entry timestamp is: {time}, oldest acceptable timestamp is: {oldest}',"
            ));
        }
        stream.newest = stream.newest.max(entry.time);
        if !stream.entries.insert((entry.time, xxhash_rust::xxh3::xxh3_64(entry.line.as_bytes()))) {
            self.dropped += 1;
            return Ok(());
        }
        match &mut self.on_stored {
            Some(pass) => pass(&entry),
            None => self.stored.push(entry),
        }
        Ok(())
    }
}

/// `{job="nomad", kind="jobs"}`, ordered by name.
fn labels(text: &str) -> BTreeMap<String, String> {
    let mut rest = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).expect("braces");
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (name, quoted) = rest.split_once('=').expect("a label");
        let mut values = serde_json::Deserializer::from_str(quoted).into_iter::<String>();
        let value = values.next().expect("a value").expect("a text in quotes");
        rest = &quoted[values.byte_offset()..];
        rest = rest.strip_prefix(", ").unwrap_or(rest);
        assert!(labels.last_key_value().is_none_or(|(last, _): (&String, _)| **last < *name), "{text} is not in order");
        labels.insert(name.to_owned(), value);
    }
    labels
}
