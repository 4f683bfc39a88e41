//! What the sinks share that write lines of JSON into files or objects: names with fields of the record and dates, and compression.

mod compression;
mod pattern;

pub(super) use self::{
    compression::Compression,
    pattern::{Pattern, Stamp},
};

/// The suffix of the name of whatever has lines of JSON in it.
pub(super) const NDJSON: &str = ".ndjson";
