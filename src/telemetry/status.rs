//! The state of each resource, for `/readyz` and the status page.
//!
//! The state consists of independent facets: the lease, what keeps it from being taken, the coordinator's tasks, the source, the
//! lists, the program, its lookups, the sink. Each facet has one writer, and the [`Phase`] that is shown is derived from all of them. So a sink that recovers
//! cannot hide an outage of Nomad, nor make a standby look like a leader.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    facets::{Cause, Duty, Facets, Inner, Leadership, ListState, SinkState, SourceState},
    phase::Phase,
};
use crate::{
    kind::Kind,
    redact::{LINE, shown},
};

/// The state of all resources. Cheap to clone; all clones share the same state.
#[derive(Clone, Debug)]
pub struct Status(Arc<Mutex<Inner>>);

/// What is shown of one resource. Every text in it is one short line without secrets, wherever it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The resource.
    pub kind: Kind,
    /// What has to be fixed while it is blocked.
    pub causes: Vec<Cause>,
    /// Since when.
    pub since: SystemTime,
    /// Whether this replica holds the lease.
    pub is_led_here: bool,
    /// Who leads, if it is another replica and known.
    pub holder: Option<String>,
}

/// What is shown of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlet {
    /// How it is.
    pub state: SinkState,
    /// How long it has had the batch that it has in hand; `None` between two batches.
    pub waiting: Option<Duration>,
}

impl Status {
    /// The state in which all of `kinds` are starting.
    pub fn new(kinds: &[Kind]) -> Self {
        let kinds = kinds.iter().map(|kind| (*kind, Facets::default())).collect();
        let status = Status(Arc::new(Mutex::new(Inner { kinds, ..Inner::default() })));
        status.change(|_| {});
        status
    }

    /// Changes the state, and notes which phases begin with it.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let changed = change(&mut inner);
        let words: Vec<_> =
            inner.kinds.iter().map(|(kind, facets)| (*kind, Phase::of(facets, &inner).0.word())).collect();
        for (kind, word) in words {
            let since = &mut inner.kinds.entry(kind).or_default().since;
            if since.is_none_or(|(known, _)| known != word) {
                *since = Some((word, SystemTime::now()));
            }
        }
        changed
    }

    /// Sets the lease of `kind`. When it is acquired or lost, the states of the sources and lists under it are cleared.
    pub fn lease(&self, kind: Kind, state: Leadership) {
        self.change(|inner| {
            let facets = inner.kinds.entry(kind).or_default();
            if !(facets.lease.is_held() && state.is_held()) {
                facets.sources.clear();
                facets.lists.clear();
            }
            facets.lease = state;
        });
    }

    /// Sets who leads `kind`, while this replica stands by; `None` if that is not known.
    pub fn holder(&self, kind: Kind, holder: Option<String>) {
        self.lock().kinds.entry(kind).or_default().holder = holder;
    }

    /// Sets the fault of one of the coordinator's tasks; `None` while it works.
    pub fn coordinator(&self, duty: Duty, fault: Option<String>) {
        self.change(|inner| match fault {
            Some(fault) => inner.faults.insert(duty, fault),
            None => inner.faults.remove(&duty),
        });
    }

    /// Sets why the coordinator could not take the lease of `kind` if it were free; `None` while it could.
    pub fn barred(&self, kind: Kind, reason: Option<String>) {
        self.change(|inner| inner.kinds.entry(kind).or_default().barred = reason);
    }

    /// Sets how the stream of `namespace` reads `kind`.
    pub fn source(&self, kind: Kind, namespace: &str, state: SourceState) {
        self.change(|inner| inner.kinds.entry(kind).or_default().sources.insert(namespace.to_owned(), state));
    }

    /// Sets how the lists of `kind` are read for the stream of `namespace`.
    pub fn list(&self, kind: Kind, namespace: &str, state: ListState) {
        self.change(|inner| inner.kinds.entry(kind).or_default().lists.insert(namespace.to_owned(), state));
    }

    /// Sets why the pipeline's program takes no records; `None` while it does.
    pub fn program(&self, fault: Option<String>) {
        self.change(|inner| inner.program = fault);
    }

    /// Sets why records wait for a variable of the pipeline's program; `None` when none does.
    pub fn lookup(&self, variable: &'static str, fault: Option<String>) {
        self.change(|inner| match fault {
            Some(fault) => inner.lookups.insert(variable, fault),
            None => inner.lookups.remove(variable),
        });
    }

    /// Sets the state of the sink.
    pub fn sink(&self, state: SinkState) {
        self.change(|inner| inner.sink = state);
    }

    /// Notes that the sink has a batch in hand, or that it has answered.
    pub fn sink_has_batch(&self, has_one: bool) {
        self.lock().asked = has_one.then(Instant::now);
    }

    /// How the sink is. Its texts are safe to show.
    pub fn outlet(&self) -> Outlet {
        let inner = self.lock();
        let state = match &inner.sink {
            SinkState::Retrying { reason } => SinkState::Retrying { reason: shown(reason, LINE) },
            SinkState::Held { reason } => SinkState::Held { reason: shown(reason, LINE) },
            plain => plain.clone(),
        };
        Outlet { state, waiting: inner.asked.map(|asked| asked.elapsed()) }
    }

    /// What is shown of each resource: what it is doing, and more.
    pub fn resources(&self) -> Vec<(Phase, Resource)> {
        let inner = self.lock();
        let resource = |(kind, facets): (&Kind, &Facets)| {
            let (phase, causes) = Phase::of(facets, &inner);
            let is_led_here = facets.lease == Leadership::Leading;
            let resource = Resource {
                kind: *kind,
                causes,
                since: facets.since.map_or_else(SystemTime::now, |(_, since)| since),
                is_led_here,
                holder: facets.holder.as_ref().filter(|_| !is_led_here).map(|holder| shown(holder, LINE)),
            };
            (phase.shown(), resource)
        };
        inner.kinds.iter().map(resource).collect()
    }

    /// What each resource is doing. Every text in it is one short line without secrets, wherever it came from.
    pub fn phases(&self) -> Vec<(Kind, Phase)> {
        let inner = self.lock();
        inner.kinds.iter().map(|(kind, facets)| (*kind, Phase::of(facets, &inner).0.shown())).collect()
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
