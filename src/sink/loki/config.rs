//! The sink's settings.

use std::time::Duration;

use super::labels::Label;
use crate::sink::{Policy, push};

/// Where records go, and how; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Config {
    /// The connection.
    pub(in crate::sink) push: push::Config,
    /// The labels of the settings; at least one that each record has.
    pub(in crate::sink) labels: Vec<Label>,
    /// The most label sets within an hour: 1 to 100,000.
    pub(in crate::sink) max_streams: usize,
    /// How old a record may be to keep its own time: at most 30 days.
    pub(in crate::sink) max_age: Duration,
    /// Whether entries have structured metadata.
    pub(in crate::sink) structured_metadata: bool,
}

impl Config {
    /// How records are batched for it.
    pub(in crate::sink) fn policy(&self) -> Policy {
        self.push.batches.policy()
    }
}
