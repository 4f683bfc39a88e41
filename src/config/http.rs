//! What the settings of Nomad and of Consul have in common: addresses, tokens, basic authentication, TLS.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::{Secret, Warning, catalogue::Setting, reader::Reader};
use crate::http;

/// Where the ACL token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// There is none.
    None,
    /// It was given.
    Text(Secret),
    /// It is in a file, and is renewed there.
    File(PathBuf),
    /// It was given, and a file of lower rank may hold its successor.
    Both(Secret, PathBuf),
}

/// Basic authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// The user's name.
    pub user: String,
    /// The password; empty where none was given.
    pub password: Secret,
}

impl fmt::Debug for BasicAuth {
    /// Without the user, too: a token that was given without a colon stands there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
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
    /// The name expected in the server's certificate.
    pub server_name: Option<String>,
    /// Do not verify the server's certificate.
    pub skip_verify: bool,
}

impl From<Token> for http::TokenSource {
    fn from(token: Token) -> Self {
        match token {
            Token::None => http::TokenSource::None,
            Token::Text(text) => http::TokenSource::Fixed(text),
            Token::File(path) => http::TokenSource::File(path),
            Token::Both(token, file) => http::TokenSource::Both { token, file },
        }
    }
}

impl From<Tls> for http::Tls {
    fn from(tls: Tls) -> Self {
        let Tls { ca_cert, ca_path, client, server_name, skip_verify } = tls;
        let (client_cert, client_key) = client.unzip();
        http::Tls { ca_cert, ca_path, client_cert, client_key, server_name, skip_verify }
    }
}

/// What the settings of TLS are called.
pub(super) struct TlsSettings {
    pub(super) ca_cert: &'static Setting,
    /// `None` where a product has no such setting.
    pub(super) ca_path: Option<&'static Setting>,
    pub(super) client_cert: &'static Setting,
    pub(super) client_key: &'static Setting,
    /// `None` where a product has no such setting.
    pub(super) server_name: Option<&'static Setting>,
}

/// The address without its user, and the user. A path is that of a proxy, under which it serves the API.
pub(super) fn address(text: &str) -> Result<(String, Option<BasicAuth>), String> {
    if let Some(path) = text.strip_prefix("unix://") {
        return match Path::new(path).is_absolute() {
            true => Ok((text.to_owned(), None)),
            false => Err("the socket needs its whole path, such as unix:///run/agent.sock".to_owned()),
        };
    }
    if !text.contains("://") {
        return Err("the scheme is missing; begin with http://, https:// or unix://".to_owned());
    }
    let mut url = Url::parse(text).map_err(|error| format!("not an address: {error}; write http://HOST:PORT"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("no way to reach {}://; begin with http://, https:// or unix://", url.scheme()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an address ends before ? and #".to_owned());
    }
    if let Some(part) = url.path().split('/').find(|part| matches!(*part, "ui" | "v1")) {
        let what = if part == "ui" { "which leads to the web interface" } else { "which is added to each request" };
        return Err(format!("end the address before /{part}, {what}"));
    }
    let auth = user(&url);
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        return Err("the host is missing".to_owned());
    }
    Ok((url.as_str().trim_end_matches('/').to_owned(), auth))
}

/// The user and password in an address.
pub(super) fn user(url: &Url) -> Option<BasicAuth> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    (!url.username().is_empty()).then(|| BasicAuth {
        user: decode(url.username()),
        password: Secret::new(decode(url.password().unwrap_or_default())),
    })
}

/// The token of the place that goes first, and the file behind it; in the same place the file goes first, since it can be
/// renewed.
pub(super) fn token(
    reader: &mut Reader<'_>,
    text: &'static Setting,
    file: &'static Setting,
    warnings: &mut Vec<Warning>,
) -> Token {
    let rank = |reader: &Reader<'_>, setting| reader.layers.get(setting).map(|given| given.origin.rank());
    let (text_rank, file_rank) = (rank(reader, text), rank(reader, file));
    let file_variable = file.variable;
    let text = reader.optional(text, |text| header_value(text).map(Secret::new));
    let file = reader.optional(file, |text| Ok::<_, String>(PathBuf::from(text)));
    match (text, file) {
        (Some(text), Some(file)) => {
            if text_rank == file_rank {
                warnings.push(Warning::TokenAndFile { used: file_variable });
            }
            if text_rank > file_rank { Token::Both(text, file) } else { Token::File(file) }
        }
        (Some(text), None) => Token::Text(text),
        (None, Some(file)) => Token::File(file),
        (None, None) => Token::None,
    }
}

/// All of TLS but whether to verify, which each product asks in its own way.
pub(super) fn tls(reader: &mut Reader<'_>, names: &TlsSettings) -> Tls {
    let mut path = |setting| reader.optional(setting, |text| Ok::<_, String>(PathBuf::from(text)));
    let (ca_cert, ca_path) = (path(names.ca_cert), names.ca_path.and_then(&mut path));
    let client = match (path(names.client_cert), path(names.client_key)) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            let given = names.client_cert.variable;
            reader.missing(names.client_key, format!("{given} is set and needs its key; set both or neither"));
            None
        }
        (None, Some(_)) => {
            let given = names.client_key.variable;
            reader.missing(names.client_cert, format!("{given} is set and needs its certificate; set both or neither"));
            None
        }
    };
    let server_name = names.server_name.and_then(|setting| reader.optional(setting, plain));
    Tls { ca_cert, ca_path, client, server_name, skip_verify: false }
}

/// The spellings that HashiCorp's own command lines take (Go's `strconv.ParseBool`).
pub(super) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("write true or false"),
    }
}

pub(super) fn basic_auth(text: &str) -> Result<BasicAuth, &'static str> {
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
        Err("it holds spaces, line breaks or other characters that no token has; write the token alone")
    }
}

/// Text without blanks.
pub(super) fn plain(text: &str) -> Result<String, &'static str> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it holds spaces or control characters; write the name alone");
    }
    Ok(text.to_owned())
}
