//! Every recorded exchange about variables, played against the simulator: status, headers, body and error texts.
//!
//! Indexes, times and lock ids differ. Where the recording has one, ours must be its counterpart throughout, in the
//! same order. Time stands still but where the recording waited, so that no timer depends on this machine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use nomad_sim::{Builder, Capability, Policy, Sim};
use serde_json::Value;
use support::fixture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Numbers of the recording and their counterparts.
#[derive(Debug, Default)]
struct Numbers(BTreeMap<u64, u64>);

impl Numbers {
    fn check(&mut self, theirs: u64, ours: u64) -> Result<(), String> {
        let known = *self.0.entry(theirs).or_insert(ours);
        if known != ours || (theirs == 0) != (ours == 0) {
            return Err(format!("{ours} for {theirs}, which was {known}"));
        }
        let before = self.0.range(..theirs).next_back().is_none_or(|(_, before)| *before < ours);
        let after = self.0.range(theirs + 1..).next().is_none_or(|(_, after)| *after > ours);
        if before && after { Ok(()) } else { Err(format!("{ours} for {theirs} is out of order")) }
    }
}

/// What the recording's values are here.
#[derive(Debug, Default)]
struct Counterparts {
    indexes: Numbers,
    times: Numbers,
    lock_ids: BTreeMap<String, String>,
}

impl Counterparts {
    /// A request of the recording with our values.
    fn translate(&self, target: &str, body: &str) -> (String, String) {
        let number = |part: &str| {
            let (name, value) = part.split_once('=')?;
            let ours = self.indexes.0.get(&value.parse().ok()?)?;
            matches!(name, "cas" | "index").then(|| format!("{name}={ours}"))
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<_> = query.split('&').map(|part| number(part).unwrap_or(part.to_owned())).collect();
        let target = if target.contains('?') { format!("{path}?{}", query.join("&")) } else { path.to_owned() };
        let body = self.lock_ids.iter().fold(expand(body), |body, (theirs, ours)| body.replace(theirs, ours));
        (target, body)
    }

    fn compare(&mut self, at: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
        let checked = match (theirs, ours) {
            (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
                for (name, value) in a {
                    self.compare(&format!("{at}.{name}"), value, &b[name], found);
                }
                Ok(())
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                a.iter().zip(b).enumerate().for_each(|(n, (a, b))| self.compare(&format!("{at}[{n}]"), a, b, found));
                Ok(())
            }
            (Value::Number(a), Value::Number(b)) => {
                let numbers = if at.ends_with("Time") { &mut self.times } else { &mut self.indexes };
                numbers.check(a.as_u64().unwrap(), b.as_u64().unwrap())
            }
            (Value::String(a), Value::String(b)) if at.ends_with(".Lock.ID") && a.len() == 36 => {
                let known = self.lock_ids.entry(a.clone()).or_insert(b.clone());
                if known == b { Ok(()) } else { Err(format!("lock {b} is not {known}")) }
            }
            _ if theirs == ours => Ok(()),
            _ => Err(format!("{ours} instead of {theirs}")),
        };
        found.extend(checked.err().map(|error| format!("{at}: {error}")));
    }
}

/// Long values are recorded as their lengths.
fn expand(text: &str) -> String {
    let mut parts = text.split("@fill:");
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (length, rest) = part.split_once('@').unwrap();
        expanded += &"x".repeat(length.parse().unwrap());
        expanded += rest;
    }
    expanded
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// One request on a connection of its own: no redirect is followed and no header added.
async fn send(addr: SocketAddr, method: &str, target: &str, token: Option<&str>, body: &str) -> Answer {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let token = token.map(|token| format!("X-Nomad-Token: {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let text =
        format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n{token}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Response::new(&mut headers);
    let head = parsed.parse(&answer).unwrap().unwrap();
    let headers = parsed
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned()));
    Answer {
        status: parsed.code.unwrap(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&answer[head..]).into_owned(),
    }
}

/// Lets time pass, in steps small enough for one timer to start the next.
async fn pass(time: Duration) {
    const STEP: Duration = Duration::from_millis(250);
    let mut left = time;
    while !left.is_zero() {
        let step = left.min(STEP);
        tokio::time::advance(step).await;
        settle().await;
        left -= step;
    }
}

/// Lets every task run that can.
async fn settle() {
    for _ in 0..4 {
        tokio::task::spawn_blocking(|| {}).await.unwrap();
    }
}

struct Player {
    sim: Sim,
    counterparts: Counterparts,
    compared: usize,
    /// While it is there, time stands still though every task waits.
    still: std::sync::mpsc::Sender<()>,
}

impl Player {
    async fn start(builder: Builder) -> Self {
        tokio::time::pause();
        let (still, until) = std::sync::mpsc::channel::<()>();
        drop(tokio::task::spawn_blocking(move || until.recv()));
        let sim = builder.start().await.unwrap();
        Self { sim, counterparts: Counterparts::default(), compared: 0, still }
    }

    async fn play(&mut self, name: &str) {
        let text = std::fs::read_to_string(fixture(&format!("variables/{name}.jsonl"))).unwrap();
        for (line, text) in text.lines().enumerate() {
            let recorded: Value = serde_json::from_str(text).unwrap();
            match recorded["wait_seconds"].as_f64() {
                Some(seconds) => pass(Duration::from_secs_f64(seconds)).await,
                None => self.exchange(&format!("{name}:{}", line + 1), &recorded).await,
            }
        }
    }

    async fn exchange(&mut self, at: &str, recorded: &Value) {
        let request = &recorded["request"];
        let (target, body) = (request["target"].as_str().unwrap(), request["body"].as_str().unwrap_or_default());
        let (target, body) = self.counterparts.translate(target, body);
        let method = request["method"].as_str().unwrap();
        let sent = send(self.sim.addr(0), method, &target, request["token"].as_str(), &body);
        // Only a blocking query needs time to pass.
        let answer = if target.contains("&wait=") {
            let mut sent = std::pin::pin!(sent);
            loop {
                tokio::select! {
                    biased;
                    answer = &mut sent => break answer,
                    () = pass(Duration::from_millis(250)) => {}
                }
            }
        } else {
            sent.await
        };
        let mut found = Vec::new();
        if recorded["status"] != answer.status {
            found.push(format!("status: {} instead of {}", answer.status, recorded["status"]));
        }
        self.headers(recorded, &answer, &mut found);
        let ours = if recorded["body"].is_string() {
            Value::from(answer.body)
        } else {
            serde_json::from_str(&answer.body).unwrap_or(Value::from(answer.body))
        };
        let theirs: Value = serde_json::from_str(&expand(&recorded["body"].to_string())).unwrap();
        self.counterparts.compare("body", &theirs, &ours, &mut found);
        assert!(found.is_empty(), "{at} {method} {target}: {found:#?}");
        self.compared += 1;
    }

    fn headers(&mut self, recorded: &Value, answer: &Answer, found: &mut Vec<String>) {
        let theirs: BTreeMap<_, _> = recorded["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str().unwrap().to_owned()))
            .collect();
        for name in ["x-nomad-index", "x-nomad-knownleader", "x-nomad-lastcontact", "x-nomad-nexttoken", "content-type"]
        {
            let checked = match (theirs.get(name), answer.headers.get(name)) {
                (Some(theirs), Some(ours)) if name == "x-nomad-index" => {
                    self.counterparts.indexes.check(theirs.parse().unwrap(), ours.parse().unwrap())
                }
                (theirs, ours) if theirs == ours => Ok(()),
                // Go's router says nothing of the type of an empty redirect.
                (None, Some(_)) if answer.status == 307 => Ok(()),
                (theirs, ours) => Err(format!("{ours:?} instead of {theirs:?}")),
            };
            found.extend(checked.err().map(|error| format!("{name}: {error}")));
        }
    }

    async fn stop(self, compared: usize) {
        assert_eq!(self.compared, compared, "exchanges");
        drop(self.still);
        self.sim.stop().await;
    }
}

/// Plays recordings of a cluster without access control, each on a cluster of its own.
async fn play(name: &str, exchanges: usize) {
    let mut player = Player::start(Sim::builder()).await;
    player.play(name).await;
    player.stop(exchanges).await;
}

#[tokio::test]
async fn plain_writes_comparisons_and_deletions() {
    play("plain", 23).await;
}

#[tokio::test]
async fn refusals_of_bodies_paths_sizes_and_namespaces() {
    play("refusals", 47).await;
}

#[tokio::test]
async fn acquires_renewals_releases_and_writes_with_the_lock() {
    play("lock", 84).await;
}

#[tokio::test]
async fn lists_by_prefix_namespace_and_page() {
    play("list", 18).await;
}

#[tokio::test]
async fn a_take_over_by_comparison() {
    play("take-over", 11).await;
}

#[tokio::test]
async fn a_take_over_by_comparison_under_one_lock_id() {
    play("take-over-one-lock-id", 11).await;
}

#[tokio::test]
async fn a_lock_expires_after_twice_its_ttl_and_its_delay() {
    play("expiry", 10).await;
}

#[tokio::test]
async fn an_expired_lock_takes_its_successor_along() {
    play("late-removal", 10).await;
}

#[tokio::test]
async fn a_lock_made_by_a_write_never_expires() {
    play("lock-without-timer", 6).await;
}

#[tokio::test]
async fn a_release_ends_the_timer() {
    play("release-and-acquire", 5).await;
}

#[tokio::test]
async fn an_acquire_with_the_held_id_does_not_renew() {
    play("acquire-with-held-id", 3).await;
}

#[tokio::test]
async fn an_acquire_in_the_delay_is_removed_with_it() {
    play("acquire-in-the-delay", 5).await;
}

#[tokio::test]
async fn a_renewal_after_a_write_has_the_default_ttl() {
    play("renew-after-write", 5).await;
}

#[tokio::test]
async fn renewals_keep_a_lock() {
    play("renewed", 8).await;
}

#[tokio::test]
async fn one_id_has_one_timer() {
    play("one-id-for-two", 5).await;
}

#[tokio::test]
async fn rights_by_capability() {
    use Capability::{Destroy, List, Read, Write};
    let rights: [(&str, &[Capability]); 7] = [
        ("read", &[Read]),
        ("write", &[Write]),
        ("list", &[List]),
        ("destroy", &[Destroy]),
        ("read-write", &[Read, Write]),
        ("write-destroy", &[Write, Destroy]),
        ("deny", &[]),
    ];
    let mut builder = Sim::builder()
        .token("management", Policy::management())
        .token("namespace-write", Policy::read_jobs(&["default"]));
    for (token, capabilities) in rights {
        builder = builder.token(token, Policy::default().and_variables("default", "p/*", capabilities));
    }
    let mut player = Player::start(builder).await;
    player.play("rights").await;
    player.stop(180).await;
}

#[tokio::test]
async fn a_task_reads_its_own_and_writes_what_its_policy_allows() {
    use Capability::{List, Read, Write};
    let workload = Policy::workload("default", "firehose", "replicas", "carry");
    let builder = Sim::builder().token("management", Policy::management()).token("workload", workload.clone());
    let mut player = Player::start(builder).await;
    player.play("workload-identity").await;
    let policy = workload.and_variables("default", "nomad/jobs/firehose", &[Read, Write, List]).and_variables(
        "default",
        "nomad/jobs/firehose/*",
        &[Read, Write, List],
    );
    player.sim.set_token("workload", policy);
    player.play("workload-identity-with-policy").await;
    player.stop(60).await;
}
