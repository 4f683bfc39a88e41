//! Deciding a write, after `nomad/state/state_store_variables.go`.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use serde_json::json;

use super::table::{Change, Kind, Variables};
use super::variable::{Items, Lock, Variable};
use crate::line::Line;

/// A write, checked and complete.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) operation: Operation,
    pub(crate) namespace: String,
    pub(crate) path: String,
    pub(crate) items: Items,
    pub(crate) lock: Option<Lock>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Set {
        cas: Option<u64>,
    },
    Delete {
        cas: Option<u64>,
    },
    Acquire,
    /// Without a lock in the write, as of a timer that has run out, it removes any lock.
    Release,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Put(Arc<Variable>),
    /// The variable is gone, or was never there.
    Absent,
    /// The variable that is in the way, as far as the refusal may show it.
    Conflict(Box<Variable>),
    /// A release of what is not there or not locked.
    Failed(&'static str),
}

/// A committed write with the raft index that it took; refusals take one too.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) outcome: Outcome,
    pub(crate) index: u64,
}

impl Variables {
    fn decide(&self, write: &Write, index: u64) -> (Outcome, Option<Change>) {
        let existing = self.get(&write.namespace, &write.path);
        let put = |variable: Variable| {
            let variable = Arc::new(variable);
            (Outcome::Put(variable.clone()), Some(Change(Kind::Put(variable))))
        };
        let conflict = |shown: Variable| (Outcome::Conflict(Box::new(shown)), None);
        let unseen = || Variable::unseen(&write.namespace, &write.path);
        // The comparison comes first: a stale `cas` shows a locked variable to a writer that does not hold it.
        if let Operation::Set { cas: Some(cas) } | Operation::Delete { cas: Some(cas) } = write.operation {
            match existing {
                Some(existing) if existing.modify_index != cas => return conflict(Variable::clone(existing)),
                None if cas != 0 => return conflict(unseen()),
                _ => {}
            }
        }
        if write.operation == Operation::Release {
            let Some(existing) = existing else { return (Outcome::Failed("variable doesn't exist"), None) };
            let Some(held) = existing.lock_id() else { return (Outcome::Failed("variable doesn't hold a lock"), None) };
            if write.lock.as_ref().is_some_and(|lock| lock.id != held) {
                return conflict(Variable { lock: Some(Lock::default()), ..unseen() });
            }
            // The time of the last change stays.
            return put(Variable { lock: None, modify_index: index, ..Variable::clone(existing) });
        }
        let id = write.lock.as_ref().map(|lock| lock.id.as_str());
        if existing.is_some_and(|existing| existing.lock.is_some() && existing.lock_id() != id) {
            return conflict(unseen());
        }
        if matches!(write.operation, Operation::Delete { .. }) {
            return (Outcome::Absent, existing.map(|existing| Change(Kind::Remove(existing.clone()))));
        }
        let now = now();
        put(Variable {
            create_index: existing.map_or(index, |existing| existing.create_index),
            create_time: existing.map_or(now, |existing| existing.create_time),
            items: write.items.clone(),
            lock: write.lock.clone(),
            modify_index: index,
            modify_time: now,
            namespace: write.namespace.clone(),
            path: write.path.clone(),
        })
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The variables at the end of the log, whatever the servers have applied of it.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) table: Variables,
    /// The last index that a write took, refused or not.
    last: u64,
}

impl Head {
    /// Decides a write, and makes its change at the end of the log, whose index is at least `log`.
    pub(crate) fn write(&mut self, write: &Write, log: u64) -> (Written, Option<Change>) {
        let index = log.max(self.last) + 1;
        self.last = index;
        let (outcome, change) = self.table.decide(write, index);
        if let Some(change) = &change {
            self.table.apply(change, index);
        }
        (Written { outcome, index }, change)
    }
}

impl Change {
    /// What the broker publishes: the metadata, with the lock, for everybody who may list the variable.
    pub(crate) fn event(&self, index: u64) -> Option<Arc<Line>> {
        let (variable, deleted) = match &self.0 {
            Kind::Put(variable) => (variable, false),
            Kind::Remove(variable) => (variable, true),
        };
        let line = json!({"Index": index, "Events": [{
            "Topic": "Variable", "Type": "VariableUpdated", "Key": variable.path, "Namespace": variable.namespace,
            "FilterKeys": null, "Index": index,
            "Payload": {"Metadata": variable.without_items(), "Deleted": deleted}}]});
        Line::parse(Bytes::from(line.to_string())).map(Arc::new).ok()
    }
}
