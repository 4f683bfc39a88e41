//! What a coordinator stores: how far everything is acknowledged, and what is still owed behind that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    cluster,
    position::{Identity, Position, RaftIndex, Seen},
    task_cursors::TaskCursors,
};

/// Everything the next holder of the lease needs to go on without loss and without repeats.
///
/// Unknown fields are ignored, so that one version ahead stays readable during a rolling upgrade.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The layout of this text.
    pub version: u32,
    /// The cluster that it is of, as far as it was known. A checkpoint of an older version has none. It stands before all
    /// that can be long, so that it can be read without the rest.
    #[serde(default, deserialize_with = "cluster::lenient", skip_serializing_if = "Option::is_none")]
    pub cluster: Option<cluster::Identity>,
    /// The bare integer that the original program would have stored by now: of what is delivered the greatest task
    /// event's time in ns (allocations), `ModifyIndex` of an object (nodes, jobs, job stubs, deployments) or raft index
    /// (evaluations, and events, which the original does not have). See `docs/migration.md`.
    pub value: u64,
    /// One for each stream that the kind is read from: `*`, or the name of a namespace.
    #[serde(rename = "lanes")]
    pub streams: BTreeMap<String, StreamProgress>,
    /// The last delivered task event of each task; allocations only.
    #[serde(default, rename = "marks", skip_serializing_if = "TaskCursors::is_empty")]
    pub task_cursors: TaskCursors,
    /// What the original program had delivered when it led before this one or in between. It is gone when every lane
    /// has come past it.
    #[serde(default, rename = "original", skip_serializing_if = "Option::is_none")]
    pub legacy: Option<LegacyValue>,
}

/// How far the original program had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyValue {
    /// What it stored, in the meaning of [`Checkpoint::value`]. With 0 it had delivered nothing, or nothing that is of
    /// use: everything is read.
    pub value: u64,
    /// The newest version that it can have known: where its table stood when this program had taken over. `None` until a
    /// lane has asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<RaftIndex>,
}

impl Checkpoint {
    /// Everything but the marks.
    pub fn head(&self) -> Checkpoint {
        let Checkpoint { version, cluster, value, streams, task_cursors: _, legacy } = self;
        let (cluster, streams, task_cursors) = (cluster.clone(), streams.clone(), TaskCursors::default());
        Checkpoint { version: *version, cluster, value: *value, streams, task_cursors, legacy: *legacy }
    }
}

impl Checkpoint {
    /// Keeps no more than `keep` of the events that are known at any one index or in any one range. The others are taken
    /// for new when they come again: repeats, never a loss. Of a position one is left whatever `keep` is: with none, its
    /// index would count as known whole.
    pub fn forget_identities(&mut self, keep: usize) {
        let shorten = |seen: &mut Seen, keep: usize| {
            if seen.len() > keep {
                *seen = seen.iter().copied().take(keep).collect();
            }
        };
        for stream in self.streams.values_mut() {
            shorten(&mut stream.position.seen, keep.max(1));
            let ranges = stream.backfill.iter_mut().flat_map(|pass| &mut pass.ranges);
            ranges.for_each(|gap| shorten(&mut gap.known, keep));
        }
    }

    /// Makes one range of all that a pass owes. What lies between them is read again: repeats, never a loss.
    pub fn widen_ranges(&mut self) {
        for pass in self.streams.values_mut().flat_map(|stream| &mut stream.backfill) {
            let from = pass.ranges.iter().map(|gap| gap.from).min();
            let until = pass.ranges.iter().map(|gap| gap.until).max();
            if let (Some(from), Some(until)) = (from, until) {
                pass.ranges = vec![Gap { from, until, known: Seen::default() }];
            }
        }
    }
}

/// The layout that this program writes.
pub const VERSION: u32 = 1;

/// Whether a stored layout can be read: ours, and the next one, so that an upgrade can be rolled back.
///
/// # Errors
/// What to say of it.
pub fn check_version(version: u32) -> Result<(), String> {
    let newest = VERSION + 1;
    if (1..=newest).contains(&version) {
        return Ok(());
    }
    Err(format!("it has layout {version}, this program reads layouts 1 to {newest}"))
}

/// How far one stream is acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamProgress {
    /// Everything at or below it is acknowledged, but for what `backfill` still owes.
    pub position: Position,
    /// The raft index of the newest namespace that the stream was subscribed with; later ones are read from their
    /// creation on.
    #[serde(default)]
    pub namespaces: u64,
    /// Proves that the cluster is still the one that the position is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
    /// What lists still owe: index ranges in which the stream could have missed a version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backfill: Vec<Pass>,
    /// The topics that raw events were read with, each in the form `Topic` or `Topic:FilterKey`. Empty for every other kind,
    /// and where an older version stored it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
}

/// One pass over a table's list, and the ranges of `ModifyIndex` it is to deliver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    /// Which versions the pass owes.
    pub ranges: Vec<Gap>,
    /// Versions outside the ranges lie before the first start: their task events are not sent, but known from here on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub baseline: bool,
    /// Whether its ranges are gaps at all is only known when the list has something in them: tables also move without
    /// an event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreported: bool,
    /// The one namespace it lists; all that the lane covers where it is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The page to go on with; the first where it is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

impl Pass {
    /// What is owed of all namespaces while none of them can be listed but `default`: it has no end, and is not read
    /// before they can.
    pub fn unlisted(gap: Gap, baseline: bool) -> Self {
        let ranges = vec![Gap { until: RaftIndex(u64::MAX), ..gap }];
        Pass { ranges, baseline, namespace: Some("*".to_owned()), ..Pass::default() }
    }

    /// Whether it is one of [`Pass::unlisted`].
    pub fn is_unlisted(&self) -> bool {
        self.namespace.as_deref() == Some("*")
    }

    /// The same, with nothing known.
    #[must_use]
    pub fn without_known(&self) -> Pass {
        let Pass { ranges, baseline, unreported, namespace, page } = self;
        let unknown = |gap: &Gap| Gap { from: gap.from, until: gap.until, known: Seen::default() };
        Pass {
            ranges: ranges.iter().map(unknown).collect(),
            baseline: *baseline,
            unreported: *unreported,
            namespace: namespace.clone(),
            page: page.clone(),
        }
    }

    /// Adds a range. One that goes on where the last one ends becomes one with it: each version is an event of its own,
    /// so what is known of either is known of both.
    pub fn add(&mut self, gap: Gap) {
        match self.ranges.last_mut().filter(|last| last.until == gap.from) {
            Some(last) => {
                last.until = gap.until.max(last.until);
                last.known.extend(gap.known.iter().copied());
            }
            None => self.ranges.push(gap),
        }
    }
}

/// A range of `ModifyIndex` in which the stream could have missed a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first index in the range.
    pub from: RaftIndex,
    /// The first index behind the range.
    pub until: RaftIndex,
    /// Events in the range that were delivered.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub known: Seen,
}

impl Gap {
    /// Whether a version is owed: in the range, and not known.
    pub fn contains(&self, index: RaftIndex, identity: Identity) -> bool {
        self.from <= index && index < self.until && !self.known.contains(&identity)
    }
}

/// The last event that moved a table's index for certain. In the same history the table never falls below it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The topic of the event.
    pub topic: String,
    /// Its raft index.
    pub index: RaftIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_gap(from: u64, until: u64, known: u64) -> Gap {
        let known = [Identity(known)].into_iter().collect();
        Gap { from: RaftIndex(from), until: RaftIndex(until), known }
    }

    #[test]
    fn ranges_that_go_on_become_one() {
        let mut pass = Pass::default();
        for n in 1..=1_000 {
            pass.add(a_gap(10 * n, 10 * n + 10, n));
        }
        let [all] = &pass.ranges[..] else { panic!("{} ranges", pass.ranges.len()) };
        assert_eq!((all.from, all.until, all.known.len()), (RaftIndex(10), RaftIndex(10_010), 1_000));
        // What lies between two is in neither.
        pass.add(a_gap(10_011, 10_020, 7));
        assert_eq!(pass.ranges.len(), 2);
        assert!(!pass.ranges.iter().any(|range| range.contains(RaftIndex(10_010), Identity(0))));
    }

    #[test]
    fn a_position_keeps_the_event_that_proves_it() {
        let position = Position { seen: (0..9).map(Identity).collect(), ..Position::default() };
        let backfill = vec![Pass { ranges: vec![a_gap(1, 5, 1), a_gap(9, 12, 2)], ..Pass::default() }];
        let stream = StreamProgress { position, backfill, ..StreamProgress::default() };
        let mut checkpoint = Checkpoint { streams: [("*".to_owned(), stream)].into(), ..Checkpoint::default() };
        checkpoint.forget_identities(0);
        checkpoint.widen_ranges();
        let stream = &checkpoint.streams["*"];
        assert_eq!(stream.position.seen[..], [Identity(0)]);
        let all = Gap { from: RaftIndex(1), until: RaftIndex(12), known: Seen::default() };
        assert_eq!(stream.backfill[0].ranges, [all]);
    }
}
