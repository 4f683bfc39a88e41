//! The address of an agent.

use std::{fmt, path::PathBuf, str::FromStr};

use reqwest::Url;

use super::{BasicAuth, Secret};
use crate::sys;

/// One address of an agent: `http://host:port`, `https://host:port` or `unix:///path/of/socket`.
///
/// A path after the host belongs to a proxy, and is prepended to the path of each request. A user and password before the host are
/// sent as basic authentication. [`fmt::Display`] shows the address without them, as logs and errors name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    label: String,
    pub(super) place: Place,
    pub(super) auth: Option<BasicAuth>,
}

/// How to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Over TCP. The URL has no user. Its path is `/`, or is prepended to that of each request.
    Tcp(Url),
    /// Over a Unix socket, in plain HTTP.
    Unix(PathBuf),
}

/// The text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address {address:?} {problem}")]
pub struct BadAddress {
    address: String,
    problem: String,
}

impl Address {
    /// Whether the connection uses TLS.
    pub fn is_tls(&self) -> bool {
        matches!(&self.place, Place::Tcp(url) if url.scheme() == "https")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let text = text.trim();
        let bad = |problem: String| BadAddress { address: without_user(text), problem };
        if text.is_empty() {
            return Err(bad("is empty; set it to one such as http://127.0.0.1:4646".to_owned()));
        }
        if let Some(path) = text.strip_prefix("unix://") {
            if !sys::sockets::HAVE_PATHS {
                return Err(bad("names a socket, which this system does not have; use http or https".to_owned()));
            }
            if !path.starts_with('/') {
                return Err(bad("names no absolute path; write it as unix:///run/agent.sock".to_owned()));
            }
            return Ok(Address { label: text.to_owned(), place: Place::Unix(PathBuf::from(path)), auth: None });
        }
        if !text.starts_with("http://") && !text.starts_with("https://") {
            let problem = match text.split_once("://") {
                Some((scheme, _)) => format!("has the unknown scheme {scheme:?}; use http, https or unix"),
                None => format!("has no scheme; did you mean http://{} or https://…?", without_user(text)),
            };
            return Err(bad(problem));
        }
        let mut url = Url::parse(text).map_err(|error| bad(format!("cannot be read: {error}")))?;
        let auth = user(&url);
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(bad("has no host".to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("continues after its path; end it before ? and #".to_owned()));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let label = url.as_str().trim_end_matches('/').to_owned();
        Ok(Address { label, place: Place::Tcp(url), auth })
    }
}

/// The user and the password in a URL.
pub(crate) fn user(url: &Url) -> Option<BasicAuth> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = url.password().unwrap_or_default();
    (!url.username().is_empty() || !password.is_empty())
        .then(|| BasicAuth { user: decode(url.username()), password: Secret::new(decode(password)) })
}

/// The address, safe to show: the part before an `@` can be a password.
fn without_user(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    match text[start..].rfind('@') {
        Some(at) => format!("{}…@{}", &text[..start], &text[start + at + 1..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse().expect("a good address")
    }

    #[test]
    fn addresses_are_shown_by_their_label() {
        for (text, label, tls) in [
            ("http://127.0.0.1:4646", "http://127.0.0.1:4646", false),
            (" https://nomad.example.com/a%2Fb/ ", "https://nomad.example.com/a%2Fb", true),
            ("http://[::1]:4646/", "http://[::1]:4646", false),
            ("unix:///run/nomad.sock", "unix:///run/nomad.sock", false),
        ] {
            let address = address(text);
            assert_eq!(address.to_string(), label);
            assert_eq!(address.is_tls(), tls);
        }
    }

    #[test]
    fn a_user_is_kept_and_never_shown() {
        let address = address("https://me:p%40ss@nomad:4646");
        let BasicAuth { user, password } = address.auth.clone().expect("a user");
        assert_eq!((user.as_str(), password.expose()), ("me", "p@ss"));
        assert_eq!(address.to_string(), "https://nomad:4646");
        assert!(!format!("{address:?}").contains("p@ss"));
    }

    #[test]
    fn a_bad_address_is_explained() {
        for (text, part) in [
            ("", "is empty"),
            ("127.0.0.1:4646", "did you mean http://127.0.0.1:4646"),
            ("tcp://x", "unknown scheme \"tcp\""),
            ("unix://run/x", "no absolute path"),
            ("http://", "cannot be read"),
            ("http://host:99999", "cannot be read"),
            ("http://host/nomad?x", "before ? and #"),
            ("http://host/#x", "before ? and #"),
        ] {
            let error = text.parse::<Address>().expect_err("a bad address").to_string();
            assert!(error.contains(part), "{error}");
        }
        let error = "me:hush@nomad:4646".parse::<Address>().expect_err("no scheme").to_string();
        assert!(!error.contains("hush"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_an_error(text in ".{0,40}", scheme in "(http|https|unix)://") {
            for text in [text.clone(), format!("{scheme}{text}")] {
                if let Ok(address) = text.parse::<Address>() {
                    prop_assert!(!address.to_string().is_empty());
                }
            }
        }
    }
}
