//! The sink's settings.

use crate::{
    http::{Secret, Tls},
    sink::{Policy, UnderWay},
    template::Template,
};

/// The most records in flight without a confirm, over all connections. The broker stores a large batch with few writes to its disk. Unconfirmed records
/// are sent again after a broken connection.
pub const UNCONFIRMED: usize = 4096;

/// The most bytes of their bodies, except for single larger ones.
const UNCONFIRMED_BYTES: usize = 4 << 20;

/// The least that a connection may carry of it: with less, it waits for confirms more than it sends.
const BATCH_BYTES: usize = 256 << 10;

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to connect, and with which credentials.
    pub broker: Broker,
    /// The exchange. It is never declared.
    pub exchange: Template,
    /// The routing key.
    pub routing_key: Template,
    /// Connections that publish side by side, each with a batch of its own: 1 to 64.
    pub workers: usize,
    /// Whether the broker has to return messages that no queue is bound for.
    pub mandatory: bool,
    /// TLS for `amqps`, without a directory and without a server name.
    pub tls: Tls,
}

impl Config {
    /// How records are batched for it.
    pub fn policy(&self) -> Policy {
        let workers = self.workers.max(1);
        Policy {
            under_way: UnderWay::ByKey(workers),
            batch_records: UNCONFIRMED / workers,
            batch_bytes: (UNCONFIRMED_BYTES / workers).max(BATCH_BYTES),
            queue: UNCONFIRMED,
            ..Policy::default()
        }
    }
}

/// Where to connect, and with which credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Whether the connection uses TLS.
    pub secure: bool,
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// The virtual host.
    pub vhost: String,
    /// Seconds between heartbeats: 10 to 30.
    pub heartbeat: u16,
    /// How the sink authenticates.
    pub mechanism: Mechanism,
}

/// How the sink authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// User and password.
    Plain,
    /// The client certificate.
    External,
}
