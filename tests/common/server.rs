//! An HTTP server by hand, which can break off anywhere.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use nomad_sim::{Address, Listener};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// Its records are taken.
    Take,
    /// Its records are taken, and the answer has this status.
    TakeAs(u16),
    /// This status.
    Status(u16),
    /// This status, with `Retry-After`.
    RetryAfter(u16, &'static str),
    /// A redirect.
    Redirect(&'static str),
    /// The connection is reset without an answer, the records are not taken.
    Reset,
    /// The same in the midst of the answer's head.
    ResetInHead,
    /// The same in the midst of the body of a good answer.
    ResetInBody,
    /// No answer comes, the records are not taken.
    Stall,
    /// The records are taken, and the connection is reset without an answer.
    TakeAndReset,
    /// The records are taken, and the answer comes too late.
    TakeAndStall,
}

type Decide = Arc<dyn Fn(&str) -> Reply + Send + Sync>;
type Records = Arc<Mutex<Vec<Value>>>;
type Keys = Arc<Mutex<Vec<String>>>;
type Wanted = Arc<Mutex<Option<String>>>;

/// A running server. Dropping it cuts all connections.
#[derive(Debug)]
pub struct Server {
    address: Address,
    taken: Records,
    keys: Keys,
    wanted: Wanted,
    task: AbortOnDropHandle<()>,
}

impl Server {
    /// A server that asks `decide` about each body.
    pub async fn start(decide: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(Address::free().expect("a free port"), decide).await
    }

    /// The same at the address of one that was stopped.
    pub async fn start_at(address: Address, decide: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = address.listen(None).expect("the address is ours");
        let (taken, keys, wanted) = (Records::default(), Keys::default(), Wanted::default());
        let shared = (Arc::clone(&taken), Arc::clone(&keys), Arc::clone(&wanted));
        let task = tokio::spawn(serve(listener, Arc::new(decide), shared));
        Server { address, taken, keys, wanted, task: AbortOnDropHandle::new(task) }
    }

    /// From now on a request with another `Authorization` is answered with 401, and its records are not taken.
    pub fn wants(&self, authorization: &str) {
        *self.wanted.lock().expect("no panic") = Some(authorization.to_owned());
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address.addr()
    }

    /// Its address for `SINK_HTTP_ADDRESS`.
    pub fn url(&self) -> String {
        format!("http://{}/records", self.addr())
    }

    /// The records taken so far.
    pub fn taken(&self) -> Vec<Value> {
        self.taken.lock().expect("no panic").clone()
    }

    /// Those taken since there were so many.
    pub fn taken_since(&self, count: usize) -> Vec<Value> {
        self.taken.lock().expect("no panic")[count..].to_vec()
    }

    /// The idempotency key of each request whose records were taken.
    pub fn keys(&self) -> Vec<String> {
        self.keys.lock().expect("no panic").clone()
    }

    /// Ends it. Its address refuses connections from then on, and waits for [`Server::start_at`].
    pub async fn stop(self) -> Address {
        self.task.abort();
        assert!(self.task.await.is_err(), "it serves until it is aborted");
        self.address
    }
}

async fn serve(listener: Listener, decide: Decide, shared: (Records, Keys, Wanted)) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (decide, shared) = (Arc::clone(&decide), shared.clone());
        connections.spawn(async move { while_open(stream, decide, shared).await });
        while connections.try_join_next().is_some() {}
    }
}

async fn while_open(stream: TcpStream, decide: Decide, (taken, keys, wanted): (Records, Keys, Wanted)) {
    let mut stream = BufReader::new(stream);
    while let Some((body, key, authorization)) = request(&mut stream).await {
        let is_wanted = wanted.lock().expect("no panic").as_ref().is_none_or(|wanted| *wanted == authorization);
        let reply = if is_wanted { decide(&body) } else { Reply::Status(401) };
        if matches!(reply, Reply::Take | Reply::TakeAs(_) | Reply::TakeAndReset | Reply::TakeAndStall) {
            taken.lock().expect("no panic").extend(records(&body));
            keys.lock().expect("no panic").push(key);
        }
        let answer = match reply {
            Reply::Take => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
            Reply::TakeAs(status) => format!("HTTP/1.1 {status} Yes\r\nContent-Length: 2\r\n\r\nok"),
            Reply::Status(status) => format!("HTTP/1.1 {status} No\r\nContent-Length: 3\r\n\r\nno!"),
            Reply::RetryAfter(status, after) => {
                format!("HTTP/1.1 {status} Later\r\nRetry-After: {after}\r\nContent-Length: 0\r\n\r\n")
            }
            Reply::Redirect(to) => format!("HTTP/1.1 307 There\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"),
            Reply::Reset | Reply::TakeAndReset => return reset(stream),
            Reply::ResetInHead => "HTTP/1.1 200 O".to_owned(),
            Reply::ResetInBody => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_owned(),
            Reply::Stall | Reply::TakeAndStall => {
                // Longer than any deadline of the tests; the client closes the connection meanwhile.
                let mut rest = [0];
                let closed = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut rest));
                return drop(closed.await);
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if matches!(reply, Reply::ResetInHead | Reply::ResetInBody) {
            return reset(stream);
        }
    }
}

/// Closes with RST.
fn reset(stream: BufReader<TcpStream>) {
    stream.get_ref().set_zero_linger().expect("a socket");
}

/// The body of the next request, its idempotency key and its credentials.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, String, String)> {
    let (mut length, mut key, mut authorization) = (0, String::new(), String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().expect("a length"),
            "idempotency-key" => key = value.trim().to_owned(),
            "authorization" => authorization = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((String::from_utf8(body).ok()?, key, authorization))
}

/// One record, a JSON array of them, or one a line.
fn records(body: &str) -> Vec<Value> {
    let values = serde_json::Deserializer::from_str(body).into_iter::<Value>();
    let values = values.map(|value| value.expect("JSON"));
    values.flat_map(|value| if let Value::Array(all) = value { all } else { vec![value] }).collect()
}
