//! The settings of the AMQP sink: the variables of the original program with their meanings, and further ones.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use tracing::level_filters::LevelFilter;

use super::{Broker, Config, Mechanism};
use crate::{
    http::Secret,
    settings::{
        Broken, Form, Reader, Setting, TlsSettings,
        http::{self, boolean},
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
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "AMQP sink";

settings! {
    pub(super) SETTINGS:

    CONNECTION = Setting::new(HEADING, "sink-amqp-connection", "SINK_AMQP_CONNECTION", "URL",
        "The broker: amqp:// or amqps://USER:PASSWORD@HOST:PORT/VHOST, with ?heartbeat=SECONDS (10 to 30) or ?auth_mechanism=external where wanted").secret();
    EXCHANGE = Setting::new(HEADING, "sink-amqp-exchange", "SINK_AMQP_EXCHANGE", "TEMPLATE",
        "The exchange to publish to, which has to exist. Fields of the record can stand in it: {Kind}");
    ROUTING_KEY = Setting::new(HEADING, "sink-amqp-routing-key", "SINK_AMQP_ROUTING_KEY", "TEMPLATE",
        "The routing key. Fields of the record can stand in it: nomad.{Namespace}.{JobID}.{TaskEvent.Type}");
    WORKERS = Setting::new(HEADING, "sink-amqp-workers", "SINK_AMQP_WORKERS", "COUNT",
        "How many connections publish side by side, from 1 to 64; records of one key always take the same one").default("1");
    MANDATORY = Setting::new(HEADING, "sink-amqp-mandatory", "SINK_AMQP_MANDATORY", "BOOL",
        "Have the broker return what no queue is bound for, which makes it a dead letter; with false the broker drops it in silence")
        .default("true").form(Form::Switch);
    CACERT = Setting::new(HEADING, "sink-amqp-cacert", "SINK_AMQP_CACERT", "FILE",
        "The certificate authority that signed the broker's certificate, PEM; without it those of the system");
    CLIENT_CERT = Setting::new(HEADING, "sink-amqp-client-cert", "SINK_AMQP_CLIENT_CERT", "FILE",
        "The certificate to present to the broker, PEM; needs the key");
    CLIENT_KEY = Setting::new(HEADING, "sink-amqp-client-key", "SINK_AMQP_CLIENT_KEY", "FILE",
        "The key of that certificate, PEM").secret_file();
}

static TLS: TlsSettings = TlsSettings {
    ca_cert: &CACERT,
    ca_path: None,
    client_cert: &CLIENT_CERT,
    client_key: &CLIENT_KEY,
    server_name: None,
};

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    let needed = [
        (&CONNECTION, "the amqp sink needs its broker: amqp://USER:PASSWORD@HOST:5672/"),
        (&EXCHANGE, "the amqp sink needs the exchange to publish to"),
        (&ROUTING_KEY, "the amqp sink needs a routing key"),
    ];
    for (setting, what) in needed {
        if reader.text(setting).is_none() {
            reader.missing(setting, what);
        }
    }
    let broker = reader.optional(&CONNECTION, broker);
    let exchange = reader.optional(&EXCHANGE, name);
    let routing_key = reader.optional(&ROUTING_KEY, name);
    let workers = reader.value(&WORKERS, number(1, 64));
    let mandatory = reader.value(&MANDATORY, boolean);
    let tls = http::tls(reader, &TLS);
    if broker.as_ref().is_some_and(|broker| broker.mechanism == Mechanism::External) && tls.client_cert.is_none() {
        let what =
            "auth_mechanism=external wants a client certificate; set SINK_AMQP_CLIENT_CERT and SINK_AMQP_CLIENT_KEY";
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

/// A name on the wire has at most 255 bytes (`shortstr` of AMQP 0-9-1); a template is held to that for each record.
fn name(text: &str) -> Result<Template, String> {
    let template: Template = text.parse().map_err(|error| format!("{error}"))?;
    if template.is_constant() && text.len() > 255 {
        return Err("a name has at most 255 bytes".to_owned());
    }
    Ok(template)
}

/// As the original reads it: user and password are `guest` where they are left out, and a path of `/` is the virtual host
/// of that name.
fn broker(text: &str) -> Result<Broker, String> {
    if !text.contains("://") {
        return Err("begin with amqp:// or amqps://, such as amqp://HOST:5672/".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("not an address: {error}; write amqp://HOST:5672/"))?;
    let secure = match url.scheme() {
        "amqp" => false,
        "amqps" => true,
        _ => return Err("begin with amqp:// or amqps://".to_owned()),
    };
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
        text.map_err(|_| "user, password and virtual host have to be UTF-8".to_owned())
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the host is missing")?;
    let user = match url.username() {
        "" => "guest".to_owned(),
        user => decode(user)?,
    };
    let vhost = match url.path() {
        "" | "/" => "/".to_owned(),
        path => decode(&path[1..])?,
    };
    if vhost.len() > 255 {
        return Err("the virtual host has more than 255 bytes".to_owned());
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
    for (name, value) in url.query_pairs() {
        match (&*name, &*value) {
            ("heartbeat", seconds) => {
                broker.heartbeat = number(10, 30)(seconds).map_err(|error| format!("heartbeat: {error}"))?;
            }
            ("auth_mechanism", "plain") => broker.mechanism = Mechanism::Plain,
            ("auth_mechanism", "external") => broker.mechanism = Mechanism::External,
            ("auth_mechanism", _) => return Err("auth_mechanism has to be plain or external".to_owned()),
            _ => return Err("of what stands behind ?, only heartbeat and auth_mechanism are known here".to_owned()),
        }
    }
    Ok(broker)
}

#[cfg(test)]
mod tests;
