//! What the sinks have in common that post batches to the API of a log store: the request with its credentials and its
//! deadline, the search for the records that the server refuses, and the settings.
//!
//! A sink says what is its own as a [`Codec`]: its body, and what an answer means. Requests are independent of each other:
//! several may be under way, never two with records of one key.

mod answer;
mod check;
mod config;
mod fault;
#[cfg(feature = "otlp")]
mod grpc;
mod request;
mod settings;

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::{
    Url,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE},
};

#[cfg(feature = "otlp")]
pub(super) use self::settings::{Found, endpoint};
pub(super) use self::{
    check::check,
    config::{Batches, Config, Scheme},
    fault::{Said, Verdict, usual},
    settings::{BatchSettings, Settings, address, connection, read},
};
use super::{
    Closed, Outcome, Sink, Unusable,
    http::{Compression, bytes, grown, hide, pieces},
};
use crate::{
    http::{self, Address, BadAddress, Names, Proxies, Reach, Server, Token, TokenSource},
    record::Record,
};

/// How long connecting may take, TLS included. Never longer than the deadline of the request.
const CONNECT: Duration = Duration::from_secs(5);

/// What is special about an API.
pub(super) trait Codec: Send + Sync + fmt::Debug {
    /// The value of `SINK_TYPE`.
    fn name(&self) -> &'static str;

    /// Its variables.
    fn variables(&self) -> &'static Variables;

    /// The media type of the body.
    fn content_type(&self) -> &'static str;

    /// Whether requests are calls of gRPC. Then an answer has the status that HTTP has for the one of gRPC.
    #[cfg(feature = "otlp")]
    fn is_grpc(&self) -> bool {
        false
    }

    /// What else it can mean that connections break and the server has never answered.
    fn hint(&self) -> &'static str {
        ""
    }

    /// What is added to the query of the URL.
    fn query(&self) -> Option<&'static str> {
        None
    }

    /// The body of a request with these records, at least one.
    fn encode(&self, records: &[Record], sent: Sent) -> Bytes;

    /// What an answer means for the records of its request. Most failures are [`usual`].
    fn judge(&self, said: &Said<'_>, records: &[Record]) -> Verdict;

    /// The body of a request without records, which the server answers and which changes nothing.
    fn empty(&self) -> Bytes;

    /// The most bytes of an answer about so many records.
    fn answer_bytes(&self, _records: usize) -> usize {
        64 << 10
    }
}

/// When a batch was sent first. The parts that it is taken apart into keep it, so that a record looks the same in each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) at: SystemTime,
    /// How many records of the batch come before the first one of this part.
    #[cfg_attr(not(feature = "loki"), expect(dead_code, reason = "only Loki tells records of one moment apart by it"))]
    pub(super) before: usize,
}

/// The variables of a sink, for messages.
#[derive(Debug)]
pub(super) struct Variables {
    /// Those of its connection.
    pub(super) connection: Names,
    /// User and password.
    pub(super) auth: &'static str,
    /// Further headers.
    pub(super) headers: &'static str,
    /// The deadline of an answer.
    pub(super) timeout: &'static str,
    /// How bodies are compressed, if that is a setting.
    pub(super) compression: Option<&'static str>,
}

/// A sink that posts batches.
pub(super) struct Push<C> {
    codec: C,
    to: Target,
    compression: Compression,
    timeout: Duration,
    has_answered: AtomicBool,
    /// The most bytes of bodies in a request, as far as the server's answers have shown.
    fits: AtomicUsize,
}

/// Where requests go, and what each of them carries.
struct Target {
    server: Server,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    token: Token,
    scheme: Scheme,
    /// The variable that the credentials come from.
    credentials: Option<&'static str>,
}

impl<C: Codec> fmt::Debug for Push<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("codec", &self.codec)
            .field("server", &self.to.server.label)
            .finish_non_exhaustive()
    }
}

impl<C: Codec> Push<C> {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// A certificate or a header cannot be used, or a proxy of the environment: the message names the variable.
    pub(super) fn new(codec: C, config: &Config) -> Result<Self, Unusable> {
        let variables = codec.variables();
        #[cfg(feature = "otlp")]
        let is_grpc = codec.is_grpc();
        #[cfg(not(feature = "otlp"))]
        let is_grpc = false;
        let mut to = Target::new(config, variables, is_grpc)?;
        if let Some(more) = codec.query() {
            to.query = Some(to.query.map_or_else(|| more.to_owned(), |query| format!("{query}&{more}")));
        }
        to.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(codec.content_type()));
        Ok(Push {
            codec,
            to,
            compression: config.compression,
            timeout: config.timeout,
            has_answered: AtomicBool::new(false),
            fits: AtomicUsize::new(usize::MAX),
        })
    }

    /// Sends `batch` in order. If the server refuses it, sends halves until the guilty records stand alone. After any
    /// other failure, nothing more is sent.
    async fn outcomes(&self, batch: &[Record]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        // The last part is sent next, so that halves stay in order.
        let mut parts = pieces(batch, self.fits.load(Ordering::Relaxed));
        parts.reverse();
        let at = SystemTime::now();
        while let Some(part) = parts.pop() {
            match self.exchange(part, Sent { at, before: outcomes.len() }).await {
                Verdict::Delivered => {
                    self.took(part);
                    outcomes.extend(part.iter().map(|_| Outcome::Delivered));
                }
                Verdict::Each(each) => {
                    self.took(part);
                    let has_failed = each.iter().any(|outcome| matches!(outcome, Outcome::Retry { .. }));
                    outcomes.extend(each);
                    if has_failed {
                        break;
                    }
                }
                Verdict::Refused { reason, .. } if part.len() == 1 => outcomes.push(Outcome::Reject { reason }),
                Verdict::Refused { reason, too_large } => {
                    tracing::debug!(%reason, records = part.len(), "a batch is refused, its halves are sent");
                    if too_large {
                        // The part is larger than the server's limit, so half of it is never less than half of the limit.
                        self.fits.fetch_min(bytes(part) / 2, Ordering::Relaxed);
                    }
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Verdict::Retry { reason, after, refusal, class } => {
                    let again = || Outcome::Retry { reason: reason.clone(), after, refusal: refusal.clone(), class };
                    outcomes.extend(part.iter().map(|_| again()));
                    break;
                }
            }
        }
        outcomes.resize_with(batch.len(), Outcome::not_sent);
        outcomes
    }

    /// The server took a request with these records.
    fn took(&self, part: &[Record]) {
        let fits = self.fits.load(Ordering::Relaxed);
        let more = grown(fits, bytes(part));
        if more != fits {
            // Another request may have found a limit meanwhile: then that counts.
            self.fits.compare_exchange(fits, more, Ordering::Relaxed, Ordering::Relaxed).ok();
        }
    }
}

impl Target {
    fn new(config: &Config, variables: &'static Variables, is_grpc: bool) -> Result<Self, Unusable> {
        let (url, names) = (config.url.url(), &variables.connection);
        // Path and query can hold a token: they go with each request, and never into the label.
        hide(url);
        let mut server = url.clone();
        server.set_path("");
        server.set_query(None);
        let wrong = |error: BadAddress| Unusable::new(format!("{}: {error}", names.address));
        let address: Address = server.as_str().parse().map_err(wrong)?;
        let proxies = Proxies::from_environment().map_err(Unusable::new)?;
        let connect = CONNECT.min(config.timeout);
        let basic_auth = config.basic_auth.as_ref();
        let reach = Reach { tls: &config.tls, basic_auth, connect, names, proxies: &proxies };
        #[cfg(feature = "otlp")]
        let http2 = is_grpc.then(|| http::http2_server(&address, &reach, config.timeout));
        #[cfg(not(feature = "otlp"))]
        let http2: Option<Result<Server, http::Fault>> = None;
        let server = match http2 {
            Some(server) => Some(server.map_err(Unusable::new)?),
            None => http::servers(&[address], &reach).map_err(Unusable::new)?.pop(),
        };
        let server = server.ok_or_else(|| Unusable::new(format!("{} names no server", names.address)))?;
        Ok(Target {
            server,
            path: url.path().to_owned(),
            query: query(url),
            headers: headers(config, variables, is_grpc)?,
            token: Token::new(config.token.clone(), names),
            scheme: config.scheme,
            credentials: credentials(config, variables),
        })
    }
}

fn query(url: &Url) -> Option<String> {
    url.query().map(str::to_owned)
}

/// The headers of every request.
fn headers(config: &Config, variables: &'static Variables, is_grpc: bool) -> Result<HeaderMap, Unusable> {
    let mut headers = HeaderMap::new();
    if is_grpc {
        // The status comes in trailers.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let timeout = format!("{}m", config.timeout.as_millis());
        headers.insert("grpc-timeout", HeaderValue::from_str(&timeout).expect("digits and a letter"));
    }
    let encoding = match config.compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
    };
    if let Some(encoding) = encoding {
        // Of gRPC, messages are compressed and not the body.
        let name = if is_grpc { HeaderName::from_static("grpc-encoding") } else { CONTENT_ENCODING };
        headers.insert(name, HeaderValue::from_static(encoding));
    }
    for (name, value) in &config.headers {
        let wrong = || Unusable::new(format!("{}: {name} cannot be sent as a header", variables.headers));
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// The source of the credentials, for messages.
fn credentials(config: &Config, variables: &'static Variables) -> Option<&'static str> {
    let has_header = config.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    match &config.token {
        TokenSource::Fixed(_) | TokenSource::Both { .. } => Some(variables.connection.token),
        TokenSource::File(_) => Some(variables.connection.token_file),
        TokenSource::None if config.basic_auth.is_some() => Some(variables.auth),
        TokenSource::None => has_header.then_some(variables.headers),
    }
}

impl<C: Codec> Sink for Push<C> {
    fn name(&self) -> &'static str {
        self.codec.name()
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.outcomes(batch).await) })
    }
}
