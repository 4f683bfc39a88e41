//! A server in place of one that cannot be had, or that takes too long to build: HTTP, with the answers of a closure.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, body::Body, extract::Request as Received, http::HeaderMap, response::Response};
use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use nomad_sim::{Address, Listener};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// A request with its whole body.
#[derive(Debug)]
pub struct Request {
    pub path: String,
    /// What stands behind `?`.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    /// A header as text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

/// An answer.
pub fn say(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(status).body(body.into()).expect("a response")
}

type Answer = Arc<dyn Fn(Request) -> Response + Send + Sync>;

/// A running server. Dropping it ends it.
pub struct StandIn {
    address: Address,
    answer: Answer,
    is_http2: bool,
    task: Option<AbortOnDropHandle<()>>,
}

impl StandIn {
    /// A server that asks `answer`.
    pub async fn start(answer: impl Fn(Request) -> Response + Send + Sync + 'static) -> Self {
        Self::new(Arc::new(answer), false)
    }

    /// One that speaks HTTP/2 alone, without TLS.
    pub async fn start_http2(answer: impl Fn(Request) -> Response + Send + Sync + 'static) -> Self {
        Self::new(Arc::new(answer), true)
    }

    fn new(answer: Answer, is_http2: bool) -> Self {
        let address = Address::free().expect("a free port");
        let mut server = StandIn { address, answer, is_http2, task: None };
        server.go_on();
        server
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address.addr()
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Ends it: connections are cut, and new ones refused.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            assert!(task.await.is_err(), "it serves until it is aborted");
        }
    }

    /// Starts it again at the same address.
    pub fn go_on(&mut self) {
        let listener = self.address.listen(None).expect("the address is ours");
        let serving = serve(listener, Arc::clone(&self.answer), self.is_http2);
        self.task = Some(AbortOnDropHandle::new(tokio::spawn(serving)));
    }
}

async fn serve(listener: Listener, answer: Answer, is_http2: bool) {
    let router = Router::new().fallback(move |request: Received| {
        let answer = Arc::clone(&answer);
        async move {
            let (head, body) = request.into_parts();
            match axum::body::to_bytes(body, usize::MAX).await {
                Ok(body) => {
                    let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default().to_owned());
                    answer(Request { path, query, headers: head.headers, body })
                }
                // The client is gone.
                Err(_) => say(400, ""),
            }
        }
    });
    // Dropped with this task, they are cut.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(router.clone());
        let stream = TokioIo::new(stream);
        if is_http2 {
            connections.spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service));
        } else {
            connections.spawn(http1::Builder::new().serve_connection(stream, service));
        }
        while connections.try_join_next().is_some() {}
    }
}
