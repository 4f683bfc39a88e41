//! How to reach Nomad: the variables of its own command line, with their meanings.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::{
    Duration, Environment, Secret, Warning, catalogue,
    reader::{Broken, Reader, between},
};
use crate::nomad;

/// How to reach Nomad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nomad {
    /// At least one: `http://` or `https://` with a host, without user and path, or `unix:///SOCKET`.
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

/// Where the ACL token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// There is none.
    None,
    /// It was given.
    Text(Secret),
    /// It is in a file, and is renewed there.
    File(PathBuf),
}

/// Basic authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// The user's name.
    pub user: String,
    /// The password; empty where none was given.
    pub password: Secret,
}

/// What TLS needs. All files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// A file with certificate authorities.
    pub ca_cert: Option<PathBuf>,
    /// A directory of such files.
    pub ca_path: Option<PathBuf>,
    /// The certificate to present, with its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name expected in Nomad's certificate.
    pub server_name: Option<String>,
    /// Do not verify Nomad's certificate.
    pub skip_verify: bool,
}

/// The client's own settings. Addresses were checked when they were read.
impl From<Nomad> for nomad::Config {
    fn from(settings: Nomad) -> Self {
        let (client_cert, client_key) = settings.tls.client.unzip();
        nomad::Config {
            addresses: settings.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
            region: settings.region,
            token: match settings.token {
                Token::None => nomad::TokenSource::None,
                Token::Text(text) => nomad::TokenSource::Fixed(text),
                Token::File(path) => nomad::TokenSource::File(path),
            },
            basic_auth: settings.http_auth.map(|auth| (auth.user, auth.password)),
            tls: nomad::Tls {
                ca_cert: settings.tls.ca_cert,
                ca_path: settings.tls.ca_path,
                client_cert,
                client_key,
                server_name: settings.tls.server_name,
                skip_verify: settings.tls.skip_verify,
            },
            timeout: settings.timeout,
        }
    }
}

pub(super) fn read(
    reader: &mut Reader<'_>,
    environment: &Environment<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Nomad, Broken> {
    let (addresses, in_address) = addresses(reader);
    let region = reader.optional(&catalogue::NOMAD_REGION, plain);
    let token = token(reader, environment, warnings);
    let http_auth = reader.optional(&catalogue::NOMAD_HTTP_AUTH, basic_auth).or(in_address);
    let tls = tls(reader);
    let timeout =
        reader.value(&catalogue::NOMAD_TIMEOUT, between(Duration::from_millis(1_000), Duration::from_millis(300_000)));
    let tls = tls?;
    if tls.skip_verify {
        warnings.push(Warning::SkipVerify);
    }
    Ok(Nomad { addresses, region, token, http_auth, tls, timeout: timeout?.into() })
}

/// The addresses, and the user and password that stood in them.
fn addresses(reader: &mut Reader<'_>) -> (Vec<String>, Option<BasicAuth>) {
    let parsed = reader.list(&catalogue::NOMAD_ADDR, address);
    let mut users: Vec<_> = parsed.iter().filter_map(|(_, auth)| auth.clone()).collect();
    users.dedup();
    if users.len() > 1 {
        reader.wrong(&catalogue::NOMAD_ADDR, "the addresses name different users; name one, in NOMAD_HTTP_AUTH");
    }
    (parsed.into_iter().map(|(url, _)| url).collect(), users.pop())
}

fn address(text: &str) -> Result<(String, Option<BasicAuth>), String> {
    if let Some(path) = text.strip_prefix("unix://") {
        return match Path::new(path).is_absolute() {
            true => Ok((text.to_owned(), None)),
            false => Err("the socket needs its whole path, such as unix:///run/nomad.sock".to_owned()),
        };
    }
    if !text.contains("://") {
        return Err("the scheme is missing; begin with http://, https:// or unix://".to_owned());
    }
    let mut url =
        Url::parse(text).map_err(|error| format!("not an address: {error}; http://10.0.0.1:4646 would be"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("no way to reach {}://; begin with http://, https:// or unix://", url.scheme()));
    }
    // Nomad's command line leaves a path out too: the address of the web interface, with its /ui/, does as well.
    url.set_path("");
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an address ends before ? and #".to_owned());
    }
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let auth = (!url.username().is_empty()).then(|| BasicAuth {
        user: decode(url.username()),
        password: Secret::new(decode(url.password().unwrap_or_default())),
    });
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        return Err("the host is missing".to_owned());
    }
    Ok((url.as_str().trim_end_matches('/').to_owned(), auth))
}

fn token(reader: &mut Reader<'_>, environment: &Environment<'_>, warnings: &mut Vec<Warning>) -> Token {
    let rank = |reader: &Reader<'_>, setting| reader.layers.get(setting).map(|given| given.origin.rank());
    let (text_rank, file_rank) = (rank(reader, &catalogue::NOMAD_TOKEN), rank(reader, &catalogue::NOMAD_TOKEN_FILE));
    let text = reader.optional(&catalogue::NOMAD_TOKEN, |text| header_value(text).map(Secret::new));
    let file = reader.optional(&catalogue::NOMAD_TOKEN_FILE, |text| Ok::<_, String>(PathBuf::from(text)));
    match (text, file) {
        // The place that goes first decides; in the same place the file does, since it can be renewed.
        (Some(text), Some(file)) => {
            if text_rank == file_rank {
                warnings.push(Warning::TokenAndFile);
            }
            if text_rank > file_rank { Token::Text(text) } else { Token::File(file) }
        }
        (Some(text), None) => Token::Text(text),
        (None, Some(file)) => Token::File(file),
        (None, None) => environment
            .get("NOMAD_SECRETS_DIR")
            .map(|directory| Path::new(directory).join("nomad_token"))
            .filter(|file| (environment.exists)(file))
            .map_or(Token::None, Token::File),
    }
}

fn tls(reader: &mut Reader<'_>) -> Result<Tls, Broken> {
    let mut path = |setting| reader.optional(setting, |text| Ok::<_, String>(PathBuf::from(text)));
    let (ca_cert, ca_path) = (path(&catalogue::NOMAD_CACERT), path(&catalogue::NOMAD_CAPATH));
    let client = match (path(&catalogue::NOMAD_CLIENT_CERT), path(&catalogue::NOMAD_CLIENT_KEY)) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            reader.missing(
                &catalogue::NOMAD_CLIENT_KEY,
                "NOMAD_CLIENT_CERT is set and needs its key; set both or neither",
            );
            None
        }
        (None, Some(_)) => {
            reader.missing(
                &catalogue::NOMAD_CLIENT_CERT,
                "NOMAD_CLIENT_KEY is set and needs its certificate; set both or neither",
            );
            None
        }
    };
    let server_name = reader.optional(&catalogue::NOMAD_TLS_SERVER_NAME, plain);
    let skip_verify = reader.value(&catalogue::NOMAD_SKIP_VERIFY, boolean);
    Ok(Tls { ca_cert, ca_path, client, server_name, skip_verify: skip_verify? })
}

/// The spellings that Nomad's own command line takes (Go's `strconv.ParseBool`).
fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("write true or false"),
    }
}

fn basic_auth(text: &str) -> Result<BasicAuth, &'static str> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    if text.chars().any(char::is_control) {
        return Err("it holds control characters; write USER:PASSWORD");
    }
    Ok(BasicAuth { user: user.to_owned(), password: Secret::new(password) })
}

fn header_value(text: &str) -> Result<&str, &'static str> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err("it holds spaces, line breaks or other characters that no token has")
    }
}

fn plain(text: &str) -> Result<String, &'static str> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it holds spaces or control characters");
    }
    Ok(text.to_owned())
}
