//! The state of each resource, for `/readyz` and the status page.
//!
//! It is kept as independent facets: the lease, what bars it, the coordinator's tasks, the source, the lists, the sink. Each facet is written by
//! its owner alone, and the [`Phase`] that is shown is derived from all of them. So a sink that recovers cannot hide an outage
//! of Nomad, nor make a standby look like a leader.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Phase;
use crate::kind::Kind;

/// The lease of a resource. Written by the supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Leadership {
    /// The coordinator was not asked for it yet.
    #[default]
    Starting,
    /// It is waited for, ready to take over.
    Standby,
    /// It is held: the resource is read and delivered.
    Leading,
    /// The resource has ended.
    Stopped,
    /// The coordinator refuses it, or cannot work.
    Blocked {
        /// Why, for a person.
        reason: String,
    },
}

impl Leadership {
    /// Whether the resource is read under it.
    fn is_held(&self) -> bool {
        matches!(self, Leadership::Leading | Leadership::Blocked { .. })
    }
}

/// How a lane reads a resource. Written by the lane, for its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceState {
    /// No connection has worked yet.
    #[default]
    Connecting,
    /// The event stream is read.
    Streaming,
    /// Lists are read: there is no event stream.
    Polling {
        /// Why there is none, for a person.
        reason: Option<String>,
    },
    /// Nothing can be read.
    Blocked {
        /// Why, for a person.
        reason: String,
    },
}

/// The lists of a resource. Written by the reader of lists, for the namespace of its lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListState {
    /// None is to be read, or the last page was read.
    #[default]
    Fine,
    /// They are read, and take long.
    Slow {
        /// How long, for a person.
        text: String,
    },
    /// The list under way cannot be read.
    Failing {
        /// Why, for a person.
        reason: String,
    },
}

/// The sink, which all resources of a process share. Written by delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SinkState {
    /// The last batch was delivered, or none was sent yet.
    #[default]
    Flowing,
    /// It does not take what it is sent; delivery tries again.
    Retrying {
        /// Why, for a person.
        reason: String,
    },
    /// It rejects a record, and everything behind that waits.
    Held {
        /// Why, for a person.
        reason: String,
    },
    /// The lease could not be renewed in time: nothing may be sent until it is.
    Suspended,
}

/// A task of the coordinator. Each is the owner of its own fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Keeps the session under which leases are taken.
    Session,
    /// Watches the leaders while standing by.
    Watch,
    /// Renews the leases that are held.
    Renewal,
}

/// The state of all resources. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Status(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) kinds: BTreeMap<Kind, Facets>,
    /// What is the matter with the coordinator's tasks; those that work are missing.
    pub(super) faults: BTreeMap<Duty, String>,
    pub(super) sink: SinkState,
}

/// What belongs to one resource alone.
#[derive(Debug, Default)]
pub(super) struct Facets {
    pub(super) lease: Leadership,
    /// Why the lease cannot be taken, though nobody else has it.
    pub(super) barred: Option<String>,
    /// By namespace, as are the lists.
    pub(super) sources: BTreeMap<String, SourceState>,
    pub(super) lists: BTreeMap<String, ListState>,
}

impl Status {
    /// Every one of `kinds` is starting.
    pub fn new(kinds: &[Kind]) -> Self {
        let kinds = kinds.iter().map(|kind| (*kind, Facets::default())).collect();
        Status(Arc::new(Mutex::new(Inner { kinds, ..Inner::default() })))
    }

    /// Sets the lease of `kind`. Where it begins or ends, what lanes said of their sources and lists is forgotten.
    pub fn lease(&self, kind: Kind, state: Leadership) {
        let mut inner = self.lock();
        let facets = inner.kinds.entry(kind).or_default();
        if !(facets.lease.is_held() && state.is_held()) {
            facets.sources.clear();
            facets.lists.clear();
        }
        facets.lease = state;
    }

    /// Sets the fault of one of the coordinator's tasks: `None` while it works.
    pub fn coordinator(&self, duty: Duty, fault: Option<String>) {
        let faults = &mut self.lock().faults;
        match fault {
            Some(fault) => faults.insert(duty, fault),
            None => faults.remove(&duty),
        };
    }

    /// Sets why the coordinator cannot take the lease of `kind`, though nobody else has it: `None` while it can.
    pub fn barred(&self, kind: Kind, reason: Option<String>) {
        self.lock().kinds.entry(kind).or_default().barred = reason;
    }

    /// Sets how the lane of `namespace` reads `kind`.
    pub fn source(&self, kind: Kind, namespace: &str, state: SourceState) {
        self.lock().kinds.entry(kind).or_default().sources.insert(namespace.to_owned(), state);
    }

    /// Sets how the lists of `kind` are read on the lane of `namespace`.
    pub fn list(&self, kind: Kind, namespace: &str, state: ListState) {
        self.lock().kinds.entry(kind).or_default().lists.insert(namespace.to_owned(), state);
    }

    /// Sets the state of the sink.
    pub fn sink(&self, state: SinkState) {
        self.lock().sink = state;
    }

    /// What every resource is doing. Every text in it is one short line without secrets, whoever wrote it.
    pub fn phases(&self) -> Vec<(Kind, Phase)> {
        let inner = self.lock();
        inner.kinds.iter().map(|(kind, facets)| (*kind, Phase::of(facets, &inner).shown())).collect()
    }

    /// Whether every resource is ready.
    pub fn is_ready(&self) -> bool {
        self.phases().iter().all(|(_, phase)| phase.is_ready())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves plain data behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
