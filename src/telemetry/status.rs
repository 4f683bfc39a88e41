//! What each kind is doing right now, for `/readyz` and the status page.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::kind::Kind;

/// What a kind is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not come to anything yet.
    Starting,
    /// It waits for the lease, ready to take over.
    Standby,
    /// It holds the lease, and records flow as they come.
    Leading,
    /// It holds the lease, and nothing flows: Nomad cannot be reached, the sink refuses a record.
    Blocked {
        /// Why, for a person.
        reason: String,
    },
    /// It has ended.
    Stopped,
}

impl Phase {
    /// A standby is ready too: a deployment of replicas has to be able to finish.
    pub fn is_ready(&self) -> bool {
        matches!(self, Phase::Standby | Phase::Leading)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Starting => f.write_str("starting"),
            Phase::Standby => f.write_str("standby"),
            Phase::Leading => f.write_str("leading"),
            Phase::Blocked { reason } => write!(f, "blocked: {reason}"),
            Phase::Stopped => f.write_str("stopped"),
        }
    }
}

/// The phases of all kinds. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Status(Arc<Mutex<BTreeMap<Kind, Phase>>>);

impl Status {
    /// Every one of `kinds` is starting.
    pub fn new(kinds: &[Kind]) -> Self {
        Status(Arc::new(Mutex::new(kinds.iter().map(|kind| (*kind, Phase::Starting)).collect())))
    }

    /// Says what `kind` does from now on.
    pub fn set(&self, kind: Kind, phase: Phase) {
        self.lock().insert(kind, phase);
    }

    /// What every kind is doing.
    pub fn phases(&self) -> Vec<(Kind, Phase)> {
        self.lock().iter().map(|(kind, phase)| (*kind, phase.clone())).collect()
    }

    /// Whether every kind is ready.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Phase::is_ready)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, Phase>> {
        // A panic elsewhere leaves plain data behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_have_to_be_ready() {
        let status = Status::new(&[Kind::Jobs, Kind::Nodes]);
        assert!(!status.is_ready());
        status.set(Kind::Jobs, Phase::Leading);
        assert!(!status.is_ready());
        status.clone().set(Kind::Nodes, Phase::Standby);
        assert!(status.is_ready());
        status.set(Kind::Jobs, Phase::Blocked { reason: "sink".to_owned() });
        assert!(!status.is_ready());
        assert_eq!(status.phases()[1].1.to_string(), "blocked: sink");
    }
}
