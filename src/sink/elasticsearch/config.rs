//! The sink's settings.

use crate::{
    sink::{Policy, push},
    template::Template,
};

/// What a document looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink) enum Layout {
    /// The record is the object `body`.
    Nested,
    /// The record is the text `message`.
    Text,
    /// The record is the document.
    Document,
}

/// Where records go, and how; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Config {
    /// The connection.
    pub(in crate::sink) push: push::Config,
    /// The index or data stream.
    pub(in crate::sink) index: Template,
    /// What a document looks like.
    pub(in crate::sink) layout: Layout,
}

impl Config {
    /// How records are batched for it.
    pub(in crate::sink) fn policy(&self) -> Policy {
        self.push.batches.policy()
    }
}
