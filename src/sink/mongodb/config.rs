//! The sink's settings.

use std::{path::PathBuf, time::Duration};

use crate::{
    http::Secret,
    kind::Kind,
    sink::{Policy, UnderWay},
};

/// The field that can stand in a collection's name.
pub(super) const KIND: &str = "{Kind}";

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The connection string, which can hold a password.
    pub connection: Secret,
    /// Its hosts, for messages.
    pub shown: String,
    /// The database.
    pub database: String,
    /// The collection. `{Kind}` stands for the kind.
    pub collection: String,
    /// How many batches may be under way at a time, each over a connection of its own.
    pub workers: usize,
    /// How long the primary and the majority may take for a batch.
    pub timeout: Duration,
    /// The certificate authority to trust.
    pub ca_cert: Option<PathBuf>,
    /// The certificate to present, with its key in the same file.
    pub client_cert: Option<PathBuf>,
}

impl Config {
    /// How records are batched for it.
    pub fn policy(&self) -> Policy {
        Policy { under_way: UnderWay::ByKey(self.workers), ..Policy::default() }
    }

    /// The name of the collection for this kind.
    pub(super) fn collection_of(&self, kind: Kind) -> String {
        self.collection.replace(KIND, kind.name())
    }
}
