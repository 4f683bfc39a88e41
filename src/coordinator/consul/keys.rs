//! The keys of one kind. `PREFIX/TYPE.lock` and `PREFIX/TYPE.value` are the original's.

use super::layout::Stored;
use crate::kind::Kind;

/// What marks a key as a lock, for every program that follows the protocol of Consul's Go client (`api/lock.go`).
pub(super) const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;

/// The keys of one kind.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// Held by the leader's session.
    pub(super) lock: String,
    /// Written by the leader, about every third of its lease.
    pub(super) heartbeat: String,
    /// The original's bare integer.
    pub(super) value: String,
    /// The head of the checkpoint.
    pub(super) state: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, kind: Kind) -> Self {
        let key = |end: &str| format!("{prefix}/{}.{end}", kind.storage_name());
        Keys { lock: key("lock"), heartbeat: key("heartbeat"), value: key("value"), state: key("state") }
    }

    /// Everything of one generation of marks begins with this.
    pub(super) fn generation(&self, generation: u64) -> String {
        format!("{}/{generation}/", self.state)
    }

    /// What the pages and logs that are stored begin with, a hundred of them at a time.
    pub(super) fn hundreds(&self, stored: Stored) -> impl Iterator<Item = String> {
        let Stored { generation, pages, logs } = stored;
        let folder = self.generation(generation);
        let of = |name: &'static str, count: u32| (0..count.div_ceil(100)).map(move |hundred| (name, hundred));
        of("page", pages).chain(of("log", logs)).map(move |(name, hundred)| format!("{folder}{name}/{hundred:04}"))
    }

    /// A page of the marks.
    pub(super) fn page(&self, generation: u64, number: u32) -> String {
        format!("{}/{generation}/page/{number:06}", self.state)
    }

    /// What was set since the pages.
    pub(super) fn log(&self, generation: u64, number: u32) -> String {
        format!("{}/{generation}/log/{number:06}", self.state)
    }
}
