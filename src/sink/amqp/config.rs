//! The sink's settings.

use crate::{
    http::{Secret, Tls},
    sink::Policy,
    template::Template,
};

/// How many records are on the way unconfirmed at most. The broker stores a large batch with few writes to its disk; what
/// a broken connection leaves unconfirmed comes again.
pub const UNCONFIRMED: usize = 4096;

/// How many bytes of bodies these are at most, but for a single larger one.
const UNCONFIRMED_BYTES: usize = 4 << 20;

/// What the sink is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to connect, and as whom.
    pub broker: Broker,
    /// The exchange. It is never declared.
    pub exchange: Template,
    /// The routing key.
    pub routing_key: Template,
    /// Connections that publish side by side: 1 to 64.
    pub workers: usize,
    /// Whether the broker has to return what no queue is bound for.
    pub mandatory: bool,
    /// For `amqps`; no directory and no server's name is set.
    pub tls: Tls,
}

impl Config {
    /// How records are batched for it.
    pub fn policy(&self) -> Policy {
        Policy { batch_records: UNCONFIRMED, batch_bytes: UNCONFIRMED_BYTES, ..Policy::default() }
    }
}

/// Where to connect, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Whether TLS is spoken.
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
    /// How we say who we are.
    pub mechanism: Mechanism,
}

/// How we say who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// User and password.
    Plain,
    /// The client certificate.
    External,
}
