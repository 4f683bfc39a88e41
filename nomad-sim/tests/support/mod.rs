//! What the tests of the simulator share: a client, and the recordings.

#![allow(dead_code, reason = "no test file uses all of it")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::timeout;

/// No wait of these tests may take longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/nomad-2.0.5").join(path)
}

pub(crate) fn recording() -> PathBuf {
    fixture("stream-complete.ndjson")
}

/// The publishes of a recorded stream, without heartbeats.
pub(crate) fn recorded_lines(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.filter(|line| *line != serde_json::json!({})).collect()
}

fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
        // A pooled connection would outlive the runtime of the test that opened it.
        reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().build().unwrap()
    })
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) index: u64,
    pub(crate) next_token: Option<String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

pub(crate) async fn get(addr: SocketAddr, target: &str) -> Answer {
    get_with(addr, target, "").await
}

pub(crate) async fn get_with(addr: SocketAddr, target: &str, token: &str) -> Answer {
    send(client().get(format!("http://{addr}{target}")).header("X-Nomad-Token", token)).await
}

pub(crate) async fn post(addr: SocketAddr, target: &str, body: &str) -> Answer {
    send(client().post(format!("http://{addr}{target}")).body(body.to_owned())).await
}

pub(crate) async fn put(addr: SocketAddr, target: &str, body: &str) -> Answer {
    put_with(addr, target, body, "").await
}

pub(crate) async fn put_with(addr: SocketAddr, target: &str, body: &str, token: &str) -> Answer {
    let request = client().put(format!("http://{addr}{target}")).header("X-Nomad-Token", token);
    send(request.body(body.to_owned())).await
}

/// A write whose connection can break.
pub(crate) async fn try_put(addr: SocketAddr, target: &str, body: &str) -> reqwest::Result<reqwest::Response> {
    let request = client().put(format!("http://{addr}{target}")).body(body.to_owned());
    timeout(LIMIT, request.send()).await.expect("an answer in time")
}

pub(crate) async fn delete(addr: SocketAddr, target: &str) -> Answer {
    send(client().delete(format!("http://{addr}{target}"))).await
}

async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = timeout(LIMIT, request.send()).await.expect("an answer in time").unwrap();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let index = header("X-Nomad-Index").map_or(0, |index| index.parse().unwrap());
    let (status, next_token) = (response.status().as_u16(), header("X-Nomad-NextToken"));
    let body = timeout(LIMIT, response.text()).await.expect("a body in time").unwrap();
    Answer { status, index, next_token, body }
}

/// A subscription, read line by line.
pub(crate) struct Stream {
    body: futures_util::stream::BoxStream<'static, reqwest::Result<Vec<u8>>>,
    buffer: Vec<u8>,
}

/// What a subscription says next.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// A whole line without its newline.
    Line(Vec<u8>),
    /// The end, with what came after the last newline.
    End(Vec<u8>),
    /// The connection broke.
    Broken,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        let Self::Line(line) = self else { panic!("no line: {self:?}") };
        serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(line)))
    }

    pub(crate) fn index(&self) -> u64 {
        self.json()["Index"].as_u64().unwrap()
    }
}

impl Stream {
    pub(crate) async fn open(addr: SocketAddr, query: &str) -> Self {
        Self::open_with(addr, query, "").await
    }

    pub(crate) async fn open_with(addr: SocketAddr, query: &str, token: &str) -> Self {
        let request = client().get(format!("http://{addr}/v1/event/stream?{query}")).header("X-Nomad-Token", token);
        let response = timeout(LIMIT, request.send()).await.expect("a head in time").unwrap();
        assert_eq!(response.status(), 200);
        let body = response.bytes_stream().map(|piece| piece.map(|bytes| bytes.to_vec())).boxed();
        Self { body, buffer: Vec::new() }
    }

    /// A subscription that was accepted: its first line has been read.
    pub(crate) async fn subscribe(addr: SocketAddr, query: &str) -> Self {
        let mut stream = Self::open(addr, query).await;
        assert_eq!(stream.next().await, Said::Line(b"{}".to_vec()));
        stream
    }

    pub(crate) async fn next(&mut self) -> Said {
        timeout(LIMIT, self.read()).await.expect("a line in time")
    }

    /// Whether it stays silent for so long.
    pub(crate) async fn is_silent(&mut self, time: Duration) -> bool {
        timeout(time, self.read()).await.is_err()
    }

    async fn read(&mut self) -> Said {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return Said::Line(line);
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.buffer.extend(bytes),
                Some(Err(_)) => return Said::Broken,
                None => return Said::End(std::mem::take(&mut self.buffer)),
            }
        }
    }

    /// The next lines that are no heartbeats.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<Value> {
        let mut lines = Vec::new();
        while lines.len() < count {
            let line = self.next().await.json();
            if line != serde_json::json!({}) {
                lines.push(line);
            }
        }
        lines
    }

    /// The indexes of the next lines.
    pub(crate) async fn indexes(&mut self, count: usize) -> Vec<u64> {
        self.take(count).await.iter().map(|line| line["Index"].as_u64().unwrap()).collect()
    }
}

/// A hand-made publish of one job.
pub(crate) fn job_line(index: u64, namespace: &str, id: &str) -> String {
    serde_json::json!({"Index": index, "Events": [{
        "Topic": "Job", "Type": "JobRegistered", "Key": id, "Namespace": namespace, "FilterKeys": null,
        "Index": index, "Payload": {"Job": {"ID": id, "Namespace": namespace, "CreateIndex": index,
            "ModifyIndex": index, "Status": "running", "Type": "batch", "Version": 0}}}]})
    .to_string()
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("in time: {what}"));
}
