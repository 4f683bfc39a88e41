//! Positions in the raft log, and the identities that prove them.

use std::{collections::HashSet, fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use xxhash_rust::xxh3::xxh3_64;

/// A raft index of the Nomad cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RaftIndex(pub u64);

/// No cluster moves this far between two of its answers, except in an outage, and after one the tables show it.
const JUMP: u64 = 1_000_000;

impl RaftIndex {
    /// Whether this index can be true if `confirmed` is, without any other evidence.
    pub fn is_plausible_after(self, confirmed: RaftIndex) -> bool {
        self.0 <= confirmed.0.saturating_add(JUMP)
    }

    /// The index after this one.
    pub fn next(self) -> RaftIndex {
        RaftIndex(self.0.saturating_add(1))
    }

    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for RaftIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What identifies an event, whichever server sent it and however it ordered the bytes: topic, namespace, key, raft
/// index, and the occurrence within that index. Kept as a 64-bit hash, stable across versions of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub u64);

impl Identity {
    /// Hashes the parts, each with its length, so that no two splits collide.
    pub fn new(topic: &str, namespace: &str, key: &str, index: RaftIndex, occurrence: u32) -> Self {
        let text = topic.len() + namespace.len() + key.len();
        let mut parts = Vec::with_capacity(text + 3 * size_of::<u64>() + size_of::<u64>() + size_of::<u32>());
        for part in [topic, namespace, key] {
            parts.extend_from_slice(&(part.len() as u64).to_le_bytes());
            parts.extend_from_slice(part.as_bytes());
        }
        parts.extend_from_slice(&index.0.to_le_bytes());
        parts.extend_from_slice(&occurrence.to_le_bytes());
        Identity(xxh3_64(&parts))
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

/// Events, each once, in the order they came. A lookup takes constant time: one raft index can carry as many events as
/// a plan places allocations.
#[derive(Clone, Default)]
pub struct Seen {
    order: Vec<Identity>,
    /// The same events, kept from [`Seen::SCANNED`] on. Identities are hashes already, but the cluster chooses the keys
    /// and ids in them, so they are hashed again with a seed of our own.
    set: HashSet<Identity>,
}

impl Seen {
    /// Up to this many events, a scan is as quick as a set, and a set costs memory in each copy.
    const SCANNED: usize = 32;

    /// Whether it has `event`.
    pub fn contains(&self, event: &Identity) -> bool {
        if self.order.len() <= Self::SCANNED { self.order.contains(event) } else { self.set.contains(event) }
    }

    /// Adds `event`; returns whether it is new.
    pub fn insert(&mut self, event: Identity) -> bool {
        if self.contains(&event) {
            return false;
        }
        self.order.push(event);
        match self.order.len() {
            ..=Self::SCANNED => {}
            len if len == Self::SCANNED + 1 => self.set = self.order.iter().copied().collect(),
            _ => {
                self.set.insert(event);
            }
        }
        true
    }

    /// Whether it has no event.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Forgets all events.
    pub fn clear(&mut self) {
        self.order.clear();
        // And frees the memory: many small indexes follow a large one.
        self.set = HashSet::new();
    }
}

impl Deref for Seen {
    type Target = [Identity];

    fn deref(&self) -> &[Identity] {
        &self.order
    }
}

impl Extend<Identity> for Seen {
    fn extend<I: IntoIterator<Item = Identity>>(&mut self, events: I) {
        for event in events {
            self.insert(event);
        }
    }
}

impl FromIterator<Identity> for Seen {
    fn from_iter<I: IntoIterator<Item = Identity>>(events: I) -> Self {
        let mut seen = Seen::default();
        seen.extend(events);
        seen
    }
}

impl From<Vec<Identity>> for Seen {
    fn from(events: Vec<Identity>) -> Self {
        events.into_iter().collect()
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Seen {}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.order.fmt(f)
    }
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.order.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Seen::from)
    }
}

/// A raft index, and which of its events are known. Everything before it is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The index.
    pub index: RaftIndex,
    /// Its known events, in the order they came. Empty where a list, or the start, covers the whole index.
    #[serde(default)]
    pub seen: Seen,
    /// No more lines of the index can come: the connection was quiet for a while after its last line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// The index of the line before this index; 0 where it is unknown. A server that still has that line has all of
    /// this index.
    #[serde(default, skip_serializing_if = "RaftIndex::is_zero")]
    pub before: RaftIndex,
}

impl Position {
    /// A position without known events.
    pub fn at(index: RaftIndex) -> Self {
        Position { index, ..Position::default() }
    }

    /// Whether a line at the position could be taken for another one. Occurrences count from the first line of an index
    /// that comes: where the server's buffer begins in the middle of the index, an object's second event looks like its
    /// first, which is known. Where all its events are known, that does no harm.
    pub fn needs_line_before(&self) -> bool {
        !self.whole && !self.seen.is_empty() && self.before > RaftIndex(0)
    }

    /// The index to ask a server for: that of the position, or of the line before it, which proves that the server has
    /// the whole index of the position.
    pub fn ask(&self) -> RaftIndex {
        if self.needs_line_before() { self.before } else { self.index }
    }

    /// Takes in the events of one more line of `index`; an empty list means that a list covers the whole index. A line
    /// below the position adds nothing. Nor does one at an index that a list covers: it repeats what is listed, and
    /// with its events the next line of that index would look new.
    pub fn advance(&mut self, index: RaftIndex, events: &[Identity]) {
        if index > self.index {
            // Where a list covers the old index, there may be no line of it.
            let before = if self.seen.is_empty() { RaftIndex(0) } else { self.index };
            *self = Position { index, seen: events.iter().copied().collect(), whole: false, before };
        } else if index == self.index && events.is_empty() {
            *self = Position::at(index);
        } else if index == self.index && !self.seen.is_empty() {
            let known = self.seen.len();
            self.seen.extend(events.iter().copied());
            self.whole &= self.seen.len() == known;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_index_that_a_list_covers_stays_covered() {
        let mut position = Position { index: RaftIndex(5), seen: vec![Identity(1)].into(), ..Position::default() };
        position.advance(RaftIndex(5), &[]);
        position.advance(RaftIndex(5), &[Identity(2)]);
        assert_eq!(position, Position::at(RaftIndex(5)));
        position.advance(RaftIndex(6), &[Identity(3)]);
        position.advance(RaftIndex(6), &[Identity(4)]);
        position.advance(RaftIndex(5), &[]);
        assert_eq!(
            position,
            Position { index: RaftIndex(6), seen: vec![Identity(3), Identity(4)].into(), ..Position::default() }
        );
        position.advance(RaftIndex(8), &[Identity(5)]);
        assert_eq!(position.before, RaftIndex(6));
    }

    proptest! {
        #[test]
        fn seen_is_a_list_without_repeats(events in prop::collection::vec(0_u64..100, 0..200)) {
            let mut expected: Vec<Identity> = Vec::new();
            let mut seen = Seen::default();
            for event in events.into_iter().map(Identity) {
                let is_new = !expected.contains(&event);
                prop_assert_eq!(seen.contains(&event), !is_new);
                prop_assert_eq!(seen.insert(event), is_new);
                if is_new {
                    expected.push(event);
                }
                prop_assert!(seen.contains(&event));
            }
            prop_assert_eq!(&*seen, &*expected);
            let text = serde_json::to_string(&seen).expect("plain data");
            prop_assert_eq!(&serde_json::from_str::<Seen>(&text).expect("just written"), &seen);
            seen.clear();
            prop_assert!(expected.iter().all(|event| !seen.contains(event)));
        }

        #[test]
        fn a_position_holds_the_events_of_its_highest_index(lines in prop::collection::vec((1_u64..6, 0_u64..50), 1..60)) {
            let mut position = Position::default();
            let mut highest = 0;
            for (index, event) in &lines {
                position.advance(RaftIndex(*index), &[Identity(*event)]);
                highest = highest.max(*index);
                prop_assert_eq!(position.index, RaftIndex(highest));
            }
            // Once a higher index has come, a line below it adds nothing.
            let start = lines.iter().position(|(index, _)| *index == highest).expect("it is one of them");
            let at_it = lines[start..].iter().filter(|(index, _)| *index == highest);
            let expected: Seen = at_it.map(|(_, event)| Identity(*event)).collect();
            prop_assert_eq!(position.seen, expected);
        }

        #[test]
        fn identities_tell_their_parts_apart(parts in prop::array::uniform3("[ab]{0,3}"), others in prop::array::uniform3("[ab]{0,3}")) {
            let identity = |[topic, namespace, key]: &[String; 3]| Identity::new(topic, namespace, key, RaftIndex(7), 0);
            prop_assert_eq!(identity(&parts) == identity(&others), parts == others);
        }
    }

    #[test]
    fn many_events_at_one_index_take_linear_time() {
        // A scan for each would take 10^11 steps: minutes.
        let mut position = Position::default();
        for event in 0..400_000 {
            position.advance(RaftIndex(1), &[Identity(event)]);
        }
        assert_eq!(position.seen.len(), 400_000);
    }
}
