//! What a leader writes beside its lock: that it lives, how long its lease is, and how far it has come.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{checkpoint::Checkpoint, cluster, consul::SessionId, coordinator::reach::CheckpointReach};

/// The text of the heartbeat's key. Unknown fields are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heartbeat {
    /// The session that holds the lock. Where the lock has another session, the heartbeat belongs to a dead leader.
    pub(super) session: String,
    /// Grows with each heartbeat, so that no two are equal.
    pub(super) counter: u64,
    /// The leader's lease: after this time without a heartbeat it does not emit.
    pub(super) lease_ms: u64,
    /// Its name, for people.
    #[serde(default)]
    pub(super) holder: String,
    /// The cluster that it reads, as far as it knows it. An older version does not write it.
    #[serde(default, deserialize_with = "cluster::lenient", skip_serializing_if = "Option::is_none")]
    pub(super) cluster: Option<cluster::Identity>,
    #[serde(flatten)]
    pub(super) reach: CheckpointReach,
}

impl Heartbeat {
    /// `None` where the text is no heartbeat: then it proves nothing.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Where to resume if the checkpoint is gone: records that were delivered since then may come again.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.reach.checkpoint(self.cluster.as_ref())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::RaftIndex;

    #[test]
    fn a_heartbeat_of_an_older_version_says_its_positions() {
        let read = Heartbeat::parse(br#"{"session":"s","counter":3,"lease_ms":4000,"positions":{"*":9},"more":1}"#);
        let read = read.expect("a heartbeat");
        assert_eq!((read.reach.positions["*"], read.checkpoint()), (RaftIndex(9), None));
        assert_eq!(Heartbeat::parse(&read.text()), Some(read));
    }
}
