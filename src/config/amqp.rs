//! The AMQP sink: the original's variables with their meanings, and ours.

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::{
    Secret, catalogue,
    http::{self, TlsSettings},
    reader::{Broken, Reader, number},
};
use crate::{
    sink::amqp::{Broker, Config, Mechanism},
    template::Template,
};

static TLS: TlsSettings = TlsSettings {
    ca_cert: &catalogue::SINK_AMQP_CACERT,
    ca_path: None,
    client_cert: &catalogue::SINK_AMQP_CLIENT_CERT,
    client_key: &catalogue::SINK_AMQP_CLIENT_KEY,
    server_name: None,
};

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    let needed = [
        (&catalogue::SINK_AMQP_CONNECTION, "the amqp sink needs its broker: amqp://USER:PASSWORD@HOST:5672/"),
        (&catalogue::SINK_AMQP_EXCHANGE, "the amqp sink needs the exchange to publish to"),
        (&catalogue::SINK_AMQP_ROUTING_KEY, "the amqp sink needs a routing key"),
    ];
    for (setting, what) in needed {
        if reader.text(setting).is_none() {
            reader.missing(setting, what);
        }
    }
    let broker = reader.optional(&catalogue::SINK_AMQP_CONNECTION, broker);
    let exchange = reader.optional(&catalogue::SINK_AMQP_EXCHANGE, name);
    let routing_key = reader.optional(&catalogue::SINK_AMQP_ROUTING_KEY, name);
    let workers = reader.value(&catalogue::SINK_AMQP_WORKERS, number(1, 64));
    let mandatory = reader.value(&catalogue::SINK_AMQP_MANDATORY, http::boolean);
    let tls = http::tls(reader, &TLS);
    if broker.as_ref().is_some_and(|broker| broker.mechanism == Mechanism::External) && tls.client.is_none() {
        let what =
            "auth_mechanism=external wants a client certificate; set SINK_AMQP_CLIENT_CERT and SINK_AMQP_CLIENT_KEY";
        reader.wrong(&catalogue::SINK_AMQP_CONNECTION, what);
    }
    Ok(Config {
        broker: broker.ok_or(Broken)?,
        exchange: exchange.ok_or(Broken)?,
        routing_key: routing_key.ok_or(Broken)?,
        workers: workers?,
        mandatory: mandatory?,
        tls: tls.into(),
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
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_read_as_the_original_reads_it() {
        for (text, shown) in [
            ("amqp://localhost", "guest:guest@localhost:5672 / 15"),
            ("amqp://guest:guest@127.0.0.1:5672/", "guest:guest@127.0.0.1:5672 / 15"),
            ("amqps://u%40x:p%2Fw@[::1]/%2F", "u@x:p/w@::1:5671 / 15"),
            ("amqp://u:@host:1/team%2Fa?heartbeat=30", "u:guest@host:1 team/a 30"),
        ] {
            let Broker { host, port, user, password, vhost, heartbeat, .. } = broker(text).expect("it is valid");
            assert_eq!(format!("{user}:{}@{host}:{port} {vhost} {heartbeat}", password.expose()), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_connection_is_refused_without_its_password() {
        for (text, part) in [
            ("localhost:5672", "begin with"),
            ("http://u:hush@host", "begin with"),
            ("amqp://u:hush@", "host"),
            ("amqp://u:hush@host:x", "port"),
            ("amqp://u:hush@host?heartbeat=5", "heartbeat"),
            ("amqp://u:hush@host?heartbeet=15", "only heartbeat"),
            ("amqp://u:hush@host?auth_mechanism=none", "plain or external"),
        ] {
            let error = broker(text).expect_err(text);
            assert!(error.contains(part) && !error.contains("hush"), "{text}: {error}");
        }
    }
}
