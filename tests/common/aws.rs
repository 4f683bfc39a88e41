//! SQS, SNS and EventBridge: a process on loopback that speaks their APIs and keeps messages in memory.
//!
//! It is moto, which `scripts/install-moto` fetches where it may, with `aws.py` beside this file.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{PATIENCE, Signal, ports::Ports};

/// The account of all queues, topics and buses.
pub const ACCOUNT: &str = "123456789012";
/// Their region.
pub const REGION: &str = "us-east-1";

/// The server that checks share as long as any of them runs.
static SHARED: tokio::sync::Mutex<Weak<Aws>> = tokio::sync::Mutex::const_new(Weak::new());

/// A running one. Dropping it kills it and forgets its messages.
#[derive(Debug)]
pub struct Aws {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    http: reqwest::Client,
}

/// A message as a consumer receives it.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    pub body: String,
    /// The message group.
    pub group: Option<String>,
    /// The deduplication id.
    pub repeat: Option<String>,
    pub attributes: std::collections::BTreeMap<String, String>,
}

impl Aws {
    /// The server of this test program. Each test has queues of its own.
    pub async fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Aws::start().await);
        *shared = Arc::downgrade(&server);
        server
    }

    /// Starts one, and waits until it answers.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("aws").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        let log = File::create(directory.path().join("out")).expect("a log file");
        let server = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/aws.py"))
            .arg(ports.base.to_string())
            .env("PYTHONPATH", packages())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("python3 starts");
        // Only plain HTTP is spoken.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
        // A connection lives as long as the test that has made it, and a server can be that of several.
        let http = http.pool_max_idle_per_host(0).build().expect("a client");
        let mut aws = Aws { server, directory, ports, http };
        aws.until_ready().await;
        aws
    }

    /// What `AWS_ENDPOINT_URL` can be.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its address, such as `127.0.0.1:20000`.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// Makes a queue; a FIFO queue if its name says so.
    pub async fn create_queue(&self, name: &str) {
        let attributes = if name.ends_with(".fifo") { json!({"FifoQueue": "true"}) } else { json!({}) };
        self.json("sqs", "AmazonSQS.CreateQueue", json!({"QueueName": name, "Attributes": attributes})).await;
    }

    /// Makes a topic; a FIFO topic if its name says so. A queue of its name gets its messages as they are. Gives its ARN.
    pub async fn create_topic(&self, name: &str) -> String {
        self.create_queue(name).await;
        let fifo = if name.ends_with(".fifo") {
            "&Attributes.entry.1.key=FifoTopic&Attributes.entry.1.value=true"
        } else {
            ""
        };
        self.form("sns", &format!("Action=CreateTopic&Version=2010-03-31&Name={name}{fifo}")).await;
        let (topic, queue) = (arn("sns", name), arn("sqs", name));
        let raw = "Attributes.entry.1.key=RawMessageDelivery&Attributes.entry.1.value=true";
        let subscribe =
            format!("Action=Subscribe&Version=2010-03-31&TopicArn={topic}&Protocol=sqs&Endpoint={queue}&{raw}");
        self.form("sns", &subscribe).await;
        topic
    }

    /// Makes an event bus.
    pub async fn create_bus(&self, name: &str) {
        self.json("events", "AWSEvents.CreateEventBus", json!({ "Name": name })).await;
    }

    /// Sends the events of a bus that fit a pattern to a queue.
    pub async fn create_rule(&self, bus: &str, pattern: Value, queue: &str) {
        let rule = json!({"Name": queue, "EventBusName": bus, "EventPattern": pattern.to_string()});
        self.json("events", "AWSEvents.PutRule", rule).await;
        let targets = json!({"Rule": queue, "EventBusName": bus, "Targets": [{"Id": "1", "Arn": arn("sqs", queue)}]});
        self.json("events", "AWSEvents.PutTargets", targets).await;
    }

    /// The events that were put on a bus since the last time, in order. Their bodies are the details; the rest is in the attributes.
    pub async fn take_events(&self, bus: &str) -> Vec<Message> {
        serde_json::from_value(self.tell("take", json!({ "bus": bus })).await).expect("events")
    }

    /// The messages that have come into a queue since the last time, in order.
    pub async fn take(&self, queue: &str) -> Vec<Message> {
        serde_json::from_value(self.tell("take", json!({ "queue": queue })).await).expect("messages")
    }

    /// What befalls calls that send to a target from now on: see `befallen` in `aws.py`.
    pub async fn suffer(&self, target: &str, mut cause: Value) {
        cause["target"] = target.into();
        self.tell("suffer", cause).await;
    }

    /// How many calls there were, and how many of them failed at random.
    pub async fn counts(&self) -> (u64, u64) {
        let counts = self.tell("counts", json!({})).await;
        (counts["calls"].as_u64().unwrap_or(0), counts["failed"].as_u64().unwrap_or(0))
    }

    /// What the client that sent to a target last calls itself (`User-Agent`).
    pub async fn agent(&self, target: &str) -> String {
        self.tell("counts", json!({})).await["agents"][target].as_str().unwrap_or_default().to_owned()
    }

    /// Stops it in the middle of whatever it does; connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// One call of an API that speaks JSON.
    pub async fn json(&self, service: &str, action: &str, body: Value) -> Value {
        let content_type = "application/x-amz-json-1.0";
        let answer = self.request(service, content_type, action, body.to_string()).await;
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// One call of an API that speaks forms and XML.
    async fn form(&self, service: &str, form: &str) {
        self.request(service, "application/x-www-form-urlencoded", "", form.to_owned()).await;
    }

    async fn request(&self, service: &str, content_type: &str, action: &str, body: String) -> String {
        // It has to look like one; nobody verifies it.
        let signed = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let request = self.http.post(self.url()).body(body);
        let request = request.header("Content-Type", content_type).header("Authorization", signed);
        let request = if action.is_empty() { request } else { request.header("X-Amz-Target", action) };
        let answer = request.send().await.expect("it answers");
        let (status, text) = (answer.status(), answer.text().await.expect("a text"));
        assert!(status.is_success(), "{service} {action}: {status} {text}");
        text
    }

    async fn tell(&self, what: &str, body: Value) -> Value {
        self.try_tell(what, &body).await.expect("it answers")
    }

    async fn try_tell(&self, what: &str, body: &Value) -> Result<Value, reqwest::Error> {
        let answer = self.http.post(format!("{}/~{what}", self.url())).body(body.to_string()).send().await?;
        answer.error_for_status()?.bytes().await.map(|text| serde_json::from_slice(&text).expect("JSON"))
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.try_tell("counts", &json!({})).await {
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
                panic!("moto is not ready: {error}; it ended: {ended:?}; its log:\n{log}");
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

impl Drop for Aws {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.server.wait().expect("it is our child");
    }
}

/// The ARN of a queue or a topic.
pub fn arn(service: &str, name: &str) -> String {
    format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{name}")
}

/// The directory that the script gives, asked for once in a process.
fn packages() -> &'static Path {
    static PACKAGES: OnceLock<PathBuf> = OnceLock::new();
    PACKAGES.get_or_init(|| super::installed("moto"))
}
