//! The sink's settings.

use std::time::Duration;

use crate::sink::webhook;

/// Where alerts go; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(super) webhook: webhook::Config,
    /// After what time an alert ends: 1 s to 30 days.
    pub(super) ttl: Duration,
    /// Labels of every alert. The names are valid, and each is there once.
    pub(super) labels: Vec<(String, String)>,
}
