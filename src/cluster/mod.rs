//! Decides which cluster a checkpoint belongs to, and whether this replica reads the same one.
//!
//! Nomad has no public id of a cluster. Without a token, it shows its region and the ids of its keyring's public keys
//! (`/.well-known/jwks.json`). A key id is random and part of the raft state: a restored snapshot has it, and another
//! cluster does not. Keys rotate, so a stored set is a proof only for as long as the server says that it is valid.
//!
//! A wrong refusal stops a cluster that works. So only evidence that both sides have, and that differs, makes a refusal;
//! missing evidence never does. [`Identity::verdict`] decides, and `learn` asks Nomad.

mod learn;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

pub(crate) use self::learn::region;
pub use self::learn::{Known, View};

/// How many keys are remembered, the newest first: more than a year of them, with Nomad's default of a new key each month.
const KEYS_KEPT: usize = 16;

/// What is known of a cluster. The checkpoint and the heartbeat store it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The region, by the servers' own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `NOMAD_FIREHOSE_CLUSTER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The ids of the keyring's keys, the newest first. Earlier keys of the cluster stay in the list, because a snapshot can
    /// bring them back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Until when the newest keys are valid, in seconds since 1970.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub until: u64,
}

fn is_zero(until: &u64) -> bool {
    *until == 0
}

/// What a comparison of two identities says about their clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They share a key, so they are one cluster.
    Same {
        /// The operator has given it another label.
        renamed: bool,
    },
    /// Nothing proves that they are one cluster, and nothing contradicts it.
    Unknown,
    /// They are two clusters.
    Other(Difference),
}

/// What differs between two clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Their regions.
    Region {
        /// The stored one.
        stored: String,
        /// That of this replica.
        ours: String,
    },
    /// Their labels.
    Label {
        /// The stored one.
        stored: String,
        /// That of this replica.
        ours: String,
    },
    /// Their keys: they share none. A cluster that was rebuilt differs in the same way.
    Keys,
}

impl Identity {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.region.is_none() && self.label.is_none() && self.keys.is_empty()
    }

    /// Whether both say the same, except for how long their keys are valid.
    pub fn is_alike(&self, other: &Identity) -> bool {
        (&self.region, &self.label, &self.keys) == (&other.region, &other.label, &other.keys)
    }

    /// Whether `stored` belongs to the same cluster, at `now` in seconds since 1970.
    ///
    /// The operator cannot change a region by a setting of the firehose, so the region decides alone. A label can be changed, so
    /// a common key outweighs it.
    pub fn verdict(&self, stored: &Identity, now: u64) -> Verdict {
        if let (Some(ours), Some(stored)) = (&self.region, &stored.region)
            && ours != stored
        {
            return Verdict::Other(Difference::Region { stored: stored.clone(), ours: ours.clone() });
        }
        let labels = self.label.as_ref().zip(stored.label.as_ref()).filter(|(ours, stored)| ours != stored);
        if self.shares_a_key(stored) {
            return Verdict::Same { renamed: labels.is_some() };
        }
        if let Some((ours, stored)) = labels {
            return Verdict::Other(Difference::Label { stored: stored.clone(), ours: ours.clone() });
        }
        if self.has_keys_at(now) && stored.has_keys_at(now) {
            return Verdict::Other(Difference::Keys);
        }
        Verdict::Unknown
    }

    /// The identity to store when this cluster continues from `stored`. What Nomad did not tell stays as it was stored. The
    /// label is always that of this replica, so that an operator can remove it.
    #[must_use]
    pub fn after(&self, stored: &Identity) -> Identity {
        let Identity { region, label, keys, until } = self.clone();
        let region = region.or_else(|| stored.region.clone());
        if keys.is_empty() {
            return Identity { region, label, keys: stored.keys.clone(), until: stored.until };
        }
        // Keys of another history say nothing about this one.
        let older = if self.shares_a_key(stored) { &stored.keys[..] } else { &[] };
        Identity { region, label, keys: joined(keys, older), until }
    }

    /// Takes in the keys that the cluster has now, which are valid `until` then. If none of them is known, the cluster has
    /// another history.
    fn take_keys(&mut self, keys: Vec<String>, until: u64) {
        let older = std::mem::take(&mut self.keys);
        let is_known = older.iter().any(|key| keys.contains(key));
        self.keys = joined(keys, if is_known { &older } else { &[] });
        self.until = until;
    }

    fn shares_a_key(&self, other: &Identity) -> bool {
        self.keys.iter().any(|key| other.keys.contains(key))
    }

    fn has_keys_at(&self, now: u64) -> bool {
        !self.keys.is_empty() && now < self.until
    }
}

/// The keys and the older ones, each once.
fn joined(mut keys: Vec<String>, older: &[String]) -> Vec<String> {
    for key in older {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    keys.truncate(KEYS_KEPT);
    keys
}

/// Reads a stored identity. If it cannot be read, there is no evidence; the checkpoint does not count as damaged.
///
/// # Errors
/// The text around it is not JSON.
pub(crate) fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Identity>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(serde_json::from_value(value).ok())
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map(|since| since.as_secs()).unwrap_or_default()
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.region.as_ref().map(|region| format!("region {region:?}")));
        parts.extend(self.label.as_ref().map(|label| format!("label {label:?}")));
        parts.extend(self.keys.first().map(|key| format!("key {key}")));
        f.write_str(&parts.join(", "))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Region { stored, ours } => {
                write!(f, "its region is {stored:?}, and this replica reads region {ours:?}")
            }
            Difference::Label { stored, ours } => {
                write!(f, "its NOMAD_FIREHOSE_CLUSTER is {stored:?}, and that of this replica is {ours:?}")
            }
            Difference::Keys => f.write_str("its keyring has no key of the cluster that this replica reads"),
        }
    }
}
