//! The settings of the Kafka sink: the variables of the original program with their meanings, and further ones.

use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::{Compression, Config, Files, Login, Mechanism, message};
use crate::{
    http::{BasicAuth, Secret},
    settings::{
        Broken, Form, Reader, Setting, TlsSettings, Warning, duration,
        http::{self, boolean},
        settings,
    },
    sink::Definition,
    template::Template,
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "topics of Apache Kafka",
    settings: SETTINGS,
    // The binding logs by itself; the sink passes on what the client says.
    log: &[("rdkafka", LevelFilter::OFF), ("librdkafka", LevelFilter::OFF)],
    is_for_people: false,
    has_headers: true,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "Kafka sink";

settings! {
    pub(super) SETTINGS:

    BROKERS = Setting::new(HEADING, "sink-kafka-brokers", "SINK_KAFKA_BROKERS", "HOST:PORT",
        "Brokers to connect to first: kafka1:9092,kafka2:9092. They name all others").form(Form::List);
    TOPIC = Setting::new(HEADING, "sink-kafka-topic", "SINK_KAFKA_TOPIC", "TEMPLATE",
        "Topic to write to. It can contain fields of the record: nomad.{Kind}");
    KEY = Setting::new(HEADING, "sink-kafka-key", "SINK_KAFKA_KEY", "TEMPLATE",
        "Key of a message, which chooses its partition. It can contain fields of the record: {Namespace}/{JobID}. Without it, the record's own key, so that one object stays in one partition");
    USER = Setting::new(HEADING, "sink-kafka-user", "SINK_KAFKA_USER", "USER",
        "User to log in as (SASL). Without it, there is no login");
    PASSWORD = Setting::new(HEADING, "sink-kafka-password", "SINK_KAFKA_PASSWORD", "SECRET",
        "Password of that user. Other users can see flags in the process list: prefer the variable").secret();
    SASL_MECHANISM = Setting::new(HEADING, "sink-kafka-sasl-mechanism", "SINK_KAFKA_SASL_MECHANISM", "NAME",
        "How to log in: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512").default("PLAIN");
    TLS = Setting::new(HEADING, "sink-kafka-tls", "SINK_KAFKA_TLS", "BOOL",
        "Connect with TLS. Without it, TLS is used if one of the files below is set").form(Form::Switch);
    CA_CERT_PATH = Setting::new(HEADING, "sink-kafka-ca-cert-path", "SINK_KAFKA_CA_CERT_PATH", "FILE",
        "PEM file with the certificate authority that signed the brokers' certificates. Without it, the authorities of the system").renewed();
    CLIENT_CERT = Setting::new(HEADING, "sink-kafka-client-cert", "SINK_KAFKA_CLIENT_CERT", "FILE",
        "PEM file with the certificate to present to the brokers. Requires the key").renewed();
    CLIENT_KEY = Setting::new(HEADING, "sink-kafka-client-key", "SINK_KAFKA_CLIENT_KEY", "FILE",
        "PEM file with the key of that certificate").secret_file().renewed();
    COMPRESSION = Setting::new(HEADING, "sink-kafka-compression", "SINK_KAFKA_COMPRESSION", "NAME",
        "How to compress batches: none, gzip, snappy, lz4 or zstd").default("none");
    TIMEOUT = Setting::new(HEADING, "sink-kafka-timeout", "SINK_KAFKA_TIMEOUT", "DURATION",
        "How long the brokers may take to acknowledge a record (1s–5m). Until then, the client tries again by itself, without repeats").default("30s");
}

static FILES: TlsSettings = TlsSettings {
    ca_cert: &CA_CERT_PATH,
    ca_path: None,
    client_cert: &CLIENT_CERT,
    client_key: &CLIENT_KEY,
    server_name: None,
};

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    let needed = [
        (&BROKERS, "the kafka sink needs a broker to connect to, such as kafka1:9092"),
        (&TOPIC, "the kafka sink needs the topic to write to, such as nomad or nomad.{Kind}"),
    ];
    for (setting, what) in needed {
        if reader.layers.get(setting).is_none() {
            reader.missing(setting, what);
        }
    }
    let brokers = reader.list(&BROKERS, broker);
    let topic = reader.optional(&TOPIC, topic);
    let key = reader.optional(&KEY, str::parse::<Template>);
    let login = login(reader);
    let tls = tls(reader);
    let compression = reader.value(&COMPRESSION, compression);
    let timeout = reader.value(&TIMEOUT, duration(Duration::from_secs(1), Duration::from_secs(300)));
    if brokers.is_empty() {
        return Err(Broken);
    }
    Ok(Config {
        brokers,
        topic: topic.ok_or(Broken)?,
        key,
        login: login?,
        tls,
        compression: compression?,
        timeout: timeout?,
    })
}

/// User and password, which belong together.
fn login(reader: &mut Reader<'_>) -> Result<Option<Login>, Broken> {
    let mechanism = reader.value(&SASL_MECHANISM, mechanism);
    let user = reader.optional(&USER, |text| Ok::<_, String>(text.to_owned()));
    let password = reader.optional(&PASSWORD, |text| Ok::<_, String>(Secret::new(text)));
    match (user, password) {
        (Some(user), Some(password)) => Ok(Some(Login { auth: BasicAuth { user, password }, mechanism: mechanism? })),
        (None, None) => mechanism.map(|_| None),
        (Some(_), None) => {
            reader.missing(&PASSWORD, "SINK_KAFKA_USER is set and needs its password; set both or neither");
            Err(Broken)
        }
        (None, Some(_)) => {
            // As in the original program.
            let what = "SINK_KAFKA_USER is not set, so the program does not log in";
            reader.warn(Warning::Unused { setting: "SINK_KAFKA_PASSWORD", what });
            mechanism.map(|_| None)
        }
    }
}

/// As in the original program, a certificate authority turns TLS on.
fn tls(reader: &mut Reader<'_>) -> Option<Files> {
    let tls = http::tls(reader, &FILES);
    let files = Files { ca_cert: tls.ca_cert, client_cert: tls.client_cert, client_key: tls.client_key };
    let has_files = files != Files::default();
    match reader.optional(&TLS, boolean) {
        Some(false) if has_files => {
            reader.wrong(&TLS, "there is a file for TLS, and no TLS; write true, or remove the file");
            None
        }
        Some(is_on) => is_on.then_some(files),
        None => has_files.then_some(files),
    }
}

fn broker(text: &str) -> Result<String, &'static str> {
    if text.contains("://") || text.contains(['/', '@']) {
        return Err("write only host and port, such as kafka1:9092; SINK_KAFKA_TLS and SINK_KAFKA_USER say the rest");
    }
    let text = http::with_host(&http::plain(text)?).into_owned();
    let port = match text.rsplit_once(':') {
        // An address of IPv6 has its colons in brackets.
        Some((host, port)) if !port.contains(']') => (!host.is_empty()).then_some(port),
        _ => return Ok(text),
    };
    match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(1..) => Ok(text),
        _ => Err("not a host and a port; write one such as kafka1:9092"),
    }
}

fn topic(text: &str) -> Result<Template, String> {
    let template: Template = text.parse().map_err(|error| format!("{error}"))?;
    match template.constant() {
        Some(name) if !message::is_topic(name) => Err(format!("not the name of a topic; use {}", message::TOPIC)),
        _ => Ok(template),
    }
}

fn mechanism(text: &str) -> Result<Mechanism, &'static str> {
    let all = [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512];
    let found = all.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(text));
    found.ok_or("no such mechanism; choose PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
}

fn compression(text: &str) -> Result<Compression, &'static str> {
    let found = Compression::ALL.into_iter().find(|compression| compression.name() == text);
    found.ok_or("no such compression; choose none, gzip, snappy, lz4 or zstd")
}

#[cfg(test)]
mod tests;
