//! How to reach Consul: the variables of its own command line, with their meanings, and what is asked of it.

use super::{
    BasicAuth, Duration, StdDuration, Tls, Token, Warning, catalogue,
    http::{self, TlsSettings},
    reader::{Broken, Reader, between},
};
use crate::consul;

/// How to reach Consul, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consul {
    /// `http://` or `https://` with a host and maybe a path, without user, or `unix:///SOCKET`.
    pub address: String,
    /// The ACL token.
    pub token: Token,
    /// Basic authentication.
    pub http_auth: Option<BasicAuth>,
    /// The namespace of Consul Enterprise.
    pub namespace: Option<String>,
    /// The partition of Consul Enterprise.
    pub partition: Option<String>,
    /// The datacenter; `None` is that of the agent.
    pub datacenter: Option<String>,
    /// What TLS needs.
    pub tls: Tls,
    /// How long a session lives without a renewal: 10 s to 24 h, and no shorter than the lease.
    pub session_ttl: StdDuration,
    /// Whether sessions end with the health of the agent's node.
    pub node_check: bool,
}

impl Consul {
    /// The client's own settings, for keys in `folder`.
    ///
    /// # Errors
    /// None for settings that [`load`](super::load) gave: it has checked the address.
    pub fn client(&self, folder: &str) -> Result<consul::Config, consul::Error> {
        let wrong = |error: consul::BadAddress| {
            let variable = catalogue::CONSUL_HTTP_ADDR.variable;
            consul::Error::Setting { variable, reason: error.to_string() }
        };
        let settings = self.clone();
        Ok(consul::Config {
            address: settings.address.parse().map_err(wrong)?,
            token: settings.token.into(),
            basic_auth: settings.http_auth.map(|auth| (auth.user, auth.password)),
            namespace: settings.namespace,
            partition: settings.partition,
            datacenter: settings.datacenter,
            tls: settings.tls.into(),
            folder: folder.to_owned(),
        })
    }
}

static TLS: TlsSettings = TlsSettings {
    ca_cert: &catalogue::CONSUL_CACERT,
    ca_path: Some(&catalogue::CONSUL_CAPATH),
    client_cert: &catalogue::CONSUL_CLIENT_CERT,
    client_key: &catalogue::CONSUL_CLIENT_KEY,
    server_name: Some(&catalogue::CONSUL_TLS_SERVER_NAME),
};

pub(super) fn read(reader: &mut Reader<'_>, warnings: &mut Vec<Warning>) -> Result<Consul, Broken> {
    let ssl = reader.value(&catalogue::CONSUL_HTTP_SSL, http::boolean);
    let secure = *ssl.as_ref().unwrap_or(&false);
    let address = reader.value(&catalogue::CONSUL_HTTP_ADDR, |text| address(text, secure));
    let token = http::token(reader, &catalogue::CONSUL_HTTP_TOKEN, &catalogue::CONSUL_HTTP_TOKEN_FILE, warnings);
    let http_auth = reader.optional(&catalogue::CONSUL_HTTP_AUTH, http::basic_auth);
    let verify = reader.value(&catalogue::CONSUL_HTTP_SSL_VERIFY, http::boolean);
    let mut tls = http::tls(reader, &TLS);
    let namespace = reader.optional(&catalogue::CONSUL_NAMESPACE, name);
    let partition = reader.optional(&catalogue::CONSUL_PARTITION, name);
    let datacenter = reader.optional(&catalogue::CONSUL_DATACENTER, datacenter);
    let (least, most) = (Duration::from_millis(10_000), Duration::from_millis(86_400_000));
    let session_ttl = reader.value(&catalogue::CONSUL_SESSION_TTL, between(least, most));
    let node_check = reader.value(&catalogue::CONSUL_NODE_CHECK, http::boolean);
    ssl?;
    tls.skip_verify = !verify?;
    let (address, in_address) = address?;
    if tls.skip_verify && address.starts_with("https://") {
        warnings.push(Warning::SkipVerify { because: "CONSUL_HTTP_SSL_VERIFY is false" });
    }
    Ok(Consul {
        address,
        token,
        http_auth: http_auth.or(in_address),
        namespace,
        partition,
        datacenter,
        tls,
        session_ttl: session_ttl?.into(),
        node_check: node_check?,
    })
}

/// As Consul's command line reads it: the scheme can be left out, and `http` gives way where TLS was asked for.
fn address(text: &str, secure: bool) -> Result<(String, Option<BasicAuth>), String> {
    let scheme = if secure { "https" } else { "http" };
    let whole = match text.split_once("://") {
        None => format!("{scheme}://{text}"),
        Some(("http", rest)) => format!("{scheme}://{rest}"),
        Some(_) => text.to_owned(),
    };
    http::address(&whole)
}

/// Consul Enterprise's rule for names of namespaces and partitions.
fn name(text: &str) -> Result<String, &'static str> {
    let valid =
        text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if valid { Ok(text.to_owned()) } else { Err("no such name: at most 64 letters, digits, - and _") }
}

/// Consul's rule for names of datacenters, which it takes in lower case.
fn datacenter(text: &str) -> Result<String, &'static str> {
    let valid = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if valid { Ok(text.to_owned()) } else { Err("no name of a datacenter: letters, digits, - and _ only") }
}
