//! The client's settings.

use crate::{
    http::{Address, BasicAuth, Names, Tls, TokenSource},
    tls::Variables,
};

pub(super) static NAMES: Names = Names {
    address: "CONSUL_HTTP_ADDR",
    token: "CONSUL_HTTP_TOKEN",
    token_file: "CONSUL_HTTP_TOKEN_FILE",
    tls: Variables {
        role: "consul",
        ca_cert: "CONSUL_CACERT",
        ca_path: "CONSUL_CAPATH",
        client_cert: "CONSUL_CLIENT_CERT",
        client_key: "CONSUL_CLIENT_KEY",
        server_name: "CONSUL_TLS_SERVER_NAME",
        usual_name: "server.dc1.consul",
    },
};

/// How to reach and to address Consul; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the agent is: over TCP with or without TLS, or at a Unix socket.
    pub address: Address,
    /// The ACL token, and where it comes from.
    pub token: TokenSource,
    /// `CONSUL_HTTP_AUTH`: user and password of basic authentication. Comes before one in the address.
    pub basic_auth: Option<BasicAuth>,
    /// `CONSUL_NAMESPACE`, of Consul Enterprise: at most 64 bytes.
    pub namespace: Option<String>,
    /// `CONSUL_PARTITION`, of Consul Enterprise: at most 64 bytes.
    pub partition: Option<String>,
    /// `CONSUL_DATACENTER`; `None` is that of the agent.
    pub datacenter: Option<String>,
    /// For an `https` address.
    pub tls: Tls,
    /// The folder that this program writes to, without `/` at its end: a refused call names the policy's line with it.
    pub folder: String,
}
