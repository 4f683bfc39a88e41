//! What is set, and how the settings are called.

use std::path::PathBuf;

/// Settings of TLS. All files are PEM, and are read again when they change. The variables are Nomad's; those of others
/// have another prefix.
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

/// The variables of these settings, for messages. Empty where there is no such setting.
#[derive(Debug)]
pub(crate) struct Variables {
    /// Who is connected to, as a label of metrics: `nomad`, `consul`, `sink`.
    pub(crate) role: &'static str,
    pub(crate) ca_cert: &'static str,
    pub(crate) ca_path: &'static str,
    pub(crate) client_cert: &'static str,
    pub(crate) client_key: &'static str,
    pub(crate) server_name: &'static str,
    /// The name that the product's own tool writes into certificates of servers.
    pub(crate) usual_name: &'static str,
}
