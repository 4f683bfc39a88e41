//! The sink's settings.

use std::{fmt, path::PathBuf, time::Duration};

use crate::{
    http::{Secret, Tls},
    sink::{Policy, UnderWay},
    template::Template,
    tls::Variables,
};

/// The variables of TLS.
pub(super) static VARIABLES: Variables = Variables {
    role: "sink",
    ca_cert: "SINK_NATS_CACERT",
    ca_path: "",
    client_cert: "SINK_NATS_CLIENT_CERT",
    client_key: "SINK_NATS_CLIENT_KEY",
    server_name: "",
    usual_name: "",
};

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Servers of one cluster, in the order in which they are tried.
    pub servers: Vec<Server>,
    /// How the sink logs in.
    pub login: Login,
    /// The subject to publish to.
    pub subject: Template,
    /// The stream that has to store the records, if it is named.
    pub stream: Option<String>,
    /// What the inboxes for acknowledgements begin with.
    pub inbox: String,
    /// How long nothing may be acknowledged.
    pub ack_timeout: Duration,
    /// TLS begins before the server says anything.
    pub tls_first: bool,
    /// The certificates, without a directory and without a server name.
    pub tls: Tls,
}

impl Config {
    /// How records are batched for it.
    pub fn policy(&self) -> Policy {
        Policy { under_way: UnderWay::ByKey(8), batch_records: 1_000, batch_bytes: 1 << 20, ..Policy::default() }
    }
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The connection has to use TLS. Without this, it uses TLS if the server requires it.
    pub secure: bool,
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { secure, host, port } = self;
        let scheme = if *secure { "tls" } else { "nats" };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

/// How the sink logs in. Files are read again for each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// It does not, or with its certificate.
    #[default]
    None,
    /// With user and password.
    User(String, Secret),
    /// With a token.
    Token(Secret),
    /// With the token in a file.
    TokenFile(PathBuf),
    /// With a credentials file, which holds a JWT and the seed of a key.
    Credentials(PathBuf),
    /// With a file that holds the seed of a key.
    Nkey(PathBuf),
}
