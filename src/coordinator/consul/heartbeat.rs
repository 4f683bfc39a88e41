//! What a leader writes beside its lock: that it lives, how long its lease is, and how far it has come.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{cluster, consul::SessionId, position::RaftIndex};

/// The text of the heartbeat's key. Unknown fields are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heartbeat {
    /// The session that holds the lock. Where the lock has another one, the heartbeat is a dead leader's.
    pub(super) session: String,
    /// Grows with each one, so that no two are alike.
    pub(super) counter: u64,
    /// The leader's lease: without a heartbeat for so long it does not emit.
    pub(super) lease_ms: u64,
    /// Who it is, for people.
    #[serde(default)]
    pub(super) holder: String,
    /// The cluster that it reads, as far as it knows it. An older version says nothing.
    #[serde(default, deserialize_with = "cluster::lenient", skip_serializing_if = "Option::is_none")]
    pub(super) cluster: Option<cluster::Identity>,
    /// How far its stored checkpoint reaches, for each lane.
    #[serde(default)]
    pub(super) positions: BTreeMap<String, RaftIndex>,
}

impl Heartbeat {
    /// `None` where the text is no heartbeat: then it proves nothing.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    pub(super) fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a map with texts as keys")
    }

    pub(super) fn is_of(&self, session: &SessionId) -> bool {
        self.session == session.as_str()
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

/// How long before the end of its lease a leader stops, and how long after it a standby waits: clocks do not run
/// exactly alike, and between a look at the clock and the write that follows it a thread can be kept waiting.
pub(super) fn margin(lease: Duration) -> Duration {
    lease / 8
}

/// How often a leader writes one.
pub(super) fn interval(lease: Duration) -> Duration {
    lease / 3
}
