//! Records to an HTTP server: one a request, or a batch as a JSON array or as lines. Delivered means answered with 2xx.
//!
//! | Answer | Outcome |
//! |---|---|
//! | 2xx | delivered |
//! | 400, 413, 415, 422 | reject; of a batch, halves are sent until the guilty records stand alone |
//! | 400 for want of TLS or of a client certificate, as nginx and Go say it | retry |
//! | everything else, a timeout, a broken connection | retry; 429 and 503 after what `Retry-After` asks for |
//!
//! A 401, 403, 404, 405, 406, 410 or 451, or a 5xx other than 503 and 504, can also be about one record, such as one
//! from a web firewall. These are retried as refusals, see [`Outcome::Retry`].
//!
//! Several requests can be under way (`SINK_WORKER_COUNT`): of one batch in the format `single`, otherwise of several batches,
//! never two with records of one key.
//!
//! After the first retry, the sink sends nothing more of the batch: the network or the server failed, and each further request
//! would only wait for the same failure. The sink follows no redirects, because the credentials belong to the given address.

mod body;
mod check;
mod cloud_events;
mod config;
mod fault;
mod request;
mod settings;
mod single;
mod split;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::BoxFuture;
use reqwest::{
    Method, StatusCode, Url,
    header::{HeaderMap, HeaderValue},
};
use tokio::sync::Mutex;

pub use self::config::{Compression, Config, Format, Health, Link};
pub(super) use self::{
    body::compressed,
    settings::{DEFINITION, compression, header},
    split::{bytes, grown, pieces},
};
use super::{Closed, ErrorClass, Outcome, Policy, Prepared, Sink, Unusable};
use crate::{
    finding::Finding,
    http::{self, Address, BasicAuth, Fault, Names, Proxies, Reach, Server, Token, TokenSource},
    record::Record,
    redact,
    tls::Variables,
};

static NAMES: Names = Names {
    address: "SINK_HTTP_ADDRESS",
    token: "SINK_HTTP_TOKEN",
    token_file: "SINK_HTTP_TOKEN_FILE",
    tls: Variables {
        role: "sink",
        ca_cert: "SINK_HTTP_CACERT",
        ca_path: "SINK_HTTP_CAPATH",
        client_cert: "SINK_HTTP_CLIENT_CERT",
        client_key: "SINK_HTTP_CLIENT_KEY",
        server_name: "SINK_HTTP_TLS_SERVER_NAME",
        usual_name: "such as collector.example.com",
    },
};

/// How long connecting may take, TLS included. Never longer than the deadline of the request.
const CONNECT: Duration = Duration::from_secs(5);

/// The settings do not work. Carries no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Error(fault.to_string())
    }
}

/// Sends records to one URL.
pub struct Http {
    to: Target,
    format: Format,
    compression: Compression,
    /// How many requests of one batch may be in flight at a time; one if the format is a batch.
    workers: usize,
    /// The most bytes of bodies in a request, as far as the server's answers have shown.
    fits: AtomicUsize,
    /// The deadline of an answer.
    timeout: Duration,
    token: Token,
    credentials: fault::Credentials,
    /// The check that has to pass before the first record is sent.
    health: Option<Check>,
    /// It has passed, or there is none. Batches that come before that wait for one check, one after the other.
    is_well: Mutex<bool>,
    /// The log says that the server does not end its answers.
    endless: AtomicBool,
}

/// Where requests go, and what each of them carries.
struct Target {
    server: Server,
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

/// A health check of the server before the first record.
struct Check {
    to: Target,
    /// Whether the credentials may go there: it is the same server.
    trusted: bool,
    status: StatusCode,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("server", &self.to.server.label)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Http {
    /// A sink with these settings; `cluster` is the label of this cluster. Connects to nothing yet.
    ///
    /// # Errors
    /// A certificate or a key cannot be used, or a header cannot be sent: the message names the variable.
    pub fn new(config: Config, cluster: Option<&str>) -> Result<Self, Error> {
        let health = config.health.as_ref().map(|health| check(health, &config, cluster)).transpose()?;
        let server = server(config.url.url(), &config.tls, config.basic_auth.as_ref(), config.timeout)?;
        let headers = request::headers(&config, cluster)?;
        let (path, query) = target_of(config.url.url());
        let workers = if config.format == Format::Single { config.workers.max(1) } else { 1 };
        hide(config.url.url());
        let credentials = credentials(&config);
        Ok(Http {
            to: Target { server, method: config.method, path, query, headers },
            format: config.format,
            compression: config.compression,
            workers,
            fits: AtomicUsize::new(usize::MAX),
            timeout: config.timeout,
            credentials,
            token: Token::new(config.token, &NAMES),
            is_well: Mutex::new(health.is_none()),
            health,
            endless: AtomicBool::new(false),
        })
    }

    /// The most bytes of bodies in a request.
    fn fits(&self) -> usize {
        self.fits.load(Ordering::Relaxed)
    }

    /// Takes in what an answer says about it. Answers to several batches can come at once: each counts.
    fn learn(&self, fits: impl Fn(usize) -> usize) {
        self.fits.update(Ordering::Relaxed, Ordering::Relaxed, fits);
    }

    async fn outcomes(&self, batch: &[Record]) -> Vec<Outcome> {
        if let Err(reason) = self.check_health().await {
            return batch.iter().map(|_| Outcome::failed(ErrorClass::Connection, reason.clone())).collect();
        }
        match self.format {
            Format::Single => single::send(self, batch).await,
            Format::Array | Format::Ndjson => split::send(self, batch).await,
        }
    }

    /// Checks the health of the server until the first success.
    async fn check_health(&self) -> Result<(), String> {
        let Some(check) = &self.health else { return Ok(()) };
        let mut is_well = self.is_well.lock().await;
        if *is_well {
            return Ok(());
        }
        let followed = self.token.follows_file();
        let authorization = if check.trusted { self.authorization().await? } else { None };
        let label = &check.to.server.label;
        let status = match tokio::time::timeout(self.timeout, check.to.server.send(check.to.start(authorization))).await
        {
            Ok(Ok(response)) => match http::of_proxy(&check.to.server, &response) {
                Some(fault) => return Err(format!("health check: {fault}")),
                None => response.status(),
            },
            Ok(Err(error)) => {
                return Err(
                    Fault::transport(&NAMES, &check.to.server, "health check", &error.without_url()).to_string()
                );
            }
            Err(_) => return Err(format!("health check: {label} did not answer within {:?}", self.timeout)),
        };
        if status == StatusCode::UNAUTHORIZED && check.trusted {
            self.token.renew(followed).await;
        }
        if status != check.status {
            let wanted = check.status.as_u16();
            return Err(format!(
                "health check: {label} answered {status}, not {wanted}; nothing is sent until it does"
            ));
        }
        tracing::info!(server = %label, "the sink's server is well");
        *is_well = true;
        Ok(())
    }
}

fn server(url: &Url, tls: &http::Tls, basic_auth: Option<&BasicAuth>, timeout: Duration) -> Result<Server, Error> {
    let wrong = |reason: String| Error(format!("{}: {reason}", NAMES.address));
    // Path and query can hold a token: they go with each request, and never into the label.
    let mut server = url.clone();
    server.set_path("");
    server.set_query(None);
    let address: Address = server.as_str().parse().map_err(|error: http::BadAddress| wrong(error.to_string()))?;
    let proxies = Proxies::from_environment()?;
    let reach = Reach { tls, basic_auth, connect: CONNECT.min(timeout), names: &NAMES, proxies: &proxies };
    http::servers(&[address], &reach)?.pop().ok_or_else(|| wrong("it names no server".to_owned()))
}

/// The source of the credentials, for messages.
fn credentials(config: &Config) -> fault::Credentials {
    let header = |name: &str| config.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    fault::Credentials::Of(match &config.token {
        TokenSource::Fixed(_) | TokenSource::Both { .. } => "SINK_HTTP_TOKEN",
        TokenSource::File(_) => "SINK_HTTP_TOKEN_FILE",
        TokenSource::None if config.basic_auth.is_some() => "SINK_HTTP_AUTH, or the user in SINK_HTTP_ADDRESS,",
        TokenSource::None if header("authorization") => "SINK_HTTP_HEADERS",
        TokenSource::None => return fault::Credentials::None,
    })
}

fn target_of(url: &Url) -> (String, Option<String>) {
    (url.path().to_owned(), url.query().map(str::to_owned))
}

/// Path and query can hold a token, as the addresses of web hooks do. A word as short as `records` is not a token.
pub(super) fn hide(url: &Url) {
    const IN_PATH: usize = 20;
    const IN_QUERY: usize = 8;
    url.query().into_iter().for_each(redact::keep);
    let segments = url.path().split('/').filter(|segment| segment.len() >= IN_PATH);
    segments.for_each(redact::keep);
    url.query_pairs().filter(|(_, value)| value.len() >= IN_QUERY).for_each(|(_, value)| redact::keep(&value));
}

/// Only the server of the records gets the credentials and our certificate.
fn check(health: &Health, config: &Config, cluster: Option<&str>) -> Result<Check, Error> {
    let trusted = health.url.url().origin() == config.url.url().origin();
    let mut tls = config.tls.clone();
    if !trusted {
        (tls.client_cert, tls.client_key, tls.server_name) = (None, None, None);
    }
    let server = server(health.url.url(), &tls, config.basic_auth.as_ref().filter(|_| trusted), config.timeout)?;
    let headers = if trusted { request::headers(config, cluster)? } else { HeaderMap::new() };
    let (path, query) = target_of(health.url.url());
    Ok(Check { to: Target { server, method: Method::GET, path, query, headers }, trusted, status: health.status })
}

impl Target {
    /// A request, not yet sent.
    fn start(&self, authorization: Option<HeaderValue>) -> reqwest::RequestBuilder {
        let request = self.server.request_with(self.method.clone(), &self.path, self.query.as_deref());
        let request = request.headers(self.headers.clone());
        match authorization {
            Some(value) => request.header(reqwest::header::AUTHORIZATION, value),
            None => request,
        }
    }
}

/// Requests are independent of each other: the delivery never has two with records of one key under way.
impl Sink for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async move { Ok(self.outcomes(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        let sink = Http::new(self.clone(), cluster).map_err(Unusable::new)?;
        Ok((Box::new(sink), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }

    fn keeps_headers_away(&self) -> Option<&'static str> {
        let batched =
            "a request with a batch has no headers of each record; set SINK_HTTP_FORMAT=single, or choose cloudevents";
        (self.format != Format::Single).then_some(batched)
    }
}
