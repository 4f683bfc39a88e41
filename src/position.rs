//! Places in the raft log, and the identities that prove them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use xxhash_rust::xxh3::Xxh3Default;

/// A raft index of the Nomad cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RaftIndex(pub u64);

impl fmt::Display for RaftIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What makes an event itself, whichever server sent it and however it ordered the bytes: topic, namespace, key, raft
/// index, and the occurrence within that index. Kept as a 64-bit hash, stable across versions of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub u64);

impl Identity {
    /// Hashes the parts, each with its length, so that no two splits collide.
    pub fn new(topic: &str, namespace: &str, key: &str, index: RaftIndex, occurrence: u32) -> Self {
        let mut hasher = Xxh3Default::new();
        for part in [topic, namespace, key] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&index.0.to_le_bytes());
        hasher.update(&occurrence.to_le_bytes());
        Identity(hasher.digest())
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Identity).map_err(D::Error::custom)
    }
}

/// A raft index, and which events of it are known. Everything before it is known whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The index.
    pub index: RaftIndex,
    /// The events seen at it, in the order they came. Empty where none was seen: then only a list can prove it.
    #[serde(default)]
    pub seen: Vec<Identity>,
}

impl Position {
    /// A position that no event is known of.
    pub fn at(index: RaftIndex) -> Self {
        Position { index, seen: Vec::new() }
    }

    /// Takes in the events of one more line of `index`. A line below the position adds nothing.
    pub fn advance(&mut self, index: RaftIndex, events: &[Identity]) {
        if index > self.index {
            self.index = index;
            self.seen.clear();
        }
        if index == self.index {
            for event in events {
                if !self.seen.contains(event) {
                    self.seen.push(*event);
                }
            }
        }
    }
}
