//! Task cursors in the bytes of one page, with a checksum.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::task_cursors::{ENTRY_BYTES, TaskCursor, TaskKey, from_bytes, to_bytes};

/// The checksum before the task cursors of a page or log.
const SUM_BYTES: usize = 8;

/// Task cursors with their checksum.
pub(super) fn encode(task_cursors: &[(TaskKey, TaskCursor)]) -> Bytes {
    let mut bytes = vec![0; SUM_BYTES];
    bytes.reserve_exact(task_cursors.len() * ENTRY_BYTES);
    task_cursors.iter().for_each(|entry| bytes.extend_from_slice(&to_bytes(*entry)));
    let sum = xxh3_64(&bytes[SUM_BYTES..]);
    bytes[..SUM_BYTES].copy_from_slice(&sum.to_le_bytes());
    bytes.into()
}

/// The task cursors.
///
/// # Errors
/// The bytes are damaged; the text says how.
pub(super) fn decode(bytes: &[u8]) -> Result<impl ExactSizeIterator<Item = (TaskKey, TaskCursor)>, String> {
    let (sum, task_cursors) = bytes.split_first_chunk::<SUM_BYTES>().ok_or("it is too short")?;
    let (entries, rest) = task_cursors.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err("it ends in the middle of a task cursor".to_owned());
    }
    if xxh3_64(task_cursors).to_le_bytes() != *sum {
        return Err("its checksum is wrong".to_owned());
    }
    Ok(entries.iter().map(|entry| from_bytes(*entry)))
}
