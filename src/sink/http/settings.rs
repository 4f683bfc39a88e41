//! The settings of the HTTP sink.

use std::time::Duration;

use reqwest::{
    Method, StatusCode, Url,
    header::{HeaderName, HeaderValue},
};

use super::{Compression, Config, Format, Health, Link};
use crate::{
    http::{BasicAuth, Secret, TokenSource},
    kind::Kind,
    settings::{
        Broken, ByteSize, Form, Reader, Setting, TlsSettings, Warning, between, duration,
        http::{self, boolean},
        number, settings,
    },
    sink::{Definition, Kinds},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "an HTTP server",
    settings: SETTINGS,
    log: &[],
    is_for_people: false,
    has_headers: true,
    read: |reader, kinds| Ok(Box::new(read(reader, kinds)?)),
};

const HEADING: &str = "HTTP sink";

settings! {
    pub(super) SETTINGS:

    ADDRESS = Setting::new(HEADING, "sink-http-address", "SINK_HTTP_ADDRESS", "URL",
        "URL to send records to, with path and query: http://vector:8080/nomad. A user and a password in it become basic authentication").secret();
    FORMAT = Setting::new(HEADING, "sink-http-format", "SINK_HTTP_FORMAT", "FORMAT",
        "Layout of a request: single (one record), array (a batch as a JSON array), ndjson (a batch, one record a line). Without it, array if only `events` is carried, otherwise single");
    WORKER_COUNT = Setting::new(HEADING, "sink-worker-count", "SINK_WORKER_COUNT", "NUMBER",
        "Requests in parallel (1–256). Two records of one key are never in parallel; with more than one request, records of different keys can arrive in any order")
        .default("1");
    BATCH_COUNT = Setting::new(HEADING, "sink-batch-count", "SINK_BATCH_COUNT", "NUMBER",
        "Most records in a batch (1–10000)").default("500");
    BATCH_BYTES = Setting::new(HEADING, "sink-batch-bytes", "SINK_BATCH_BYTES", "SIZE",
        "Most bytes of records in a batch, before compression (1KiB–64MiB). A single larger record goes alone")
        .default("1MiB");
    BATCH_LINGER = Setting::new(HEADING, "sink-batch-linger", "SINK_BATCH_LINGER", "DURATION",
        "How long a batch that is not full waits for more records (0s–1m). With 0s, records that come during a request go with the next one")
        .default("0s");
    TIMEOUT = Setting::new(HEADING, "sink-http-timeout", "SINK_HTTP_TIMEOUT", "DURATION",
        "How long the server may take to answer one request (100ms–10m)").default("10s");
    METHOD = Setting::new(HEADING, "sink-http-method", "SINK_HTTP_METHOD", "METHOD",
        "Method of the requests: POST, PUT or PATCH").default("POST");
    HEADERS = Setting::new(HEADING, "sink-http-headers", "SINK_HTTP_HEADERS", "NAME: VALUE",
        "Further headers. Values of four or more characters never appear in logs or pages; shorter ones only if they do not look like credentials. Repeat the flag; in the variable, separate by commas, and write `\\,` for a comma in a value")
        .form(Form::Repeated).secret();
    AUTH = Setting::new(HEADING, "sink-http-auth", "SINK_HTTP_AUTH", "USER[:PASSWORD]",
        "Basic authentication. Other users can see flags in the process list: prefer the variable").secret();
    TOKEN = Setting::new(HEADING, "sink-http-token", "SINK_HTTP_TOKEN", "SECRET",
        "Bearer token. Other users can see flags in the process list: prefer the variable or the file").secret();
    TOKEN_FILE = Setting::new(HEADING, "sink-http-token-file", "SINK_HTTP_TOKEN_FILE", "FILE",
        "File with the bearer token, read again for each request").secret_file().renewed();
    CACERT = Setting::new(HEADING, "sink-http-cacert", "SINK_HTTP_CACERT", "FILE",
        "PEM file with the certificate authority that signed the server's certificate").renewed();
    CAPATH = Setting::new(HEADING, "sink-http-capath", "SINK_HTTP_CAPATH", "DIR",
        "Directory with such PEM files. SINK_HTTP_CACERT overrides it").renewed();
    CLIENT_CERT = Setting::new(HEADING, "sink-http-client-cert", "SINK_HTTP_CLIENT_CERT", "FILE",
        "PEM file with the certificate to present to the server. Requires the key").renewed();
    CLIENT_KEY = Setting::new(HEADING, "sink-http-client-key", "SINK_HTTP_CLIENT_KEY", "FILE",
        "PEM file with the key of that certificate").secret_file().renewed();
    TLS_SERVER_NAME = Setting::new(HEADING, "sink-http-tls-server-name", "SINK_HTTP_TLS_SERVER_NAME", "NAME",
        "Name expected in the server's certificate, if it is not the host of the address");
    SKIP_VERIFY = Setting::new(HEADING, "sink-http-skip-verify", "SINK_HTTP_SKIP_VERIFY", "BOOL",
        "Do not verify the server's certificate. Only for tests").default("false").form(Form::Switch);
    COMPRESSION = Setting::new(HEADING, "sink-http-compression", "SINK_HTTP_COMPRESSION", "NAME",
        "Compression of requests: none, gzip or zstd. The server must support it").default("none");
    HEALTH_URL = Setting::new(HEADING, "sink-http-health-url", "SINK_HTTP_HEALTH_URL", "URL",
        "URL that must answer GET with the health status before the first record is sent. Credentials are sent to it only if it is on the host of the address").secret();
    HEALTH_STATUS = Setting::new(HEADING, "sink-http-health-status", "SINK_HTTP_HEALTH_STATUS", "STATUS",
        "Status that the health URL must answer with (100–599)").default("200");
}

static TLS: TlsSettings = TlsSettings {
    ca_cert: &CACERT,
    ca_path: Some(&CAPATH),
    client_cert: &CLIENT_CERT,
    client_key: &CLIENT_KEY,
    server_name: Some(&TLS_SERVER_NAME),
};

fn read(reader: &mut Reader<'_>, kinds: Kinds<'_>) -> Result<Config, Broken> {
    if reader.layers.get(&ADDRESS).is_none() {
        reader.missing(&ADDRESS, "the http sink needs the URL to send records to, such as http://vector:8080/nomad");
    }
    let address = reader.optional(&ADDRESS, url);
    let format = match reader.optional(&FORMAT, format) {
        Some(format) => format,
        // Each format is the one that consumers of these records already read.
        None if kinds(reader) == [Kind::Events] => Format::Array,
        None => Format::Single,
    };
    let workers = reader.value(&WORKER_COUNT, number(1, 256));
    let batch_count = reader.value(&BATCH_COUNT, number(1, 10_000));
    let batch_bytes = reader.value(&BATCH_BYTES, between(ByteSize::new(1 << 10), ByteSize::new(64 << 20)));
    let batch_linger = reader.value(&BATCH_LINGER, duration(Duration::ZERO, Duration::from_secs(60)));
    let timeout = reader.value(&TIMEOUT, duration(Duration::from_millis(100), Duration::from_secs(600)));
    let method = reader.value(&METHOD, method);
    let headers = reader.list(&HEADERS, header);
    let auth = reader.optional(&AUTH, http::basic_auth);
    let token = http::token(reader, &TOKEN, &TOKEN_FILE);
    let mut tls = http::tls(reader, &TLS);
    let skip_verify = reader.value(&SKIP_VERIFY, boolean);
    let compression = reader.value(&COMPRESSION, compression);
    let health_url = reader.optional(&HEALTH_URL, |text| match url(text) {
        Ok((_, Some(_))) => {
            Err("the URL has a user; leave it out, the credentials of SINK_HTTP_ADDRESS are used on the same host")
        }
        Ok((url, None)) => Ok(url),
        Err(what) => Err(what),
    });
    let health_status = reader.value(&HEALTH_STATUS, status);
    let (url, in_address) = address.unzip();
    let auth = auth.or(in_address.flatten());
    if auth.is_some() && token != TokenSource::None {
        let what = "basic authentication is set as well, in SINK_HTTP_AUTH or in the address; set only one of the two";
        let given = if matches!(token, TokenSource::File(_)) { &TOKEN_FILE } else { &TOKEN };
        reader.wrong(given, what);
    }
    let credentials = auth.is_some() || token != TokenSource::None;
    if credentials && headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
        let what = "Authorization is one of the headers, and SINK_HTTP_AUTH or SINK_HTTP_TOKEN sets it too; set only one of them";
        reader.wrong(&HEADERS, what);
    }
    tls.skip_verify = skip_verify?;
    let url = url.ok_or(Broken)?;
    if tls.skip_verify && url.url().scheme() == "https" {
        reader.warn(Warning::SkipVerify { because: "SINK_HTTP_SKIP_VERIFY is set" });
    }
    let status = health_status?;
    Ok(Config {
        url,
        basic_auth: auth,
        token,
        tls,
        method: method?,
        headers,
        format,
        compression: compression?,
        workers: workers?,
        timeout: timeout?,
        health: health_url.map(|url| Health { url, status }),
        batch_count: batch_count?,
        batch_bytes: usize::try_from(batch_bytes?.bytes()).map_err(|_| Broken)?,
        batch_linger: batch_linger?,
    })
}

/// The URL without its user, and the user.
fn url(text: &str) -> Result<(Link, Option<BasicAuth>), &'static str> {
    let fix = "not a URL; write a whole URL, such as http://vector:8080/nomad or https://collector.example.com/";
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err("begin with http:// or https://, such as http://vector:8080/nomad");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("the URL has spaces or control characters; write them as %20 and so on");
    }
    let mut url = Url::parse(text).map_err(|_| fix)?;
    if url.fragment().is_some() {
        return Err("the URL has a #; end it before the #");
    }
    let auth = http::user(&url);
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| fix)?;
    Ok((Link::new(url), auth))
}

fn format(text: &str) -> Result<Format, &'static str> {
    match text {
        "single" => Ok(Format::Single),
        "array" => Ok(Format::Array),
        "ndjson" => Ok(Format::Ndjson),
        _ => Err("no such format; choose single, array or ndjson"),
    }
}

pub(in crate::sink) fn compression(text: &str) -> Result<Compression, &'static str> {
    match text {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        _ => Err("no such compression; choose none, gzip or zstd"),
    }
}

fn method(text: &str) -> Result<Method, &'static str> {
    match text.to_ascii_uppercase().as_str() {
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        _ => Err("no such method; choose POST, PUT or PATCH"),
    }
}

fn status(text: &str) -> Result<StatusCode, &'static str> {
    let number = text.parse().ok().filter(|number| (100..600).contains(number));
    number.and_then(|number| StatusCode::from_u16(number).ok()).ok_or("write a status from 100 to 599, such as 200")
}

/// The sink writes these headers itself: they say how a message travels.
const OURS: [&str; 7] = [
    "connection",
    "content-encoding",
    "content-length",
    "host",
    "idempotency-key",
    "transfer-encoding",
    "x-nomad-firehose-kind",
];

/// The messages never show the text: the part before the colon can be a secret as well.
pub(in crate::sink) fn header(text: &str) -> Result<(String, Secret), String> {
    let Some((name, value)) = text.split_once(':') else {
        return Err(
            "a header has no colon; write NAME: VALUE, such as X-Scope-OrgID: web. In a variable commas separate \
            headers: write \\, for a comma within a value"
                .to_owned(),
        );
    };
    let (name, value) = (name.trim(), value.trim());
    let Ok(name) = name.parse::<HeaderName>() else {
        return Err("the name before the colon is not valid; use letters, digits and -".to_owned());
    };
    if OURS.contains(&name.as_str()) {
        let ours = OURS.join(", ");
        return Err(format!("the sink writes this header itself; leave out {ours}"));
    }
    if HeaderValue::from_str(value).is_err() {
        return Err("the value of a header has other characters than visible ASCII and blanks; remove them".to_owned());
    }
    Ok((name.to_string(), Secret::new(value)))
}

#[cfg(test)]
mod tests;
