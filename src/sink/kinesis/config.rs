//! The sink's settings.

use crate::{sink::Policy, template::Template};

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The stream. The sink never creates it.
    pub stream: Stream,
    /// The partition key; `None` is the record's own key.
    pub partition_key: Option<Template>,
    /// The most bytes of a record, its partition key included: 1 MiB to 10 MiB.
    pub max_record_size: usize,
}

/// How the stream is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    /// By its name, in the region and the account that the environment says.
    Name(String),
    /// By its ARN.
    Arn {
        /// The whole ARN.
        arn: String,
        /// The region in it.
        region: String,
    },
}

impl Config {
    /// The most records in a call (the API's reference, `PutRecords`).
    pub const CALL_RECORDS: usize = 500;

    /// The most bytes of records and their partition keys in a call. The API's reference says 10 MiB today and said 5 MiB
    /// until records could be larger than 1 MiB: this fits both. A single larger record goes alone.
    pub const CALL_BYTES: usize = 5 << 20;

    /// How records are batched for it: some whole calls at a time, so that a small last call costs little, and a queue that has
    /// the next ones ready.
    pub fn policy(&self) -> Policy {
        let batch_records = 4 * Self::CALL_RECORDS;
        Policy { batch_records, batch_bytes: 4 * Self::CALL_BYTES, queue: 2 * batch_records, ..Policy::default() }
    }
}
