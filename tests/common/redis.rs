//! A real Redis: one server on loopback, with its data in a directory of its own, so that it can be killed and started
//! again.
//!
//! Its commands are those that `scripts/install-redis` names, which installs them where it may.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use ::redis::{Client, Connection, Value, cmd, from_redis_value};

use super::{PATIENCE, ports::Ports};

/// A running server. Dropping it kills it and forgets its data.
#[derive(Debug)]
pub struct Redis {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    settings: Vec<String>,
}

impl Redis {
    /// Starts one that keeps nothing, and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(|_, _| Vec::new()).await
    }

    /// As [`start`](Redis::start), with these settings, each name before its value. They are made for a free port, and a directory
    /// that lives as long as the server.
    pub async fn start_with(settings: impl FnOnce(u16, &Path) -> Vec<String>) -> Self {
        let directory = tempfile::Builder::new().prefix("redis").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        let settings = settings(ports.base + 1, directory.path());
        let server = serve(directory.path(), &ports, &settings);
        let mut redis = Redis { server, directory, ports, settings };
        redis.until_ready().await;
        redis
    }

    /// What `SINK_REDIS_URL` can be.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.ports.address())
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// The socket that is named by a path.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// The port that is for the settings of [`start_with`](Redis::start_with).
    pub fn further_port(&self) -> u16 {
        self.ports.base + 1
    }

    /// A connection as the default user.
    pub fn connect(&self) -> Connection {
        Client::open(self.url()).and_then(|client| client.get_connection()).expect("it takes connections")
    }

    /// Executes a command, its words with blanks between them.
    pub fn ctl(&self, words: &str) -> Value {
        execute(&mut self.connect(), &words.split(' ').collect::<Vec<_>>())
    }

    /// Kills it, as a machine that loses power does.
    pub fn kill(&mut self) {
        self.server.kill().ok();
        self.server.wait().expect("it is our child");
    }

    /// Starts it again, on the same port with the same data; kills it before, where it runs. Waits until it is ready.
    pub async fn restart(&mut self) {
        self.kill();
        self.server = serve(self.directory.path(), &self.ports, &self.settings);
        self.until_ready().await;
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // One that still loads its data refuses this.
            let asked = Client::open(self.url()).and_then(|client| client.get_connection());
            if asked.and_then(|mut connection| cmd("DBSIZE").query::<u64>(&mut connection)).is_ok() {
                return;
            }
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
                panic!("Redis is not ready; it ended: {ended:?}; its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Executes a command.
#[track_caller]
pub fn execute(connection: &mut Connection, words: &[&str]) -> Value {
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    command.query(connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// An entry of a stream: its fields in their order.
pub type Entry = Vec<(String, String)>;

/// The value of a field.
pub fn field<'a>(entry: &'a Entry, name: &str) -> Option<&'a str> {
    entry.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
}

/// Reads a stream from its beginning, or a list.
#[allow(missing_debug_implementations, reason = "a connection has none")]
pub struct Reader {
    connection: Connection,
    key: String,
    is_list: bool,
    /// The id of the last entry, or how many there were.
    last: String,
    count: usize,
}

impl Reader {
    pub fn of_stream(redis: &Redis, key: &str) -> Self {
        Reader { connection: redis.connect(), key: key.to_owned(), is_list: false, last: "-".to_owned(), count: 0 }
    }

    /// A stream in a database of this number.
    pub fn of_database(redis: &Redis, database: u32, key: &str) -> Self {
        let mut reader = Reader::of_stream(redis, key);
        execute(&mut reader.connection, &["SELECT", &database.to_string()]);
        reader
    }

    pub fn of_list(redis: &Redis, key: &str) -> Self {
        Reader { is_list: true, ..Reader::of_stream(redis, key) }
    }

    /// The entries since the last time, at most so many; an element of a list is the field `body`.
    pub fn more(&mut self, most: usize) -> Vec<Entry> {
        let Reader { connection, key, last, count, .. } = self;
        let entries: Vec<Entry> = if self.is_list {
            let (from, until) = (count.to_string(), (*count + most - 1).to_string());
            let bodies: Vec<String> =
                from_redis_value(execute(connection, &["LRANGE", key, &from, &until])).expect("texts");
            bodies.into_iter().map(|body| vec![("body".to_owned(), body)]).collect()
        } else {
            let answer = execute(connection, &["XRANGE", key, last, "+", "COUNT", &most.to_string()]);
            let found: Vec<(String, Entry)> = from_redis_value(answer).expect("entries");
            if let Some((id, _)) = found.last() {
                *last = format!("({id}");
            }
            found.into_iter().map(|(_, entry)| entry).collect()
        };
        *count += entries.len();
        entries
    }

    /// The bodies since the last time.
    pub fn bodies(&mut self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let more = self.more(1_000);
            if more.is_empty() {
                return bodies;
            }
            bodies.extend(more.iter().map(|entry| field(entry, "body").expect("a body").to_owned()));
        }
    }
}

fn serve(directory: &Path, ports: &Ports, settings: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("out")).expect("a log file");
    let mut command = Command::new(binaries().join("redis-server"));
    command.args(["--port", &ports.base.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
    command.arg("--dir").arg(directory).arg("--unixsocket").arg(directory.join("socket"));
    for pair in settings.chunks(2) {
        command.arg(format!("--{}", pair[0])).args(&pair[1..]);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    command.spawn().expect("Redis starts")
}

/// The directory that the script gives, asked for once in a process.
pub fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| super::installed("redis"))
}
