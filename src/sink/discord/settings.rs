//! The settings of the Discord sink.

use super::Config;
use crate::{
    settings::{Broken, Reader, Setting, settings},
    sink::{Definition, http::Link, webhook},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "a channel of Discord",
    settings: SETTINGS,
    log: &[],
    is_for_people: true,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "Discord sink";

settings! {
    pub(super) SETTINGS:

    URL = Setting::new(HEADING, "sink-discord-url", "SINK_DISCORD_URL", "URL",
        "URL of the webhook, which is a secret: https://discord.com/api/webhooks/…").secret();
    TIMEOUT = Setting::new(HEADING, "sink-discord-timeout", "SINK_DISCORD_TIMEOUT", "DURATION",
        "How long Discord may take to answer one request (100ms–10m)").default("10s");
    CACERT = Setting::new(HEADING, "sink-discord-cacert", "SINK_DISCORD_CACERT", "FILE",
        "PEM file with the certificate authority that signed the certificate of your own proxy").renewed();
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    let settings = webhook::Settings {
        url: &URL,
        timeout: &TIMEOUT,
        ca_cert: &CACERT,
        missing: "the discord sink needs the URL of a webhook: create one in the settings of the channel",
    };
    let mut webhook = webhook::read(reader, &settings)?;
    for (link, _) in &mut webhook.links {
        *link = waiting(link);
    }
    Ok(Config { webhook })
}

/// The URL with `wait=true`, and otherwise as it is. Without it, Discord answers before it has saved the message.
fn waiting(link: &Link) -> Link {
    let mut url = link.url().clone();
    let pairs: Vec<_> = url.query_pairs().into_owned().filter(|(name, _)| name != "wait").collect();
    url.query_pairs_mut().clear().extend_pairs(pairs).append_pair("wait", "true");
    Link::new(url)
}

#[cfg(test)]
mod tests;
