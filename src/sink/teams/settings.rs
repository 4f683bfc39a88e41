//! The settings of the Teams sink.

use super::Config;
use crate::{
    settings::{Broken, Reader, Setting, settings},
    sink::{Definition, webhook},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "a channel of Microsoft Teams",
    settings: SETTINGS,
    log: &[],
    is_for_people: true,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "Teams sink";

settings! {
    pub(super) SETTINGS:

    URL = Setting::new(HEADING, "sink-teams-url", "SINK_TEAMS_URL", "URL",
        "URL of the workflow that posts what a webhook receives, with its query. It is a secret").secret();
    TIMEOUT = Setting::new(HEADING, "sink-teams-timeout", "SINK_TEAMS_TIMEOUT", "DURATION",
        "How long Teams may take to answer one request (100ms–10m)").default("10s");
    CACERT = Setting::new(HEADING, "sink-teams-cacert", "SINK_TEAMS_CACERT", "FILE",
        "PEM file with the certificate authority that signed the certificate of your own proxy").renewed();
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    let settings = webhook::Settings {
        url: &URL,
        timeout: &TIMEOUT,
        ca_cert: &CACERT,
        missing: "the teams sink needs the URL of a workflow that posts what a webhook receives: create one in Teams",
    };
    Ok(Config { webhook: webhook::read(reader, &settings)? })
}

#[cfg(test)]
mod tests;
