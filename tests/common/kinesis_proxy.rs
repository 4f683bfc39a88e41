//! A proxy in front of Kinesis that answers by itself where it is told to, and holds calls to the documented limits.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use super::{PATIENCE, Process};

/// What becomes of a call.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It is passed on.
    Pass,
    /// An error with this status, this code and this message.
    Error(u16, &'static str, String),
    /// The records with these numbers get this code, the others are passed on.
    Fail(Vec<usize>, &'static str),
    /// The connection is reset, nothing is passed on.
    Reset,
    /// It is passed on, and the connection is reset without an answer.
    PassAndReset,
    /// Kinesis would not take so much. Nobody decides on it.
    OverLimit,
}

/// A call of `PutRecords`.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// How many there were before it.
    pub number: usize,
    /// Its records.
    pub records: usize,
    /// The token of the credentials.
    pub token: Option<String>,
    /// The partition keys.
    pub keys: Vec<String>,
}

type Decide = Arc<dyn Fn(&Call) -> Reply + Send + Sync>;
type Calls = Arc<Mutex<Vec<(Call, Reply)>>>;
/// Hashes of messages.
type Stored = Arc<Mutex<HashSet<u64>>>;

/// A running proxy. Dropping it cuts all connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    calls: Calls,
    stored: Stored,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// A proxy in front of the Kinesis at `url` that asks `decide` about each call.
    pub async fn start(url: String, decide: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let (calls, stored) = (Calls::default(), Stored::default());
        let (decide, known) = (Arc::new(decide), Arc::clone(&stored));
        let front = Front { url, http: client(), decide, calls: Arc::clone(&calls), stored: known };
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(front.clone().serve(stream));
                while connections.try_join_next().is_some() {}
            }
        });
        Proxy { addr, calls, stored, _task: AbortOnDropHandle::new(task) }
    }

    /// What `AWS_ENDPOINT_URL` can be.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Waits until Kinesis has stored so many different messages, as long as more of them come.
    pub async fn until_stored(&self, messages: usize, process: &Process) {
        let (mut stored, mut since) = (0, Instant::now());
        while stored < messages {
            let now = self.stored.lock().expect("no panic").len();
            if now > stored {
                (stored, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "{stored} of {messages} are stored; the log:\n{}", process.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The calls so far, and what became of them. Fails where one was over the documented limits.
    pub fn calls(&self) -> Vec<(Call, Reply)> {
        let calls = self.calls.lock().expect("no panic").clone();
        let over = calls.iter().find(|(_, reply)| matches!(reply, Reply::OverLimit));
        assert!(over.is_none(), "over the limits: {over:?}");
        calls
    }
}

fn client() -> reqwest::Client {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client")
}

#[derive(Clone)]
struct Front {
    url: String,
    http: reqwest::Client,
    decide: Decide,
    calls: Calls,
    stored: Stored,
}

impl Front {
    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some((headers, body)) = request(&mut stream).await {
            let mut body: Value = serde_json::from_slice(&body).expect("JSON");
            let reply = self.reply(&headers, &body);
            let (status, answer) = match reply {
                Reply::Error(status, code, message) => (status, json!({"__type": code, "message": message})),
                Reply::Fail(numbers, code) => self.pass_some(&headers, &mut body, &numbers, code).await,
                Reply::OverLimit => (400, json!({"__type": "ValidationException", "message": "too much"})),
                Reply::Reset => return reset(stream),
                Reply::Pass => self.pass(&headers, &body).await,
                Reply::PassAndReset => {
                    self.pass(&headers, &body).await;
                    return reset(stream);
                }
            };
            let answer = answer.to_string();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.1\r\n");
            let answer = format!("{head}Content-Length: {}\r\n\r\n{answer}", answer.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn reply(&self, headers: &[(String, String)], body: &Value) -> Reply {
        let records = body["Records"].as_array().expect("only PutRecords is called");
        let (mut bytes, mut largest) = (0, 0);
        for record in records {
            let data = BASE64.decode(record["Data"].as_str().expect("data")).expect("base64").len();
            let size = data + record["PartitionKey"].as_str().expect("a key").len();
            largest = largest.max(size);
            bytes += size;
        }
        let mut calls = self.calls.lock().expect("no panic");
        let token = headers.iter().find(|(name, _)| name == "x-amz-security-token");
        let key = |record: &Value| record["PartitionKey"].as_str().unwrap_or_default().to_owned();
        let call = Call {
            number: calls.len(),
            records: records.len(),
            token: token.map(|(_, value)| value.clone()),
            keys: records.iter().map(key).collect(),
        };
        let is_within = largest <= 1 << 20 && bytes <= 5 << 20 && records.len() <= 500;
        let reply = if is_within { (self.decide)(&call) } else { Reply::OverLimit };
        calls.push((call, reply.clone()));
        reply
    }

    async fn pass(&self, headers: &[(String, String)], body: &Value) -> (u16, Value) {
        let mut request = self.http.post(&self.url).body(body.to_string());
        for (name, value) in headers.iter().filter(|(name, _)| !matches!(&**name, "host" | "content-length")) {
            request = request.header(name, value);
        }
        let answer = request.send().await.expect("Kinesis answers");
        let status = answer.status().as_u16();
        let answer = serde_json::from_slice(&answer.bytes().await.expect("an answer")).expect("JSON");
        if status == 200 {
            let hash =
                |record: &Value| BuildHasherDefault::<DefaultHasher>::default().hash_one(record["Data"].as_str());
            let hashes = body["Records"].as_array().expect("records").iter().map(hash);
            self.stored.lock().expect("no panic").extend(hashes);
        }
        (status, answer)
    }

    /// The answer is as if Kinesis had failed these records itself.
    async fn pass_some(
        &self,
        headers: &[(String, String)],
        body: &mut Value,
        failed: &[usize],
        code: &str,
    ) -> (u16, Value) {
        let Value::Array(records) = body["Records"].take() else { panic!("records") };
        let count = records.len();
        let kept = records.into_iter().enumerate().filter(|(number, _)| !failed.contains(number));
        let kept: Vec<_> = kept.map(|(_, record)| record).collect();
        let mut answers = Vec::new();
        if !kept.is_empty() {
            body["Records"] = Value::Array(kept);
            let (status, mut answer) = self.pass(headers, body).await;
            if status != 200 {
                return (status, answer);
            }
            let Value::Array(passed) = answer["Records"].take() else { panic!("answers") };
            answers = passed;
        }
        let mut passed = answers.into_iter();
        let merged: Vec<_> = (0..count)
            .map(|number| match failed.contains(&number) {
                true => json!({"ErrorCode": code, "ErrorMessage": "Rate exceeded for shard shardId-000000000001"}),
                false => passed.next().expect("an answer for each"),
            })
            .collect();
        (200, json!({"FailedRecordCount": failed.len(), "Records": merged}))
    }
}

/// Closes with RST.
fn reset(stream: BufReader<TcpStream>) {
    stream.get_ref().set_zero_linger().expect("a socket");
}

/// Headers, their names in small letters, and body of the next request.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(Vec<(String, String)>, Vec<u8>)> {
    let (mut headers, mut length) = (Vec::new(), 0);
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    assert!(line.starts_with("POST / "), "{line}");
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        if name == "content-length" {
            length = value.parse().expect("a length");
        }
        headers.push((name, value));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((headers, body))
}
