//! How to reach Nomad: the variables of its own command line, with their meanings.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Nomad, catalogue};
use crate::{
    http::{Address, BasicAuth, TokenSource},
    settings::{
        Broken, Environment, Reader, TlsSettings, Warning, duration,
        http::{self, boolean},
    },
};

static TLS: TlsSettings = TlsSettings {
    ca_cert: &catalogue::NOMAD_CACERT,
    ca_path: Some(&catalogue::NOMAD_CAPATH),
    client_cert: &catalogue::NOMAD_CLIENT_CERT,
    client_key: &catalogue::NOMAD_CLIENT_KEY,
    server_name: Some(&catalogue::NOMAD_TLS_SERVER_NAME),
};

pub(super) fn read(reader: &mut Reader<'_>, environment: &Environment<'_>) -> Result<Nomad, Broken> {
    let (addresses, in_address) = addresses(reader);
    let region = reader.optional(&catalogue::NOMAD_REGION, http::plain);
    let token = match http::token(reader, &catalogue::NOMAD_TOKEN, &catalogue::NOMAD_TOKEN_FILE) {
        TokenSource::None => {
            identity(environment).filter(|file| (environment.exists)(file)).map_or(TokenSource::None, TokenSource::File)
        }
        // Nomad sets the variable once, and renews the file. The file may appear later.
        TokenSource::Fixed(token) => match identity(environment) {
            Some(file) => TokenSource::Both { token, file },
            None => TokenSource::Fixed(token),
        },
        token => token,
    };
    let basic_auth = reader.optional(&catalogue::NOMAD_HTTP_AUTH, http::basic_auth).or(in_address);
    let mut tls = http::tls(reader, &TLS);
    let skip_verify = reader.value(&catalogue::NOMAD_SKIP_VERIFY, boolean);
    let timeout = reader.value(&catalogue::NOMAD_TIMEOUT, duration(Duration::from_secs(1), Duration::from_secs(300)));
    tls.skip_verify = skip_verify?;
    if tls.skip_verify {
        reader.warn(Warning::SkipVerify { because: "NOMAD_SKIP_VERIFY is set" });
    }
    Ok(Nomad { addresses, region, token, basic_auth, tls, timeout: timeout? })
}

/// The addresses, and the user and password that they contained.
fn addresses(reader: &mut Reader<'_>) -> (Vec<Address>, Option<BasicAuth>) {
    let parsed = reader.list(&catalogue::NOMAD_ADDR, http::address);
    let mut users: Vec<_> = parsed.iter().filter_map(|(_, auth)| auth.clone()).collect();
    users.dedup();
    if users.len() > 1 {
        reader.wrong(&catalogue::NOMAD_ADDR, "the addresses name different users; name one, in NOMAD_HTTP_AUTH");
    }
    (parsed.into_iter().map(|(url, _)| url).collect(), users.pop())
}

/// The file with the workload identity of the Nomad task that this program runs in, if there is one.
fn identity(environment: &Environment<'_>) -> Option<PathBuf> {
    environment.get("NOMAD_SECRETS_DIR").map(|directory| Path::new(directory).join("nomad_token"))
}
