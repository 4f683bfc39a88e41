//! The settings of TLS, and the variables that set them.

use std::path::PathBuf;

/// The settings of TLS. All files are PEM, and are loaded again when they change. The variables named here are Nomad's; those of
/// other connections have another prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `NOMAD_CACERT`: trust only these roots. It takes precedence over `ca_path`.
    pub ca_cert: Option<PathBuf>,
    /// `NOMAD_CAPATH`: trust only the roots in this directory and its subdirectories.
    pub ca_path: Option<PathBuf>,
    /// `NOMAD_CLIENT_CERT`: the certificate to present to the server, with its chain.
    pub client_cert: Option<PathBuf>,
    /// `NOMAD_CLIENT_KEY`: the key of `client_cert`.
    pub client_key: Option<PathBuf>,
    /// `NOMAD_TLS_SERVER_NAME`: the host name to send as SNI and to verify, in place of the address's.
    pub server_name: Option<String>,
    /// `NOMAD_SKIP_VERIFY`, or `CONSUL_HTTP_SSL_VERIFY=false`: accept any certificate.
    pub skip_verify: bool,
}

/// The variables of these settings, for messages. Empty if there is no such setting.
#[derive(Debug)]
pub(crate) struct Variables {
    /// The far side, as a label of metrics: `nomad`, `consul`, `sink`.
    pub(crate) role: &'static str,
    pub(crate) ca_cert: &'static str,
    pub(crate) ca_path: &'static str,
    pub(crate) client_cert: &'static str,
    pub(crate) client_key: &'static str,
    pub(crate) server_name: &'static str,
    /// The name that the product's own tool writes into server certificates.
    pub(crate) usual_name: &'static str,
}
