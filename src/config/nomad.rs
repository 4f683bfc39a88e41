//! How to reach Nomad: the variables of its own command line, with their meanings.

use std::path::{Path, PathBuf};

use super::{
    BasicAuth, Duration, Environment, Tls, Token, Warning, catalogue,
    http::{self, TlsSettings},
    reader::{Broken, Reader, between},
};
use crate::nomad;

/// How to reach Nomad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nomad {
    /// At least one: `http://` or `https://` with a host and maybe a path, without user, or `unix:///SOCKET`.
    pub addresses: Vec<String>,
    /// The region to ask; `None` is that of the agent.
    pub region: Option<String>,
    /// The ACL token.
    pub token: Token,
    /// Basic authentication.
    pub http_auth: Option<BasicAuth>,
    /// What TLS needs.
    pub tls: Tls,
    /// The deadline of a call: 1 s to 5 min.
    pub timeout: std::time::Duration,
}

/// The client's own settings. Addresses were checked when they were read.
impl From<Nomad> for nomad::Config {
    fn from(settings: Nomad) -> Self {
        nomad::Config {
            addresses: settings.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
            region: settings.region,
            token: settings.token.into(),
            basic_auth: settings.http_auth.map(|auth| (auth.user, auth.password)),
            tls: settings.tls.into(),
            timeout: settings.timeout,
        }
    }
}

static TLS: TlsSettings = TlsSettings {
    ca_cert: &catalogue::NOMAD_CACERT,
    ca_path: Some(&catalogue::NOMAD_CAPATH),
    client_cert: &catalogue::NOMAD_CLIENT_CERT,
    client_key: &catalogue::NOMAD_CLIENT_KEY,
    server_name: Some(&catalogue::NOMAD_TLS_SERVER_NAME),
};

pub(super) fn read(
    reader: &mut Reader<'_>,
    environment: &Environment<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Nomad, Broken> {
    let (addresses, in_address) = addresses(reader);
    let region = reader.optional(&catalogue::NOMAD_REGION, http::plain);
    let token = match http::token(reader, &catalogue::NOMAD_TOKEN, &catalogue::NOMAD_TOKEN_FILE, warnings) {
        Token::None => identity(environment).filter(|file| (environment.exists)(file)).map_or(Token::None, Token::File),
        // Nomad sets the variable once, and renews the file. It may be there later.
        Token::Text(token) => match identity(environment) {
            Some(file) => Token::Both(token, file),
            None => Token::Text(token),
        },
        token => token,
    };
    let http_auth = reader.optional(&catalogue::NOMAD_HTTP_AUTH, http::basic_auth).or(in_address);
    let mut tls = http::tls(reader, &TLS);
    let skip_verify = reader.value(&catalogue::NOMAD_SKIP_VERIFY, http::boolean);
    let timeout =
        reader.value(&catalogue::NOMAD_TIMEOUT, between(Duration::from_millis(1_000), Duration::from_millis(300_000)));
    tls.skip_verify = skip_verify?;
    if tls.skip_verify {
        warnings.push(Warning::SkipVerify { because: "NOMAD_SKIP_VERIFY is set" });
    }
    Ok(Nomad { addresses, region, token, http_auth, tls, timeout: timeout?.into() })
}

/// The addresses, and the user and password that stood in them.
fn addresses(reader: &mut Reader<'_>) -> (Vec<String>, Option<BasicAuth>) {
    let parsed = reader.list(&catalogue::NOMAD_ADDR, http::address);
    let mut users: Vec<_> = parsed.iter().filter_map(|(_, auth)| auth.clone()).collect();
    users.dedup();
    if users.len() > 1 {
        reader.wrong(&catalogue::NOMAD_ADDR, "the addresses name different users; name one, in NOMAD_HTTP_AUTH");
    }
    (parsed.into_iter().map(|(url, _)| url).collect(), users.pop())
}

/// Where the workload identity of the task is that this program runs in, if Nomad writes it.
fn identity(environment: &Environment<'_>) -> Option<PathBuf> {
    environment.get("NOMAD_SECRETS_DIR").map(|directory| Path::new(directory).join("nomad_token"))
}
