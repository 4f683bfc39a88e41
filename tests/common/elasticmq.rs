//! ElasticMQ: a second server that speaks the API of SQS, independent of moto. It cannot be told to fail calls.
//!
//! Its jars are those that `scripts/install-elasticmq` names, which fetches them where it may.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{
    PATIENCE, Signal,
    aws::{ACCOUNT, Message, REGION},
    ports::Ports,
};

/// A running one. Dropping it kills it and forgets its messages.
#[derive(Debug)]
pub struct ElasticMq {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    http: reqwest::Client,
}

impl ElasticMq {
    /// Starts one, and waits until it answers.
    pub async fn start() -> Self {
        let jars = super::installed("elasticmq");
        let directory = tempfile::Builder::new().prefix("elasticmq").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        let port = ports.base;
        let configuration = directory.path().join("settings");
        let settings = format!(
            "include classpath(\"application.conf\")\n\
             node-address {{ protocol = http, host = \"127.0.0.1\", port = {port}, context-path = \"\" }}\n\
             rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = \"127.0.0.1\", sqs-limits = strict }}\n\
             rest-stats {{ enabled = false }}\n\
             aws {{ region = {REGION}, accountId = {ACCOUNT} }}\n"
        );
        std::fs::write(&configuration, settings).expect("the directory can be written");
        let log = File::create(directory.path().join("out")).expect("a log file");
        let server = Command::new("java")
            .args(["-Xmx2g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .arg(format!("-Dconfig.file={}", configuration.display()))
            .args(["-cp", &format!("{}/*", jars.display()), "org.elasticmq.server.Main"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("java starts");
        // Only plain HTTP is spoken.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
        let mut elasticmq = ElasticMq { server, directory, ports, http: http.build().expect("a client") };
        elasticmq.until_ready().await;
        elasticmq
    }

    /// Its address, such as `127.0.0.1:20000`.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// Makes a queue; a FIFO queue if its name says so.
    pub async fn create_queue(&self, name: &str) {
        let attributes = if name.ends_with(".fifo") { json!({"FifoQueue": "true"}) } else { json!({}) };
        self.call("CreateQueue", json!({"QueueName": name, "Attributes": attributes})).await;
    }

    /// Some of the messages that wait in a queue, in order, as several consumers receive them at a time. They are deleted.
    pub async fn take(&self, queue: &str) -> Vec<Message> {
        const CONSUMERS: usize = 16;
        let url = format!("http://{}/{ACCOUNT}/{queue}", self.address());
        let asked = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"],
                           "MessageAttributeNames": ["All"]});
        // No message of a group is given out before the one in front of it is deleted.
        let answers = join_all((0..CONSUMERS).map(|_| self.call("ReceiveMessage", asked.clone()))).await;
        let received: Vec<&[Value]> =
            answers.iter().filter_map(|answer| Some(answer["Messages"].as_array()?.as_slice())).collect();
        let deleted = received.iter().filter(|messages| !messages.is_empty()).map(|messages| {
            let handles = messages
                .iter()
                .enumerate()
                .map(|(number, message)| json!({"Id": number.to_string(), "ReceiptHandle": message["ReceiptHandle"]}));
            self.call("DeleteMessageBatch", json!({"QueueUrl": url, "Entries": handles.collect::<Vec<_>>()}))
        });
        join_all(deleted).await;
        received.into_iter().flatten().map(message).collect()
    }

    /// Stops it in the middle of whatever it does; connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = rustix::process::Pid::from_child(&self.server);
        // Until it is waited for, its id is nobody else's. It may have ended by itself.
        rustix::process::kill_process(id, signal).ok();
    }

    async fn call(&self, action: &str, body: Value) -> Value {
        self.try_call(action, &body).await.unwrap_or_else(|error| panic!("{action}: {error}"))
    }

    async fn try_call(&self, action: &str, body: &Value) -> Result<Value, reqwest::Error> {
        let request = self.http.post(format!("http://{}/", self.address())).body(body.to_string());
        let request = request.header("Content-Type", "application/x-amz-json-1.0");
        let answer = request.header("X-Amz-Target", format!("AmazonSQS.{action}")).send().await?.error_for_status()?;
        // Some answers are empty.
        Ok(serde_json::from_slice(&answer.bytes().await?).unwrap_or(Value::Null))
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.try_call("ListQueues", &json!({})).await {
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
                panic!("ElasticMQ is not ready: {error}; it ended: {ended:?}; its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for ElasticMq {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.server.kill().ok();
        self.server.wait().expect("it is our child");
    }
}

fn message(received: &Value) -> Message {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let of_queue = &received["Attributes"];
    let attributes = received["MessageAttributes"].as_object().into_iter().flatten();
    Message {
        body: text(&received["Body"]).expect("a body"),
        group: text(&of_queue["MessageGroupId"]),
        repeat: text(&of_queue["MessageDeduplicationId"]),
        attributes: attributes.filter_map(|(name, value)| Some((name.clone(), text(&value["StringValue"])?))).collect(),
    }
}
