//! The bytes of a request: bodies of records put together, and compressed.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::write::GzEncoder;

use super::{Compression, Format};
use crate::record::Record;

/// Above this, compressing takes so long that other tasks would wait for it.
const INLINE: usize = 32 << 10;

/// `records` as one body. A single record is not copied.
pub(super) fn joined(format: Format, records: &[Record]) -> Bytes {
    if let (Format::Single, [only]) = (format, records) {
        return only.body.clone();
    }
    let bytes: usize = records.iter().map(|record| record.body.len() + 1).sum();
    let mut body = Vec::with_capacity(bytes + 1);
    if format == Format::Ndjson {
        for record in records {
            body.extend_from_slice(&record.body);
            body.push(b'\n');
        }
        return body.into();
    }
    for (number, record) in records.iter().enumerate() {
        body.push(if number == 0 { b'[' } else { b',' });
        body.extend_from_slice(&record.body);
    }
    body.push(b']');
    body.into()
}

/// `body` compressed.
///
/// # Errors
/// The compressor failed. Only a lack of memory can cause that.
pub(in crate::sink) async fn compressed(compression: Compression, body: Bytes) -> io::Result<Bytes> {
    match compression {
        Compression::None => Ok(body),
        _ if body.len() <= INLINE => compress(compression, &body),
        _ => tokio::task::spawn_blocking(move || compress(compression, &body)).await?,
    }
}

fn compress(compression: Compression, body: &[u8]) -> io::Result<Bytes> {
    match compression {
        Compression::None => Ok(Bytes::copy_from_slice(body)),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::default());
            encoder.write_all(body)?;
            encoder.finish().map(Bytes::from)
        }
        Compression::Zstd => zstd::bulk::compress(body, zstd::DEFAULT_COMPRESSION_LEVEL).map(Bytes::from),
    }
}
