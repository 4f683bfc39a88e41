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

/// How to reach and to address Consul. The configuration layer validates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The address of the agent: TCP with or without TLS, or a Unix socket.
    pub address: Address,
    /// The ACL token, and its source.
    pub token: TokenSource,
    /// `CONSUL_HTTP_AUTH`: user and password of basic authentication. They override those in the address.
    pub basic_auth: Option<BasicAuth>,
    /// `CONSUL_NAMESPACE`, of Consul Enterprise: at most 64 bytes.
    pub namespace: Option<String>,
    /// `CONSUL_PARTITION`, of Consul Enterprise: at most 64 bytes.
    pub partition: Option<String>,
    /// `CONSUL_DATACENTER`; `None` is that of the agent.
    pub datacenter: Option<String>,
    /// For an `https` address.
    pub tls: Tls,
    /// The folder that this program writes to, without `/` at its end. The error of a refused call names the rule for it.
    pub folder: String,
}
