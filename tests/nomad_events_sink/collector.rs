//! A server that keeps what it gets as it came: requests whole, with their headers.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU16, Ordering},
};

use nomad_sim::{Address, Listener};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use tokio_util::task::AbortOnDropHandle;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    headers: Vec<String>,
    pub(crate) body: Vec<Value>,
}

impl Request {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|header| {
            let (given, value) = header.split_once(':')?;
            given.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A running collector.
#[derive(Debug)]
pub(crate) struct Collector {
    address: Address,
    requests: Arc<Mutex<Vec<Request>>>,
    health: Arc<AtomicU16>,
    _task: AbortOnDropHandle<()>,
}

impl Collector {
    /// One that answers POST with 200, and GET with `health`.
    pub(crate) async fn start(health: u16) -> Self {
        let address = Address::free().expect("a free port");
        let listener = address.listen(None).expect("the address is ours");
        let (requests, health) = (Arc::default(), Arc::new(AtomicU16::new(health)));
        let task = tokio::spawn(serve(listener, Arc::clone(&requests), Arc::clone(&health)));
        Collector { address, requests, health, _task: AbortOnDropHandle::new(task) }
    }

    /// Where it listens: `127.0.0.1:1234`.
    pub(crate) fn host(&self) -> String {
        self.address.addr().to_string()
    }

    /// From now on GET is answered with this.
    pub(crate) fn answer_health(&self, status: u16) {
        self.health.store(status, Ordering::SeqCst);
    }

    /// The requests so far with this method.
    pub(crate) fn requests(&self, method: &str) -> Vec<Request> {
        let requests = self.requests.lock().expect("no panic");
        requests.iter().filter(|request| request.line.starts_with(method)).cloned().collect()
    }

    /// The events so far, in the order of their arrival.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.requests("POST").into_iter().flat_map(|request| request.body).collect()
    }
}

async fn serve(listener: Listener, requests: Arc<Mutex<Vec<Request>>>, health: Arc<AtomicU16>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(while_open(stream, Arc::clone(&requests), Arc::clone(&health)));
    }
}

async fn while_open(stream: TcpStream, requests: Arc<Mutex<Vec<Request>>>, health: Arc<AtomicU16>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let status = if request.line.starts_with("GET") { health.load(Ordering::SeqCst) } else { 200 };
        requests.lock().expect("no panic").push(request);
        let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let line = head.remove(0);
    let mut request = Request { line, headers: head, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    if !body.is_empty() {
        request.body = serde_json::from_slice(&body).expect("an array of events");
    }
    Some(request)
}
