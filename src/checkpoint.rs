//! What a coordinator stores: how far everything is acknowledged, and what is still owed behind that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    marks::Marks,
    position::{Identity, Position, RaftIndex, Seen},
};

/// Everything the next holder of the lease needs to go on without loss and without repeats.
///
/// Unknown fields are ignored, so that one version ahead stays readable during a rolling upgrade.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The layout of this text.
    pub version: u32,
    /// The bare integer that the original program would have stored by now: of what is delivered the greatest task
    /// event's time in ns (allocations), `ModifyIndex` of an object (nodes, jobs, job stubs, deployments) or raft index
    /// (evaluations, and events, which the original does not have). See `docs/migration.md`.
    pub value: u64,
    /// One for each stream that the kind is read from: `*`, or the name of a namespace.
    pub lanes: BTreeMap<String, Lane>,
    /// The last delivered task event of each task; allocations only.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    pub marks: Marks,
    /// What the original program had delivered when it led before this one or in between. It is gone when every lane
    /// has come past it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
}

/// How far the original program had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
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
        let Checkpoint { version, value, lanes, marks: _, original } = self;
        let (lanes, marks) = (lanes.clone(), Marks::default());
        Checkpoint { version: *version, value: *value, lanes, marks, original: *original }
    }
}

impl Checkpoint {
    /// Keeps no more than `keep` of the events that are known at any one index. The others are taken for new when they
    /// come again: repeats, never a loss.
    pub fn forget_identities(&mut self, keep: usize) {
        let shorten = |seen: &mut Seen| *seen = seen.iter().copied().take(keep).collect();
        for lane in self.lanes.values_mut() {
            shorten(&mut lane.position.seen);
            let passes = lane.backfill.iter_mut().flat_map(|pass| &mut pass.ranges);
            passes.for_each(|owed| shorten(&mut owed.known));
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
pub struct Lane {
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
}

/// One pass over a table's list, and the ranges of `ModifyIndex` it is to deliver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    /// Which versions the pass owes.
    pub ranges: Vec<Owed>,
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
    pub fn unlisted(owed: Owed, baseline: bool) -> Self {
        let ranges = vec![Owed { until: RaftIndex(u64::MAX), ..owed }];
        Pass { ranges, baseline, namespace: Some("*".to_owned()), ..Pass::default() }
    }

    /// Whether it is one of [`Pass::unlisted`].
    pub fn is_unlisted(&self) -> bool {
        self.namespace.as_deref() == Some("*")
    }
}

/// A range of `ModifyIndex` in which the stream could have missed a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// The first index in the range.
    pub from: RaftIndex,
    /// The first index behind the range.
    pub until: RaftIndex,
    /// Events at `from` that were delivered.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub known: Seen,
}

impl Owed {
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
