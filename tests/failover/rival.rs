//! The original program's side of the lock, by its documented protocol (Consul's Go client, `api/lock.go`).

#![allow(unreachable_pub, reason = "shared by the tests of one program")]

use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::common::{PATIENCE, consul::Consul};

/// What marks a key as a lock.
const FLAGS: u64 = 3_304_740_253_564_472_344;
/// Of its session.
const TTL: Duration = Duration::from_secs(15);
/// Its lock-delay, Consul's default.
pub const LOCK_DELAY: Duration = Duration::from_secs(15);

/// The name under which the original stores a kind.
pub fn storage_name(kind: &str) -> &str {
    if kind == "jobliststubs" { "jobliststub" } else { kind }
}

/// The key of a kind that ends so: `lock` or `value`.
pub fn key(kind: &str, end: &str) -> String {
    format!("nomad-firehose/{}.{end}", storage_name(kind))
}

/// An original that wants to lead one kind. Dropping it ends its renewals, and leaves its session to expire.
pub struct Original {
    http: Client,
    api: String,
    pub kind: &'static str,
    session: String,
    renewals: AbortOnDropHandle<()>,
}

impl Original {
    /// Makes its session, which is renewed from now on.
    pub async fn start(consul: &Consul, kind: &'static str, lock_delay: Duration) -> Self {
        let http = Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(10));
        let (http, api) = (http.build().expect("a plain client"), format!("{}/v1", consul.url()));
        let wanted = json!({"Name": format!("nomad-firehose-{}", storage_name(kind)), "TTL": seconds(TTL),
                            "LockDelay": seconds(lock_delay), "Behavior": "release"});
        let made = put(&http, &format!("{api}/session/create"), wanted.to_string()).await;
        let made: Value = serde_json::from_str(&made).expect("a session");
        let session = made["ID"].as_str().expect("an id").to_owned();
        let (client, renew) = (http.clone(), format!("{api}/session/renew/{session}"));
        let renewals = tokio::spawn(async move {
            loop {
                sleep(TTL / 2).await;
                put(&client, &renew, String::new()).await;
            }
        });
        Original { http, api, kind, session, renewals: AbortOnDropHandle::new(renewals) }
    }

    /// Asks once for the lock.
    pub async fn try_lock(&self) -> bool {
        self.lock_key(&format!("acquire={}&flags={FLAGS}", self.session)).await
    }

    /// Waits for the lock, and says how long it took.
    pub async fn lock(&self) -> Duration {
        let begun = Instant::now();
        while !self.try_lock().await {
            assert!(begun.elapsed() < PATIENCE, "{} does not become free", self.kind);
            sleep(Duration::from_millis(20)).await;
        }
        begun.elapsed()
    }

    /// Stores its progress, as it does every 5 s; nothing keeps it from that when it has lost the lock.
    pub async fn store(&self, value: u64) {
        let stored = put(&self.http, &self.url("value"), value.to_string()).await;
        assert_eq!(stored, "true", "the value is stored");
    }

    /// Gives the lock back.
    pub async fn unlock(&self) {
        assert!(self.lock_key(&format!("release={}&flags={FLAGS}", self.session)).await, "it had the lock");
    }

    /// Its session ends with the lock in hand.
    pub async fn destroy(self) {
        put(&self.http, &format!("{}/session/destroy/{}", self.api, self.session), String::new()).await;
    }

    /// It renews its session no more.
    pub fn die(self) -> String {
        self.renewals.abort();
        self.session
    }

    pub fn session(&self) -> &str {
        &self.session
    }

    async fn lock_key(&self, query: &str) -> bool {
        let answer = put(&self.http, &format!("{}?{query}", self.url("lock")), String::new()).await;
        answer.trim().parse().expect("true or false")
    }

    fn url(&self, end: &str) -> String {
        format!("{}/kv/{}", self.api, key(self.kind, end))
    }
}

async fn put(http: &Client, url: &str, body: String) -> String {
    let answer = http.request(Method::PUT, url).body(body).send().await.expect("Consul answers");
    let (code, text) = (answer.status(), answer.text().await.expect("a body"));
    assert!(code.is_success(), "{url}: {code} {text}");
    text
}

/// As Go writes it.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
