//! The settings of a simulator, and its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::acl::{Acl, Policy};
use crate::address::Address;
use crate::cluster::{Cluster, Config, Pace, Parts};
use crate::history::{Empty, Generator, GeneratorOptions, History, Recording, RecordingError, Repeat};
use crate::orders::play_to;
use crate::server::Server;
use crate::sim::Sim;
use crate::state::Namespaces;

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recording cannot be used.
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

/// The settings of a simulator; begin with [`Sim::builder`].
#[derive(Debug)]
pub struct Builder {
    source: Source,
    buffer: usize,
    servers: usize,
    listen: SocketAddr,
    namespaces: Vec<(String, u64)>,
    acl: Acl,
    region: String,
    speed: f64,
    paused: bool,
    preload: Option<u64>,
    keep_truth: bool,
    config: Config,
}

impl Sim {
    /// A cluster with one server on a free port of 127.0.0.1, no history, and access control off.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            source: Source::Empty,
            buffer: 100,
            servers: 1,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            namespaces: Vec::new(),
            acl: Acl::default(),
            region: "global".to_owned(),
            speed: 1.0,
            paused: true,
            preload: None,
            keep_truth: true,
            config: Config::default(),
        }
    }

    /// Replays a recorded stream. Its history waits for [`Sim::play_to`] and the like unless a speed is set.
    #[must_use]
    pub fn recording(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = Source::Recording { path: path.into(), rounds: 1 };
        self
    }

    /// Repeats the recording this many times, each round with fresh ids and higher indexes.
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
        self.config.event_buffer = lines;
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

    /// The region of its servers; `global` unless set.
    #[must_use]
    pub fn region(mut self, name: &str) -> Self {
        name.clone_into(&mut self.region);
        self
    }

    /// Plays the history by itself, this many times faster than it was; infinite for as fast as possible.
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

    /// The times of locks pass this many times faster; 1 unless set. With 20, a lock with Nomad's shortest TTL of 10 s
    /// expires after a second: requests still say 10 s, and are checked as such.
    #[must_use]
    pub fn lock_speed(mut self, factor: f64) -> Self {
        self.config.lock_speed = factor.max(f64::MIN_POSITIVE);
        self
    }

    /// Writes of variables are entries of the log, as in Nomad: each takes the log's next index, is published with
    /// topic `Variable`, and takes a place in the event buffers. Without it they have indexes of their own, so that a
    /// history, whose indexes are fixed, can play in between.
    #[must_use]
    pub fn variable_events(mut self) -> Self {
        self.config.variable_events = true;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the recording cannot be read or an address cannot be bound.
    pub async fn start(self) -> Result<Sim, Error> {
        let mut namespaces = Namespaces { created: Default::default(), index: 0 };
        namespaces.add("default", 1);
        // A generated cluster is complete when its first request comes.
        let beginning = match &self.source {
            Source::Generated(options) => Some(options.beginning()),
            _ => None,
        };
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
            let failed = |source| Error::Listen { addr, source };
            let address = Address::reserve(addr).map_err(failed)?;
            let listener = address.listen(self.config.send_buffer).map_err(failed)?;
            servers.push(Server::new(address, self.buffer, namespaces.clone()));
            listeners.push(listener);
        }
        let cluster = Arc::new(Cluster::new(Parts {
            config: self.config,
            servers,
            history,
            namespaces,
            acl: self.acl,
            region: self.region,
            pace: Pace { paused: self.paused, speed: self.speed },
            keep_truth: self.keep_truth,
        }));
        if let Some(to) = self.preload.or(beginning) {
            play_to(&cluster, to).await;
        }
        Ok(Sim::run(cluster, listeners))
    }
}
