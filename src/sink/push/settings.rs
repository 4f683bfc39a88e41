//! Declares and reads the settings that all of these sinks have.

use std::time::Duration;

use reqwest::Url;

use super::{Batches, Config, Scheme};
use crate::{
    http::{BasicAuth, Secret, TokenSource},
    settings::{
        Broken, ByteSize, Reader, Setting, TlsSettings, Warning, between, duration,
        http::{self, boolean},
        number,
    },
    sink::http::{Compression, Link, compression, header},
};

/// The settings of one sink. [`connection`] declares them.
pub(in crate::sink) struct Settings {
    pub(in crate::sink) address: &'static Setting,
    pub(in crate::sink) auth: &'static Setting,
    pub(in crate::sink) token: &'static Setting,
    pub(in crate::sink) token_file: &'static Setting,
    pub(in crate::sink) headers: &'static Setting,
    pub(in crate::sink) timeout: &'static Setting,
    pub(in crate::sink) skip_verify: &'static Setting,
    /// `None` if the API has a compression of its own.
    pub(in crate::sink) compression: Option<&'static Setting>,
    pub(in crate::sink) batches: BatchSettings,
    pub(in crate::sink) tls: TlsSettings,
}

/// The settings of batches.
pub(in crate::sink) struct BatchSettings {
    pub(in crate::sink) count: &'static Setting,
    pub(in crate::sink) bytes: &'static Setting,
    pub(in crate::sink) linger: &'static Setting,
    pub(in crate::sink) requests: &'static Setting,
}

/// The settings and variables of one prefix, with the further settings of its sink in between: `SETTINGS`, `CONNECTION` and
/// `VARIABLES`.
macro_rules! connection {
    (
        heading: $heading:literal, flag: $flag:literal, prefix: $prefix:literal, example: $example:literal,
        address: $address:literal, compression: $compression:expr,
        $($name:ident = $setting:expr;)*
    ) => {
        $crate::settings::settings! {
            pub(super) SETTINGS:

            ADDRESS = $crate::settings::Setting::new($heading, concat!($flag, "-address"), concat!($prefix, "_ADDRESS"), "URL",
                $address).secret();
            $($name = $setting;)*
            AUTH = $crate::settings::Setting::new($heading, concat!($flag, "-auth"), concat!($prefix, "_AUTH"), "USER[:PASSWORD]",
                "Basic authentication. Other users can see flags in the process list: prefer the variable").secret();
            TOKEN = $crate::settings::Setting::new($heading, concat!($flag, "-token"), concat!($prefix, "_TOKEN"), "SECRET",
                "Token. Other users can see flags in the process list: prefer the variable or the file").secret();
            TOKEN_FILE = $crate::settings::Setting::new($heading, concat!($flag, "-token-file"), concat!($prefix, "_TOKEN_FILE"), "FILE",
                "File with the token, read again for each request").secret_file().renewed();
            HEADERS = $crate::settings::Setting::new($heading, concat!($flag, "-headers"), concat!($prefix, "_HEADERS"), "NAME: VALUE",
                "Further headers, whose values never appear in logs or pages. Repeat the flag; in the variable, separate by commas, and write `\\,` for a comma in a value")
                .form($crate::settings::Form::Repeated).secret();
            TIMEOUT = $crate::settings::Setting::new($heading, concat!($flag, "-timeout"), concat!($prefix, "_TIMEOUT"), "DURATION",
                "How long the server may take to answer one request (100ms–10m)").default("10s");
            REQUESTS = $crate::settings::Setting::new($heading, concat!($flag, "-requests"), concat!($prefix, "_REQUESTS"), "NUMBER",
                "Requests in parallel (1–64). Two records of one key are never in parallel").default("4");
            BATCH_COUNT = $crate::settings::Setting::new($heading, concat!($flag, "-batch-count"), concat!($prefix, "_BATCH_COUNT"), "NUMBER",
                "Most records in a request (1–10000)").default("1000");
            BATCH_BYTES = $crate::settings::Setting::new($heading, concat!($flag, "-batch-bytes"), concat!($prefix, "_BATCH_BYTES"), "SIZE",
                "Most bytes of records in a request, before compression (1KiB–64MiB). A single larger record goes alone").default("1MiB");
            BATCH_LINGER = $crate::settings::Setting::new($heading, concat!($flag, "-batch-linger"), concat!($prefix, "_BATCH_LINGER"), "DURATION",
                "How long a request that is not full waits for more records (0s–1m)").default("0s");
            CACERT = $crate::settings::Setting::new($heading, concat!($flag, "-cacert"), concat!($prefix, "_CACERT"), "FILE",
                "PEM file with the certificate authority that signed the server's certificate").renewed();
            CLIENT_CERT = $crate::settings::Setting::new($heading, concat!($flag, "-client-cert"), concat!($prefix, "_CLIENT_CERT"), "FILE",
                "PEM file with the certificate to present to the server. Requires the key").renewed();
            CLIENT_KEY = $crate::settings::Setting::new($heading, concat!($flag, "-client-key"), concat!($prefix, "_CLIENT_KEY"), "FILE",
                "PEM file with the key of that certificate").secret_file().renewed();
            TLS_SERVER_NAME = $crate::settings::Setting::new($heading, concat!($flag, "-tls-server-name"), concat!($prefix, "_TLS_SERVER_NAME"), "NAME",
                "Name expected in the server's certificate, if it is not the host of the address");
            SKIP_VERIFY = $crate::settings::Setting::new($heading, concat!($flag, "-skip-verify"), concat!($prefix, "_SKIP_VERIFY"), "BOOL",
                "Do not verify the server's certificate. Only for tests").default("false").form($crate::settings::Form::Switch);
        }

        static CONNECTION: $crate::sink::push::Settings = $crate::sink::push::Settings {
            address: &ADDRESS,
            auth: &AUTH,
            token: &TOKEN,
            token_file: &TOKEN_FILE,
            headers: &HEADERS,
            timeout: &TIMEOUT,
            skip_verify: &SKIP_VERIFY,
            compression: $compression,
            batches: $crate::sink::push::BatchSettings {
                count: &BATCH_COUNT,
                bytes: &BATCH_BYTES,
                linger: &BATCH_LINGER,
                requests: &REQUESTS,
            },
            tls: $crate::settings::TlsSettings {
                ca_cert: &CACERT,
                ca_path: None,
                client_cert: &CLIENT_CERT,
                client_key: &CLIENT_KEY,
                server_name: Some(&TLS_SERVER_NAME),
            },
        };

        pub(super) static VARIABLES: $crate::sink::push::Variables = $crate::sink::push::Variables {
            connection: $crate::http::Names {
                address: concat!($prefix, "_ADDRESS"),
                token: concat!($prefix, "_TOKEN"),
                token_file: concat!($prefix, "_TOKEN_FILE"),
                tls: $crate::tls::Variables {
                    role: "sink",
                    ca_cert: concat!($prefix, "_CACERT"),
                    ca_path: "",
                    client_cert: concat!($prefix, "_CLIENT_CERT"),
                    client_key: concat!($prefix, "_CLIENT_KEY"),
                    server_name: concat!($prefix, "_TLS_SERVER_NAME"),
                    usual_name: $example,
                },
            },
            auth: concat!($prefix, "_AUTH"),
            headers: concat!($prefix, "_HEADERS"),
            timeout: concat!($prefix, "_TIMEOUT"),
            compression: {
                let compression: Option<&'static $crate::settings::Setting> = $compression;
                match compression {
                    Some(setting) => Some(setting.variable),
                    None => None,
                }
            },
        };
    };
}
pub(in crate::sink) use connection;

/// A URL without its user, and the user.
pub(in crate::sink) type Found = (Link, Option<BasicAuth>);

/// Reads all settings but the address, which is `found` or else missing. It notes every problem.
pub(in crate::sink) fn read(
    reader: &mut Reader<'_>,
    settings: &'static Settings,
    found: Option<Found>,
) -> Result<Config, Broken> {
    let batches = batches(reader, &settings.batches);
    let timeout = reader.value(settings.timeout, duration(Duration::from_millis(100), Duration::from_secs(600)));
    let headers = reader.list(settings.headers, header);
    let auth = reader.optional(settings.auth, http::basic_auth);
    let token = http::token(reader, settings.token, settings.token_file);
    let mut tls = http::tls(reader, &settings.tls);
    let skip_verify = reader.value(settings.skip_verify, boolean);
    let compression = match settings.compression {
        Some(setting) => reader.value(setting, compression),
        None => Ok(Compression::None),
    };
    let (url, in_address) = found.unzip();
    let basic_auth = auth.or(in_address.flatten());
    one_way_to_authenticate(reader, settings, basic_auth.is_some(), &token, &headers);
    tls.skip_verify = skip_verify?;
    let url = url.ok_or(Broken)?;
    if tls.skip_verify && url.url().scheme() == "https" {
        reader.warn(Warning::SkipVerify { because: settings.skip_verify.variable });
    }
    let (compression, timeout, batches) = (compression?, timeout?, batches?);
    let scheme = Scheme::default();
    Ok(Config { url, basic_auth, token, scheme, tls, headers, compression, timeout, batches })
}

fn batches(reader: &mut Reader<'_>, settings: &BatchSettings) -> Result<Batches, Broken> {
    let count = reader.value(settings.count, number(1, 10_000));
    let bytes = reader.value(settings.bytes, between(ByteSize::new(1 << 10), ByteSize::new(64 << 20)));
    let linger = reader.value(settings.linger, duration(Duration::ZERO, Duration::from_secs(60)));
    let under_way = reader.value(settings.requests, number(1, 64));
    let bytes = usize::try_from(bytes?.bytes()).map_err(|_| Broken)?;
    Ok(Batches { count: count?, bytes, linger: linger?, under_way: under_way? })
}

fn one_way_to_authenticate(
    reader: &mut Reader<'_>,
    settings: &'static Settings,
    has_user: bool,
    token: &TokenSource,
    headers: &[(String, Secret)],
) {
    let Settings { address, auth, token: fixed, token_file, headers: setting, .. } = settings;
    let has_token = *token != TokenSource::None;
    if has_user && has_token {
        let given = if matches!(token, TokenSource::File(_)) { token_file } else { fixed };
        let (auth, address) = (auth.variable, address.variable);
        reader.wrong(
            given,
            format!("basic authentication is set as well, in {auth} or in {address}; set only one of the two"),
        );
    }
    if (has_user || has_token) && headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
        let (auth, token) = (auth.variable, fixed.variable);
        reader.wrong(
            setting,
            format!("Authorization is one of the headers, and {auth} or {token} sets it too; set only one of them"),
        );
    }
}

/// The address of the setting; notes a problem if there is none.
pub(in crate::sink) fn address(
    reader: &mut Reader<'_>,
    setting: &'static Setting,
    path: &str,
    missing: &str,
) -> Option<Found> {
    if reader.layers.get(setting).is_none() {
        reader.missing(setting, missing);
    }
    reader.optional(setting, |text| endpoint(text, path))
}

/// The URL of the API at this address: `path` is added unless the address ends with it.
pub(in crate::sink) fn endpoint(text: &str, path: &str) -> Result<Found, &'static str> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err("begin with http:// or https://, and name host and port");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("the URL has spaces or control characters; write them as %20 and so on");
    }
    let fix = "not a URL; write one such as http://HOST:PORT";
    let mut url = Url::parse(text).map_err(|_| fix)?;
    if url.fragment().is_some() {
        return Err("the URL has a #; end it before the #");
    }
    let auth = http::user(&url);
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| fix)?;
    let base = url.path().trim_end_matches('/').to_owned();
    if !base.ends_with(path) {
        url.set_path(&format!("{base}{path}"));
    }
    Ok((Link::new(url), auth))
}
