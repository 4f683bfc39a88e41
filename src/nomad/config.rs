//! The client's settings.

use std::{fmt, path::PathBuf, time::Duration};

use super::address::Address;

/// How to reach and to address Nomad; validated by the configuration layer.
///
/// Proxy variables (`HTTP_PROXY` and its like) are not read: a stream that must live for days does not belong behind
/// one unasked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the agents are, at least one. The first that answers is used until it fails.
    pub addresses: Vec<Address>,
    /// `NOMAD_REGION`: sent with each request; `None` is the region of the agent asked.
    pub region: Option<String>,
    /// The ACL token, and where it comes from.
    pub token: TokenSource,
    /// `NOMAD_HTTP_AUTH`: user and password of basic authentication. Comes before one in an address.
    pub basic_auth: Option<(String, Secret)>,
    /// For `https` addresses.
    pub tls: Tls,
    /// Deadline of an ordinary call: until the answer is there, and for single objects until its last byte.
    pub timeout: Duration,
}

/// Where the ACL token comes from.
#[derive(Clone, Debug, Default)]
pub enum TokenSource {
    /// No token: the anonymous policy applies.
    #[default]
    None,
    /// `NOMAD_TOKEN`.
    Fixed(Secret),
    /// A file that holds the token, read before each request: workload identities rotate.
    File(PathBuf),
}

/// Settings of TLS. All files are PEM and are read once, by [`Client::new`](super::Client::new).
#[derive(Clone, Debug, Default)]
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
    /// `NOMAD_SKIP_VERIFY`: take any certificate.
    pub skip_verify: bool,
}

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the request alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_shown_nowhere() {
        let config = Config {
            addresses: vec!["http://me:hush@nomad".parse().expect("an address")],
            region: None,
            token: TokenSource::Fixed(Secret::new("hush")),
            basic_auth: Some(("me".to_owned(), Secret::new("hush"))),
            tls: Tls::default(),
            timeout: Duration::from_secs(10),
        };
        assert!(!format!("{config:?} {}", Secret::new("hush")).contains("hush"));
    }
}
