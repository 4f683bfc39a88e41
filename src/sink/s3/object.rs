//! A batch as objects: which record is in which, under which key, and their bytes. Pure.

use std::io::{self, Read};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3Default;

use super::Config;
use crate::{
    record::Record,
    sink::ndjson::{Compression, NDJSON, Stamp},
};

/// Records for one object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) key: String,
    /// The places of its records in the batch.
    pub(super) records: Vec<usize>,
}

/// What tells one batch from another: its records, in their order.
pub(super) fn identity<'a>(records: impl IntoIterator<Item = &'a Record>) -> u128 {
    let mut hash = Xxh3Default::new();
    for Record { kind, id, body, .. } in records {
        for part in [kind.name().as_bytes(), id.as_bytes(), body] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.digest128()
}

/// The objects of a batch that is written at this time, in the order of their first records.
pub(super) fn objects(config: &Config, batch: &[Record], stamp: &Stamp) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    for (place, record) in batch.iter().enumerate() {
        let directory = config.key.render(record, stamp);
        match objects.iter_mut().find(|object| object.key == directory) {
            Some(object) => object.records.push(place),
            None => objects.push(Object { key: directory, records: vec![place] }),
        }
    }
    for object in &mut objects {
        let records = || object.records.iter().map(|place| &batch[*place]);
        let first = records().map(|record| record.index.0).next().unwrap_or_default();
        let identity = identity(records());
        let prefix = &config.place.prefix;
        let slash = if prefix.is_empty() { "" } else { "/" };
        let directory = &object.key;
        // Padded, so that names sort as indexes do.
        let key =
            format!("{prefix}{slash}{directory}/{first:020}-{identity:032x}{NDJSON}{}", config.compression.suffix());
        object.key = key;
    }
    objects
}

/// The bytes of an object. The same lines always give the same ones.
///
/// # Errors
/// None is expected: everything is in memory.
pub(super) fn bytes(compression: Compression, bodies: Vec<Bytes>) -> io::Result<Vec<u8>> {
    let size: usize = bodies.iter().map(|body| body.len() + 1).sum();
    let capacity = if compression == Compression::None { size } else { size / 8 };
    compression
        .compress(Lines { bodies: bodies.into_iter(), rest: Bytes::new(), ends: false }, Vec::with_capacity(capacity))
}

/// The lines, read without a copy of all of them.
struct Lines {
    bodies: std::vec::IntoIter<Bytes>,
    rest: Bytes,
    /// A line break comes after the rest.
    ends: bool,
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            if self.rest.is_empty() {
                self.rest = if self.ends {
                    Bytes::from_static(b"\n")
                } else {
                    let Some(body) = self.bodies.next() else { break };
                    body
                };
                self.ends = !self.ends;
                continue;
            }
            let length = self.rest.len().min(buffer.len() - read);
            buffer[read..read + length].copy_from_slice(&self.rest[..length]);
            self.rest = self.rest.slice(length..);
            read += length;
        }
        Ok(read)
    }
}
