//! The client's own settings (librdkafka's `CONFIGURATION.md`), and the files of TLS.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use super::{Config, Files, Login};
use crate::{
    files,
    identity::PRODUCT,
    redact,
    sink::Unusable,
    tls::{self, Asked, BadFile, Tls, Variables},
};

static VARIABLES: Variables = Variables {
    role: "sink",
    ca_cert: "SINK_KAFKA_CA_CERT_PATH",
    ca_path: "",
    client_cert: "SINK_KAFKA_CLIENT_CERT",
    client_key: "SINK_KAFKA_CLIENT_KEY",
    server_name: "",
    usual_name: "",
};

/// The largest record with key and headers. A broker closes the connection over a request of more than 100 MiB
/// (`socket.request.max.bytes`).
pub(super) const MOST_BYTES: usize = 99 << 20;

/// The most bytes of records in one request for a partition, as a producer begins: the client's own default. It is below the 1 MiB
/// that a topic takes by default (`max.message.bytes`).
pub(super) const REQUEST_BYTES: usize = 1_000_000;

/// The largest file of certificates: the system's authorities have some hundreds of KiB.
const MAX_FILE: usize = 4 << 20;

/// The client's settings. Reads the files of TLS.
///
/// `request_bytes` is the most bytes of records in one request for a partition, except for a single larger one.
///
/// # Errors
/// A file cannot be used.
pub(super) fn settings(config: &Config, request_bytes: usize) -> Result<ClientConfig, Unusable> {
    let mut client = ClientConfig::new();
    let mut set = |name: &str, value: &str| {
        client.set(name, value);
    };
    set("bootstrap.servers", &config.brokers());
    set("client.id", PRODUCT);
    // acks=all, and what is sent again within the client is stored once and in order.
    set("enable.idempotence", "true");
    set("acks", "all");
    set("max.in.flight.requests.per.connection", "5");
    // As Java's clients choose a partition.
    set("partitioner", "murmur2_random");
    set("compression.codec", config.compression.name());
    set("message.timeout.ms", &millis(config.timeout));
    set("message.max.bytes", &MOST_BYTES.to_string());
    set("batch.size", &request_bytes.to_string());
    set("linger.ms", "1");
    // The delivery bounds what is under way. The largest record alone has to fit.
    set("queue.buffering.max.messages", &Config::most_queued().to_string());
    set("queue.buffering.max.kbytes", &(2 * MOST_BYTES / 1024).to_string());
    set("socket.keepalive.enable", "true");
    set("socket.nagle.disable", "true");
    set("socket.connection.setup.timeout.ms", "10000");
    set("reconnect.backoff.max.ms", "1000");
    set("retry.backoff.max.ms", "1000");
    // How long a topic that was just created may be unknown to a broker.
    set("topic.metadata.propagation.max.ms", "5000");
    set("enable.metrics.push", "false");
    let secure = config.tls.is_some();
    set(
        "security.protocol",
        match (&config.login, secure) {
            (None, false) => "plaintext",
            (None, true) => "ssl",
            (Some(_), false) => "sasl_plaintext",
            (Some(_), true) => "sasl_ssl",
        },
    );
    if let Some(Login { auth, mechanism }) = &config.login {
        set("sasl.mechanism", mechanism.name());
        set("sasl.username", &auth.user);
        set("sasl.password", auth.password.expose());
    }
    if secure {
        set_tls(config, &mut set)?;
    }
    client.set_log_level(RDKafkaLogLevel::Info);
    Ok(client)
}

fn set_tls(config: &Config, set: &mut impl FnMut(&str, &str)) -> Result<(), Unusable> {
    let Some(files) = &config.tls else { return Ok(()) };
    match &files.ca_cert {
        Some(path) => set("ssl.ca.pem", &pem(VARIABLES.ca_cert, path, "CERTIFICATE")?),
        // The client's OpenSSL does not know where this system keeps its authorities.
        None => match openssl_probe::probe().cert_file {
            Some(path) => set("ssl.ca.location", &path.to_string_lossy()),
            None => set("ssl.ca.location", "probe"),
        },
    }
    if let (Some(certificate), Some(key)) = (&files.client_cert, &files.client_key) {
        set("ssl.certificate.pem", &pem(VARIABLES.client_cert, certificate, "CERTIFICATE")?);
        let key = pem(VARIABLES.client_key, key, "PRIVATE KEY")?;
        redact::renew(&key);
        set("ssl.key.pem", &key);
    }
    Ok(())
}

/// Holds the files of TLS to what the program asks of all its certificates, and shows when they expire.
///
/// # Errors
/// A file cannot be used.
pub(super) fn certificates(config: &Config) -> Result<(), Unusable> {
    let Some(files) = config.tls.clone() else { return Ok(()) };
    let Files { ca_cert, client_cert, client_key } = files;
    let files = Tls { ca_cert, client_cert, client_key, ..Tls::default() };
    let bad = |BadFile { variable, path, reason }: BadFile| {
        Unusable::new(format!("{variable} names {}: {reason}", path.display()))
    };
    tls::client(&files, &VARIABLES, None, Asked::default()).map(drop).map_err(bad)
}

/// The text of a PEM file that holds at least one of `what`.
fn pem(variable: &'static str, path: &Path, what: &str) -> Result<String, Unusable> {
    let bad = |why: String, fix: &str| Unusable::new(format!("{variable} names {}: {why}; {fix}", path.display()));
    let bytes = files::read(path, MAX_FILE)
        .map_err(|error| bad(error.to_string(), "set it to a PEM file that this program may read"))?;
    let text = String::from_utf8(bytes).ok();
    let text = text.filter(|text| text.contains("-----BEGIN ") && text.contains(&format!("{what}-----")));
    text.ok_or_else(|| bad(format!("it has no {what} in PEM"), "set it to a PEM file"))
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

/// When the files of TLS were changed, and how large they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<(SystemTime, u64)>>);

impl Stamp {
    /// As they are now. A file that cannot be read now is none: the next producer says why, if there is a next one.
    pub(super) fn of(config: &Config) -> Self {
        let files = config.tls.iter().flat_map(|files| [&files.ca_cert, &files.client_cert, &files.client_key]);
        let stamp = |path: &PathBuf| {
            let found = fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        Stamp(files.flatten().map(stamp).collect())
    }
}
