//! What this program calls itself in front of every server.

/// Name and version, as in `User-Agent`: `nomad-firehose/1.2.3`. Where a protocol has a name of the client or of the application, this
/// is it, so that an operator of the server sees who is there.
pub const PRODUCT: &str = concat!("nomad-firehose/", env!("CARGO_PKG_VERSION"));
