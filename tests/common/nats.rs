//! A real NATS with JetStream: one process on loopback, with its streams in a directory of its own, so that it can be killed and started
//! again; and a client that sees what is stored there.
//!
//! The program is what `scripts/install-nats` names, which fetches it where it may.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{PATIENCE, Signal, ports::Ports};

/// Who may do everything.
const ADMIN: &str = "admin";

/// A running server. Dropping it kills it and forgets its data.
#[derive(Debug)]
pub struct Nats {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
}

impl Nats {
    /// Starts one whose user `writer` has this password and may publish anywhere, and waits until its streams are there.
    pub async fn start(password: &str) -> Self {
        let users = format!(
            "{{user: writer, password: \"{password}\", permissions: {{publish: [\">\"], subscribe: [\"_INBOX.>\"]}}}}"
        );
        Self::start_with(|_| String::new(), &users).await
    }

    /// Starts one whose users are in an account with these limits.
    pub async fn start_with_account(limits: &str, password: &str) -> Self {
        let admin = format!("{{user: {ADMIN}, password: {ADMIN}}}");
        let writer = format!("{{user: writer, password: \"{password}\"}}");
        Self::serve(|_| {
            format!("accounts {{A: {{jetstream: enabled, users: [{admin}, {writer}], limits: {{{limits}}}}}}}")
        })
        .await
    }

    /// Starts one with these settings, which are made for a directory that lives as long as the server, and these users beside `admin`.
    pub async fn start_with(settings: impl FnOnce(&Path) -> String, users: &str) -> Self {
        Self::serve(|directory| {
            let settings = settings(directory);
            format!("authorization {{users: [{{user: {ADMIN}, password: {ADMIN}}}, {users}]}}\n{settings}")
        })
        .await
    }

    async fn serve(settings: impl FnOnce(&Path) -> String) -> Self {
        let directory = tempfile::Builder::new().prefix("nats").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        let text = format!(
            "listen: \"127.0.0.1:{}\"\nserver_name: test\njetstream {{store_dir: \"{}\", max_file_store: 8GB}}\n{}\n",
            ports.base,
            directory.path().join("data").display(),
            settings(directory.path())
        );
        std::fs::write(directory.path().join("config"), text).expect("the directory can be written");
        let server = serve(directory.path());
        let mut nats = Nats { server, directory, ports };
        nats.until_ready().await;
        nats
    }

    /// Its address, such as `127.0.0.1:20000`.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// Replaces a part of its configuration, and has it read again.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let path = self.directory.path().join("config");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).expect("writable");
        self.signal(Signal::HUP);
    }

    /// Kills it, as a machine that loses power does.
    pub fn kill(&mut self) {
        // Until it is waited for, its id is nobody else's. It may have ended by itself.
        self.server.kill().ok();
        self.server.wait().expect("it is our child");
    }

    /// Starts it again with the same streams; kills it before, where it runs.
    pub async fn restart(&mut self) {
        self.kill();
        self.server = serve(self.directory.path());
        self.until_ready().await;
    }

    /// Stops it with all that it does, or lets it go on.
    pub fn freeze(&self, on: bool) {
        self.signal(if on { Signal::STOP } else { Signal::CONT });
    }

    /// A client that may do everything.
    pub async fn client(&self) -> Client {
        Client::connect(&self.address()).await.expect("it takes connections")
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(id, signal).expect("it runs");
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(mut client) = Client::connect(&self.address()).await
                && client.try_request("$JS.API.INFO", "").await.is_some_and(|answer| answer["error"].is_null())
            {
                return;
            }
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
                panic!("NATS is not ready; it ended: {ended:?}; its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

fn serve(directory: &Path) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("out")).expect("a log file");
    Command::new(program())
        .arg("-c")
        .arg(directory.join("config"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("nats-server starts")
}

/// The program that the script gives, asked for once in a process.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| super::installed("nats"))
}

/// A message as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    pub subject: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Stored {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A connection that asks one question after the other.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    count: u64,
}

impl Client {
    async fn connect(address: &str) -> Option<Self> {
        let mut stream = BufReader::new(TcpStream::connect(address).await.ok()?);
        let options = json!({"user": ADMIN, "pass": ADMIN, "headers": true, "no_responders": true, "verbose": false});
        let hello = format!(
            "CONNECT {options}\r\nSUB test.inbox.{}.* 1\r\nPING\r\n",
            stream.get_ref().local_addr().ok()?.port()
        );
        stream.write_all(hello.as_bytes()).await.ok()?;
        loop {
            match line(&mut stream).await?.as_str() {
                "PONG" => return Some(Client { stream, count: 0 }),
                text if text.starts_with("-ERR") => return None,
                _ => {}
            }
        }
    }

    /// Asks the server something.
    pub async fn request(&mut self, subject: &str, question: Value) -> Value {
        let answer = self.try_request(subject, &question.to_string()).await.expect("an answer");
        assert!(answer["error"].is_null(), "{subject} {question}: {answer}");
        answer
    }

    async fn try_request(&mut self, subject: &str, question: &str) -> Option<Value> {
        self.ask(subject, question).await?;
        let Stored { body, .. } = self.message().await?;
        serde_json::from_str(&body).ok()
    }

    async fn ask(&mut self, subject: &str, question: &str) -> Option<()> {
        self.count += 1;
        let port = self.stream.get_ref().local_addr().ok()?.port();
        let text = format!("PUB {subject} test.inbox.{port}.{} {}\r\n{question}\r\n", self.count, question.len());
        self.stream.write_all(text.as_bytes()).await.ok()
    }

    /// The next message; one with a status has it as the header `status`.
    async fn message(&mut self) -> Option<Stored> {
        loop {
            let text = tokio::time::timeout(PATIENCE, line(&mut self.stream)).await.ok()??;
            let words: Vec<&str> = text.split(' ').collect();
            let size = |back: usize| words[words.len() - back].parse::<usize>().expect("a size");
            let (headers, total) = match words[0] {
                "PING" => {
                    self.stream.write_all(b"PONG\r\n").await.ok()?;
                    continue;
                }
                "MSG" => (0, size(1)),
                "HMSG" => (size(2), size(1)),
                word if word.starts_with("-ERR") => panic!("{text}"),
                _ => continue,
            };
            let mut bytes = vec![0; total + 2];
            self.stream.read_exact(&mut bytes).await.ok()?;
            let body = String::from_utf8(bytes[headers..total].to_vec()).expect("UTF-8");
            let headers = read_headers(std::str::from_utf8(&bytes[..headers]).expect("UTF-8"));
            return Some(Stored { subject: words[1].to_owned(), headers, body });
        }
    }

    /// Makes a stream for these subjects, with these settings beside the usual ones.
    pub async fn create_stream(&mut self, name: &str, subjects: &[&str], further: Value) {
        self.stream_request("CREATE", name, subjects, further).await;
    }

    /// Gives a stream other subjects.
    pub async fn update_stream(&mut self, name: &str, subjects: &[&str]) {
        self.stream_request("UPDATE", name, subjects, json!({})).await;
    }

    async fn stream_request(&mut self, what: &str, name: &str, subjects: &[&str], further: Value) {
        let mut config =
            json!({"name": name, "subjects": subjects, "retention": "limits", "storage": "file", "num_replicas": 1});
        for (name, value) in further.as_object().expect("an object") {
            config[name] = value.clone();
        }
        self.request(&format!("$JS.API.STREAM.{what}.{name}"), config).await;
    }

    pub async fn delete_stream(&mut self, name: &str) {
        self.request(&format!("$JS.API.STREAM.DELETE.{name}"), json!({})).await;
    }

    /// How many messages a stream holds.
    pub async fn count(&mut self, stream: &str) -> u64 {
        let answer = self.request(&format!("$JS.API.STREAM.INFO.{stream}"), json!({})).await;
        answer["state"]["messages"].as_u64().expect("a number")
    }

    /// The message of this number in a stream.
    pub async fn get(&mut self, stream: &str, number: u64) -> Stored {
        let answer = self.request(&format!("$JS.API.STREAM.MSG.GET.{stream}"), json!({"seq": number})).await;
        let text = |name: &str| {
            let bytes = BASE64.decode(answer["message"][name].as_str().unwrap_or_default()).expect("base64");
            String::from_utf8(bytes).expect("UTF-8")
        };
        let subject = answer["message"]["subject"].as_str().expect("a subject").to_owned();
        Stored { subject, headers: read_headers(&text("hdrs")), body: text("data") }
    }

    /// Makes a consumer of a stream that hands out everything once.
    pub async fn consume(&mut self, stream: &str) {
        let config = json!({"durable_name": "test", "ack_policy": "explicit", "max_ack_pending": -1, "ack_wait": 3_600_000_000_000_u64});
        let question = json!({"stream_name": stream, "config": config});
        self.request(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.test"), question).await;
    }

    /// The next messages of a stream for its consumer: so many, which are there.
    pub async fn take(&mut self, stream: &str, count: u64) -> Vec<Stored> {
        // The server would take none for one.
        if count == 0 {
            return Vec::new();
        }
        let question = json!({"batch": count, "expires": 60_000_000_000_u64}).to_string();
        self.ask(&format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.test"), &question).await.expect("it is there");
        let mut messages = Vec::new();
        for _ in 0..count {
            let message = self.message().await.expect("a message");
            assert_eq!(message.header("status"), None, "{message:?}");
            messages.push(message);
        }
        messages
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut text = String::new();
    stream.read_line(&mut text).await.ok().filter(|length| *length > 0)?;
    Some(text.trim_end().to_owned())
}

fn read_headers(text: &str) -> Vec<(String, String)> {
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let status =
        lines.next().and_then(|line| line.strip_prefix("NATS/1.0 ")).map(|it| ("status".to_owned(), it.to_owned()));
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
    status.into_iter().chain(headers).collect()
}
