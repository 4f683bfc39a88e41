//! SQS, SNS and EventBridge: a process on loopback that speaks their APIs and keeps messages in memory. It is [`Moto`] with `aws.py`
//! beside this file.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    PATIENCE, Process,
    moto::Moto,
    order::{self, Leaps},
};

/// The account of all queues, topics and buses.
pub const ACCOUNT: &str = "123456789012";
/// Their region.
pub const REGION: &str = "us-east-1";

/// What must never be shown of [`CREDENTIALS`].
pub const SECRETS: [&str; 2] = ["hush-hush-key", "hush-hush-token"];

/// The variables with credentials for any of these services, as every program for AWS reads them. With these alone, the program
/// sees no machine around it.
pub const CREDENTIALS: [(&str, &str); 5] = [
    ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
    ("AWS_SECRET_ACCESS_KEY", SECRETS[0]),
    ("AWS_SESSION_TOKEN", SECRETS[1]),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("HOME", "/nonexistent"),
];

/// The server that checks share as long as any of them runs.
static SHARED: tokio::sync::Mutex<Weak<Aws>> = tokio::sync::Mutex::const_new(Weak::new());

/// A running one. Dropping it kills it and forgets its messages.
#[derive(Debug)]
pub struct Aws(Moto);

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
        Aws(Moto::start("aws.py").await)
    }

    /// What `AWS_ENDPOINT_URL` can be.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// Its address, such as `127.0.0.1:20000`.
    pub fn address(&self) -> String {
        self.0.address()
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

    /// Waits until so many different messages have come into a queue, and gives all that have, in their order.
    pub async fn take_different(&self, queue: &str, process: &Process, count: usize) -> Vec<Message> {
        take_different(process, count, async || self.take(queue).await).await
    }

    /// The same of the events of a bus.
    pub async fn take_different_events(&self, bus: &str, process: &Process, count: usize) -> Vec<Message> {
        take_different(process, count, async || self.take_events(bus).await).await
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
        self.0.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.0.resume();
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
        let request =
            self.0.request(reqwest::Method::POST, service, "").body(body).header("Content-Type", content_type);
        let request = if action.is_empty() { request } else { request.header("X-Amz-Target", action) };
        let answer = request.send().await.expect("it answers");
        let (status, text) = (answer.status(), answer.text().await.expect("a text"));
        assert!(status.is_success(), "{service} {action}: {status} {text}");
        text
    }

    async fn tell(&self, what: &str, body: Value) -> Value {
        self.0.tell(what, &body).await
    }
}

/// The ARN of a queue or a topic.
pub fn arn(service: &str, name: &str) -> String {
    format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{name}")
}

/// Gathers what `more` gives until there are so many different messages. Repeats among them stay.
pub async fn take_different(process: &Process, count: usize, more: impl AsyncFnMut() -> Vec<Message>) -> Vec<Message> {
    let mut messages = Vec::new();
    until_different(&mut messages, process, count, more).await;
    messages
}

/// Adds what `more` gives until there are so many different messages. Repeats among them stay.
pub async fn until_different(
    messages: &mut Vec<Message>,
    process: &Process,
    count: usize,
    mut more: impl AsyncFnMut() -> Vec<Message>,
) {
    let mut different: HashSet<_> = messages.iter().map(|message| message.body.clone()).collect();
    let deadline = Instant::now() + PATIENCE;
    while different.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} have come; the log:\n{}", different.len(), process.log());
        let more = more().await;
        different.extend(more.iter().map(|message| message.body.clone()));
        messages.extend(more);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// See [`order::assert_order`].
pub fn assert_order(messages: &[Message], lines: &[String], leaps: Leaps) -> usize {
    order::assert_order(messages.iter().map(|message| message.body.as_str()), lines, leaps)
}
