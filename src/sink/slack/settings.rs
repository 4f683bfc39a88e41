//! The settings of the Slack sink.

use super::Config;
use crate::{
    settings::{Broken, Reader, Setting, settings},
    sink::{Definition, webhook},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "a channel of Slack or Mattermost",
    settings: SETTINGS,
    log: &[],
    is_for_people: true,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "Slack sink";

settings! {
    pub(super) SETTINGS:

    URL = Setting::new(HEADING, "sink-slack-url", "SINK_SLACK_URL", "URL",
        "URL of the incoming webhook, which is a secret: https://hooks.slack.com/services/…").secret();
    TIMEOUT = Setting::new(HEADING, "sink-slack-timeout", "SINK_SLACK_TIMEOUT", "DURATION",
        "How long Slack may take to answer one request (100ms–10m)").default("10s");
    CACERT = Setting::new(HEADING, "sink-slack-cacert", "SINK_SLACK_CACERT", "FILE",
        "PEM file with the certificate authority that signed the certificate of your own server or proxy").renewed();
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    let settings = webhook::Settings {
        url: &URL,
        timeout: &TIMEOUT,
        ca_cert: &CACERT,
        missing: "the slack sink needs the URL of an incoming webhook: create one in the settings of a Slack app",
    };
    Ok(Config { webhook: webhook::read(reader, &settings)? })
}

#[cfg(test)]
mod tests;
