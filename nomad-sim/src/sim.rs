//! The handle that tests hold: build, look, play, break, stop.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acl::{Acl, Policy};
use crate::cluster::{Broker, Cluster, Config, Pace, Parts, Request};
use crate::history::{Empty, Entry, Generator, GeneratorOptions, History, Recording, RecordingError, Repeat, Silent};
use crate::http::{self, Context};
use crate::line::{self, Line};
use crate::server::{Server, lock};
use crate::state::Namespaces;
use crate::table::Kind;

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recording is of no use.
    #[error("cannot use the recording")]
    Recording(#[from] RecordingError),
    /// An address could not be bound.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

/// Where the history comes from.
#[derive(Debug)]
enum Source {
    Empty,
    Recording { path: PathBuf, rounds: u64 },
    Generated(GeneratorOptions),
    Own(Box<dyn History>),
}

/// What a simulator is to be; begin with [`Sim::builder`].
#[derive(Debug)]
pub struct Builder {
    source: Source,
    buffer: usize,
    servers: usize,
    listen: SocketAddr,
    namespaces: Vec<(String, u64)>,
    acl: Acl,
    speed: f64,
    paused: bool,
    preload: Option<u64>,
    keep_truth: bool,
    config: Config,
}

/// A running cluster. Dropping it stops it without waiting; [`Sim::stop`] waits.
#[derive(Debug)]
pub struct Sim {
    cluster: Arc<Cluster>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Builder {
    /// Replays a recorded stream. Its history waits for [`Sim::play_to`] and the like unless a speed is set.
    #[must_use]
    pub fn recording(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = Source::Recording { path: path.into(), rounds: 1 };
        self
    }

    /// Repeats the recording so many times, each round with fresh ids and higher indexes.
    #[must_use]
    pub fn rounds(mut self, rounds: u64) -> Self {
        if let Source::Recording { rounds: all, .. } = &mut self.source {
            *all = rounds;
        }
        self
    }

    /// Generates a live cluster.
    #[must_use]
    pub fn generated(mut self, options: GeneratorOptions) -> Self {
        self.source = Source::Generated(options);
        self.keep_truth = false;
        self
    }

    /// Plays a history of your own.
    #[must_use]
    pub fn history(mut self, history: Box<dyn History>) -> Self {
        self.source = Source::Own(history);
        self
    }

    /// Lines that each server's event buffer keeps; Nomad's `event_buffer_size`, 100 unless set.
    #[must_use]
    pub fn buffer(mut self, lines: usize) -> Self {
        self.buffer = lines;
        self
    }

    /// How many servers; 1 unless set. Server 0 is the leader.
    #[must_use]
    pub fn servers(mut self, servers: usize) -> Self {
        self.servers = servers.max(1);
        self
    }

    /// The address of server 0; the others take the ports after it. Port 0, the default, chooses free ports.
    #[must_use]
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// A namespace and the raft index of its creation. Of a recording's namespaces those not named here exist from
    /// the start; `default` always does.
    #[must_use]
    pub fn namespace(mut self, name: &str, index: u64) -> Self {
        self.namespaces.push((name.to_owned(), index));
        self
    }

    /// Turns access control on and creates a token.
    #[must_use]
    pub fn token(mut self, id: &str, policy: Policy) -> Self {
        self.acl.set(id, policy);
        self
    }

    /// Plays the history by itself, so many times faster than it was; infinite for as fast as possible.
    #[must_use]
    pub fn speed(mut self, factor: f64) -> Self {
        (self.speed, self.paused) = (factor, false);
        self
    }

    /// Plays everything up to an index before the first request is answered; `u64::MAX` for all.
    #[must_use]
    pub fn preload(mut self, to: u64) -> Self {
        self.preload = Some(to);
        self
    }

    /// Whether [`Sim::truth`] remembers every line; on unless the cluster is generated.
    #[must_use]
    pub fn keep_truth(mut self, keep: bool) -> Self {
        self.keep_truth = keep;
        self
    }

    /// Time between heartbeats of a stream; 30 s unless set.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.config.heartbeat = every;
        self
    }

    /// Time until a refused stream is closed; 2 s unless set.
    #[must_use]
    pub fn refusal(mut self, after: Duration) -> Self {
        self.config.refusal = after;
        self
    }

    /// Time until the silenced streams of a deleted token are closed; 33 s unless set.
    #[must_use]
    pub fn revocation(mut self, after: Duration) -> Self {
        self.config.revocation = after;
        self
    }

    /// Time between the publish of an entry and its commit to the state store; none unless set.
    #[must_use]
    pub fn commit_delay(mut self, delay: Duration) -> Self {
        self.config.commit_delay = delay;
        self
    }

    /// Bytes the kernel holds for a slow reader; some megabytes unless set, which hide a slow reader for long.
    #[must_use]
    pub fn send_buffer(mut self, bytes: u32) -> Self {
        self.config.send_buffer = Some(bytes);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the recording cannot be read or an address cannot be bound.
    pub async fn start(self) -> Result<Sim, Error> {
        let mut namespaces = Namespaces { created: Default::default(), index: 0 };
        namespaces.add("default", 1);
        let history: Box<dyn History> = match self.source {
            Source::Empty => {
                self.namespaces.iter().for_each(|(name, index)| namespaces.add(name, *index));
                Box::new(Empty)
            }
            Source::Own(history) => history,
            Source::Generated(options) => Box::new(Generator::new(options)),
            Source::Recording { path, rounds } => {
                let mut recording = Recording::open(path)?;
                let seen: Vec<_> = recording.namespaces().map(|(name, _)| name.to_owned()).collect();
                for name in seen {
                    match self.namespaces.iter().find(|(given, _)| *given == name) {
                        Some((_, index)) => recording = recording.with_namespace(&name, *index),
                        None => namespaces.add(&name, 1),
                    }
                }
                if rounds == 1 { Box::new(recording) } else { Box::new(Repeat::new(recording, rounds)) }
            }
        };
        let mut listeners = Vec::new();
        let mut servers = Vec::new();
        for number in 0..self.servers {
            let mut addr = self.listen;
            if addr.port() != 0 {
                addr.set_port(addr.port().saturating_add(u16::try_from(number).unwrap_or(u16::MAX)));
            }
            let listener =
                http::bind(addr, self.config.send_buffer).map_err(|source| Error::Listen { addr, source })?;
            let bound = listener.local_addr().map_err(|source| Error::Listen { addr, source })?;
            servers.push(Server::new(bound, self.buffer, namespaces.clone()));
            listeners.push(listener);
        }
        let cluster = Arc::new(Cluster::new(Parts {
            config: self.config,
            servers,
            history,
            namespaces,
            acl: self.acl,
            pace: Pace { paused: self.paused, speed: self.speed },
            keep_truth: self.keep_truth,
        }));
        if let Some(to) = self.preload {
            play_to(&cluster, to).await;
        }
        Ok(Sim::run(cluster, listeners))
    }
}

impl Sim {
    /// A cluster with one server on a free port of 127.0.0.1, no history, and access control off.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            source: Source::Empty,
            buffer: 100,
            servers: 1,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            namespaces: Vec::new(),
            acl: Acl::default(),
            speed: 1.0,
            paused: true,
            preload: None,
            keep_truth: true,
            config: Config::default(),
        }
    }

    fn run(cluster: Arc<Cluster>, listeners: Vec<tokio::net::TcpListener>) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for (number, listener) in listeners.into_iter().enumerate() {
            let context = Context { cluster: cluster.clone(), number, stop: stop.clone(), tasks: tasks.clone() };
            tasks.spawn(http::serve(context, listener));
        }
        let (player, stopped) = (cluster.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = player.run() => {}
            }
        });
        Self { cluster, stop, tasks }
    }

    /// The address of a server.
    ///
    /// # Panics
    /// When there is no such server.
    #[must_use]
    pub fn addr(&self, server: usize) -> SocketAddr {
        self.server(server).addr()
    }

    /// A server's address as `NOMAD_ADDR` wants it.
    ///
    /// # Panics
    /// When there is no such server.
    #[must_use]
    pub fn url(&self, server: usize) -> String {
        self.server(server).url()
    }

    /// One server, to look at or to break.
    ///
    /// # Panics
    /// When there is no such server.
    #[must_use]
    pub fn server(&self, number: usize) -> &Server {
        &self.cluster.servers[number]
    }

    /// All servers.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.cluster.servers
    }

    /// Appends one hand-made publish to the log, as an entry of its own.
    ///
    /// # Errors
    /// When it is no event publish.
    pub async fn append_line(&self, line: impl Into<Bytes>) -> Result<(), line::Error> {
        append(&self.cluster, [line.into()]).await
    }

    /// Appends publishes to the log; neighbours with the same index are one entry.
    ///
    /// # Errors
    /// When one of them is no event publish; then none is appended.
    pub async fn append_lines<B: Into<Bytes>>(&self, lines: impl IntoIterator<Item = B>) -> Result<(), line::Error> {
        append(&self.cluster, lines.into_iter().map(Into::into)).await
    }

    /// Commits the next entries of the history; returns how many there were.
    pub async fn step(&self, entries: u64) -> u64 {
        step(&self.cluster, entries).await
    }

    /// Commits the history up to and with an index; returns how many entries these were.
    pub async fn play_to(&self, index: u64) -> u64 {
        play_to(&self.cluster, index).await
    }

    /// Commits the rest of the history.
    pub async fn play_all(&self) -> u64 {
        play_to(&self.cluster, u64::MAX).await
    }

    /// Stops the history where it is.
    pub fn pause(&self) {
        self.cluster.pace.send_modify(|pace| pace.paused = true);
    }

    /// Lets the history play by itself.
    pub fn resume(&self, speed: f64) {
        self.cluster.pace.send_modify(|pace| *pace = Pace { paused: false, speed });
    }

    /// Waits until the history is at its end.
    pub async fn finished(&self) {
        let mut finished = self.cluster.finished.subscribe();
        if finished.wait_for(|finished| *finished).await.is_err() {
            tracing::debug!("the cluster is gone");
        }
    }

    /// Replaces the cluster by another: empty state and buffers, streams closed, the history from its beginning
    /// with other identities. [`Self::play_to`] takes it on from there.
    pub async fn rebuild(&self) {
        self.cluster.rebuild().await;
    }

    /// Creates a namespace, at the given index or the log's next; returns the index.
    pub async fn add_namespace(&self, name: &str, index: Option<u64>) -> u64 {
        add_namespace(&self.cluster, name, index).await
    }

    /// Lets an object vanish without an event: garbage collection, or the purge of a node.
    pub async fn remove(&self, kind: Kind, namespace: &str, id: &str) {
        remove(&self.cluster, kind, namespace, id).await;
    }

    /// Creates or changes a token; open streams that it no longer allows are closed.
    pub fn set_token(&self, id: &str, policy: Policy) {
        self.cluster.change_acl(|acl| acl.set(id, policy));
    }

    /// Deletes a token: its streams fall silent, and end after a while.
    pub fn revoke_token(&self, id: &str) {
        self.cluster.change_acl(|acl| acl.revoke(id));
    }

    /// Turns the event stream off or on.
    pub fn set_broker(&self, broker: Broker) {
        *lock(&self.cluster.broker) = broker;
    }

    /// Sends the members of every JSON object in a random order.
    pub fn shuffle(&self, on: bool) {
        self.cluster.shuffle.store(on, Ordering::Relaxed);
    }

    /// Every line published so far, where it is kept.
    #[must_use]
    pub fn truth(&self) -> Vec<Arc<Line>> {
        self.cluster.truth()
    }

    /// The requests so far, but for those to the control endpoint, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.cluster.requests(0)
    }

    /// The highest index of the log.
    pub async fn last_index(&self) -> u64 {
        self.cluster.player.lock().await.last_index
    }

    /// Stops it and waits for its tasks.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
    }
}

/// `max` or a factor.
pub(crate) fn speed(text: &str) -> Option<f64> {
    if text == "max" {
        return Some(f64::INFINITY);
    }
    text.trim_end_matches('x').parse().ok().filter(|speed: &f64| *speed > 0.0)
}

pub(crate) async fn step(cluster: &Cluster, entries: u64) -> u64 {
    let mut left = entries;
    cluster
        .play(|_| {
            let more = left > 0;
            left = left.saturating_sub(1);
            more
        })
        .await
}

pub(crate) async fn play_to(cluster: &Cluster, index: u64) -> u64 {
    cluster.play(|entry| entry.index <= index).await
}

pub(crate) async fn append(cluster: &Cluster, lines: impl IntoIterator<Item = Bytes>) -> Result<(), line::Error> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in lines {
        let line = Arc::new(Line::parse(line)?);
        match entries.last_mut() {
            Some(entry) if entry.index == line.index => entry.lines.push(line),
            _ => entries.push(Entry { index: line.index, lines: vec![line], ..Entry::default() }),
        }
    }
    let mut player = cluster.player.lock().await;
    for entry in entries {
        cluster.commit(&mut player, entry).await;
    }
    Ok(())
}

pub(crate) async fn add_namespace(cluster: &Cluster, name: &str, index: Option<u64>) -> u64 {
    silently(cluster, index, Silent::Namespace(name.to_owned())).await
}

pub(crate) async fn remove(cluster: &Cluster, kind: Kind, namespace: &str, id: &str) {
    silently(cluster, None, Silent::Remove(kind, Box::from(namespace), Box::from(id))).await;
}

async fn silently(cluster: &Cluster, index: Option<u64>, silent: Silent) -> u64 {
    let mut player = cluster.player.lock().await;
    let index = index.unwrap_or(player.last_index + 1);
    cluster.commit(&mut player, Entry { index, silent: vec![silent], ..Entry::default() }).await;
    index
}
