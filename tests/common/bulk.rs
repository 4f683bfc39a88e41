//! A stand-in for the bulk API of Elasticsearch and OpenSearch, for machines without one: documents by index and id, and the
//! statuses of items. What it answers is as OpenSearch 2.19.6 answers.

use std::{
    collections::HashMap,
    io::Read as _,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::response::Response;
use serde_json::{Value, json};

use super::stand_in::{Request, StandIn, say};

/// What the server does, beside taking documents.
#[derive(Clone, Copy, Debug, Default)]
pub enum Mood {
    #[default]
    Well,
    /// A document with such a text is rejected with 429.
    Busy(&'static str),
    /// A document with such a text does not fit the mapping.
    Refusing(&'static str),
}

/// One stored document.
#[derive(Clone, Debug)]
pub struct Document {
    pub index: String,
    pub id: String,
    pub source: Value,
    /// As it was sent.
    pub text: String,
}

#[derive(Default)]
struct State {
    mood: Mood,
    authorization: Option<String>,
    stored: Vec<Document>,
    ids: HashMap<(String, String), usize>,
    /// How many documents were there already.
    conflicts: usize,
    /// What gets the documents in place of the list.
    on_stored: Option<OnStored>,
}

type OnStored = Box<dyn FnMut(&Document) + Send>;

/// A running stand-in.
pub struct Bulk {
    pub server: StandIn,
    state: Arc<Mutex<State>>,
}

impl Bulk {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = StandIn::start(move |request| shared.lock().expect("no panic").bulk(&request)).await;
        Bulk { server, state }
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

    /// The documents stored since there were so many.
    pub fn stored_since(&self, count: usize) -> Vec<Document> {
        self.state().stored[count..].to_vec()
    }

    /// How many documents were there already.
    pub fn conflicts(&self) -> usize {
        self.state().conflicts
    }

    /// Passes documents on from now on, and keeps none but their ids.
    pub fn pass_on(&self, to: impl FnMut(&Document) + Send + 'static) {
        self.state().on_stored = Some(Box::new(to));
    }
}

impl State {
    fn bulk(&mut self, request: &Request) -> Response {
        if self.authorization.as_ref().is_some_and(|wanted| request.header("authorization") != wanted) {
            return say(
                401,
                r#"{"error":{"type":"security_exception","reason":"unable to authenticate"},"status":401}"#,
            );
        }
        if request.path != "/_bulk" {
            return say(404, r#"{"error":"no handler found for uri"}"#);
        }
        assert_eq!(request.header("content-type"), "application/x-ndjson");
        let mut text = String::new();
        if request.header("content-encoding") == "gzip" {
            flate2::read::GzDecoder::new(&request.body[..]).read_to_string(&mut text).expect("gzip");
        } else {
            text.push_str(std::str::from_utf8(&request.body).expect("UTF-8"));
        }
        if text.is_empty() {
            return say(
                400,
                r#"{"error":{"type":"parse_exception","reason":"request body is required"},"status":400}"#,
            );
        }
        assert!(text.ends_with('\n'), "a bulk request ends with a line break");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len() % 2, 0);
        let items: Vec<Value> = lines.chunks(2).map(|pair| json!({"create": self.create(pair[0], pair[1])})).collect();
        say(200, json!({"items": items}).to_string())
    }

    fn create(&mut self, action: &str, document: &str) -> Value {
        let action: Value = serde_json::from_str(action).expect("JSON");
        let text = |name: &str| action["create"][name].as_str().expect("text").to_owned();
        let (index, id) = (text("_index"), text("_id"));
        assert!(index == index.to_lowercase() && !id.is_empty() && id.len() <= 512, "{action}");
        let source: Value = serde_json::from_str(document).expect("JSON");
        assert!(source["@timestamp"].is_string(), "a data stream needs a time");
        match self.mood {
            Mood::Busy(mark) if document.contains(mark) => {
                return json!({"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "rejected execution of coordinating operation"}});
            }
            Mood::Refusing(mark) if document.contains(mark) => {
                return json!({"status": 400, "error": {"type": "mapper_parsing_exception", "reason": "failed to parse field [body.Status] of type [long]"}});
            }
            _ => {}
        }
        if self.ids.contains_key(&(index.clone(), id.clone())) {
            self.conflicts += 1;
            return json!({"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "document already exists"}});
        }
        self.ids.insert((index.clone(), id.clone()), self.ids.len());
        let document = Document { index, id, source, text: document.to_owned() };
        match &mut self.on_stored {
            Some(pass) => pass(&document),
            None => self.stored.push(document),
        }
        json!({"status": 201})
    }
}
