//! The sink's settings.

use std::time::Duration;

use crate::{
    http::{Secret, Tls},
    sink::{Policy, UnderWay, dial::Place},
    template::Template,
};

/// The most batches in flight without an answer.
const BATCHES: usize = 8;

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to connect, and with which credentials.
    pub server: Server,
    /// What the key names.
    pub mode: Mode,
    /// The key or the channel.
    pub key: Template,
    /// About how many entries a stream keeps; `None` for all.
    pub max_length: Option<u64>,
    /// The replicas to wait for.
    pub wait: Option<Wait>,
    /// TLS for `rediss`, without a directory and without a server name.
    pub tls: Tls,
}

impl Config {
    /// How records are batched for it.
    pub fn policy(&self) -> Policy {
        Policy { under_way: UnderWay::Ordered(BATCHES), ..Policy::default() }
    }
}

/// Where to connect, and with which credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The host and the port, or the path of a socket.
    pub place: Place,
    /// Whether the connection uses TLS.
    pub secure: bool,
    /// The user of Redis's access control lists.
    pub user: Option<String>,
    /// The password of that user, or of the default one.
    pub password: Option<Secret>,
    /// The number of the database.
    pub database: u32,
}

/// What a key names, and so the command that writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A list: `RPUSH`, as the original program.
    List,
    /// A stream: `XADD`.
    Stream,
    /// A channel: `PUBLISH`.
    Channel,
}

impl Mode {
    /// All of them by their names.
    pub const ALL: [(&str, Mode); 3] = [("list", Mode::List), ("stream", Mode::Stream), ("channel", Mode::Channel)];

    /// The command.
    pub fn command(self) -> &'static str {
        match self {
            Mode::List => "RPUSH",
            Mode::Stream => "XADD",
            Mode::Channel => "PUBLISH",
        }
    }

    /// Its name in the settings, which is also Redis's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Mode::List => "list",
            Mode::Stream => "stream",
            Mode::Channel => "channel",
        }
    }
}

/// The replicas to wait for (`WAIT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How many of them must have a record.
    pub replicas: u32,
    /// How long they may take.
    pub timeout: Duration,
}
