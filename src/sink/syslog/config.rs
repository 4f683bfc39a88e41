//! The sink's settings.

use std::path::PathBuf;

use crate::{
    http::Tls,
    sink::{Policy, dial::Place},
};

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where messages go.
    pub target: Target,
    /// How a message is written.
    pub format: Format,
    /// How messages of a stream are told apart.
    pub framing: Framing,
    /// The name of this program in a message.
    pub tag: String,
    /// The name of this machine in a message; `None` for its own.
    pub hostname: Option<String>,
    /// Facility and severity: eight times the one, and the other.
    pub priority: u8,
    /// The most bytes of a message; `None` for what the way can carry.
    pub max_size: Option<usize>,
    /// TLS for the target [`Target::Tls`], without a directory and without a server name.
    pub tls: Tls,
}

impl Config {
    /// How records are batched for it.
    pub fn policy(&self) -> Policy {
        Policy { batch_records: 100, batch_bytes: 64 << 10, ..Policy::default() }
    }
}

/// Where messages go, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the socket of this machine's logger, which is looked for.
    Local,
    /// Over a connection: TCP, or a socket that is named by a path.
    Stream(Place),
    /// Over TLS.
    Tls(Place),
    /// As datagrams to a host and a port.
    Udp(String, u16),
    /// As datagrams to a socket that is named by a path.
    Datagram(PathBuf),
}

impl Target {
    /// Whether it is a socket of this machine that is named by a path.
    pub(super) fn is_of_this_machine(&self) -> bool {
        matches!(self, Target::Local | Target::Datagram(_) | Target::Stream(Place::Path(_)))
    }
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With structured data, which has the id.
    Rfc5424,
    /// As the C library writes to the local logger: time, tag, text.
    Rfc3164,
}

/// How messages of a stream are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By their length, which stands before each (RFC 6587, section 3.4.1).
    Octets,
    /// By a line break behind each, as the original program.
    Lines,
}
