//! A server for the tests of these sinks, and a configuration that leads to it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use reqwest::header::HeaderMap;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{Batches, Config, Scheme};
use crate::{
    http::{Tls, TokenSource},
    sink::{
        Outcome,
        http::{Compression, Link},
    },
};

/// A request that came.
#[derive(Clone, Debug)]
pub(in crate::sink) struct Came {
    pub(in crate::sink) target: String,
    pub(in crate::sink) headers: HeaderMap,
    pub(in crate::sink) body: Bytes,
}

impl Came {
    pub(in crate::sink) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

/// A running server.
pub(in crate::sink) struct Server {
    pub(in crate::sink) address: String,
    came: Arc<Mutex<Vec<Came>>>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    pub(in crate::sink) async fn start(answer: impl Fn(&Came) -> Response + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let came = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&came);
        let handler = move |request: Request| {
            let (seen, answer) = (Arc::clone(&seen), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.expect("a whole body");
                let came = Came { target: head.uri.to_string(), headers: head.headers, body };
                let answer = answer(&came);
                seen.lock().expect("no panic").push(came);
                answer
            }
        };
        let router = Router::new().fallback(handler);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves until aborted") });
        Server { address, came, _task: AbortOnDropHandle::new(task) }
    }

    /// The requests so far.
    pub(in crate::sink) fn came(&self) -> Vec<Came> {
        self.came.lock().expect("no panic").clone()
    }
}

/// An answer.
pub(in crate::sink) fn say(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(status).body(body.into()).expect("a response")
}

/// A connection to this URL.
pub(in crate::sink) fn config(url: &str) -> Config {
    Config {
        url: Link::new(url.parse().expect("a URL")),
        basic_auth: None,
        token: TokenSource::None,
        scheme: Scheme::Bearer,
        tls: Tls::default(),
        headers: Vec::new(),
        compression: Compression::None,
        timeout: Duration::from_secs(5),
        batches: Batches { count: 1000, bytes: 1 << 20, linger: Duration::ZERO, under_way: 4 },
    }
}

/// One letter for each outcome: delivered, retried, rejected.
pub(in crate::sink) fn letters(outcomes: &[Outcome]) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Outcome::Delivered => 'D',
        Outcome::Retry { .. } => 'r',
        Outcome::Reject { .. } => 'X',
    };
    outcomes.iter().map(letter).collect()
}

/// Why the record has to be sent again, or never will.
pub(in crate::sink) fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Delivered => "",
        Outcome::Retry { reason, .. } | Outcome::Reject { reason } => reason,
    }
}
