//! Which records are shown.

use serde_json::Value;

use crate::{kind::Kind, record::Record};

/// The shortest part of a node's ID that names it.
pub(crate) const SHORTEST: usize = 4;

/// Jobs and nodes to show; none means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The IDs of jobs. The children of a periodic or parameterized job belong to it.
    pub jobs: Vec<String>,
    /// The names of nodes, or the beginnings of their IDs.
    pub nodes: Vec<String>,
}

impl Filter {
    /// Whether a record with this body is shown.
    pub(super) fn passes(&self, record: &Record, body: &Value) -> bool {
        let object = match record.kind {
            Kind::Events => object_of(body),
            _ => body,
        };
        (self.jobs.is_empty() || self.is_of_job(record, object))
            && (self.nodes.is_empty() || self.is_on_node(record, object))
    }

    fn is_of_job(&self, record: &Record, object: &Value) -> bool {
        let job = match &*record.job {
            "" => object["JobID"].as_str().unwrap_or_default(),
            job => job,
        };
        self.jobs.iter().any(|wanted| job == wanted || is_child(job, wanted))
    }

    fn is_on_node(&self, record: &Record, object: &Value) -> bool {
        let is_node = record.kind == Kind::Nodes || object["SchedulingEligibility"].is_string();
        let id = object[if is_node { "ID" } else { "NodeID" }].as_str().unwrap_or_default();
        let own = if is_node { "Name" } else { "NodeName" };
        let name = Some(&*record.node).filter(|name| !name.is_empty()).or_else(|| object[own].as_str());
        let is_it =
            |wanted: &String| name == Some(wanted) || wanted.len() >= SHORTEST && id.starts_with(wanted.as_str());
        self.nodes.iter().any(is_it)
    }
}

/// Whether Nomad made `job` of the job `parent`.
fn is_child(job: &str, parent: &str) -> bool {
    let rest = job.strip_prefix(parent);
    rest.is_some_and(|rest| rest.starts_with("/periodic-") || rest.starts_with("/dispatch-"))
}

/// The object of a raw event.
fn object_of(event: &Value) -> &Value {
    let payload = &event["Payload"];
    let by_topic = event["Topic"].as_str().and_then(|topic| payload.get(topic));
    by_topic.or_else(|| payload.as_object()?.values().next()).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::delivery::testing::Book;

    fn record(kind: Kind, job: &str, node: &str) -> Record {
        let mut record = Book::new().record("key", "");
        (record.kind, record.job, record.node) = (kind, job.into(), node.into());
        record
    }

    fn passes(jobs: &[&str], nodes: &[&str], record: &Record, body: &Value) -> bool {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Filter { jobs: texts(jobs), nodes: texts(nodes) }.passes(record, body)
    }

    #[test]
    fn a_job_is_named_by_its_id_and_has_children() {
        let null = Value::Null;
        assert!(passes(&["web"], &[], &record(Kind::Jobs, "web", ""), &null));
        assert!(passes(&["web", "db"], &[], &record(Kind::Jobs, "db", ""), &null));
        assert!(passes(&["web"], &[], &record(Kind::Jobs, "web/dispatch-17", ""), &null));
        assert!(!passes(&["web"], &[], &record(Kind::Jobs, "web/x", ""), &null));
        assert!(!passes(&["web"], &[], &record(Kind::Jobs, "web2", ""), &null));
        assert!(!passes(&["web"], &[], &record(Kind::Nodes, "", "n1"), &null));
        let event = json!({"Topic": "Evaluation", "Payload": {"Evaluation": {"JobID": "web"}}});
        assert!(passes(&["web"], &[], &record(Kind::Events, "", ""), &event));
    }

    #[test]
    fn a_node_is_named_by_its_name_or_its_id() {
        let body = json!({"NodeID": "b63b6b08-34a6"});
        assert!(passes(&[], &["node-1"], &record(Kind::Allocations, "web", "node-1"), &body));
        assert!(passes(&[], &["b63b6b"], &record(Kind::Allocations, "web", "node-1"), &body));
        assert!(!passes(&[], &["b6"], &record(Kind::Allocations, "web", "node-1"), &body));
        assert!(passes(&[], &["b63b"], &record(Kind::Nodes, "", "node-1"), &json!({"ID": "b63b6b08"})));
        assert!(!passes(&[], &["node-1"], &record(Kind::Jobs, "web", ""), &json!({})));
    }
}
