//! Job summaries: how many allocations of each group are in which state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::object::{AllocationFacts, Object};

/// The summaries of all jobs, kept from the events of jobs, evaluations and allocations.
#[derive(Debug, Default)]
pub(crate) struct Summaries {
    jobs: HashMap<(Arc<str>, Arc<str>), Summary>,
    /// allocation → group and state it is counted under.
    counted: HashMap<Arc<str>, (Arc<str>, Status)>,
    pub(crate) index: u64,
}

/// One job's summary in the shape of the API.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    children: Children,
    create_index: u64,
    #[serde(rename = "JobID")]
    job_id: String,
    modify_index: u64,
    namespace: String,
    summary: BTreeMap<Arc<str>, Counts>,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Children {
    dead: u64,
    pending: u64,
    running: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Counts {
    complete: u64,
    failed: u64,
    lost: u64,
    queued: u64,
    running: u64,
    starting: u64,
    unknown: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Complete,
    Failed,
    Lost,
    Running,
    Starting,
    Unknown,
}

impl Status {
    fn parse(client_status: &str) -> Self {
        match client_status {
            "complete" => Self::Complete,
            "failed" => Self::Failed,
            "lost" => Self::Lost,
            "running" => Self::Running,
            "pending" => Self::Starting,
            _ => Self::Unknown,
        }
    }
}

impl Counts {
    fn of(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Complete => &mut self.complete,
            Status::Failed => &mut self.failed,
            Status::Lost => &mut self.lost,
            Status::Running => &mut self.running,
            Status::Starting => &mut self.starting,
            Status::Unknown => &mut self.unknown,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JobFacts {
    #[serde(rename = "ParentID", default)]
    parent_id: String,
    #[serde(default)]
    status: Box<str>,
    #[serde(default)]
    task_groups: Option<Vec<Group>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Group {
    name: Arc<str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EvaluationFacts {
    #[serde(rename = "JobID")]
    job_id: Arc<str>,
    queued_allocations: Option<BTreeMap<Arc<str>, u64>>,
}

impl Summaries {
    pub(crate) fn get(&self, namespace: &str, job: &str) -> Option<&Summary> {
        self.jobs.get(&(Arc::from(namespace), Arc::from(job)))
    }

    pub(crate) fn job(&mut self, object: &Object, index: u64) {
        let Ok(mut facts) = serde_json::from_slice::<JobFacts>(&object.body.bytes()) else { return };
        let is_new = !self.jobs.contains_key(&(object.namespace.clone(), object.id.clone()));
        let summary = self.jobs.entry((object.namespace.clone(), object.id.clone())).or_default();
        if is_new {
            *summary = Summary {
                create_index: object.create_index,
                job_id: object.id.to_string(),
                modify_index: index,
                namespace: object.namespace.to_string(),
                ..Summary::default()
            };
            self.index = index;
        }
        for group in facts.task_groups.take().unwrap_or_default() {
            summary.summary.entry(group.name).or_default();
        }
        if !facts.parent_id.is_empty() && object.modify_index == index {
            self.child(object, &facts, is_new, index);
        }
    }

    fn child(&mut self, object: &Object, facts: &JobFacts, is_new: bool, index: u64) {
        let key = (object.namespace.clone(), Arc::from(facts.parent_id.as_str()));
        let Some(parent) = self.jobs.get_mut(&key) else { return };
        let children = &mut parent.children;
        if !is_new {
            // A child only moves forward: pending, running, dead.
            match &*facts.status {
                "running" => children.pending = children.pending.saturating_sub(1),
                "dead" if children.running > 0 => children.running -= 1,
                "dead" => children.pending = children.pending.saturating_sub(1),
                _ => return,
            }
        }
        match &*facts.status {
            "pending" => children.pending += 1,
            "running" => children.running += 1,
            _ => children.dead += 1,
        }
        parent.modify_index = index;
        self.index = index;
    }

    pub(crate) fn allocation(&mut self, object: &Object, facts: AllocationFacts, index: u64) {
        let Some(summary) = self.jobs.get_mut(&(object.namespace.clone(), facts.job_id)) else { return };
        let status = Status::parse(&facts.client_status);
        let old = self.counted.insert(object.id.clone(), (facts.task_group.clone(), status));
        if old.as_ref().is_some_and(|(_, old)| *old == status) {
            return;
        }
        let counts = summary.summary.entry(facts.task_group).or_default();
        match old {
            Some((_, old)) => *counts.of(old) = counts.of(old).saturating_sub(1),
            None => counts.queued = counts.queued.saturating_sub(1),
        }
        *counts.of(status) += 1;
        summary.modify_index = index;
        self.index = index;
    }

    pub(crate) fn evaluation(&mut self, object: &Object, index: u64) {
        let Ok(facts) = serde_json::from_slice::<EvaluationFacts>(&object.body.bytes()) else { return };
        let Some(summary) = self.jobs.get_mut(&(object.namespace.clone(), facts.job_id)) else { return };
        for (group, queued) in facts.queued_allocations.unwrap_or_default() {
            let counts = summary.summary.entry(group).or_default();
            if counts.queued != queued {
                counts.queued = queued;
                summary.modify_index = index;
                self.index = index;
            }
        }
    }

    /// Forgets the states of allocations that are gone; they stay counted, as in Nomad.
    pub(crate) fn forget(&mut self, gone: impl Fn(&str) -> bool) {
        self.counted.retain(|id, _| !gone(id));
    }

    pub(crate) fn purge(&mut self, namespace: &Arc<str>, job: &Arc<str>, index: u64) {
        if self.jobs.remove(&(namespace.clone(), job.clone())).is_some() {
            self.index = index;
        }
    }
}
