//! The settings of the NATS sink.

use std::{path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::{Config, Login, Server, subject};
use crate::{
    http::Secret,
    settings::{
        Broken, Form, Reader, Setting, TlsSettings, duration,
        http::{self, boolean, plain},
        settings,
    },
    sink::Definition,
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "a stream of NATS JetStream",
    settings: SETTINGS,
    log: &[],
    is_for_people: false,
    has_headers: true,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "NATS sink";

settings! {
    pub(super) SETTINGS:

    URL = Setting::new(HEADING, "sink-nats-url", "SINK_NATS_URL", "URL,…",
        "Servers of one cluster, tried in turn: nats://HOST:4222, or tls://HOST:4222 to insist on TLS. User and password, or a token, can stand before the host").secret().form(Form::List);
    SUBJECT = Setting::new(HEADING, "sink-nats-subject", "SINK_NATS_SUBJECT", "TEMPLATE",
        "Subject to publish to, which a stream must be bound to. It can contain fields of the record: nomad.{Kind}.{Namespace}.{JobID}");
    STREAM = Setting::new(HEADING, "sink-nats-stream", "SINK_NATS_STREAM", "NAME",
        "Stream that has to store the records. Without it, any stream that is bound to the subject");
    USERNAME = Setting::new(HEADING, "sink-nats-username", "SINK_NATS_USERNAME", "NAME",
        "User to log in as. Requires the password");
    PASSWORD = Setting::new(HEADING, "sink-nats-password", "SINK_NATS_PASSWORD", "TEXT",
        "Password of the user").secret();
    TOKEN = Setting::new(HEADING, "sink-nats-token", "SINK_NATS_TOKEN", "TEXT",
        "Token to log in with").secret();
    TOKEN_FILE = Setting::new(HEADING, "sink-nats-token-file", "SINK_NATS_TOKEN_FILE", "FILE",
        "File with the token to log in with. It is read for each connection").secret_file().renewed();
    CREDENTIALS = Setting::new(HEADING, "sink-nats-credentials", "SINK_NATS_CREDENTIALS", "FILE",
        "Credentials file (.creds) with a JWT and the seed of a key. It is read for each connection").secret_file().renewed();
    NKEY = Setting::new(HEADING, "sink-nats-nkey", "SINK_NATS_NKEY", "FILE",
        "File with the seed of an nkey (SU…) to log in with. It is read for each connection").secret_file().renewed();
    INBOX_PREFIX = Setting::new(HEADING, "sink-nats-inbox-prefix", "SINK_NATS_INBOX_PREFIX", "SUBJECT",
        "Beginning of the subjects on which acknowledgements arrive. The user must be allowed to subscribe to it").default("_INBOX");
    ACK_TIMEOUT = Setting::new(HEADING, "sink-nats-ack-timeout", "SINK_NATS_ACK_TIMEOUT", "DURATION",
        "How long no acknowledgement may arrive before the records are sent again over a new connection (1s–5m)").default("10s");
    TLS_FIRST = Setting::new(HEADING, "sink-nats-tls-first", "SINK_NATS_TLS_FIRST", "BOOL",
        "Begin TLS before the server's greeting, for servers with handshake_first and for proxies that end TLS").default("false").form(Form::Switch);
    CACERT = Setting::new(HEADING, "sink-nats-cacert", "SINK_NATS_CACERT", "FILE",
        "PEM file with the certificate authority that signed the server's certificate. Without it, the authorities of the system").renewed();
    CLIENT_CERT = Setting::new(HEADING, "sink-nats-client-cert", "SINK_NATS_CLIENT_CERT", "FILE",
        "PEM file with the certificate to present to the server. Requires the key").renewed();
    CLIENT_KEY = Setting::new(HEADING, "sink-nats-client-key", "SINK_NATS_CLIENT_KEY", "FILE",
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
        (&URL, "the nats sink needs its server; write its address, such as nats://HOST:4222"),
        (&SUBJECT, "the nats sink needs a subject; write one such as nomad.{Kind}.{JobID}"),
    ]);
    let places = reader.list(&URL, place);
    let subject = reader.optional(&SUBJECT, subject::parse);
    let stream = reader.optional(&STREAM, stream);
    let login = login(reader, &places);
    let inbox = reader.value(&INBOX_PREFIX, inbox);
    let ack_timeout = reader.value(&ACK_TIMEOUT, duration(Duration::from_secs(1), Duration::from_secs(300)));
    let tls_first = reader.value(&TLS_FIRST, boolean);
    let tls = http::tls(reader, &TLS);
    if places.is_empty() {
        return Err(Broken);
    }
    Ok(Config {
        servers: places.into_iter().map(|place| place.server).collect(),
        login,
        subject: subject.ok_or(Broken)?,
        stream,
        inbox: inbox?,
        ack_timeout: ack_timeout?,
        tls_first: tls_first?,
        tls,
    })
}

/// The one way to log in, of those in the addresses and those in the settings.
fn login(reader: &mut Reader<'_>, places: &[Place]) -> Login {
    let path = |text: &str| Ok::<_, String>(PathBuf::from(text));
    let secret = |text: &str| Ok::<_, String>(Secret::new(text));
    let user = reader.optional(&USERNAME, |text| Ok::<_, String>(text.to_owned()));
    let password = reader.optional(&PASSWORD, secret);
    let mut ways: Vec<(&'static Setting, Login)> = Vec::new();
    match (user, password) {
        (Some(user), Some(password)) => ways.push((&USERNAME, Login::User(user, password))),
        (Some(_), None) => {
            reader.missing(&PASSWORD, "SINK_NATS_USERNAME is set and needs its password; set both or neither");
        }
        (None, Some(_)) => {
            reader.missing(&USERNAME, "SINK_NATS_PASSWORD is set and needs its user; set both or neither");
        }
        (None, None) => {}
    }
    ways.extend(reader.optional(&TOKEN, secret).map(|token| (&TOKEN, Login::Token(token))));
    ways.extend(reader.optional(&TOKEN_FILE, path).map(|file| (&TOKEN_FILE, Login::TokenFile(file))));
    ways.extend(reader.optional(&CREDENTIALS, path).map(|file| (&CREDENTIALS, Login::Credentials(file))));
    ways.extend(reader.optional(&NKEY, path).map(|file| (&NKEY, Login::Nkey(file))));
    for place in places {
        if place.login != Login::None && !ways.iter().any(|(_, login)| *login == place.login) {
            ways.push((&URL, place.login.clone()));
        }
    }
    if let [(first, _), (second, _), ..] = ways.as_slice() {
        let (first, second) = (first.variable, second.variable);
        let what = if first == second {
            "its addresses name several users; name one".to_owned()
        } else {
            format!("{first} and {second} are two ways to log in; set one of them")
        };
        reader.wrong(ways[1].0, what);
    }
    ways.into_iter().next().map(|(_, login)| login).unwrap_or_default()
}

/// An address, and the login before its host.
#[derive(Debug, PartialEq)]
struct Place {
    server: Server,
    login: Login,
}

fn place(text: &str) -> Result<Place, String> {
    const EXAMPLE: &str = "write nats://HOST:4222";
    // As with NATS's own tools.
    let text = if text.contains("://") { text.to_owned() } else { format!("nats://{text}") };
    let url = Url::parse(&text).map_err(|error| format!("not a URL: {error}; {EXAMPLE}"))?;
    let secure = match url.scheme() {
        "nats" => false,
        "tls" => true,
        "ws" | "wss" => return Err("websockets are not supported; begin with nats:// or tls://".to_owned()),
        _ => return Err("begin with nats:// or tls://".to_owned()),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(format!("the host is missing; {EXAMPLE}"))?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("an address ends after the port; {EXAMPLE}"));
    }
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
        text.map_err(|_| "user or password is not UTF-8; write them in UTF-8".to_owned())
    };
    let login = match (url.username(), url.password()) {
        ("", None) => Login::None,
        (token, None) => Login::Token(Secret::new(decode(token)?)),
        (user, Some(password)) => Login::User(decode(user)?, Secret::new(decode(password)?)),
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok(Place { server: Server { secure, host, port: url.port().unwrap_or(4222) }, login })
}

/// The rules of the server for the name of a stream.
fn stream(text: &str) -> Result<String, String> {
    if text.contains(['.', '*', '>', '/', '\\']) {
        return Err("not the name of a stream; write it without . * > / and \\".to_owned());
    }
    Ok(plain(text)?)
}

fn inbox(text: &str) -> Result<String, String> {
    if text.contains(['*', '>']) || text.split('.').any(str::is_empty) {
        return Err("not the beginning of a subject; write one such as _INBOX, without * and >".to_owned());
    }
    Ok(plain(text)?)
}

#[cfg(test)]
mod tests;
