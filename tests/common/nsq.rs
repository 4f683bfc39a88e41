//! A real nsqd: one process on loopback, with its queues in a directory of its own, so that it can be killed and started again; the auth server that
//! it asks; and a consumer.
//!
//! The program is what `scripts/install-nsqd` names, which builds it where it may.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::{
    PATIENCE, Signal,
    ports::Ports,
    probe,
    stand_in::{StandIn, say},
};

/// Who may do everything.
const ADMIN: &str = "admin-secret";

/// A running nsqd. Dropping it kills it and forgets its data.
pub struct Nsqd {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    arguments: Vec<String>,
    _auth: Option<Auth>,
}

/// The auth server. It has a runtime of its own: tests share nsqd, and the runtime of the test that started it ends with that test.
struct Auth {
    server: StandIn,
    runtime: Option<Runtime>,
}

impl Drop for Auth {
    fn drop(&mut self) {
        // To wait for its end is not allowed in the runtime of a test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Nsqd {
    /// Starts one that lets anybody publish, with these arguments beside the usual ones, and waits until it is there.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_with(None, arguments).await
    }

    /// The same, which asks for a secret: who has this one may publish to topics that match the pattern.
    pub async fn start_with_secret(secret: &str, topics: &str, arguments: &[&str]) -> Self {
        let (secret, topics) = (format!("secret={secret}"), topics.to_owned());
        let server = StandIn::start(move |request| {
            let knows = |secret: &str| request.query.split('&').any(|pair| pair == secret);
            let topic = if knows(&format!("secret={ADMIN}")) {
                ".*"
            } else if knows(&secret) {
                &topics
            } else {
                return say(403, "");
            };
            let rights = json!({"topic": topic, "channels": [".*"], "permissions": ["subscribe", "publish"]});
            say(
                200,
                json!({"ttl": 3_600, "identity": "test", "identity_url": "", "authorizations": [rights]}).to_string(),
            )
        });
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let server = runtime.spawn(server).await.expect("it starts");
        Self::start_with(Some(Auth { server, runtime: Some(runtime) }), arguments).await
    }

    async fn start_with(auth: Option<Auth>, arguments: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("nsqd").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        let at = |offset: u16| format!("127.0.0.1:{}", ports.base + offset);
        let mut all = vec![
            format!("--tcp-address={}", at(0)),
            format!("--http-address={}", at(1)),
            format!("--https-address={}", at(2)),
            "--broadcast-address=127.0.0.1".to_owned(),
            format!("--data-path={}", directory.path().display()),
            // Everything is on disk, in order.
            "--mem-queue-size=0".to_owned(),
        ];
        all.extend(auth.iter().map(|auth| format!("--auth-http-address={}", auth.server.addr())));
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let server = serve(directory.path(), &all);
        let mut nsqd = Nsqd { server, directory, ports, arguments: all, _auth: auth };
        nsqd.until_ready().await;
        nsqd
    }

    /// Its address, such as `127.0.0.1:20000`.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// The address of its HTTP API.
    pub fn http(&self) -> String {
        format!("127.0.0.1:{}", self.ports.base + 1)
    }

    /// Kills it, as a machine that loses power does.
    pub fn kill(&mut self) {
        // Until it is waited for, its id is nobody else's. It may have ended by itself.
        self.server.kill().ok();
        self.server.wait().expect("it is our child");
    }

    /// Starts it again with the same queues, and with these arguments in place of those that begin like them; kills it before, where it runs.
    pub async fn restart(&mut self, arguments: &[&str]) {
        self.kill();
        for argument in arguments {
            let name = argument.split_once('=').expect("it has a value").0;
            self.arguments.retain(|known| !known.starts_with(name));
            self.arguments.push((*argument).to_owned());
        }
        self.server = serve(self.directory.path(), &self.arguments);
        self.until_ready().await;
    }

    /// Stops it with all that it does, or lets it go on.
    pub fn freeze(&self, on: bool) {
        let id = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        let signal = if on { Signal::STOP } else { Signal::CONT };
        rustix::process::kill_process(id, signal).expect("it runs");
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default()
    }

    /// How many messages were published to a topic since it was started.
    pub async fn count(&self, topic: &str) -> u64 {
        let topic = self.stats(topic).await;
        topic["message_count"].as_u64().unwrap_or_default()
    }

    /// What it knows of a topic; `null` where there is none.
    pub async fn stats(&self, topic: &str) -> Value {
        let text = probe::get(&format!("http://{}/stats?format=json&topic={topic}", self.http())).await;
        let stats: Value = serde_json::from_str(&text).expect("JSON");
        stats["topics"][0].clone()
    }

    /// Waits until so many messages were published to a topic.
    pub async fn until_count(&self, topic: &str, count: u64, log: impl Fn() -> String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let came = self.count(topic).await;
            if came >= count {
                return;
            }
            assert!(Instant::now() < deadline, "{came} of {count} messages; the log:\n{}", log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A consumer of a topic, which sees all that comes to it from now on, and what it holds for its first channel.
    pub async fn consumer(&self, topic: &str) -> Consumer {
        Consumer::connect(&self.address(), topic).await
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_there = TcpStream::connect(self.http()).await.is_ok();
            if is_there && probe::get(&format!("http://{}/ping", self.http())).await == "OK" {
                return;
            }
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                panic!("nsqd is not ready; it ended: {ended:?}; its log:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Nsqd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn serve(directory: &Path, arguments: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("out")).expect("a log file");
    Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("nsqd starts")
}

/// The program that the script gives, asked for once in a process.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| super::installed("nsqd"))
}

/// A connection that takes the messages of a topic.
pub struct Consumer {
    stream: BufReader<TcpStream>,
}

impl Consumer {
    async fn connect(address: &str, topic: &str) -> Self {
        let mut consumer = Consumer { stream: BufReader::new(TcpStream::connect(address).await.expect("it listens")) };
        let identity = json!({"client_id": "test", "feature_negotiation": true, "heartbeat_interval": 60_000});
        consumer.write(&[&b"  V2"[..], &command("IDENTIFY", identity.to_string().as_bytes())].concat()).await;
        let answer: Value = serde_json::from_slice(&consumer.response().await).expect("JSON");
        if answer["auth_required"] == true {
            consumer.write(&command("AUTH", ADMIN.as_bytes())).await;
            consumer.response().await;
        }
        consumer.write(format!("SUB {topic} test\n").as_bytes()).await;
        assert_eq!(consumer.response().await, b"OK");
        // As many as it gives at a time.
        consumer.write(b"RDY 2500\n").await;
        consumer
    }

    /// The bodies of the next messages: so many, which are there.
    pub async fn take(&mut self, count: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        let mut done = Vec::new();
        while bodies.len() < count {
            let (kind, frame) = self.frame().await;
            match kind {
                0 => assert_eq!(frame, b"_heartbeat_"),
                2 => {
                    // A time, the number of attempts, and an id stand before the body.
                    done.extend([&b"FIN "[..], &frame[10..26], b"\n"].concat());
                    bodies.push(String::from_utf8(frame[26..].to_vec()).expect("UTF-8"));
                }
                _ => panic!("{}", String::from_utf8_lossy(&frame)),
            }
            if kind == 0 || done.len() > 1_000 || bodies.len() == count {
                done.extend_from_slice(b"NOP\n");
                self.write(&std::mem::take(&mut done)).await;
            }
        }
        bodies
    }

    async fn response(&mut self) -> Vec<u8> {
        let (kind, frame) = self.frame().await;
        assert_eq!(kind, 0, "{}", String::from_utf8_lossy(&frame));
        frame
    }

    async fn frame(&mut self) -> (u32, Vec<u8>) {
        let read = async {
            let size = self.stream.read_u32().await?;
            let kind = self.stream.read_u32().await?;
            let mut frame = vec![0; size as usize - 4];
            self.stream.read_exact(&mut frame).await?;
            Ok::<_, std::io::Error>((kind, frame))
        };
        timeout(PATIENCE, read).await.expect("nsqd sends something").expect("a frame")
    }

    async fn write(&mut self, text: &[u8]) {
        self.stream.write_all(text).await.expect("it reads");
    }
}

fn command(name: &str, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).expect("a few bytes").to_be_bytes();
    [name.as_bytes(), b"\n", &size, body].concat()
}
