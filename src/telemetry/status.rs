//! What each kind is doing right now, for `/readyz` and the status page.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{kind::Kind, redact::redacted};

/// What a kind is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not come to anything yet.
    Starting,
    /// It waits for the lease, ready to take over.
    Standby,
    /// It holds the lease, and records flow as they come.
    Leading,
    /// It holds the lease, and records come from lists: there is no event stream.
    Polling,
    /// It holds the lease, and nothing flows: Nomad cannot be reached, the sink refuses a record.
    Blocked {
        /// Why, for a person.
        reason: String,
    },
    /// It has ended.
    Stopped,
}

impl Phase {
    /// Without secrets: the pages need no login.
    fn redacted(self) -> Self {
        match self {
            Phase::Blocked { reason } => Phase::Blocked { reason: redacted(&reason).into_owned() },
            phase => phase,
        }
    }

    /// A standby is ready too: a deployment of replicas has to be able to finish.
    pub fn is_ready(&self) -> bool {
        matches!(self, Phase::Standby | Phase::Leading | Phase::Polling)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Starting => f.write_str("starting"),
            Phase::Standby => f.write_str("standby"),
            Phase::Leading => f.write_str("leading"),
            Phase::Polling => f.write_str("leading, by polling"),
            Phase::Blocked { reason } => write!(f, "blocked: {reason}"),
            Phase::Stopped => f.write_str("stopped"),
        }
    }
}

/// The phases of all kinds. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Status(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    phases: BTreeMap<Kind, Phase>,
    /// What a kind does in the place of leading, where there is no event stream.
    instead: BTreeMap<Kind, Phase>,
}

impl Inner {
    fn shown(&self) -> impl Iterator<Item = (Kind, &Phase)> {
        self.phases.iter().map(|(kind, phase)| match (self.instead.get(kind), phase) {
            (Some(instead), Phase::Leading) => (*kind, instead),
            _ => (*kind, phase),
        })
    }
}

impl Status {
    /// Every one of `kinds` is starting.
    pub fn new(kinds: &[Kind]) -> Self {
        let phases = kinds.iter().map(|kind| (*kind, Phase::Starting)).collect();
        Status(Arc::new(Mutex::new(Inner { phases, instead: BTreeMap::new() })))
    }

    /// Says what `kind` does from now on.
    pub fn set(&self, kind: Kind, phase: Phase) {
        self.lock().phases.insert(kind, phase.redacted());
    }

    /// Says what `kind` does in the place of [`Phase::Leading`], until it is said otherwise: `None` where it leads.
    pub fn set_instead(&self, kind: Kind, phase: Option<Phase>) {
        let instead = &mut self.lock().instead;
        match phase {
            Some(phase) => instead.insert(kind, phase.redacted()),
            None => instead.remove(&kind),
        };
    }

    /// What every kind is doing.
    pub fn phases(&self) -> Vec<(Kind, Phase)> {
        self.lock().shown().map(|(kind, phase)| (kind, phase.clone())).collect()
    }

    /// Whether every kind is ready.
    pub fn is_ready(&self) -> bool {
        self.lock().shown().all(|(_, phase)| phase.is_ready())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
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

    #[test]
    fn what_polls_leads_and_is_ready_unless_something_else_is_the_matter() {
        let status = Status::new(&[Kind::Jobs, Kind::Events]);
        status.set_instead(Kind::Jobs, Some(Phase::Polling));
        assert!(!status.is_ready());
        for kind in [Kind::Jobs, Kind::Events] {
            status.set(kind, Phase::Leading);
        }
        assert!(status.is_ready());
        assert_eq!(status.phases()[0].1.to_string(), "leading, by polling");
        status.set_instead(Kind::Events, Some(Phase::Blocked { reason: "no stream".to_owned() }));
        assert!(!status.is_ready());
        status.set(Kind::Events, Phase::Standby);
        assert!(status.is_ready());
        status.set_instead(Kind::Jobs, None);
        assert_eq!(status.phases()[0].1, Phase::Leading);
    }
}
