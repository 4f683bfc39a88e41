//! What a coordinator stores: how far everything is acknowledged, and what is still owed behind that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    marks::Marks,
    position::{Position, Range},
};

/// Everything the next holder of the lease needs to go on without loss and without repeats.
///
/// Unknown fields are ignored, so that one version ahead stays readable during a rolling upgrade.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The layout of this text.
    pub version: u32,
    /// The bare integer of the original for this kind: the last task event's time in ns for allocations, else the
    /// last index.
    pub value: u64,
    /// One for each stream that the kind is read from: `*`, or the name of a namespace.
    pub lanes: BTreeMap<String, Lane>,
    /// The last delivered task event of each task; allocations only.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    pub marks: Marks,
}

/// The layout that this program writes.
pub const VERSION: u32 = 1;

/// How far one stream is acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// Everything at or below it is acknowledged, but for what `backfill` still owes.
    pub position: Position,
    /// The raft index of the newest namespace that the stream was subscribed with; later ones are read from their
    /// creation on.
    #[serde(default)]
    pub namespaces: u64,
    /// What lists still owe: index ranges in which the stream could have missed a version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backfill: Vec<Pass>,
}

/// One pass over a table's list, and the ranges of `ModifyIndex` it is to deliver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    /// Which versions the pass owes.
    pub ranges: Vec<Range>,
    /// The one namespace it lists; all that the lane covers where it is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The page to go on with; the first where it is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}
