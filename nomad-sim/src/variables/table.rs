//! The table of variables, by namespace and path.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::variable::Variable;

/// What a committed write changes. It is decided before it is committed, so that every server makes the same change.
#[derive(Debug, Clone)]
pub struct Change(pub(super) Kind);

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Put(Arc<Variable>),
    Remove(Arc<Variable>),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    all: BTreeMap<(String, String), Arc<Variable>>,
    /// The raft index of the last change.
    pub(crate) index: u64,
}

impl Variables {
    pub(crate) fn get(&self, namespace: &str, path: &str) -> Option<&Arc<Variable>> {
        self.all.get(&(namespace.to_owned(), path.to_owned()))
    }

    pub(crate) fn apply(&mut self, change: &Change, index: u64) {
        let key = |variable: &Variable| (variable.namespace.clone(), variable.path.clone());
        match &change.0 {
            Kind::Put(variable) => drop(self.all.insert(key(variable), variable.clone())),
            Kind::Remove(variable) => drop(self.all.remove(&key(variable))),
        }
        self.index = index;
    }

    /// Those whose path begins so, by namespace and path; `None` for all namespaces.
    pub(crate) fn list<'a>(
        &'a self,
        namespace: Option<&'a str>,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Variable>> {
        self.all.values().filter(move |variable| {
            namespace.is_none_or(|namespace| variable.namespace == namespace) && variable.path.starts_with(prefix)
        })
    }

    /// Those that are locked.
    pub(crate) fn locked(&self) -> Vec<Arc<Variable>> {
        self.all.values().filter(|variable| variable.lock.is_some()).cloned().collect()
    }

    /// The index that an answer about this one variable carries: its own, or the table's where it does not exist. A
    /// table that nothing was written to has index 1.
    pub(crate) fn index_of(&self, namespace: &str, path: &str) -> u64 {
        self.get(namespace, path).map_or(self.index.max(1), |variable| variable.modify_index)
    }
}
