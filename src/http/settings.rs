//! The settings that both clients take, and what each calls them.

use std::path::PathBuf;

use super::Secret;

/// The variables of one product, for messages.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) address: &'static str,
    pub(crate) token: &'static str,
    pub(crate) token_file: &'static str,
    pub(crate) ca_cert: &'static str,
    pub(crate) ca_path: &'static str,
    pub(crate) client_cert: &'static str,
    pub(crate) client_key: &'static str,
    pub(crate) server_name: &'static str,
    /// The name that the product's own tool writes into certificates of servers.
    pub(crate) usual_name: &'static str,
}

/// Where the ACL token comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenSource {
    /// No token: the anonymous policy applies.
    #[default]
    None,
    /// The token itself: `NOMAD_TOKEN`, `CONSUL_HTTP_TOKEN`.
    Fixed(Secret),
    /// A file that holds the token, read before each request: workload identities rotate.
    File(PathBuf),
}

/// Settings of TLS. All files are PEM and are read once, when the client is built. The variables are Nomad's; Consul's
/// begin with `CONSUL_`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `NOMAD_CACERT`: only these roots are trusted. Comes before `ca_path`.
    pub ca_cert: Option<PathBuf>,
    /// `NOMAD_CAPATH`: only the roots in this directory, and in those below it, are trusted.
    pub ca_path: Option<PathBuf>,
    /// `NOMAD_CLIENT_CERT`: the certificate shown to the server, with its chain.
    pub client_cert: Option<PathBuf>,
    /// `NOMAD_CLIENT_KEY`: the key of `client_cert`.
    pub client_key: Option<PathBuf>,
    /// `NOMAD_TLS_SERVER_NAME`: the host name to ask for and to expect in place of the address's.
    pub server_name: Option<String>,
    /// `NOMAD_SKIP_VERIFY`, or `CONSUL_HTTP_SSL_VERIFY=false`: take any certificate.
    pub skip_verify: bool,
}
