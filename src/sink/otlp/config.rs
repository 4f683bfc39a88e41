//! The sink's settings.

use crate::sink::{Policy, push};

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink) enum Protocol {
    /// As a POST of HTTP/1.1.
    Http,
    /// As a call of gRPC.
    Grpc,
}

/// How the body of a record is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink) enum Body {
    /// As the text that it is.
    Text,
    /// Taken apart into maps, lists and values.
    Map,
}

/// Where records go, and how; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Config {
    /// The connection.
    pub(in crate::sink) push: push::Config,
    /// How requests travel.
    pub(in crate::sink) protocol: Protocol,
    /// How the body of a record is sent.
    pub(in crate::sink) body: Body,
    /// Attributes of the resource, each once.
    pub(in crate::sink) resource: Vec<(String, String)>,
}

impl Config {
    /// How records are batched for it.
    pub(in crate::sink) fn policy(&self) -> Policy {
        self.push.batches.policy()
    }
}
