//! A stand-in for Amazon Kinesis: a process on loopback that speaks its API and keeps streams in memory.
//!
//! It is the one that `scripts/install-kinesis` names, which fetches it where it may.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{PATIENCE, Signal, ports::Ports};

/// So many at a time in one process: each needs some seconds of a processor to start.
static SERVERS: Semaphore = Semaphore::const_new(3);

/// A running one. Dropping it kills it and forgets its streams.
#[derive(Debug)]
pub struct Kinesis {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    http: reqwest::Client,
    _server: SemaphorePermit<'static>,
}

/// A record as a consumer reads it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The number of its shard.
    pub shard: usize,
    /// Its partition key.
    pub partition_key: String,
    /// The message.
    pub body: String,
}

impl Kinesis {
    /// Starts one, and waits until it answers.
    pub async fn start() -> Self {
        let server_permit = SERVERS.acquire().await.expect("nobody closes it");
        let directory = tempfile::Builder::new().prefix("kinesis").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        let log = File::create(directory.path().join("out")).expect("a log file");
        let program = program();
        let server = Command::new("node")
            .arg(program)
            // Its certificate lies beside it.
            .current_dir(program.parent().expect("it is in a directory"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KINESIS_MOCK_PLAIN_PORT", ports.base.to_string())
            .env("KINESIS_MOCK_TLS_PORT", (ports.base + 1).to_string())
            .env("CREATE_STREAM_DURATION", "10ms")
            .env("SHARD_LIMIT", "5000")
            .env("LOG_LEVEL", "ERROR")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("node starts");
        // Only plain HTTP is spoken.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
        // A connection lives as long as the test that has made it, and a server can be that of several.
        let http = http.pool_max_idle_per_host(0).build();
        let http = http.expect("a client");
        let mut kinesis = Kinesis { server, directory, ports, http, _server: server_permit };
        kinesis.until_ready().await;
        kinesis
    }

    /// What `AWS_ENDPOINT_URL` can be.
    pub fn url(&self) -> String {
        format!("http://{}", self.ports.address())
    }

    /// Makes a stream, and waits until it can be written to.
    pub async fn create_stream(&self, name: &str, shards: usize) {
        let (status, said) = self.request("CreateStream", json!({"StreamName": name, "ShardCount": shards})).await;
        assert_eq!(status, 200, "{said}");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, said) = self.request("DescribeStreamSummary", json!({ "StreamName": name })).await;
            if said["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE" {
                return;
            }
            assert!(Instant::now() < deadline, "the stream is not there in time: {said}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A consumer of a stream, from its beginning.
    pub async fn consumer(&self, stream: &str) -> Consumer<'_> {
        Consumer { kinesis: self, shards: self.shards(stream).await }
    }

    /// Where the shards of a stream begin.
    pub async fn shards(&self, stream: &str) -> Vec<Value> {
        let (mut shards, mut page) = (Vec::new(), json!({ "StreamName": stream }));
        loop {
            let (_, listed) = self.request("ListShards", page).await;
            for shard in listed["Shards"].as_array().expect("shards") {
                let id = &shard["ShardId"];
                let from = json!({"StreamName": stream, "ShardId": id, "ShardIteratorType": "TRIM_HORIZON"});
                let (_, from) = self.request("GetShardIterator", from).await;
                shards.push(from["ShardIterator"].clone());
            }
            if listed["NextToken"].is_null() {
                return shards;
            }
            page = json!({ "NextToken": listed["NextToken"] });
        }
    }

    /// What stands behind these places, shard by shard, in the order of each. Moves them.
    pub async fn read(&self, shards: &mut [Value]) -> Vec<Stored> {
        let mut all = Vec::new();
        for (number, next) in shards.iter_mut().enumerate() {
            loop {
                let from = json!({"ShardIterator": next, "Limit": 10_000});
                let (status, got) = self.request("GetRecords", from).await;
                assert_eq!(status, 200, "{got}");
                let records = got["Records"].as_array().expect("records");
                all.extend(records.iter().map(|record| stored(number, record)));
                *next = got["NextShardIterator"].clone();
                if records.is_empty() && got["MillisBehindLatest"] == 0 {
                    break;
                }
            }
        }
        all
    }

    /// Stops it in the middle of whatever it does; connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// One call of the API.
    pub async fn request(&self, action: &str, body: Value) -> (u16, Value) {
        self.try_request(action, &body).await.expect("Kinesis answers")
    }

    async fn try_request(&self, action: &str, body: &Value) -> Result<(u16, Value), reqwest::Error> {
        let request = self.http.post(self.url()).body(body.to_string());
        let answer = request
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("X-Amz-Target", format!("Kinesis_20131202.{action}"))
            .header("X-Amz-Date", "20260101T000000Z")
            // It has to look like one; nobody verifies it.
            .header(
                "Authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0",
            )
            .send()
            .await?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_slice(&answer.bytes().await?).unwrap_or(Value::Null)))
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.try_request("ListStreams", &json!({})).await;
            if let Ok((200, _)) = answer {
                return;
            }
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
                panic!("Kinesis is not ready: {answer:?}; it ended: {ended:?}; its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw);
        // Until it is waited for, its id is nobody else's. It may have ended by itself.
        rustix::process::kill_process_group(group.expect("a process id"), signal).ok();
    }
}

impl Drop for Kinesis {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.server.wait().expect("it is our child");
    }
}

/// Reads all shards of a stream.
#[derive(Debug)]
pub struct Consumer<'a> {
    kinesis: &'a Kinesis,
    /// Where each goes on.
    shards: Vec<Value>,
}

impl Consumer<'_> {
    /// What has come since the last time, shard by shard, in the order of each.
    pub async fn read(&mut self) -> Vec<Stored> {
        self.kinesis.read(&mut self.shards).await
    }
}

fn stored(shard: usize, record: &Value) -> Stored {
    let body = BASE64.decode(record["Data"].as_str().expect("data")).expect("base64");
    Stored {
        shard,
        partition_key: record["PartitionKey"].as_str().expect("a key").to_owned(),
        body: String::from_utf8(body).expect("UTF-8"),
    }
}

/// The path that the script gives, asked for once in a process.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| super::installed("kinesis"))
}
