//! The messages of the push API, as `push.proto` of Grafana Loki has them: a `PushRequest`, compressed with Snappy's block format.

use bytes::Bytes;
use prost::Message;

/// `logproto.PushRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, repeated, tag = "1")]
    pub(super) streams: Vec<Stream>,
}

/// `logproto.StreamAdapter`: the entries of one set of labels.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Stream {
    /// `{job="nomad", kind="jobs"}`.
    #[prost(string, tag = "1")]
    pub(super) labels: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) entries: Vec<Entry>,
}

/// `logproto.EntryAdapter`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(message, optional, tag = "1")]
    pub(super) timestamp: Option<Timestamp>,
    /// A `string` of the protocol, which looks the same on the wire. The body of a record is not copied into it.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) line: Bytes,
    #[prost(message, repeated, tag = "3")]
    pub(super) structured_metadata: Vec<Pair>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl Timestamp {
    /// The time of this many nanoseconds since 1970.
    pub(super) fn new(nanoseconds: u64) -> Self {
        const SECOND: u64 = 1_000_000_000;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let nanos = i32::try_from(nanoseconds % SECOND).unwrap_or_default();
        Timestamp { seconds: number(nanoseconds / SECOND), nanos }
    }
}

/// `logproto.LabelPairAdapter`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Pair {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

impl Request {
    /// The body of a request.
    pub(super) fn body(&self) -> Bytes {
        let plain = self.encode_to_vec();
        // This fails only above 4 GiB, far more than the window holds.
        snap::raw::Encoder::new().compress_vec(&plain).unwrap_or_default().into()
    }
}
