//! How a checkpoint is stored in Consul's KV store.
//!
//! | key | |
//! |---|---|
//! | `PREFIX/TYPE.state` | the head: the [`Checkpoint`] without its task cursors, and which keys those are in |
//! | `PREFIX/TYPE.state/G/page/N` | task cursors of generation G, a part of all tasks each |
//! | `PREFIX/TYPE.state/G/log/N` | task cursors that were set since, oldest first |
//! | `PREFIX/TYPE.value` | the original program's integer |
//!
//! The head says how many pages and logs its generation has; all other keys belong to a write that is under way or was
//! cut off. When the logs have as many bytes as the pages, the pages are written again as the next generation, one with
//! each save; the transaction of the head that names them deletes the old ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::keys::{Extent, Keys};
use crate::{
    checkpoint::{Checkpoint, check_version},
    cluster::Identity,
    consul::{Entry, ModifyIndex},
    coordinator::pages::decode,
    task_cursors::TaskCursors,
};

/// The text of the head's key.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    #[serde(flatten)]
    pub(super) checkpoint: Checkpoint,
    /// Where the task cursors are. A checkpoint without them omits it.
    #[serde(default, rename = "stored_marks")]
    pub(super) extent: Extent,
    /// What the original program's key held when this was written: only a greater number there is the original's own
    /// progress.
    #[serde(default)]
    pub(super) stored_value: u64,
}

/// A checkpoint that was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) checkpoint: Checkpoint,
    pub(super) extent: Extent,
    /// What the original program's key held then.
    pub(super) stored_value: u64,
    pub(super) head: ModifyIndex,
    /// Task cursors in all pages, and in all logs.
    pub(super) in_pages: usize,
    pub(super) in_logs: usize,
}

/// Which key is wrong, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Corrupt {
    pub(super) key: String,
    pub(super) reason: String,
}

/// Where the task cursors are, by the text of the head; `None` where it cannot be read.
pub(super) fn extent(head: &[u8]) -> Option<Extent> {
    #[derive(Deserialize)]
    struct Stated {
        #[serde(default, rename = "stored_marks")]
        extent: Extent,
    }
    let Stated { extent } = serde_json::from_slice(head).ok()?;
    Some(extent)
}

/// The cluster of the checkpoint, by the text of its head; `None` where that does not show it.
pub(super) fn cluster(head: &[u8]) -> Option<Identity> {
    #[derive(Deserialize)]
    struct Of {
        #[serde(default, deserialize_with = "crate::cluster::lenient")]
        cluster: Option<Identity>,
    }
    let Of { cluster } = serde_json::from_slice(head).ok()?;
    cluster
}

/// The checkpoint in `entries`, which are all keys that begin with that of the head; `None` where there are none.
pub(super) fn read(keys: &Keys, entries: &[Entry]) -> Result<Option<Found>, Corrupt> {
    #[derive(Deserialize)]
    struct Layout {
        version: u32,
    }
    let corrupt = |key: &str, reason: String| Corrupt { key: key.to_owned(), reason };
    let folder = format!("{}/", keys.state);
    let by_key: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.key.as_str(), entry)).collect();
    let Some(head) = by_key.get(keys.state.as_str()) else {
        return match by_key.keys().find(|key| key.starts_with(&folder)) {
            Some(_) => Err(corrupt(&keys.state, "it is missing, but its task cursors exist".to_owned())),
            None => Ok(None),
        };
    };
    let wrong = |error: serde_json::Error| corrupt(&keys.state, error.to_string());
    // The layout decides what else is there, so report a wrong version first.
    let Layout { version } = serde_json::from_slice(&head.value).map_err(wrong)?;
    check_version(version).map_err(|reason| corrupt(&keys.state, reason))?;
    let Head { mut checkpoint, extent, stored_value } = serde_json::from_slice(&head.value).map_err(wrong)?;
    let Extent { generation, pages, logs } = extent;
    let found = |key: String| {
        let Some(entry) = by_key.get(key.as_str()) else {
            return Err(corrupt(&key, "it is missing".to_owned()));
        };
        decode(&entry.value).map_err(|reason| corrupt(&key, reason))
    };
    let pages = (0..pages).map(|number| found(keys.page(generation, number))).collect::<Result<Vec<_>, _>>()?;
    let logs = (0..logs).map(|number| found(keys.log(generation, number))).collect::<Result<Vec<_>, _>>()?;
    let in_pages = pages.iter().map(ExactSizeIterator::len).sum();
    let in_logs = logs.iter().map(ExactSizeIterator::len).sum();
    checkpoint.task_cursors = pages.into_iter().chain(logs).flatten().collect::<TaskCursors>();
    Ok(Some(Found { checkpoint, extent, stored_value, head: head.modify_index, in_pages, in_logs }))
}

/// The original program's bare decimal.
pub(super) fn parse_value(text: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(text);
    text.trim().parse::<u64>().map_err(|_| format!("{text:?} is no whole number"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        checkpoint::VERSION,
        coordinator::pages::encode,
        kind::Kind,
        position::RaftIndex,
        task_cursors::{EventHash, TaskCursor, TaskKey},
    };

    fn keys() -> Keys {
        Keys::new("prefix", Kind::Allocations)
    }

    fn entry(key: String, value: impl Into<Bytes>) -> Entry {
        Entry { key, value: value.into(), flags: 0, session: None, lock_index: 0, modify_index: ModifyIndex(7) }
    }

    fn task_cursors(numbers: std::ops::Range<u64>, event: u64) -> Vec<(TaskKey, TaskCursor)> {
        let task_cursor = TaskCursor::new(EventHash(event), RaftIndex(event), false);
        numbers.map(|number| (TaskKey::new(&number.to_string(), "task"), task_cursor)).collect()
    }

    fn head(extent: Extent) -> Entry {
        let checkpoint = Checkpoint { version: VERSION, value: 5, ..Checkpoint::default() };
        entry(keys().state, serde_json::to_vec(&Head { checkpoint, extent, stored_value: 5 }).expect("plain data"))
    }

    fn whole() -> Vec<Entry> {
        vec![
            head(Extent { generation: 3, pages: 2, logs: 1 }),
            entry(keys().page(3, 0), encode(&task_cursors(0..5, 1))),
            entry(keys().page(3, 1), encode(&task_cursors(5..9, 1))),
            entry(keys().log(3, 0), encode(&task_cursors(4..6, 2))),
            // A write that was cut off.
            entry(keys().log(3, 1), encode(&task_cursors(0..1, 3))),
            entry(keys().page(4, 0), encode(&task_cursors(0..1, 3))),
        ]
    }

    #[test]
    fn logs_go_over_pages_and_what_no_head_names_is_not_read() {
        let found = read(&keys(), &whole()).expect("whole").expect("there is one");
        assert_eq!((found.checkpoint.value, found.head, found.in_pages, found.in_logs), (5, ModifyIndex(7), 9, 2));
        let expected = task_cursors(0..9, 1).into_iter().chain(task_cursors(4..6, 2)).collect::<TaskCursors>();
        assert_eq!(found.checkpoint.task_cursors, expected);
        assert!(read(&keys(), &[]).expect("nothing").is_none());
    }

    #[test]
    fn what_is_missing_or_damaged_is_named() {
        for number in 0..4 {
            let mut entries = whole();
            let missing = entries.remove(number).key;
            assert_eq!(read(&keys(), &entries).expect_err("a hole").key, missing);
        }
        for number in 0..4 {
            let mut entries = whole();
            let value = entries[number].value.to_vec();
            entries[number].value = value[..value.len() - 1].to_vec().into();
            assert_eq!(read(&keys(), &entries).expect_err("cut off").key, entries[number].key);
        }
        let mut entries = whole();
        entries[0].value = Bytes::from_static(b"{\"version\":3}");
        assert!(read(&keys(), &entries).expect_err("too new").reason.contains("layouts 1 to 2"));
        entries[0].value = Bytes::from_static(br#"{"version":2,"value":9,"lanes":{},"new":{"a":1}}"#);
        assert_eq!(read(&keys(), &entries).expect("readable").expect("there").checkpoint.value, 9);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..4) {
            let mut entries = whole();
            entries[at].value = bytes.into();
            let refused = read(&keys(), &entries);
            prop_assert!(refused.is_ok() || refused.is_err_and(|corrupt| !corrupt.reason.is_empty()));
        }
    }
}
