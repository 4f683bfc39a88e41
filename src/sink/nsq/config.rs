//! The sink's settings.

use std::{fmt, time::Duration};

use crate::{
    http::Tls,
    sink::{Policy, UnderWay, secret::SecretSource},
    template::Template,
    tls::Variables,
};

/// The variables of TLS.
pub(super) static VARIABLES: Variables = Variables {
    role: "sink",
    ca_cert: "SINK_NSQ_CACERT",
    ca_path: "",
    client_cert: "SINK_NSQ_CLIENT_CERT",
    client_key: "SINK_NSQ_CLIENT_KEY",
    server_name: "",
    usual_name: "",
};

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The servers, in the order in which they are tried. Each has messages of its own.
    pub servers: Vec<Server>,
    /// The topic to publish to.
    pub topic: Template,
    /// What nsqd's auth server knows this program by.
    pub secret: Option<SecretSource>,
    /// How long nsqd may answer nothing.
    pub ack_timeout: Duration,
    /// The certificates, without a directory and without a server name.
    pub tls: Tls,
}

impl Config {
    /// How records are batched for it. One batch is under way: it has one answer for each topic, however large it is.
    pub fn policy(&self) -> Policy {
        Policy { under_way: UnderWay::One, batch_records: 1_000, batch_bytes: 1 << 20, ..Policy::default() }
    }
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The connection has to use TLS. Without this, it never does.
    pub secure: bool,
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { secure, host, port } = self;
        let scheme = if *secure { "tls://" } else { "" };
        if host.contains(':') { write!(f, "{scheme}[{host}]:{port}") } else { write!(f, "{scheme}{host}:{port}") }
    }
}
