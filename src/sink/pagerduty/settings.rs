//! The settings of the PagerDuty sink.

use super::Config;
use crate::{
    settings::{Broken, Reader, Setting, settings},
    sink::{Definition, secret::SecretSource, webhook},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "alerts of PagerDuty",
    settings: SETTINGS,
    log: &[],
    is_for_people: true,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "PagerDuty sink";

settings! {
    pub(super) SETTINGS:

    ROUTING_KEY = Setting::new(HEADING, "sink-pagerduty-routing-key", "SINK_PAGERDUTY_ROUTING_KEY", "SECRET",
        "Integration key of an Events API v2 integration. Other users can see flags in the process list: prefer the variable, or the file").secret();
    ROUTING_KEY_FILE = Setting::new(HEADING, "sink-pagerduty-routing-key-file", "SINK_PAGERDUTY_ROUTING_KEY_FILE", "FILE",
        "File with the integration key, read again for each alert").secret_file().renewed();
    URL = Setting::new(HEADING, "sink-pagerduty-url", "SINK_PAGERDUTY_URL", "URL",
        "URL of the Events API. A service region in Europe has https://events.eu.pagerduty.com/v2/enqueue")
        .default("https://events.pagerduty.com/v2/enqueue").secret();
    TIMEOUT = Setting::new(HEADING, "sink-pagerduty-timeout", "SINK_PAGERDUTY_TIMEOUT", "DURATION",
        "How long PagerDuty may take to answer one request (100ms–10m)").default("10s");
    CACERT = Setting::new(HEADING, "sink-pagerduty-cacert", "SINK_PAGERDUTY_CACERT", "FILE",
        "PEM file with the certificate authority that signed the certificate of your own server or proxy").renewed();
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    if [&ROUTING_KEY, &ROUTING_KEY_FILE].into_iter().all(|setting| reader.layers.get(setting).is_none()) {
        let what = "the pagerduty sink needs the integration key of a service: add an Events API v2 integration to it";
        reader.missing(&ROUTING_KEY, what);
    }
    let routing_key = SecretSource::read(reader, &ROUTING_KEY, &ROUTING_KEY_FILE, routing_key);
    let settings = webhook::Settings { url: &URL, timeout: &TIMEOUT, ca_cert: &CACERT, missing: "it is empty" };
    let webhook = webhook::read(reader, &settings)?;
    Ok(Config { webhook, routing_key: routing_key.ok_or(Broken)? })
}

fn routing_key(text: &str) -> Result<String, &'static str> {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        Ok(text.to_owned())
    } else {
        Err("the key has characters other than letters and digits; write only the integration key")
    }
}

#[cfg(test)]
mod tests;
