//! S3: a process on loopback that speaks its API and keeps objects in memory, with a bucket, and a consumer of its objects. It is
//! [`Moto`] with `s3.py` beside this file.

use std::{collections::BTreeMap, io::Read as _};

use reqwest::Method;
use serde_json::{Value, json};

use super::moto::Moto;

/// The bucket that each server has.
pub const BUCKET: &str = "nomad";

/// A running one. Dropping it kills it and forgets its objects.
#[derive(Debug)]
pub struct S3 {
    moto: Moto,
    /// The version of each object that was read, by its key.
    read: BTreeMap<String, String>,
}

impl S3 {
    /// Starts one with a bucket, and waits until it answers.
    pub async fn start() -> Self {
        let s3 = S3 { moto: Moto::start("s3.py").await, read: BTreeMap::new() };
        s3.create(BUCKET).await;
        s3
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        self.moto.address()
    }

    /// Creates a bucket.
    pub async fn create(&self, bucket: &str) {
        let answer = self.request(Method::PUT, &format!("/{bucket}")).await;
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// What befalls calls that write an object from now on; nothing, if it is empty.
    pub async fn suffer(&self, cause: Value) {
        self.moto.tell("suffer", &cause).await;
    }

    /// How many objects were written, and how many of these calls failed.
    pub async fn counts(&self) -> (u64, u64) {
        let counts = self.moto.tell("counts", &json!({})).await;
        (counts["puts"].as_u64().expect("a number"), counts["failed"].as_u64().expect("a number"))
    }

    /// The keys of all objects, and what tells one version of an object from another.
    pub async fn keys(&self) -> BTreeMap<String, String> {
        let mut keys = BTreeMap::new();
        let mut from = String::new();
        loop {
            let answer = self.request(Method::GET, &format!("/{BUCKET}?list-type=2{from}")).await;
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
        let answer = self.request(Method::GET, &format!("/{BUCKET}/{path}")).await;
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
        self.moto.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.moto.resume();
    }

    async fn request(&self, method: Method, path: &str) -> reqwest::Response {
        self.moto.request(method, "s3", path).send().await.expect("it answers")
    }
}
