//! The settings of the Redis sink: the variables of the original program with their meanings, and further ones.

use std::{path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::{Config, Mode, Server, Wait};
use crate::{
    http::Secret,
    settings::{
        Broken, Reader, Setting, TlsSettings, Warning, duration,
        http::{self, with_host},
        number, settings,
    },
    sink::{Definition, dial::Place},
    sys::sockets::HAVE_PATHS,
    template::Template,
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "a stream, list or channel of Redis",
    settings: SETTINGS,
    // The parts of the client that are used log nothing.
    log: &[],
    is_for_people: false,
    has_headers: true,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "Redis sink";

settings! {
    pub(super) SETTINGS:

    URL = Setting::new(HEADING, "sink-redis-url", "SINK_REDIS_URL", "URL",
        "Server: redis:// or, with TLS, rediss://USER:PASSWORD@HOST:PORT/DATABASE; or unix:///PATH?user=USER&password=PASSWORD&db=DATABASE. User, password, port and database can be left out").secret();
    KEY = Setting::new(HEADING, "sink-redis-key", "SINK_REDIS_KEY", "TEMPLATE",
        "Key of the stream or list, or name of the channel. It can contain fields of the record: nomad:{Kind}");
    MODE = Setting::new(HEADING, "sink-redis-mode", "SINK_REDIS_MODE", "NAME",
        "What the key names: list (RPUSH, as the original program), stream (XADD, with the id of each record; recommended), channel (PUBLISH: whoever does not listen misses the record)").default("list");
    MAX_LENGTH = Setting::new(HEADING, "sink-redis-max-length", "SINK_REDIS_MAX_LENGTH", "COUNT",
        "About how many entries Redis keeps in a stream (at least 1). It drops older ones, read or not. Without it, none is dropped");
    WAIT_REPLICAS = Setting::new(HEADING, "sink-redis-wait-replicas", "SINK_REDIS_WAIT_REPLICAS", "COUNT",
        "How many replicas must have a record before it counts as delivered (0–100)").default("0");
    WAIT_TIMEOUT = Setting::new(HEADING, "sink-redis-wait-timeout", "SINK_REDIS_WAIT_TIMEOUT", "DURATION",
        "How long the replicas may take before the records are sent again (10ms–30s)").default("1s");
    CACERT = Setting::new(HEADING, "sink-redis-cacert", "SINK_REDIS_CACERT", "FILE",
        "PEM file with the certificate authority that signed the server's certificate. Without it, the authorities of the system").renewed();
    CLIENT_CERT = Setting::new(HEADING, "sink-redis-client-cert", "SINK_REDIS_CLIENT_CERT", "FILE",
        "PEM file with the certificate to present to the server. Requires the key").renewed();
    CLIENT_KEY = Setting::new(HEADING, "sink-redis-client-key", "SINK_REDIS_CLIENT_KEY", "FILE",
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
        (&URL, "the redis sink needs its server; write its address, such as redis://HOST:6379/0"),
        (&KEY, "the redis sink needs the key to write to; write one such as nomad:{Kind}"),
    ]);
    let mut server = reader.optional(&URL, server);
    if let Some(server) = server.as_mut().filter(|server| server.password.is_none() && server.user.is_some()) {
        // As in the original program.
        server.user = None;
        let what = "the user has no password, so the program does not log in";
        reader.warn(Warning::Unused { setting: "SINK_REDIS_URL", what });
    }
    let key = reader.optional(&KEY, |text| text.parse::<Template>().map_err(|error| error.to_string()));
    let mode = reader.value(&MODE, mode);
    let max_length = reader.optional(&MAX_LENGTH, number(1, u64::from(u32::MAX)));
    let replicas = reader.value(&WAIT_REPLICAS, number(0, 100));
    let timeout = reader.value(&WAIT_TIMEOUT, duration(Duration::from_millis(10), Duration::from_secs(30)));
    let tls = http::tls(reader, &TLS);
    let mode = mode?;
    if max_length.is_some() && mode != Mode::Stream {
        reader.wrong(&MAX_LENGTH, "only a stream is trimmed; set SINK_REDIS_MODE=stream, or leave this out");
    }
    let (replicas, timeout) = (replicas?, timeout?);
    Ok(Config {
        server: server.ok_or(Broken)?,
        mode,
        key: key.ok_or(Broken)?,
        max_length,
        wait: (replicas > 0).then_some(Wait { replicas, timeout }),
        tls,
    })
}

fn mode(text: &str) -> Result<Mode, &'static str> {
    let found = Mode::ALL.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, mode)| mode).ok_or("write list, stream or channel")
}

/// As the original program reads it, and as Redis's own tools do: the path is the number of the database.
fn server(text: &str) -> Result<Server, String> {
    if !text.contains("://") {
        return Err("begin with redis://, rediss:// or unix://, such as redis://HOST:6379/0".to_owned());
    }
    // A socket has a path, and no host.
    let text = if text.starts_with("unix:") { text.into() } else { with_host(text) };
    let url = Url::parse(&text).map_err(|error| format!("not a URL: {error}; write redis://HOST:6379/0"))?;
    let secure = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        "unix" => return socket(&url),
        _ => return Err("begin with redis://, rediss:// or unix://".to_owned()),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "the address must not have ? or #; write redis://HOST:6379/0, and percent-encode the password".to_owned()
        );
    }
    let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost");
    let place = Place::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port: url.port().unwrap_or(6379) };
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => database(number)?,
    };
    let server = Server { place, secure, user: None, password: None, database };
    Ok(with_credentials(server, decoded(url.username())?, decoded(url.password().unwrap_or_default())?))
}

fn socket(url: &Url) -> Result<Server, String> {
    if !HAVE_PATHS {
        return Err("this system has no such sockets; begin with redis:// or rediss://".to_owned());
    }
    if url.host_str().is_some_and(|host| !host.is_empty()) || url.path().len() < 2 {
        return Err("the path of the socket is not absolute; write one such as unix:///run/redis/redis.sock".to_owned());
    }
    let (mut user, mut password, mut number) = (String::new(), String::new(), 0);
    for (name, value) in url.query_pairs() {
        match &*name {
            "db" => number = database(&value)?,
            "user" => user = value.into_owned(),
            "password" => password = value.into_owned(),
            _ => return Err("unknown parameter after ?; only user, password and db are possible".to_owned()),
        }
    }
    let place = Place::Path(PathBuf::from(decoded(url.path())?));
    let server = Server { place, secure: false, user: None, password: None, database: number };
    Ok(with_credentials(server, user, password))
}

fn database(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or_else(|| "the database is not a number; end the address with one such as /0".to_owned())
}

fn with_credentials(server: Server, user: String, password: String) -> Server {
    let user = Some(user).filter(|user| !user.is_empty());
    let password = Some(password).filter(|password| !password.is_empty()).map(Secret::new);
    Server { user, password, ..server }
}

fn decoded(text: &str) -> Result<String, String> {
    let text = percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
    text.map_err(|_| "user, password or path is not UTF-8; write them in UTF-8".to_owned())
}

#[cfg(test)]
mod tests;
