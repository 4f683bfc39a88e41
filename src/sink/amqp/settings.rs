//! The settings of the AMQP sink: the variables of the original program with their meanings, and further ones.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use tracing::level_filters::LevelFilter;

use super::{Broker, Config, Mechanism};
use crate::{
    http::Secret,
    settings::{
        Broken, Form, Reader, Setting, TlsSettings, Warning,
        http::{self, boolean, with_host},
        number, settings,
    },
    sink::Definition,
    template::Template,
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "an exchange of RabbitMQ",
    settings: SETTINGS,
    // The client logs whole messages, and at `trace` the frame with the password.
    log: &[("lapin", LevelFilter::OFF), ("amq_protocol", LevelFilter::OFF)],
    is_for_people: false,
    has_headers: true,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "AMQP sink";

settings! {
    pub(super) SETTINGS:

    CONNECTION = Setting::new(HEADING, "sink-amqp-connection", "SINK_AMQP_CONNECTION", "URL",
        "Broker: amqp:// or amqps://USER:PASSWORD@HOST:PORT/VHOST, optionally with ?heartbeat=SECONDS (10–30) or ?auth_mechanism=external").secret();
    EXCHANGE = Setting::new(HEADING, "sink-amqp-exchange", "SINK_AMQP_EXCHANGE", "TEMPLATE",
        "Exchange to publish to, which must exist. It can contain fields of the record: {Kind}");
    ROUTING_KEY = Setting::new(HEADING, "sink-amqp-routing-key", "SINK_AMQP_ROUTING_KEY", "TEMPLATE",
        "Routing key. It can contain fields of the record: nomad.{Namespace}.{JobID}.{TaskEvent.Type}");
    WORKERS = Setting::new(HEADING, "sink-amqp-workers", "SINK_AMQP_WORKERS", "COUNT",
        "Connections that publish in parallel (1–64), each a batch of its own. Two records of one key are never in parallel; with 1, all records arrive in the order of their events").default("4");
    MANDATORY = Setting::new(HEADING, "sink-amqp-mandatory", "SINK_AMQP_MANDATORY", "BOOL",
        "Make the broker return records that no queue is bound for, so that they become dead letters. With false, the broker drops them silently")
        .default("true").form(Form::Switch);
    CACERT = Setting::new(HEADING, "sink-amqp-cacert", "SINK_AMQP_CACERT", "FILE",
        "PEM file with the certificate authority that signed the broker's certificate. Without it, the authorities of the system").renewed();
    CLIENT_CERT = Setting::new(HEADING, "sink-amqp-client-cert", "SINK_AMQP_CLIENT_CERT", "FILE",
        "PEM file with the certificate to present to the broker. Requires the key").renewed();
    CLIENT_KEY = Setting::new(HEADING, "sink-amqp-client-key", "SINK_AMQP_CLIENT_KEY", "FILE",
        "PEM file with the key of that certificate").secret_file().renewed();
}

static TLS: TlsSettings = TlsSettings {
    ca_cert: &CACERT,
    ca_path: None,
    client_cert: &CLIENT_CERT,
    client_key: &CLIENT_KEY,
    server_name: None,
};

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    reader.require(&[
        (&CONNECTION, "the amqp sink needs its broker; write its address, such as amqp://HOST:5672/"),
        (&EXCHANGE, "the amqp sink needs the exchange to publish to; name one that exists"),
        (&ROUTING_KEY, "the amqp sink needs a routing key; write one such as nomad.{Kind}"),
    ]);
    let broker = reader.optional(&CONNECTION, broker).map(|(broker, unused)| {
        if let Some(what) = unused {
            reader.warn(Warning::Unused { setting: "SINK_AMQP_CONNECTION", what });
        }
        broker
    });
    let exchange = reader.optional(&EXCHANGE, name);
    let routing_key = reader.optional(&ROUTING_KEY, name);
    let workers = reader.value(&WORKERS, number(1, 64));
    let mandatory = reader.value(&MANDATORY, boolean);
    let tls = http::tls(reader, &TLS);
    if broker.as_ref().is_some_and(|broker| broker.mechanism == Mechanism::External) && tls.client_cert.is_none() {
        let what =
            "auth_mechanism=external requires a client certificate; set SINK_AMQP_CLIENT_CERT and SINK_AMQP_CLIENT_KEY";
        reader.wrong(&CONNECTION, what);
    }
    Ok(Config {
        broker: broker.ok_or(Broken)?,
        exchange: exchange.ok_or(Broken)?,
        routing_key: routing_key.ok_or(Broken)?,
        workers: workers?,
        mandatory: mandatory?,
        tls,
    })
}

/// A name on the wire has at most 255 bytes (`shortstr` of AMQP 0-9-1). A template is checked against that for each
/// record.
fn name(text: &str) -> Result<Template, String> {
    let template: Template = text.parse().map_err(|error| format!("{error}"))?;
    if template.is_constant() && text.len() > 255 {
        return Err("the name has more than 255 bytes; write a shorter one".to_owned());
    }
    Ok(template)
}

/// As the original program reads it: user and password default to `guest`, and a path of `/` is the virtual host of that name. With it,
/// what does nothing.
fn broker(text: &str) -> Result<(Broker, Option<&'static str>), String> {
    if !text.contains("://") {
        return Err("begin with amqp:// or amqps://, such as amqp://HOST:5672/".to_owned());
    }
    let url = Url::parse(&with_host(text)).map_err(|error| format!("not a URL: {error}; write amqp://HOST:5672/"))?;
    let secure = match url.scheme() {
        "amqp" => false,
        "amqps" => true,
        _ => return Err("begin with amqp:// or amqps://".to_owned()),
    };
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
        text.map_err(|_| "user, password or virtual host is not UTF-8; write them in UTF-8".to_owned())
    };
    let host = url.host_str().ok_or("the host is missing; write amqp://HOST:5672/")?;
    let user = match url.username() {
        "" => "guest".to_owned(),
        user => decode(user)?,
    };
    let vhost = match url.path() {
        "" | "/" => "/".to_owned(),
        path => decode(&path[1..])?,
    };
    if vhost.len() > 255 {
        return Err("the virtual host has more than 255 bytes; name a shorter one".to_owned());
    }
    let mut broker = Broker {
        secure,
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(if secure { 5671 } else { 5672 }),
        user,
        password: Secret::new(url.password().map_or(Ok("guest".to_owned()), decode)?),
        vhost,
        heartbeat: 15,
        mechanism: Mechanism::Plain,
    };
    let mut unused = None;
    for (name, value) in url.query_pairs() {
        match (&*name, &*value) {
            ("heartbeat", seconds) => match number(10, 30)(seconds) {
                Ok(seconds) => broker.heartbeat = seconds,
                Err(_) => unused = Some("heartbeat must be 10 to 30 seconds, and 15 is used"),
            },
            ("auth_mechanism", "plain") => broker.mechanism = Mechanism::Plain,
            ("auth_mechanism", "external") => broker.mechanism = Mechanism::External,
            ("auth_mechanism", _) => return Err("unknown auth_mechanism; choose plain or external".to_owned()),
            _ => unused = Some("the only parameters that are used are heartbeat and auth_mechanism"),
        }
    }
    Ok((broker, unused))
}

#[cfg(test)]
mod tests;
