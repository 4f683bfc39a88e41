//! An answer as it is read, whatever the protocol.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{StatusCode, header::HeaderMap};

/// An answer that is read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// What gRPC calls the status, if it is one of gRPC.
    pub(super) grpc: Option<&'static str>,
    /// When the server wants to be asked again, if gRPC says so.
    pub(super) after: Option<Duration>,
}
