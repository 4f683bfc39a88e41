//! The state of each resource, for `/readyz` and the status page.
//!
//! The state consists of independent facets: the lease, what keeps it from being taken, the coordinator's tasks, the source, the
//! lists, the program, its lookups, the sink. Each facet has one writer, and the [`Phase`] that is shown is derived from all of them. So a sink that recovers
//! cannot hide an outage of Nomad, nor make a standby look like a leader.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    facets::{Duty, Facets, Inner, Leadership, ListState, SinkState, SourceState},
    phase::Phase,
};
use crate::kind::Kind;

/// The state of all resources. Cheap to clone; all clones share the same state.
#[derive(Clone, Debug)]
pub struct Status(Arc<Mutex<Inner>>);

impl Status {
    /// The state in which all of `kinds` are starting.
    pub fn new(kinds: &[Kind]) -> Self {
        let kinds = kinds.iter().map(|kind| (*kind, Facets::default())).collect();
        Status(Arc::new(Mutex::new(Inner { kinds, ..Inner::default() })))
    }

    /// Sets the lease of `kind`. When it is acquired or lost, the states of the sources and lists under it are cleared.
    pub fn lease(&self, kind: Kind, state: Leadership) {
        let mut inner = self.lock();
        let facets = inner.kinds.entry(kind).or_default();
        if !(facets.lease.is_held() && state.is_held()) {
            facets.sources.clear();
            facets.lists.clear();
        }
        facets.lease = state;
    }

    /// Sets the fault of one of the coordinator's tasks; `None` while it works.
    pub fn coordinator(&self, duty: Duty, fault: Option<String>) {
        let faults = &mut self.lock().faults;
        match fault {
            Some(fault) => faults.insert(duty, fault),
            None => faults.remove(&duty),
        };
    }

    /// Sets why the coordinator could not take the lease of `kind` if it were free; `None` while it could.
    pub fn barred(&self, kind: Kind, reason: Option<String>) {
        self.lock().kinds.entry(kind).or_default().barred = reason;
    }

    /// Sets how the stream of `namespace` reads `kind`.
    pub fn source(&self, kind: Kind, namespace: &str, state: SourceState) {
        self.lock().kinds.entry(kind).or_default().sources.insert(namespace.to_owned(), state);
    }

    /// Sets how the lists of `kind` are read for the stream of `namespace`.
    pub fn list(&self, kind: Kind, namespace: &str, state: ListState) {
        self.lock().kinds.entry(kind).or_default().lists.insert(namespace.to_owned(), state);
    }

    /// Sets why the pipeline's program takes no records; `None` while it does.
    pub fn program(&self, fault: Option<String>) {
        self.lock().program = fault;
    }

    /// Sets why records wait for a variable of the pipeline's program; `None` when none does.
    pub fn lookup(&self, variable: &'static str, fault: Option<String>) {
        match fault {
            Some(fault) => drop(self.lock().lookups.insert(variable, fault)),
            None => drop(self.lock().lookups.remove(variable)),
        }
    }

    /// Sets the state of the sink.
    pub fn sink(&self, state: SinkState) {
        self.lock().sink = state;
    }

    /// What each resource is doing. Every text in it is one short line without secrets, wherever it came from.
    pub fn phases(&self) -> Vec<(Kind, Phase)> {
        let inner = self.lock();
        inner.kinds.iter().map(|(kind, facets)| (*kind, Phase::of(facets, &inner).shown())).collect()
    }

    /// How each resource is read, in a word of the metrics; `None` while another replica leads.
    pub fn sources(&self) -> Vec<(Kind, Option<&'static str>)> {
        let inner = self.lock();
        inner.kinds.iter().map(|(kind, facets)| (*kind, facets.source())).collect()
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
