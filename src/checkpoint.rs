//! What a coordinator stores: how far everything is acknowledged, and which gaps are left below that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    cluster,
    position::{Identity, Position, RaftIndex, Seen},
    task_cursors::TaskCursors,
};

/// Everything the next leader needs to resume without loss and without repeats.
///
/// Unknown fields are ignored, so that one version ahead stays readable during a rolling upgrade.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The layout of this text.
    pub version: u32,
    /// The cluster that it belongs to, as far as it was known. A checkpoint of an older version has none. It comes
    /// before everything that can be long, so that it can be read without the rest.
    #[serde(default, deserialize_with = "cluster::lenient", skip_serializing_if = "Option::is_none")]
    pub cluster: Option<cluster::Identity>,
    /// The bare integer that the original program would have stored by now. It is the greatest of what is delivered: of
    /// task events the time in ns (allocations), of objects the `ModifyIndex` (nodes, jobs, job stubs, deployments),
    /// otherwise the raft index (evaluations, and events, which the original does not have). See `docs/migration.md`.
    pub value: u64,
    /// One for each stream of the resource: `*`, or the name of a namespace.
    #[serde(rename = "lanes")]
    pub streams: BTreeMap<String, StreamProgress>,
    /// The last delivered task event of each task; allocations only.
    #[serde(default, rename = "marks", skip_serializing_if = "TaskCursors::is_empty")]
    pub task_cursors: TaskCursors,
    /// What the original program had delivered when it led before this one or in between. It is removed when every
    /// stream has passed it.
    #[serde(default, rename = "original", skip_serializing_if = "Option::is_none")]
    pub legacy: Option<LegacyValue>,
}

/// How far the original program had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyValue {
    /// What it stored, in the meaning of [`Checkpoint::value`]. With 0 it had delivered nothing, or nothing usable:
    /// everything is read.
    pub value: u64,
    /// The newest version that it can have known: the index of its table when this program took over. `None` until a
    /// stream has asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<RaftIndex>,
}

impl Checkpoint {
    /// Whether it says where to resume. A first one that was cut off while it was written does not.
    pub fn is_begun(&self) -> bool {
        !self.streams.is_empty() || self.legacy.is_some()
    }

    /// Everything but the task cursors.
    pub fn head(&self) -> Checkpoint {
        let Checkpoint { version, cluster, value, streams, task_cursors: _, legacy } = self;
        let (cluster, streams, task_cursors) = (cluster.clone(), streams.clone(), TaskCursors::default());
        Checkpoint { version: *version, cluster, value: *value, streams, task_cursors, legacy: *legacy }
    }
}

impl Checkpoint {
    /// Keeps at most `keep` of the known events of each index and each range. The others look new when they come again:
    /// repeats, never a loss. A position keeps one whatever `keep` is: without any, its index would count as complete.
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

    /// Joins all ranges of a pass into one. The versions between them are read again: repeats, never a loss.
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

impl StreamProgress {
    /// Ends the passes without an end that older versions stored: of all namespaces, while only `default` could be listed.
    /// What came after the position is the stream's to deliver.
    pub fn end_open_passes(&mut self) {
        for pass in self.backfill.iter_mut().filter(|pass| pass.namespace.as_deref() == Some("*")) {
            let until = RaftIndex(self.position.index.0.saturating_add(1));
            pass.namespace = None;
            for gap in &mut pass.ranges {
                gap.until = until.max(gap.from);
                gap.known.extend(self.position.seen.iter().copied());
            }
        }
    }
}

/// The layout that this program writes.
pub const VERSION: u32 = 1;

/// Whether a stored layout can be read: ours, and the next one, so that an upgrade can be rolled back.
///
/// # Errors
/// The layout cannot be read; the text says why.
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
    /// Everything at or below it is acknowledged, except for the gaps in `backfill`.
    pub position: Position,
    /// The raft index of the newest namespace in the subscription; later namespaces are read from their creation on.
    #[serde(default)]
    pub namespaces: u64,
    /// An operator has chosen the position, or it is that of a start at `now`. So no event proves it. Until it moves, an index alone proves that the stream resumes
    /// there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen: bool,
    /// Proves that the position belongs to this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
    /// The passes that are not finished: index ranges in which the stream could have missed a version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backfill: Vec<Pass>,
    /// Topics of raw events that another program has delivered up to and including this index, if that is not below the
    /// position.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub delivered: BTreeMap<String, RaftIndex>,
    /// The topics of a stream of raw events, each in the form `Topic` or `Topic:FilterKey`. Empty for every other
    /// resource, and where an older version stored it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
}

/// One pass over a table's list, and the ranges of `ModifyIndex` that it has to deliver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    /// The versions that the pass has to deliver.
    pub ranges: Vec<Gap>,
    /// Versions outside the ranges are older than the first start: their task events are not sent, but count as
    /// delivered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub baseline: bool,
    /// Only the list shows whether its ranges are gaps at all: tables also move without an event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreported: bool,
    /// The one namespace that it lists; `None` lists every namespace of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The page at which it resumes; `None` is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

impl Pass {
    /// The same without known events.
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

    /// Adds a range. It merges with the last one where that ends at its start: each version is an event of its own, so
    /// the known events of either are known in both.
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
    /// The first index after the range.
    pub until: RaftIndex,
    /// Events in the range that were delivered.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub known: Seen,
}

impl Gap {
    /// Whether a version has to be delivered: it is in the range, and not known.
    pub fn contains(&self, index: RaftIndex, identity: Identity) -> bool {
        self.from <= index && index < self.until && !self.known.contains(&identity)
    }
}

/// The last event that is certain to have moved a table's index. In the same history the table never falls below it.
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
        // An index between two ranges is in neither.
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
