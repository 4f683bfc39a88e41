//! The settings of the SMTP sink.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use lettre::message::Mailbox;
use tracing::level_filters::LevelFilter;

use super::{Config, Encryption, User, subject::Subject};
use crate::{
    settings::{Broken, Form, Reader, Setting, duration, http::plain, number, settings},
    sink::{Definition, secret::SecretSource},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "mail through an SMTP server",
    settings: SETTINGS,
    log: &[("lettre", LevelFilter::WARN)],
    is_for_people: true,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "SMTP sink";

settings! {
    pub(super) SETTINGS:

    HOST = Setting::new(HEADING, "sink-smtp-host", "SINK_SMTP_HOST", "HOST",
        "SMTP server, by the name that is in its certificate");
    PORT = Setting::new(HEADING, "sink-smtp-port", "SINK_SMTP_PORT", "PORT",
        "Port of the server (1–65535). Without it, 587 with starttls, 465 with tls, and 25 with none");
    TLS = Setting::new(HEADING, "sink-smtp-tls", "SINK_SMTP_TLS", "HOW",
        "Encryption: starttls (required before the login), tls (from the start), or none").default("starttls");
    CACERT = Setting::new(HEADING, "sink-smtp-cacert", "SINK_SMTP_CACERT", "FILE",
        "PEM file with the certificate authority that signed the server's certificate. Without it, the authorities of the system").renewed();
    USERNAME = Setting::new(HEADING, "sink-smtp-username", "SINK_SMTP_USERNAME", "USER",
        "User to log in as. Without it, there is no login");
    PASSWORD = Setting::new(HEADING, "sink-smtp-password", "SINK_SMTP_PASSWORD", "SECRET",
        "Password of that user. Other users can see flags in the process list: prefer the variable, or the file").secret();
    PASSWORD_FILE = Setting::new(HEADING, "sink-smtp-password-file", "SINK_SMTP_PASSWORD_FILE", "FILE",
        "File with the password of that user, read again for each mail").secret_file().renewed();
    FROM = Setting::new(HEADING, "sink-smtp-from", "SINK_SMTP_FROM", "ADDRESS",
        "Sender: nomad@example.com, or Nomad <nomad@example.com>");
    TO = Setting::new(HEADING, "sink-smtp-to", "SINK_SMTP_TO", "ADDRESS",
        "Recipients of every mail: ops@example.com,oncall@example.com").form(Form::List);
    SUBJECT = Setting::new(HEADING, "sink-smtp-subject", "SINK_SMTP_SUBJECT", "TEXT",
        "Subject. It can contain {title} (or the start of the text), {severity}, {kind}, {namespace}, {job}, {node} and {cluster}")
        .default("[nomad] {title}");
    TIMEOUT = Setting::new(HEADING, "sink-smtp-timeout", "SINK_SMTP_TIMEOUT", "DURATION",
        "How long the server may take for one mail, connecting included (100ms–10m)").default("30s");
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    for (setting, what) in [
        (&HOST, "the smtp sink needs a server to send through, such as smtp.example.com"),
        (&FROM, "the smtp sink needs a sender, such as nomad@example.com"),
        (&TO, "the smtp sink needs at least one recipient, such as ops@example.com"),
    ] {
        if reader.layers.get(setting).is_none() {
            reader.missing(setting, what);
        }
    }
    let host = reader.optional(&HOST, host);
    let encryption = reader.value(&TLS, encryption);
    let port = reader.optional(&PORT, number(1, u16::MAX));
    let ca_cert = reader.optional(&CACERT, |text| Ok::<_, String>(PathBuf::from(text)));
    let user = user(reader);
    let from = reader.optional(&FROM, mailbox);
    let to = reader.list(&TO, mailbox);
    let subject = reader.value(&SUBJECT, str::parse::<Subject>);
    let timeout = reader.value(&TIMEOUT, duration(Duration::from_millis(100), Duration::from_secs(600)));
    let (host, encryption) = (host.ok_or(Broken)?, encryption?);
    if user.is_some() && encryption == Encryption::None && !is_this_machine(&host) {
        reader.wrong(&TLS, "without encryption, others can read the password; choose starttls or tls");
    }
    let port = port.unwrap_or(encryption.port());
    let from = from.ok_or(Broken)?;
    if to.is_empty() {
        return Err(Broken);
    }
    Ok(Config { host, port, encryption, ca_cert, user, from, to, subject: subject?, timeout: timeout? })
}

/// User and password, which belong together.
fn user(reader: &mut Reader<'_>) -> Option<User> {
    let user = reader.optional(&USERNAME, |text| Ok::<_, String>(text.to_owned()));
    let password = SecretSource::read(reader, &PASSWORD, &PASSWORD_FILE, |text| Ok::<_, String>(text.to_owned()));
    match (user, password) {
        (Some(name), Some(password)) => Some(User { name, password }),
        (None, None) => None,
        (Some(_), None) => {
            reader.missing(&PASSWORD, "SINK_SMTP_USERNAME is set and needs its password; set both or neither");
            None
        }
        (None, Some(password)) => {
            let given = if matches!(password, SecretSource::File(_)) { &PASSWORD_FILE } else { &PASSWORD };
            reader.missing(&USERNAME, format!("{} is set and needs its user; set both or neither", given.variable));
            None
        }
    }
}

fn host(text: &str) -> Result<String, &'static str> {
    if text.contains("://") || text.contains('/') {
        return Err("write only the host, such as smtp.example.com; SINK_SMTP_TLS and SINK_SMTP_PORT say the rest");
    }
    if text.parse::<IpAddr>().is_err() && text.contains(':') {
        return Err("write only the host, and the port in SINK_SMTP_PORT");
    }
    plain(text)
}

fn encryption(text: &str) -> Result<Encryption, &'static str> {
    match text {
        "starttls" => Ok(Encryption::Starttls),
        "tls" => Ok(Encryption::Tls),
        "none" => Ok(Encryption::None),
        _ => Err("no such encryption; choose starttls, tls or none"),
    }
}

fn mailbox(text: &str) -> Result<Mailbox, &'static str> {
    text.parse().map_err(|_| "not a mail address; write one such as ops@example.com, or Ops <ops@example.com>")
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
