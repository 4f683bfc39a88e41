//! Tokens and what they may read.

use std::collections::{HashMap, HashSet};

use crate::filter::Topics;

use crate::variables::{Capability, VariableRule, Workload, allows};

/// What a token may read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Everything.
    pub management: bool,
    /// Namespaces with `read-job` and `list-jobs`; `*` for all.
    pub namespaces: Vec<String>,
    /// `node { policy = "read" }`.
    pub node: bool,
    /// `operator { policy = "read" }`.
    pub operator: bool,
    /// `variables` blocks.
    pub variables: Vec<VariableRule>,
    /// The token is the identity of this task, which may read its job's own variables.
    pub workload: Option<Workload>,
}

impl Policy {
    /// A management token.
    #[must_use]
    pub fn management() -> Self {
        Self { management: true, ..Self::default() }
    }

    /// `read-job` in these namespaces, and nothing else.
    #[must_use]
    pub fn read_jobs(namespaces: &[&str]) -> Self {
        Self { namespaces: namespaces.iter().map(|ns| (*ns).to_owned()).collect(), ..Self::default() }
    }

    /// The same with `node:read`.
    #[must_use]
    pub fn and_nodes(mut self) -> Self {
        self.node = true;
        self
    }

    /// The identity of a task. What its job's policies allow comes on top.
    #[must_use]
    pub fn workload(namespace: &str, job: &str, group: &str, task: &str) -> Self {
        let [namespace, job, group, task] = [namespace, job, group, task].map(str::to_owned);
        Self { workload: Some(Workload { namespace, job, group, task }), ..Self::default() }
    }

    /// The same with these capabilities on the variables of a path, which may contain `*`; with none of them, `deny`.
    #[must_use]
    pub fn and_variables(mut self, namespace: &str, path: &str, capabilities: &[Capability]) -> Self {
        self.variables.push(VariableRule {
            namespace: namespace.to_owned(),
            path: path.to_owned(),
            capabilities: capabilities.to_vec(),
        });
        self
    }

    /// What a request to read or list may do: Nomad looks at a task's implicit rights for these alone.
    pub(crate) fn sees_variable(&self, namespace: &str, path: &str, wanted: Capability) -> bool {
        self.management || allows(&self.variables, self.workload.as_ref(), (namespace, path), wanted)
    }

    /// What a write may do, and whether its answer may show items.
    pub(crate) fn writes_variable(&self, namespace: &str, path: &str, wanted: Capability) -> bool {
        self.management || allows(&self.variables, None, (namespace, path), wanted)
    }

    /// Whether jobs and their objects can be read there; for `*`, whether any namespace allows it.
    pub(crate) fn reads_jobs(&self, namespace: &str) -> bool {
        self.management
            || self.namespaces.iter().any(|ns| ns == "*" || ns == namespace)
            || (namespace == "*" && !self.namespaces.is_empty())
    }

    pub(crate) fn reads_nodes(&self) -> bool {
        self.management || self.node
    }

    /// Whether a subscription is allowed, after `nomad/event_endpoint.go`: every topic in every namespace.
    pub(crate) fn may_subscribe(&self, topics: &Topics, namespaces: &[String]) -> bool {
        topics.0.keys().all(|topic| match topic.as_str() {
            "Deployment" | "Evaluation" | "Allocation" | "Job" | "Service" | "CSIPlugin" => {
                namespaces.iter().all(|ns| self.reads_jobs(ns))
            }
            "Node" => self.reads_nodes(),
            "Operator" => self.management || self.operator,
            _ => self.management,
        })
    }
}

/// The tokens of a cluster; without any, access control is off.
#[derive(Debug, Default)]
pub(crate) struct Acl {
    tokens: HashMap<String, Policy>,
    expired: HashSet<String>,
    enabled: bool,
}

impl Acl {
    pub(crate) fn set(&mut self, token: &str, policy: Policy) {
        self.enabled = true;
        self.tokens.insert(token.to_owned(), policy);
    }

    pub(crate) fn revoke(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    pub(crate) fn expire(&mut self, token: &str) {
        self.revoke(token);
        self.expired.insert(token.to_owned());
    }

    pub(crate) fn is_expired(&self, token: &str) -> bool {
        self.expired.contains(token)
    }

    /// Whether there is any token at all.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The rights of a request's token; `None` for a token that does not exist. A request without a token is anonymous,
    /// and may read nothing.
    pub(crate) fn resolve(&self, token: &str) -> Option<Policy> {
        if !self.enabled {
            return Some(Policy::management());
        }
        if token.is_empty() {
            return Some(Policy::default());
        }
        self.tokens.get(token).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_rule_counts_and_a_task_only_reads_its_own() {
        let policy = Policy::workload("default", "carry", "group", "task")
            .and_variables("default", "nomad/jobs/*", &[Capability::Write])
            .and_variables("*", "*", &[Capability::Destroy]);
        let sees = |path| policy.sees_variable("default", path, Capability::Read);
        let writes = |path| policy.writes_variable("default", path, Capability::Write);
        assert_eq!((sees("nomad/jobs/carry"), sees("nomad/jobs/carry/other")), (true, false));
        assert_eq!((writes("nomad/jobs/carry"), writes("elsewhere")), (true, false));
        assert!(policy.writes_variable("team", "elsewhere", Capability::Destroy));
    }
}
