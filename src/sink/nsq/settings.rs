//! The settings of the NSQ sink: the variables of the original program with their meanings, and further ones.

use std::time::Duration;

use reqwest::Url;

use super::{Config, Server, topic};
use crate::{
    settings::{Broken, Form, Reader, Setting, TlsSettings, duration, http, settings},
    sink::{Definition, secret::SecretSource},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "a topic of NSQ",
    settings: SETTINGS,
    log: &[],
    is_for_people: false,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "NSQ sink";

settings! {
    pub(super) SETTINGS:

    ADDR = Setting::new(HEADING, "sink-nsq-addr", "SINK_NSQ_ADDR", "ADDRESS,…",
        "TCP addresses of nsqd: HOST:4150, or tls://HOST:4150 to use TLS. Several are tried in turn; each holds only the messages that it was sent").form(Form::List);
    TOPIC_NAME = Setting::new(HEADING, "sink-nsq-topic-name", "SINK_NSQ_TOPIC_NAME", "TEMPLATE",
        "Topic to publish to; the first record creates it. It can contain fields of the record: nomad.{Kind}");
    AUTH_SECRET = Setting::new(HEADING, "sink-nsq-auth-secret", "SINK_NSQ_AUTH_SECRET", "TEXT",
        "Secret that nsqd's auth server knows this program by. It is sent only to an nsqd that asks for it").secret();
    AUTH_SECRET_FILE = Setting::new(HEADING, "sink-nsq-auth-secret-file", "SINK_NSQ_AUTH_SECRET_FILE", "FILE",
        "File with that secret. It is read for each connection").secret_file().renewed();
    ACK_TIMEOUT = Setting::new(HEADING, "sink-nsq-ack-timeout", "SINK_NSQ_ACK_TIMEOUT", "DURATION",
        "How long nsqd may answer nothing before the records are sent again over a new connection (1s–5m)").default("10s");
    CACERT = Setting::new(HEADING, "sink-nsq-cacert", "SINK_NSQ_CACERT", "FILE",
        "PEM file with the certificate authority that signed the server's certificate. Without it, the authorities of the system").renewed();
    CLIENT_CERT = Setting::new(HEADING, "sink-nsq-client-cert", "SINK_NSQ_CLIENT_CERT", "FILE",
        "PEM file with the certificate to present to the server. Requires the key").renewed();
    CLIENT_KEY = Setting::new(HEADING, "sink-nsq-client-key", "SINK_NSQ_CLIENT_KEY", "FILE",
        "PEM file with the key of that certificate").secret_file().renewed();
}

static TLS: TlsSettings = TlsSettings {
    ca_cert: &CACERT,
    ca_path: None,
    client_cert: &CLIENT_CERT,
    client_key: &CLIENT_KEY,
    server_name: None,
};

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    reader.require(&[
        (&ADDR, "the nsq sink needs its nsqd; write its TCP address, such as 127.0.0.1:4150"),
        (&TOPIC_NAME, "the nsq sink needs a topic; write one such as nomad-firehose"),
    ]);
    let servers = reader.list(&ADDR, server);
    let topic = reader.optional(&TOPIC_NAME, topic::parse);
    let secret = SecretSource::read(reader, &AUTH_SECRET, &AUTH_SECRET_FILE, |text| Ok::<_, String>(text.to_owned()));
    let ack_timeout = reader.value(&ACK_TIMEOUT, duration(Duration::from_secs(1), Duration::from_secs(300)));
    let tls = http::tls(reader, &TLS);
    if servers.is_empty() {
        return Err(Broken);
    }
    Ok(Config { servers, topic: topic.ok_or(Broken)?, secret, ack_timeout: ack_timeout?, tls })
}

fn server(text: &str) -> Result<Server, String> {
    const EXAMPLE: &str = "write HOST:4150, or tls://HOST:4150";
    let (scheme, rest) = text.split_once("://").unwrap_or(("nsq", text));
    let secure = match scheme {
        "nsq" => false,
        "tls" => true,
        "http" | "https" => return Err(format!("nsqd takes records at its TCP address; {EXAMPLE}")),
        _ => return Err(format!("unknown scheme {scheme}://; {EXAMPLE}")),
    };
    let url = Url::parse(&http::with_host(&format!("nsq://{rest}")))
        .map_err(|error| format!("not an address: {error}; {EXAMPLE}"))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(format!("the host is missing; {EXAMPLE}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("NSQ has no users; write the secret of its auth server in SINK_NSQ_AUTH_SECRET".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("an address ends after the port; {EXAMPLE}"));
    }
    Ok(Server { secure, host: host.trim_matches(['[', ']']).to_owned(), port: url.port().unwrap_or(4150) })
}

#[cfg(test)]
mod tests;
