//! What a leader writes beside its lock: that it lives, how long its lease is, and how far it has come.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{Checkpoint, Lane, VERSION},
    cluster,
    consul::SessionId,
    position::{Position, RaftIndex},
};

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
    #[serde(flatten)]
    pub(super) reach: Reach,
}

/// How far a stored checkpoint reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reach {
    /// From where on a standby has to hold each lane's stream: the position, or the line before that proves it.
    #[serde(default)]
    pub(super) positions: BTreeMap<String, RaftIndex>,
    /// Where each lane can go on without the checkpoint. Empty where it cannot; an older version does not say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) resume: BTreeMap<String, Resume>,
}

/// Where a lane goes on whose checkpoint is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resume {
    /// Everything at or below it is delivered, and nothing there is owed.
    after: RaftIndex,
    /// As [`Lane::namespaces`].
    #[serde(default)]
    namespaces: u64,
    /// As [`Lane::topics`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<String>,
}

impl Reach {
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        let lanes = || checkpoint.lanes.iter();
        let positions = lanes().map(|(name, lane)| (name.clone(), lane.position.ask())).collect();
        let resume = match checkpoint.original {
            None => lanes().map(|(name, lane)| (name.clone(), Resume::of(lane))).collect(),
            // What the original had delivered is needed, too.
            Some(_) => BTreeMap::new(),
        };
        Reach { positions, resume }
    }
}

impl Resume {
    fn of(lane: &Lane) -> Self {
        let Position { index, seen, whole, .. } = &lane.position;
        let before = |index: RaftIndex| RaftIndex(index.0.saturating_sub(1));
        // More of its index can be to come, unless it is known whole.
        let reached = if *whole || seen.is_empty() { *index } else { before(*index) };
        let owed = lane.backfill.iter().flat_map(|pass| &pass.ranges).map(|owed| before(owed.from));
        Resume { after: owed.fold(reached, RaftIndex::min), namespaces: lane.namespaces, topics: lane.topics.clone() }
    }
}

impl Heartbeat {
    /// `None` where the text is no heartbeat: then it proves nothing.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// What to go on from where the checkpoint is gone: what was delivered since may come again.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        let lane = |resume: &Resume| Lane {
            position: Position::at(resume.after),
            namespaces: resume.namespaces,
            topics: resume.topics.clone(),
            ..Lane::default()
        };
        let lanes: BTreeMap<_, _> =
            self.reach.resume.iter().map(|(name, resume)| (name.clone(), lane(resume))).collect();
        let cluster = self.cluster.clone();
        (!lanes.is_empty()).then(|| Checkpoint { version: VERSION, cluster, lanes, ..Checkpoint::default() })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::{Original, Owed, Pass},
        position::Identity,
    };

    fn lane(index: u64, seen: &[u64], owed: &[u64]) -> Lane {
        let seen = seen.iter().map(|event| Identity(*event)).collect();
        let range = |from: &u64| Owed { from: RaftIndex(*from), until: RaftIndex(u64::MAX), ..Owed::default() };
        let pass = |from| Pass { ranges: vec![range(from)], ..Pass::default() };
        let position = Position { index: RaftIndex(index), seen, ..Position::default() };
        let topics = vec!["Node".to_owned()];
        Lane { position, namespaces: 7, backfill: owed.iter().map(pass).collect(), topics, ..Lane::default() }
    }

    #[test]
    fn without_its_checkpoint_a_lane_goes_on_before_all_that_is_owed() {
        let whole = |lane: Lane| Lane { position: Position { whole: true, ..lane.position }, ..lane };
        for (lane, after) in [
            (lane(50, &[], &[]), 50),
            (lane(50, &[1], &[]), 49),
            (whole(lane(50, &[1], &[])), 50),
            (lane(50, &[1], &[70, 20, 30]), 19),
            (lane(50, &[1], &[0]), 0),
            (lane(0, &[], &[]), 0),
        ] {
            let lanes = [("*".to_owned(), lane)].into();
            let mut checkpoint = Checkpoint { lanes, ..Checkpoint::default() };
            let reach = Reach::of(&checkpoint);
            assert_eq!(reach.positions["*"], checkpoint.lanes["*"].position.ask());
            let (session, holder) = ("s".to_owned(), String::new());
            let heartbeat = Heartbeat { session, counter: 1, lease_ms: 1, holder, cluster: None, reach };
            let read = Heartbeat::parse(&heartbeat.text()).expect("a heartbeat");
            assert_eq!(read, heartbeat);
            let resumed = &read.checkpoint().expect("there is a lane").lanes["*"];
            assert_eq!((resumed.position.clone(), resumed.namespaces), (Position::at(RaftIndex(after)), 7));
            assert_eq!(resumed.topics, ["Node"]);
            checkpoint.original = Some(Original::default());
            assert_eq!(Reach::of(&checkpoint).resume, BTreeMap::new(), "the original's part would be missing");
        }
    }

    #[test]
    fn a_heartbeat_of_an_older_version_says_its_positions() {
        let read = Heartbeat::parse(br#"{"session":"s","counter":3,"lease_ms":4000,"positions":{"*":9},"more":1}"#);
        let read = read.expect("a heartbeat");
        assert_eq!((read.reach.positions["*"], read.checkpoint()), (RaftIndex(9), None));
    }
}
