//! Which records go into one call. Pure.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_128;

use super::Config;
use crate::{
    record::Record,
    template::{MISSING, Template},
};

/// The most characters of a partition key (the API's reference, `PutRecordsRequestEntry`).
const KEY: usize = 256;

/// One record of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its number in the batch.
    pub(super) number: usize,
    pub(super) partition_key: String,
}

/// The partition key of a record: never empty, and never too long.
pub(super) fn partition_key(template: Option<&Template>, record: &Record) -> String {
    let key = template.map_or(Cow::Borrowed(&*record.key), |template| template.render(record));
    if key.is_empty() {
        MISSING.to_owned()
    } else if key.len() > KEY && key.encode_utf16().count() > KEY {
        format!("xxh3-{:032x}", xxh3_128(key.as_bytes()))
    } else {
        key.into_owned()
    }
}

/// How much is in a call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    records: usize,
    bytes: usize,
}

impl Load {
    /// Takes a record of this many bytes, its partition key included; `false` if it does not fit.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let fits = self.records < Config::CALL_RECORDS && self.bytes.saturating_add(bytes) <= Config::CALL_BYTES;
        if self.records > 0 && !fits {
            return false;
        }
        self.records += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        true
    }
}
