//! A server's state store: the cluster after the applied part of the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use crate::history::{Entry, Silent};
use crate::line::{Event, Line};
use crate::object::{AllocationFacts, Object};
use crate::summary::Summaries;
use crate::table::{Kind, Table};
use crate::variables::Variables;
use crate::versions::Versions;

/// The tables of one server.
#[derive(Debug)]
pub(crate) struct State {
    tables: [Table; 5],
    /// The job that an allocation was placed with: its stub tells type and version, its events do not.
    placed: HashMap<Arc<str>, Placed>,
    pub(crate) summaries: Summaries,
    pub(crate) versions: Versions,
    pub(crate) namespaces: Namespaces,
    pub(crate) variables: Variables,
    /// The highest applied raft index.
    pub(crate) applied: u64,
}

/// Type and version of the job at the moment of the placement.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) job_type: Arc<str>,
    pub(crate) job_version: u64,
}

/// The namespaces with the raft index of their creation.
#[derive(Debug, Clone)]
pub(crate) struct Namespaces {
    pub(crate) created: BTreeMap<String, u64>,
    pub(crate) index: u64,
}

impl Namespaces {
    pub(crate) fn add(&mut self, name: &str, index: u64) {
        if !self.created.contains_key(name) {
            self.created.insert(name.to_owned(), index);
            self.index = self.index.max(index);
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.created.keys().cloned().collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct JobFacts {
    #[serde(rename = "Type")]
    kind: Box<str>,
    version: u64,
}

impl State {
    pub(crate) fn new(namespaces: Namespaces) -> Self {
        Self {
            tables: Kind::ALL.map(Table::new),
            placed: HashMap::new(),
            summaries: Summaries::default(),
            versions: Versions::default(),
            namespaces,
            variables: Variables::default(),
            applied: 0,
        }
    }

    pub(crate) fn table(&self, kind: Kind) -> &Table {
        &self.tables[kind as usize]
    }

    fn table_mut(&mut self, kind: Kind) -> &mut Table {
        &mut self.tables[kind as usize]
    }

    pub(crate) fn placed(&self, allocation: &str) -> Option<&Placed> {
        self.placed.get(allocation)
    }

    /// The index that a list answers: of the job list it is also that of the summaries.
    pub(crate) fn list_index(&self, kind: Kind) -> u64 {
        let index = self.table(kind).index;
        if kind == Kind::Job { index.max(self.summaries.index) } else { index }
    }

    pub(crate) fn apply(&mut self, entry: &Entry) {
        for silent in &entry.silent {
            self.apply_silent(silent, entry.index);
        }
        for line in &entry.lines {
            self.apply_line(line);
        }
        self.applied = self.applied.max(entry.index);
    }

    fn apply_line(&mut self, line: &Line) {
        for event in &line.events {
            let (Some(kind), Some(object)) = (Kind::from_topic(&event.topic), &event.object) else { continue };
            if event.deleted {
                self.purge(event, line.index);
                continue;
            }
            self.upsert(kind, object, line.index);
        }
        // Plans and client updates write to the table of allocations even where they change none that exists.
        if line.events.iter().any(|event| matches!(&*event.kind, "PlanResult" | "AllocationUpdated")) {
            self.table_mut(Kind::Allocation).index = line.index;
        }
        // Only garbage collection purges in batches, and it takes finished objects along without an event of its own.
        if line.events.iter().any(|event| &*event.kind == "JobBatchDeregistered") {
            self.collect_garbage(line.index);
        }
    }

    fn upsert(&mut self, kind: Kind, object: &Arc<Object>, index: u64) {
        // A node's bystander events do change it, in fields that its ModifyIndex does not count.
        if object.modify_index == index || matches!(kind, Kind::Evaluation | Kind::Node) {
            self.table_mut(kind).index = index;
        }
        match kind {
            Kind::Allocation => {
                if let Some(facts) = object.allocation() {
                    self.place(object, &facts, index);
                    self.summaries.allocation(object, facts, index);
                }
            }
            Kind::Evaluation => self.summaries.evaluation(object, index),
            Kind::Job => {
                self.summaries.job(object, index);
                self.versions.job(object);
            }
            Kind::Deployment | Kind::Node => {}
        }
        self.table_mut(kind).insert(object.clone());
    }

    fn place(&mut self, object: &Object, facts: &AllocationFacts, index: u64) {
        let known = self.placed.contains_key(&object.id);
        // A plan that updates in place moves AllocModifyIndex and gives the allocation the job of that moment.
        let updated = facts.alloc_modify_index == index && &*facts.desired_status == "run";
        if known && !updated {
            return;
        }
        let Some(job) = self.table(Kind::Job).get(&object.namespace, &facts.job_id) else { return };
        let job: JobFacts = serde_json::from_slice(&job.body.bytes()).unwrap_or_default();
        self.placed.insert(object.id.clone(), Placed { job_type: Arc::from(&*job.kind), job_version: job.version });
    }

    fn purge(&mut self, event: &Event, index: u64) {
        let Some(object) = &event.object else { return };
        self.table_mut(Kind::Job).remove(&object.namespace, &object.id);
        self.table_mut(Kind::Job).index = index;
        self.summaries.purge(&object.namespace, &object.id, index);
        self.versions.purge(&object.namespace, &object.id);
        let (namespace, id) = (object.namespace.clone(), object.id.clone());
        for kind in [Kind::Allocation, Kind::Deployment] {
            self.retain(kind, index, |o| !(o.namespace == namespace && o.job.as_ref() == Some(&id)));
        }
        self.forget_placements();
    }

    fn collect_garbage(&mut self, index: u64) {
        for kind in [Kind::Allocation, Kind::Evaluation, Kind::Deployment] {
            self.retain(kind, index, |o| !o.finished);
        }
        self.forget_placements();
    }

    fn retain(&mut self, kind: Kind, index: u64, keep: impl Fn(&Object) -> bool) {
        let table = self.table_mut(kind);
        let before = table.len();
        table.retain(keep);
        if table.len() != before {
            table.index = index;
        }
    }

    fn forget_placements(&mut self) {
        let allocations = &self.tables[Kind::Allocation as usize];
        self.placed.retain(|id, _| allocations.get("", id).is_some());
        self.summaries.forget(|id| allocations.get("", id).is_none());
    }

    fn apply_silent(&mut self, silent: &Silent, index: u64) {
        match silent {
            Silent::Namespace(name) => self.namespaces.add(name, index),
            Silent::Variable(change) => self.variables.apply(change, index),
            Silent::Upsert(kind, object) => self.upsert(*kind, object, index),
            Silent::Remove(kind, namespace, id) => {
                if self.table_mut(*kind).remove(namespace, id).is_some() {
                    self.table_mut(*kind).index = index;
                }
                self.placed.remove(&**id);
            }
            Silent::CollectBefore(limit) => {
                for kind in [Kind::Allocation, Kind::Evaluation, Kind::Deployment, Kind::Job] {
                    self.retain(kind, index, |o| o.modify_index >= *limit);
                }
                self.forget_placements();
            }
        }
    }
}
