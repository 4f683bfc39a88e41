//! The settings of the Alertmanager sink.

use std::time::Duration;

use super::{Config, payload::is_name};
use crate::{
    settings::{Broken, Form, Reader, Setting, duration, settings},
    sink::{Definition, http::Link, webhook},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "alerts of Prometheus Alertmanager",
    settings: SETTINGS,
    log: &[],
    is_for_people: true,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "Alertmanager sink";

settings! {
    pub(super) SETTINGS:

    URL = Setting::new(HEADING, "sink-alertmanager-url", "SINK_ALERTMANAGER_URL", "URL",
        "URLs of all Alertmanagers of a cluster: http://alertmanager:9093. Each gets every alert, and one of them has to take it. A user and a password in a URL become basic authentication")
        .form(Form::List).secret();
    TTL = Setting::new(HEADING, "sink-alertmanager-ttl", "SINK_ALERTMANAGER_TTL", "DURATION",
        "After what time an alert ends by itself if it does not come again (1s–720h)").default("5m");
    LABELS = Setting::new(HEADING, "sink-alertmanager-labels", "SINK_ALERTMANAGER_LABELS", "NAME=VALUE",
        "Further labels of every alert: team=web,env=prod").form(Form::List);
    TIMEOUT = Setting::new(HEADING, "sink-alertmanager-timeout", "SINK_ALERTMANAGER_TIMEOUT", "DURATION",
        "How long an Alertmanager may take to answer one request (100ms–10m)").default("10s");
    CACERT = Setting::new(HEADING, "sink-alertmanager-cacert", "SINK_ALERTMANAGER_CACERT", "FILE",
        "PEM file with the certificate authority that signed the certificates of the Alertmanagers").renewed();
}

/// Where Alertmanager takes alerts, after the prefix of its routes.
const API: &str = "/api/v2/alerts";

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    let settings = webhook::Settings {
        url: &URL,
        timeout: &TIMEOUT,
        ca_cert: &CACERT,
        missing: "the alertmanager sink needs the URL of an Alertmanager, such as http://alertmanager:9093",
    };
    let ttl = reader.value(&TTL, duration(Duration::from_secs(1), Duration::from_secs(30 * 86_400)));
    let labels = reader.list(&LABELS, label);
    let twice = labels.iter().enumerate().any(|(at, (name, _))| labels[..at].iter().any(|(other, _)| other == name));
    if twice {
        reader.wrong(&LABELS, "a label is there twice; give each label one value");
    }
    let mut webhook = webhook::read(reader, &settings)?;
    for (link, _) in &mut webhook.links {
        *link = of_api(link);
    }
    Ok(Config { webhook, ttl: ttl?, labels })
}

/// The URL of the API, whether the path of it was given or not.
fn of_api(link: &Link) -> Link {
    let mut url = link.url().clone();
    let prefix = url.path().trim_end_matches('/').trim_end_matches(API).trim_end_matches('/').to_owned();
    url.set_path(&format!("{prefix}{API}"));
    Link::new(url)
}

fn label(text: &str) -> Result<(String, String), String> {
    let Some((name, value)) = text.split_once('=') else { return Err("write NAME=VALUE, such as team=web".to_owned()) };
    if !is_name(name) {
        return Err("the name of a label has letters, digits and _, and begins with no digit".to_owned());
    }
    if value.is_empty() {
        return Err("the label has no value; write NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests;
