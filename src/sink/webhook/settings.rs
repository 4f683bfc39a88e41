//! Reads the settings that all of these sinks have.

use std::{path::PathBuf, time::Duration};

use reqwest::Url;

use super::Config;
use crate::{
    http::{BasicAuth, Tls},
    settings::{Broken, Form, Reader, Setting, duration, http},
    sink::http::Link,
};

/// The settings of one sink.
pub(in crate::sink) struct Settings {
    /// One URL, or a list of them.
    pub(in crate::sink) url: &'static Setting,
    pub(in crate::sink) timeout: &'static Setting,
    pub(in crate::sink) ca_cert: &'static Setting,
    /// What is missing without a URL, and where it comes from.
    pub(in crate::sink) missing: &'static str,
}

/// Reads them, and notes every problem.
pub(in crate::sink) fn read(reader: &mut Reader<'_>, settings: &Settings) -> Result<Config, Broken> {
    let Settings { url: setting, timeout, ca_cert, missing } = settings;
    let is_given = reader.layers.get(setting).is_some() || setting.default.is_some();
    if !is_given {
        reader.missing(setting, *missing);
    }
    let links = match setting.form {
        Form::One => one(reader, setting),
        _ => reader.list(setting, url),
    };
    let timeout = reader.value(timeout, duration(Duration::from_millis(100), Duration::from_secs(600)));
    let ca_cert = reader.optional(ca_cert, |text| Ok::<_, String>(PathBuf::from(text)));
    let tls = Tls { ca_cert, ..Tls::default() };
    if links.is_empty() {
        return Err(Broken);
    }
    Ok(Config { links, tls, timeout: timeout? })
}

/// The URL of a setting with one value.
fn one(reader: &mut Reader<'_>, setting: &'static Setting) -> Vec<(Link, Option<BasicAuth>)> {
    reader.value(setting, url).into_iter().collect()
}

/// The URL without its user, and the user. No message shows it.
fn url(text: &str) -> Result<(Link, Option<BasicAuth>), &'static str> {
    let fix = "not a URL; write the whole URL, beginning with https://";
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err("begin with https:// (or http://)");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("the URL has spaces or control characters; write them as %20 and so on");
    }
    let mut url = Url::parse(text).map_err(|_| fix)?;
    if url.fragment().is_some() {
        return Err("the URL has a #; end it before the #");
    }
    let auth = http::user(&url);
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| fix)?;
    Ok((Link::new(url), auth))
}
