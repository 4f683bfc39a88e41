//! The client's settings.

use std::time::Duration;

use crate::{
    http::{Address, BasicAuth, Names, Tls, TokenSource},
    tls::Variables,
};

pub(super) static NAMES: Names = Names {
    address: "NOMAD_ADDR",
    token: "NOMAD_TOKEN",
    token_file: "NOMAD_TOKEN_FILE",
    tls: Variables {
        role: "nomad",
        ca_cert: "NOMAD_CACERT",
        ca_path: "NOMAD_CAPATH",
        client_cert: "NOMAD_CLIENT_CERT",
        client_key: "NOMAD_CLIENT_KEY",
        server_name: "NOMAD_TLS_SERVER_NAME",
        usual_name: "server.global.nomad",
    },
};

/// How to reach and to address Nomad. The configuration layer validates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The addresses of the agents, at least one. The client uses the first that answers, until it fails.
    pub addresses: Vec<Address>,
    /// `NOMAD_REGION`, sent with each request; `None` is the region of the agent.
    pub region: Option<String>,
    /// The ACL token, and its source.
    pub token: TokenSource,
    /// `NOMAD_HTTP_AUTH`: user and password of basic authentication. They override those in an address.
    pub basic_auth: Option<BasicAuth>,
    /// For `https` addresses.
    pub tls: Tls,
    /// Deadline of an ordinary call, until the head of the answer; for single objects until its last byte.
    pub timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Secret;

    #[test]
    fn secrets_are_shown_nowhere() {
        let config = Config {
            addresses: vec!["http://me:hush@nomad".parse().expect("an address")],
            region: None,
            token: TokenSource::Fixed(Secret::new("hush")),
            basic_auth: Some(BasicAuth { user: "me".to_owned(), password: Secret::new("hush") }),
            tls: Tls::default(),
            timeout: Duration::from_secs(10),
        };
        assert!(!format!("{config:?} {}", Secret::new("hush")).contains("hush"));
    }
}
