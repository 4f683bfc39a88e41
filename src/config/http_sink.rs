//! The settings of the sink `http`.

use reqwest::{
    Method, StatusCode, Url,
    header::{HeaderName, HeaderValue},
};

use super::{
    BasicAuth, ByteSize, Duration, Secret, Token, Warning, catalogue,
    http::{self, TlsSettings},
    reader::{Broken, Reader, between, number},
};
use crate::{
    kind::Kind,
    sink::http::{Compression, Config, Format, Health, Link},
};

static TLS: TlsSettings = TlsSettings {
    ca_cert: &catalogue::SINK_HTTP_CACERT,
    ca_path: Some(&catalogue::SINK_HTTP_CAPATH),
    client_cert: &catalogue::SINK_HTTP_CLIENT_CERT,
    client_key: &catalogue::SINK_HTTP_CLIENT_KEY,
    server_name: Some(&catalogue::SINK_HTTP_TLS_SERVER_NAME),
};

pub(super) fn read(reader: &mut Reader<'_>, kinds: &[Kind], warnings: &mut Vec<Warning>) -> Result<Config, Broken> {
    if reader.layers.get(&catalogue::SINK_HTTP_ADDRESS).is_none() {
        reader.missing(&catalogue::SINK_HTTP_ADDRESS, "the sink http needs it, such as http://vector:8080/nomad");
    }
    let address = reader.optional(&catalogue::SINK_HTTP_ADDRESS, url);
    let format = match reader.optional(&catalogue::SINK_HTTP_FORMAT, format) {
        Some(format) => format,
        // Each format is the one that consumers of these records already read.
        None if kinds == [Kind::Events] => Format::Array,
        None => Format::Single,
    };
    let workers = reader.value(&catalogue::SINK_WORKER_COUNT, number(1, 256));
    let batch_count = reader.value(&catalogue::SINK_BATCH_COUNT, number(1, 10_000));
    let batch_bytes =
        reader.value(&catalogue::SINK_BATCH_BYTES, between(ByteSize::new(1 << 10), ByteSize::new(64 << 20)));
    let batch_linger =
        reader.value(&catalogue::SINK_BATCH_LINGER, between(Duration::from_millis(0), Duration::from_millis(60_000)));
    let (shortest, longest) = (Duration::from_millis(100), Duration::from_millis(600_000));
    let timeout = reader.value(&catalogue::SINK_HTTP_TIMEOUT, between(shortest, longest));
    let method = reader.value(&catalogue::SINK_HTTP_METHOD, method);
    let headers = reader.list(&catalogue::SINK_HTTP_HEADERS, header);
    let auth = reader.optional(&catalogue::SINK_HTTP_AUTH, http::basic_auth);
    let token = http::token(reader, &catalogue::SINK_HTTP_TOKEN, &catalogue::SINK_HTTP_TOKEN_FILE, warnings);
    let mut tls = http::tls(reader, &TLS);
    let skip_verify = reader.value(&catalogue::SINK_HTTP_SKIP_VERIFY, http::boolean);
    let compression = reader.value(&catalogue::SINK_HTTP_COMPRESSION, compression);
    let health_url = reader.optional(&catalogue::SINK_HTTP_HEALTH_URL, |text| match url(text) {
        Ok((_, Some(_))) => Err("a user does not belong there: on the host of the address its credentials are used"),
        Ok((url, None)) => Ok(url),
        Err(what) => Err(what),
    });
    let health_status = reader.value(&catalogue::SINK_HTTP_HEALTH_STATUS, status);
    let (url, in_address) = address.unzip();
    let auth = auth.or(in_address.flatten());
    if auth.is_some() && token != Token::None {
        let what = "basic authentication is given as well, in SINK_HTTP_AUTH or in the address; give one of the two";
        let given = if matches!(token, Token::File(_)) {
            &catalogue::SINK_HTTP_TOKEN_FILE
        } else {
            &catalogue::SINK_HTTP_TOKEN
        };
        reader.wrong(given, what);
    }
    let credentials = auth.is_some() || token != Token::None;
    if credentials && headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
        let what = "it holds Authorization, which SINK_HTTP_AUTH or SINK_HTTP_TOKEN gives, too; give one of them";
        reader.wrong(&catalogue::SINK_HTTP_HEADERS, what);
    }
    tls.skip_verify = skip_verify?;
    let url = url.ok_or(Broken)?;
    if tls.skip_verify && url.url().scheme() == "https" {
        warnings.push(Warning::SkipVerify { because: "SINK_HTTP_SKIP_VERIFY is set" });
    }
    let status = health_status?;
    Ok(Config {
        url,
        basic_auth: auth.map(|auth| (auth.user, auth.password)),
        token: token.into(),
        tls: tls.into(),
        method: method?,
        headers,
        format,
        compression: compression?,
        workers: workers?,
        timeout: timeout?.into(),
        health: health_url.map(|url| Health { url, status }),
        batch_count: batch_count?,
        batch_bytes: usize::try_from(batch_bytes?.bytes()).map_err(|_| Broken)?,
        batch_linger: batch_linger?.into(),
    })
}

/// The URL without its user, and the user.
fn url(text: &str) -> Result<(Link, Option<BasicAuth>), &'static str> {
    let mend = "write a whole URL, such as http://vector:8080/nomad or https://collector.example.com/";
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err("begin with http:// or https://, such as http://vector:8080/nomad");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it holds spaces or control characters; write them as %20 and the like");
    }
    let mut url = Url::parse(text).map_err(|_| mend)?;
    if url.fragment().is_some() {
        return Err("an address ends before #");
    }
    let auth = http::user(&url);
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| mend)?;
    Ok((Link::new(url), auth))
}

fn format(text: &str) -> Result<Format, &'static str> {
    match text {
        "single" => Ok(Format::Single),
        "array" => Ok(Format::Array),
        "ndjson" => Ok(Format::Ndjson),
        _ => Err("no such format; there are single, array, ndjson"),
    }
}

fn compression(text: &str) -> Result<Compression, &'static str> {
    match text {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        _ => Err("no such compression; there are none, gzip, zstd"),
    }
}

fn method(text: &str) -> Result<Method, &'static str> {
    match text.to_ascii_uppercase().as_str() {
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        _ => Err("write POST, PUT or PATCH"),
    }
}

fn status(text: &str) -> Result<StatusCode, &'static str> {
    let number = text.parse().ok().filter(|number| (100..600).contains(number));
    number.and_then(|number| StatusCode::from_u16(number).ok()).ok_or("write a status from 100 to 599, such as 200")
}

/// What says how a message travels is the sink's to write.
const OURS: [&str; 7] = [
    "connection",
    "content-encoding",
    "content-length",
    "host",
    "idempotency-key",
    "transfer-encoding",
    "x-nomad-firehose-kind",
];

/// The messages never show the text: what stands before the colon can be a secret as well.
fn header(text: &str) -> Result<(String, Secret), String> {
    let Some((name, value)) = text.split_once(':') else {
        return Err(
            "a header lacks its colon; write NAME: VALUE, such as X-Scope-OrgID: web. In a variable commas separate \
            headers: write \\, for a comma within a value"
                .to_owned(),
        );
    };
    let (name, value) = (name.trim(), value.trim());
    let Ok(name) = name.parse::<HeaderName>() else {
        return Err("what stands before the colon is no name of a header; use letters, digits and -".to_owned());
    };
    if OURS.contains(&name.as_str()) {
        let ours = OURS.join(", ");
        return Err(format!("it sets one that the sink writes itself ({ours})"));
    }
    if HeaderValue::from_str(value).is_err() {
        return Err("a header's value can hold visible ASCII characters and blanks only".to_owned());
    }
    Ok((name.to_string(), Secret::new(value)))
}
