//! The settings that all of these sinks have.

use std::time::Duration;

use crate::{
    http::{BasicAuth, Tls},
    sink::http::Link,
};

/// Where messages go; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Config {
    /// The URLs, with the user that each of them had. At least one.
    pub(in crate::sink) links: Vec<(Link, Option<BasicAuth>)>,
    /// For `https`.
    pub(in crate::sink) tls: Tls,
    /// The deadline of an answer, connecting included: 100 ms to 10 min.
    pub(in crate::sink) timeout: Duration,
}
