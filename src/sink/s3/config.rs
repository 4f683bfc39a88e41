//! The sink's settings.

use std::{path::PathBuf, time::Duration};

use reqwest::Url;

use crate::sink::{
    Policy,
    ndjson::{Compression, Pattern},
};

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// Where objects go.
    pub(super) place: Place,
    /// The directory of an object below the prefix.
    pub(super) key: Pattern,
    /// A batch leaves once its bodies have as many bytes, before compression.
    pub(super) batch_bytes: usize,
    /// A batch leaves after this time, however small it is.
    pub(super) batch_interval: Duration,
    /// How objects are compressed.
    pub(super) compression: Compression,
    /// Another address than the service's own.
    pub(super) endpoint: Option<Url>,
    /// The region of the bucket; `None` for that of the environment. Of S3 alone.
    pub(super) region: Option<String>,
    /// Whether the bucket is in the path, and not in the name of the host; `None` for what is usual. Of S3 alone.
    pub(super) path_style: Option<bool>,
}

/// A bucket, or a directory, with the prefix of all keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) service: Service,
    /// The bucket, or the container of Azure; empty for a directory.
    pub(super) bucket: String,
    /// Without slashes around it; it can be empty.
    pub(super) prefix: String,
}

/// What keeps the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Amazon S3, or whatever speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// A directory.
    Local(PathBuf),
}

impl Service {
    /// Its name for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Service::S3 => "S3",
            Service::Gcs => "Google Cloud Storage",
            Service::Azure => "Azure Blob Storage",
            Service::Local(_) => "the disk",
        }
    }
}

impl Place {
    /// For messages: `the bucket nomad`.
    pub(super) fn label(&self) -> String {
        match &self.service {
            Service::Azure => format!("the container {}", self.bucket),
            Service::Local(path) => format!("the directory {}", path.display()),
            _ => format!("the bucket {}", self.bucket),
        }
    }
}

impl Config {
    /// How records are batched for it. Each batch is an object, or one for each different directory.
    pub(super) fn policy(&self) -> Policy {
        Policy {
            batch_records: 1_000_000,
            batch_bytes: self.batch_bytes,
            linger: self.batch_interval,
            is_whole: true,
            ..Policy::default()
        }
    }
}
