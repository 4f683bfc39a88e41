//! The Consul coordinator: the variables of Consul's own command line, with their meanings, and ours.

use std::time::Duration;

use super::catalogue;
use crate::{
    consul::Config,
    coordinator::ConsulConfig,
    http::{Address, BasicAuth},
    settings::{
        Broken, Reader, TlsSettings, Warning, duration,
        http::{self, boolean},
    },
};

static TLS: TlsSettings = TlsSettings {
    ca_cert: &catalogue::CONSUL_CACERT,
    ca_path: Some(&catalogue::CONSUL_CAPATH),
    client_cert: &catalogue::CONSUL_CLIENT_CERT,
    client_key: &catalogue::CONSUL_CLIENT_KEY,
    server_name: Some(&catalogue::CONSUL_TLS_SERVER_NAME),
};

/// The caller has read `folder` and `lease` already: they are checked with any coordinator.
pub(super) fn read(
    reader: &mut Reader<'_>,
    folder: Result<String, Broken>,
    lease: Result<Duration, Broken>,
) -> Result<ConsulConfig, Broken> {
    let ssl = reader.value(&catalogue::CONSUL_HTTP_SSL, boolean);
    let secure = *ssl.as_ref().unwrap_or(&false);
    let address = reader.value(&catalogue::CONSUL_HTTP_ADDR, |text| address(text, secure));
    let token = http::token(reader, &catalogue::CONSUL_HTTP_TOKEN, &catalogue::CONSUL_HTTP_TOKEN_FILE);
    let basic_auth = reader.optional(&catalogue::CONSUL_HTTP_AUTH, http::basic_auth);
    let verify = reader.value(&catalogue::CONSUL_HTTP_SSL_VERIFY, boolean);
    let mut tls = http::tls(reader, &TLS);
    let namespace = reader.optional(&catalogue::CONSUL_NAMESPACE, name);
    let partition = reader.optional(&catalogue::CONSUL_PARTITION, name);
    let datacenter = reader.optional(&catalogue::CONSUL_DATACENTER, datacenter);
    let day = Duration::from_secs(24 * 60 * 60);
    let session_ttl = reader.value(&catalogue::CONSUL_SESSION_TTL, duration(Duration::from_secs(10), day));
    if let (Ok(ttl), Ok(lease)) = (&session_ttl, &lease)
        && lease > ttl
    {
        let what = "it is longer than NOMAD_FIREHOSE_CONSUL_SESSION_TTL, so Consul could end the session of a leader that \
            still holds its lease; shorten the lease or lengthen the session's TTL";
        reader.wrong(&catalogue::LEASE, what);
    }
    let node_check = reader.value(&catalogue::CONSUL_NODE_CHECK, boolean);
    ssl?;
    tls.skip_verify = !verify?;
    let (address, in_address) = address?;
    if tls.skip_verify && address.is_tls() {
        reader.warn(Warning::SkipVerify { because: "CONSUL_HTTP_SSL_VERIFY is false" });
    }
    let basic_auth = basic_auth.or(in_address);
    let folder = folder?;
    Ok(ConsulConfig {
        client: Config { address, token, basic_auth, namespace, partition, datacenter, tls, folder },
        lease: lease?,
        session_ttl: session_ttl?,
        node_checks: node_check?,
    })
}

/// As Consul's command line reads it: the scheme is optional, and `CONSUL_HTTP_SSL` overrides `http`.
fn address(text: &str, secure: bool) -> Result<(Address, Option<BasicAuth>), String> {
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
    if valid { Ok(text.to_owned()) } else { Err("not a valid name; use at most 64 letters, digits, - and _") }
}

/// Consul's rule for names of datacenters, which it takes in lower case.
fn datacenter(text: &str) -> Result<String, &'static str> {
    let valid = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if valid { Ok(text.to_owned()) } else { Err("not the name of a datacenter; use letters, digits, - and _ only") }
}
