//! The sink's settings.

use std::{path::PathBuf, time::Duration};

use crate::{
    http::BasicAuth,
    sink::{Policy, UnderWay},
    template::Template,
};

/// Where records go; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Brokers to ask for the others, `HOST:PORT` or `HOST` each. At least one.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: Template,
    /// The key of a message; `None` is the record's own key.
    pub key: Option<Template>,
    /// The login, if there is one.
    pub login: Option<Login>,
    /// Whether connections use TLS, and with which files.
    pub tls: Option<Files>,
    /// How batches are compressed.
    pub compression: Compression,
    /// How long the brokers may take for a record: 1 s to 5 min.
    pub timeout: Duration,
}

impl Config {
    /// The most records in a batch.
    const BATCH_RECORDS: usize = 2000;

    /// The most bytes of bodies in a batch, except for a single larger one. The client holds a copy of each batch that is under way.
    const BATCH_BYTES: usize = 2 << 20;

    /// Batches under way at a time: the next ones are in the client's queue while the brokers answer.
    pub(super) const UNDER_WAY: usize = 4;

    /// How records are batched for it.
    pub fn policy(&self) -> Policy {
        Policy {
            under_way: UnderWay::Ordered(Self::UNDER_WAY),
            batch_records: Self::BATCH_RECORDS,
            batch_bytes: Self::BATCH_BYTES,
            queue: 2 * Self::BATCH_RECORDS,
            ..Policy::default()
        }
    }

    /// The most records that can be in the client's queue.
    pub(super) const fn most_queued() -> usize {
        Self::UNDER_WAY * Self::BATCH_RECORDS
    }

    /// The brokers, for messages and for the client.
    pub(super) fn brokers(&self) -> String {
        self.brokers.join(",")
    }
}

/// User, password, and how they are proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// User and password.
    pub auth: BasicAuth,
    /// The mechanism of SASL.
    pub mechanism: Mechanism,
}

/// A mechanism of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself is sent.
    Plain,
    /// Challenge and response (RFC 5802) with SHA-256.
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// Its registered name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// The PEM files of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The authorities to trust; those of the system without it.
    pub ca_cert: Option<PathBuf>,
    /// The certificate to present.
    pub client_cert: Option<PathBuf>,
    /// The key of `client_cert`.
    pub client_key: Option<PathBuf>,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By zlib.
    Gzip,
    /// By Snappy.
    Snappy,
    /// By LZ4.
    Lz4,
    /// By Zstandard.
    Zstd,
}

impl Compression {
    pub(super) const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// Its name in the settings, and for the client.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}
