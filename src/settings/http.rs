//! The settings that several components have in common: addresses, tokens, basic authentication, TLS.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use reqwest::Url;

use super::{Reader, Setting, Warning};
use crate::{
    http::{self, Address, BasicAuth, Secret, Tls, TokenSource},
    sys,
};

/// The settings of TLS of one component.
pub(crate) struct TlsSettings {
    pub(crate) ca_cert: &'static Setting,
    /// `None` if the component has no such setting.
    pub(crate) ca_path: Option<&'static Setting>,
    pub(crate) client_cert: &'static Setting,
    pub(crate) client_key: &'static Setting,
    /// `None` if the component has no such setting.
    pub(crate) server_name: Option<&'static Setting>,
}

/// The address without its user, and the user. A path is the one under which a reverse proxy serves the API.
pub(crate) fn address(text: &str) -> Result<(Address, Option<BasicAuth>), String> {
    if let Some(path) = text.strip_prefix("unix://") {
        if !sys::sockets::HAVE_PATHS {
            return Err("this system has no such sockets; begin with http:// or https://".to_owned());
        }
        return match Path::new(path).is_absolute() {
            true => Ok((parsed(text)?, None)),
            false => Err("the path of the socket is not absolute; write one such as unix:///run/agent.sock".to_owned()),
        };
    }
    if !text.contains("://") {
        return Err("the scheme is missing; begin with http://, https:// or unix://".to_owned());
    }
    let mut url = Url::parse(text).map_err(|error| format!("not a URL: {error}; write http://HOST:PORT"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("unknown scheme {}://; begin with http://, https:// or unix://", url.scheme()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an address must not have ? or #; end it before ? and #".to_owned());
    }
    if let Some(part) = url.path().split('/').find(|part| matches!(*part, "ui" | "v1")) {
        let what = if part == "ui" { "which is the web interface" } else { "which the program adds to each request" };
        return Err(format!("end the address before /{part}, {what}"));
    }
    let auth = user(&url);
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        return Err("the host is missing; write http://HOST:PORT".to_owned());
    }
    Ok((parsed(url.as_str())?, auth))
}

fn parsed(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: http::BadAddress| error.to_string())
}

/// The user and the password in a URL; none if the user is empty.
pub(crate) fn user(url: &Url) -> Option<BasicAuth> {
    http::user(url).filter(|auth| !auth.user.is_empty())
}

/// The token or the token file, whichever was given in the higher place. In the same place, the file wins, because it can be
/// renewed. A token that overrides a file keeps the file as its possible successor.
pub(crate) fn token(reader: &mut Reader<'_>, text: &'static Setting, file: &'static Setting) -> TokenSource {
    let rank = |reader: &Reader<'_>, setting| reader.layers.get(setting).map(|given| given.origin.rank());
    let (text_rank, file_rank) = (rank(reader, text), rank(reader, file));
    let file_variable = file.variable;
    let text = reader.optional(text, |text| header_value(text).map(Secret::new));
    let file = reader.optional(file, |text| Ok::<_, String>(PathBuf::from(text)));
    match (text, file) {
        (Some(text), Some(file)) => {
            if text_rank == file_rank {
                reader.warn(Warning::TokenAndFile { used: file_variable });
            }
            if text_rank > file_rank { TokenSource::Both { token: text, file } } else { TokenSource::File(file) }
        }
        (Some(text), None) => TokenSource::Fixed(text),
        (None, Some(file)) => TokenSource::File(file),
        (None, None) => TokenSource::None,
    }
}

/// All TLS settings except whether to verify, which each component reads in its own way.
pub(crate) fn tls(reader: &mut Reader<'_>, names: &TlsSettings) -> Tls {
    let mut path = |setting| reader.optional(setting, |text| Ok::<_, String>(PathBuf::from(text)));
    let (ca_cert, ca_path) = (path(names.ca_cert), names.ca_path.and_then(&mut path));
    let (client_cert, client_key) = match (path(names.client_cert), path(names.client_key)) {
        both @ (Some(_), Some(_)) | both @ (None, None) => both,
        (Some(_), None) => {
            let given = names.client_cert.variable;
            reader.missing(names.client_key, format!("{given} is set and needs its key; set both or neither"));
            (None, None)
        }
        (None, Some(_)) => {
            let given = names.client_key.variable;
            reader.missing(names.client_cert, format!("{given} is set and needs its certificate; set both or neither"));
            (None, None)
        }
    };
    let server_name = names.server_name.and_then(|setting| reader.optional(setting, plain));
    Tls { ca_cert, ca_path, client_cert, client_key, server_name, skip_verify: false }
}

/// The spellings that HashiCorp's own command lines take (Go's `strconv.ParseBool`).
pub(crate) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("write true or false"),
    }
}

pub(crate) fn basic_auth(text: &str) -> Result<BasicAuth, &'static str> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    if text.chars().any(char::is_control) {
        return Err("the value has control characters; write USER:PASSWORD");
    }
    Ok(BasicAuth { user: user.to_owned(), password: Secret::new(password) })
}

fn header_value(text: &str) -> Result<&str, &'static str> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err("the value has spaces, line breaks or other characters that no token has; write only the token")
    }
}

/// Text without blanks.
pub(crate) fn plain(text: &str) -> Result<String, &'static str> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("the value has spaces or control characters; write only the name");
    }
    Ok(text.to_owned())
}

/// The address with a host: like Go's network library, this machine if it names none (`:4150`, `amqp:///vhost`).
pub(crate) fn with_host(text: &str) -> Cow<'_, str> {
    let start = text.find("://").map_or(0, |at| at + "://".len());
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    let host = text[start..end].rfind('@').map_or(start, |at| start + at + 1);
    match &text[host..end] {
        "" => {}
        port if port.starts_with(':') => {}
        _ => return Cow::Borrowed(text),
    }
    Cow::Owned(format!("{}localhost{}", &text[..host], &text[host..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_keeps_all_it_has_and_gets_a_host_once(text in "\\PC{0,20}|[a:/@?#\\[\\]1]{0,12}") {
            let once = with_host(&text).into_owned();
            prop_assert_eq!(with_host(&once), &*once);
            prop_assert!(once == text || once.replacen("localhost", "", 1) == text);
        }
    }

    #[test]
    fn an_address_without_a_host_is_of_this_machine() {
        for (text, expected) in [
            (":4150", "localhost:4150"),
            ("nsq://:4150", "nsq://localhost:4150"),
            ("amqp:///vhost", "amqp://localhost/vhost"),
            ("amqp://a:b@/v@:1", "amqp://a:b@localhost/v@:1"),
            ("redis://:pass@:6379/0", "redis://:pass@localhost:6379/0"),
            ("redis://:pass@host:6379/0", "redis://:pass@host:6379/0"),
            ("[::1]:9092", "[::1]:9092"),
            ("host", "host"),
        ] {
            assert_eq!(with_host(text), expected);
        }
    }
}
