//! The sink's settings.

use std::{path::PathBuf, time::Duration};

use crate::sink::{
    Policy,
    ndjson::{Compression, Pattern},
};

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// Everything is below it. It has to exist.
    pub(super) directory: PathBuf,
    /// The path of a file below the directory, without its time and its suffixes.
    pub(super) name: Pattern,
    /// A file is finished before it has more bytes than this, before compression. A single larger record is alone in its file.
    pub(super) rotate_size: u64,
    /// A file is finished once it is as old.
    pub(super) rotate_interval: Duration,
    /// How finished files are compressed.
    pub(super) compression: Compression,
    /// How long records are gathered for one write and one `fsync`.
    pub(super) fsync_interval: Duration,
    /// The mode of files. Directories have it too, with the right to search for whoever may read.
    pub(super) mode: u32,
    /// What is removed.
    pub(super) keep: Keep,
}

/// How much is kept of the finished files, oldest first to go; `None` without a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keep {
    /// At most so many files.
    pub(super) files: Option<usize>,
    /// At most so many bytes.
    pub(super) bytes: Option<u64>,
}

impl Config {
    /// How records are batched for it. A batch is one write and one `fsync`, so larger ones are better.
    pub(super) fn policy(&self) -> Policy {
        Policy { batch_records: 10_000, batch_bytes: 4 << 20, linger: self.fsync_interval, ..Policy::default() }
    }
}
