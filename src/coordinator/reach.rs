//! How far a stored checkpoint reaches: what a standby has to know of it, and where to resume without it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{Checkpoint, StreamProgress, VERSION},
    cluster,
    position::{Position, RaftIndex},
};

/// How far a stored checkpoint reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CheckpointReach {
    /// From where on a standby has to hold each stream: the position, or the line before it, which proves it.
    #[serde(default)]
    pub(super) positions: BTreeMap<String, RaftIndex>,
    /// Where each stream can resume without the checkpoint. Empty where it cannot; an older version does not write it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) resume: BTreeMap<String, Resume>,
}

/// Where a stream resumes whose checkpoint is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resume {
    /// Everything at or below it is delivered, without a gap.
    after: RaftIndex,
    /// As [`StreamProgress::namespaces`].
    #[serde(default)]
    namespaces: u64,
    /// As [`StreamProgress::topics`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<String>,
}

impl CheckpointReach {
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        let streams = || checkpoint.streams.iter();
        let positions = streams().map(|(name, stream)| (name.clone(), stream.position.ask())).collect();
        let resume = match checkpoint.legacy {
            None => streams().map(|(name, stream)| (name.clone(), Resume::of(stream))).collect(),
            // The progress of the original program is needed, too.
            Some(_) => BTreeMap::new(),
        };
        CheckpointReach { positions, resume }
    }
}

impl CheckpointReach {
    /// Where to resume if the checkpoint is gone: records that were delivered since then may come again. `None` where nothing
    /// is known.
    pub(super) fn checkpoint(&self, cluster: Option<&cluster::Identity>) -> Option<Checkpoint> {
        let stream = |resume: &Resume| StreamProgress {
            position: Position::at(resume.after),
            namespaces: resume.namespaces,
            topics: resume.topics.clone(),
            ..StreamProgress::default()
        };
        let streams: BTreeMap<_, _> = self.resume.iter().map(|(name, resume)| (name.clone(), stream(resume))).collect();
        let cluster = cluster.cloned();
        (!streams.is_empty()).then(|| Checkpoint { version: VERSION, cluster, streams, ..Checkpoint::default() })
    }
}

impl Resume {
    fn of(stream: &StreamProgress) -> Self {
        let Position { index, seen, whole, .. } = &stream.position;
        let before = |index: RaftIndex| RaftIndex(index.0.saturating_sub(1));
        // More of its index can come, unless it is complete.
        let reached = if *whole || seen.is_empty() { *index } else { before(*index) };
        let gap = stream.backfill.iter().flat_map(|pass| &pass.ranges).map(|gap| before(gap.from));
        Resume {
            after: gap.fold(reached, RaftIndex::min),
            namespaces: stream.namespaces,
            topics: stream.topics.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::{Gap, LegacyValue, Pass},
        position::Identity,
    };

    fn stream(index: u64, seen: &[u64], gap: &[u64]) -> StreamProgress {
        let seen = seen.iter().map(|event| Identity(*event)).collect();
        let range = |from: &u64| Gap { from: RaftIndex(*from), until: RaftIndex(u64::MAX), ..Gap::default() };
        let pass = |from| Pass { ranges: vec![range(from)], ..Pass::default() };
        let position = Position { index: RaftIndex(index), seen, ..Position::default() };
        let topics = vec!["Node".to_owned()];
        StreamProgress {
            position,
            namespaces: 7,
            backfill: gap.iter().map(pass).collect(),
            topics,
            ..StreamProgress::default()
        }
    }

    #[test]
    fn without_its_checkpoint_a_lane_goes_on_before_all_that_is_owed() {
        let whole =
            |stream: StreamProgress| StreamProgress { position: Position { whole: true, ..stream.position }, ..stream };
        for (stream, after) in [
            (stream(50, &[], &[]), 50),
            (stream(50, &[1], &[]), 49),
            (whole(stream(50, &[1], &[])), 50),
            (stream(50, &[1], &[70, 20, 30]), 19),
            (stream(50, &[1], &[0]), 0),
            (stream(0, &[], &[]), 0),
        ] {
            let streams = [("*".to_owned(), stream)].into();
            let mut checkpoint = Checkpoint { streams, ..Checkpoint::default() };
            let reach = CheckpointReach::of(&checkpoint);
            assert_eq!(reach.positions["*"], checkpoint.streams["*"].position.ask());
            let text = serde_json::to_vec(&reach).expect("a map with texts as keys");
            let read: CheckpointReach = serde_json::from_slice(&text).expect("a reach");
            assert_eq!(read, reach);
            let resumed = &read.checkpoint(None).expect("there is a lane").streams["*"];
            assert_eq!((resumed.position.clone(), resumed.namespaces), (Position::at(RaftIndex(after)), 7));
            assert_eq!(resumed.topics, ["Node"]);
            checkpoint.legacy = Some(LegacyValue::default());
            assert_eq!(
                CheckpointReach::of(&checkpoint).resume,
                BTreeMap::new(),
                "the original's part would be missing"
            );
        }
    }
}
