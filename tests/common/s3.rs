//! S3: a process on loopback that speaks its API and keeps objects in memory, with a bucket, and a consumer of its objects.
//!
//! It is moto, which `scripts/install-moto` fetches where it may, with `s3.py` beside this file.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{PATIENCE, Signal, ports::Ports};

/// The bucket that each server has.
pub const BUCKET: &str = "nomad";

/// A running one. Dropping it kills it and forgets its objects.
#[derive(Debug)]
pub struct S3 {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    http: reqwest::Client,
    /// The version of each object that was read, by its key.
    read: BTreeMap<String, String>,
}

impl S3 {
    /// Starts one with a bucket, and waits until it answers.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("s3").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        let log = File::create(directory.path().join("out")).expect("a log file");
        let server = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/s3.py"))
            .arg(ports.base.to_string())
            .env("PYTHONPATH", super::installed("moto"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("python3 starts");
        // Only plain HTTP is spoken.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let http =
            reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build().expect("a client");
        let mut s3 = S3 { server, directory, ports, http, read: BTreeMap::new() };
        s3.until_ready().await;
        s3.create(BUCKET).await;
        s3
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// Creates a bucket.
    pub async fn create(&self, bucket: &str) {
        let answer = self.request(reqwest::Method::PUT, &format!("/{bucket}")).await;
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// What befalls calls that write an object from now on; nothing, if it is empty.
    pub async fn suffer(&self, cause: Value) {
        self.tell("suffer", &cause).await.expect("it answers");
    }

    /// How many objects were written, and how many of these calls failed.
    pub async fn counts(&self) -> (u64, u64) {
        let counts = self.tell("counts", &json!({})).await.expect("it answers");
        (counts["puts"].as_u64().expect("a number"), counts["failed"].as_u64().expect("a number"))
    }

    /// The keys of all objects, and what tells one version of an object from another.
    pub async fn keys(&self) -> BTreeMap<String, String> {
        let mut keys = BTreeMap::new();
        let mut from = String::new();
        loop {
            let answer = self.request(reqwest::Method::GET, &format!("/{BUCKET}?list-type=2{from}")).await;
            let text = answer.text().await.expect("a text");
            let element = |text: &str, name: &str| {
                let (_, rest) = text.split_once(&format!("<{name}>"))?;
                Some(rest.split_once('<')?.0.to_owned())
            };
            for object in text.split("<Contents>").skip(1) {
                keys.insert(element(object, "Key").expect("a key"), element(object, "ETag").expect("a tag"));
            }
            match element(&text, "NextContinuationToken") {
                Some(token) => from = format!("&continuation-token={token}"),
                None => return keys,
            }
        }
    }

    /// The lines of the objects that were written since the last time, in the order of their keys. One that is written again with the
    /// same content is the same.
    pub async fn more(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, version) in self.keys().await {
            if self.read.get(&key) == Some(&version) {
                continue;
            }
            let text = self.text(&key).await;
            assert!(text.ends_with('\n'), "{key} ends in the midst of a line");
            lines.extend(text.lines().map(str::to_owned));
            self.read.insert(key, version);
        }
        lines
    }

    /// What is in an object.
    pub async fn text(&self, key: &str) -> String {
        let path = key.replace('%', "%25");
        let answer = self.request(reqwest::Method::GET, &format!("/{BUCKET}/{path}")).await;
        let status = answer.status();
        let bytes = answer.bytes().await.expect("a body");
        assert!(status.is_success(), "{key}: {status} {}", String::from_utf8_lossy(&bytes));
        let mut text = String::new();
        if key.ends_with(".zst") {
            zstd::Decoder::new(bytes.as_ref()).expect("zstd").read_to_string(&mut text).expect("zstd");
        } else if key.ends_with(".gz") {
            flate2::read::MultiGzDecoder::new(bytes.as_ref()).read_to_string(&mut text).expect("gzip");
        } else {
            bytes.as_ref().read_to_string(&mut text).expect("text");
        }
        text
    }

    /// Lets it take nothing and answer nothing, with its connections open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    async fn request(&self, method: reqwest::Method, path: &str) -> reqwest::Response {
        // It has to look like one; nobody verifies it.
        let signed =
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let request = self.http.request(method, format!("http://{}{path}", self.address()));
        request.header("Authorization", signed).send().await.expect("it answers")
    }

    async fn tell(&self, what: &str, body: &Value) -> Result<Value, reqwest::Error> {
        let request = self.http.post(format!("http://{}/~{what}", self.address())).body(body.to_string());
        let answer = request.send().await?.error_for_status()?;
        answer.bytes().await.map(|text| serde_json::from_slice(&text).expect("JSON"))
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.tell("counts", &json!({})).await {
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

impl Drop for S3 {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.server.wait().expect("it is our child");
    }
}
