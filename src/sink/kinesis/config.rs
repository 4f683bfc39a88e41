//! The sink's settings.

use crate::{
    sink::{Policy, UnderWay},
    template::Template,
};

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The stream. The sink never creates it.
    pub stream: Stream,
    /// The partition key; `None` is the record's own key.
    pub partition_key: Option<Template>,
    /// The most bytes of a record, its partition key included: 1 MiB to 10 MiB.
    pub max_record_size: usize,
    /// Calls in parallel: 1 to 64.
    pub workers: usize,
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

    /// The most bytes of bodies in a batch, except for a single larger one. The client holds each call three times: as bodies, in
    /// base64, and as a request.
    const BATCH_BYTES: usize = 2 << 20;

    /// How records are batched for it: a batch is a call, and a queue has the next ones ready.
    pub fn policy(&self) -> Policy {
        Policy {
            under_way: UnderWay::ByKey(self.workers),
            batch_records: Self::CALL_RECORDS,
            batch_bytes: Self::BATCH_BYTES,
            queue: self.workers * Self::CALL_RECORDS,
            ..Policy::default()
        }
    }
}
