//! The sink's settings.

use std::{fmt, time::Duration};

use reqwest::{Method, StatusCode, Url};

use crate::{
    http::{BasicAuth, Secret, Tls, TokenSource},
    sink::{Policy, UnderWay},
};

/// A URL without a user. Its path and query can hold a token, so only the server is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Link(Url);

impl Link {
    /// Takes the URL in.
    pub fn new(url: Url) -> Self {
        Link(url)
    }

    /// The URL itself.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.0.origin().ascii_serialization())
    }
}

/// The format of the records in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One record a request: its body as it is.
    Single,
    /// A batch as one JSON array.
    Array,
    /// A batch, one record a line.
    Ndjson,
}

/// How a request's body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As `Content-Encoding: gzip`.
    Gzip,
    /// As `Content-Encoding: zstd`.
    Zstd,
}

/// The URL that has to answer before the first record is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `http` or `https`.
    pub url: Link,
    /// The status it has to answer with.
    pub status: StatusCode,
}

/// Where records go, and how; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `http` or `https`; path and query are kept.
    pub url: Link,
    /// User and password. Never set together with a token.
    pub basic_auth: Option<BasicAuth>,
    /// The bearer token.
    pub token: TokenSource,
    /// For `https`.
    pub tls: Tls,
    /// `POST`, `PUT` or `PATCH`.
    pub method: Method,
    /// Further valid headers. They replace the ones that the sink sets itself, such as `Content-Type`.
    pub headers: Vec<(String, Secret)>,
    /// The format of the records in a request.
    pub format: Format,
    /// How bodies are compressed.
    pub compression: Compression,
    /// Requests at a time: 1 to 256. With more than one, order holds for each key only.
    pub workers: usize,
    /// The deadline of an answer, connecting included: 100 ms to 10 min.
    pub timeout: Duration,
    /// The URL that has to answer before the first record is sent.
    pub health: Option<Health>,
    /// The most records in a batch: 1 to 10,000.
    pub batch_count: usize,
    /// The most bytes of bodies in a batch: 1 KiB to 64 MiB.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits: at most 1 min.
    pub batch_linger: Duration,
}

/// How many single requests of one connection are acknowledged together.
const SINGLES_A_WORKER: usize = 16;

impl Config {
    /// How records are batched for it.
    pub fn policy(&self) -> Policy {
        // Records are acknowledged with their batch. Where each is a request of its own, a slow server would hold up the
        // checkpoint for as long as a whole batch takes, and a leader that dies young would leave no progress.
        let batch_records = match self.format {
            Format::Single => self.batch_count.min(SINGLES_A_WORKER * self.workers.max(1)),
            Format::Array | Format::Ndjson => self.batch_count,
        };
        // The workers of single records are within a batch.
        let under_way = match self.format {
            Format::Single => UnderWay::One,
            Format::Array | Format::Ndjson if self.workers > 1 => UnderWay::ByKey(self.workers),
            Format::Array | Format::Ndjson => UnderWay::One,
        };
        Policy {
            under_way,
            batch_records,
            batch_bytes: self.batch_bytes,
            linger: self.batch_linger,
            ..Policy::default()
        }
    }
}
