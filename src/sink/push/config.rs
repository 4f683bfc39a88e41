//! The settings that all of these sinks have.

use std::time::Duration;

use crate::{
    http::{BasicAuth, Secret, Tls, TokenSource},
    sink::{
        Policy, UnderWay,
        http::{Compression, Link},
    },
};

/// Where requests go, and how; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Config {
    /// The URL of the API, path included.
    pub(in crate::sink) url: Link,
    /// User and password. Never set together with a token.
    pub(in crate::sink) basic_auth: Option<BasicAuth>,
    /// The token.
    pub(in crate::sink) token: TokenSource,
    /// What the token is.
    pub(in crate::sink) scheme: Scheme,
    /// For `https`.
    pub(in crate::sink) tls: Tls,
    /// Further valid headers.
    pub(in crate::sink) headers: Vec<(String, Secret)>,
    /// How bodies are compressed.
    pub(in crate::sink) compression: Compression,
    /// The deadline of an answer, connecting included: 100 ms to 10 min.
    pub(in crate::sink) timeout: Duration,
    /// How records are batched.
    pub(in crate::sink) batches: Batches,
}

/// What a token is: the first word of `Authorization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sink) enum Scheme {
    /// A bearer token.
    #[default]
    Bearer,
    /// An API key of Elasticsearch.
    ApiKey,
}

/// How records are batched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Batches {
    /// The most records in a batch: 1 to 10,000.
    pub(in crate::sink) count: usize,
    /// The most bytes of bodies in a batch: 1 KiB to 64 MiB.
    pub(in crate::sink) bytes: usize,
    /// How long a batch that is not full waits: at most 1 min.
    pub(in crate::sink) linger: Duration,
    /// How many requests may be under way at a time: 1 to 64.
    pub(in crate::sink) under_way: usize,
}

impl Batches {
    /// How the sink wants its batches. Requests are independent of each other, so that no two of a key may be under way.
    pub(in crate::sink) fn policy(&self) -> Policy {
        let under_way = match self.under_way {
            0 | 1 => UnderWay::One,
            several => UnderWay::ByKey(several),
        };
        let Batches { count, bytes, linger, .. } = *self;
        Policy { under_way, batch_records: count, batch_bytes: bytes, linger, ..Policy::default() }
    }
}
