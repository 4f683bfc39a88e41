//! The keys of one resource. `PREFIX/TYPE.lock` and `PREFIX/TYPE.value` are those of the original program.

use serde::{Deserialize, Serialize};

use crate::kind::Kind;

/// The flags that mark a key as a lock, for every program that follows the protocol of Consul's Go client (`api/lock.go`).
pub(super) const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;

/// The keys of one resource.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The leader's session holds this lock.
    pub(super) lock: String,
    /// The leader writes it about every third of its lease.
    pub(super) heartbeat: String,
    /// The original program's bare integer.
    pub(super) value: String,
    /// The head of the checkpoint.
    pub(super) state: String,
}

/// How many pages and logs of task cursors are stored, and under which generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub(super) generation: u64,
    pub(super) pages: u32,
    pub(super) logs: u32,
}

impl Keys {
    pub(super) fn new(prefix: &str, kind: Kind) -> Self {
        let key = |end: &str| format!("{prefix}/{}.{end}", kind.storage_name());
        Keys { lock: key("lock"), heartbeat: key("heartbeat"), value: key("value"), state: key("state") }
    }

    /// The prefix of all task cursors of one generation.
    pub(super) fn generation(&self, generation: u64) -> String {
        format!("{}/{generation}/", self.state)
    }

    /// The prefixes of all pages and logs of `extent`; each covers a hundred keys.
    pub(super) fn hundreds(&self, extent: Extent) -> impl Iterator<Item = String> {
        let Extent { generation, pages, logs } = extent;
        let folder = self.generation(generation);
        let of = |name: &'static str, count: u32| (0..count.div_ceil(100)).map(move |hundred| (name, hundred));
        of("page", pages).chain(of("log", logs)).map(move |(name, hundred)| format!("{folder}{name}/{hundred:04}"))
    }

    /// A page of task cursors.
    pub(super) fn page(&self, generation: u64, number: u32) -> String {
        format!("{}/{generation}/page/{number:06}", self.state)
    }

    /// A log of the task cursors that were set after the pages.
    pub(super) fn log(&self, generation: u64, number: u32) -> String {
        format!("{}/{generation}/log/{number:06}", self.state)
    }
}
