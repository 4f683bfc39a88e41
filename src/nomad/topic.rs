//! The tables that the lists read, and the topics that the stream carries.

use std::{fmt, str::FromStr};

/// A table of Nomad's state that can be listed page by page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Allocation stubs, with their task events.
    Allocations,
    /// Node stubs.
    Nodes,
    /// Whole evaluations.
    Evaluations,
    /// Job stubs.
    Jobs,
    /// Whole deployments.
    Deployments,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 5] = [Table::Allocations, Table::Nodes, Table::Evaluations, Table::Jobs, Table::Deployments];

    /// The table whose changes a topic publishes; `None` for topics whose tables the firehose does not list.
    pub fn from_topic(topic: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.topic() == topic)
    }

    /// The path of its list.
    pub const fn path(self) -> &'static str {
        match self {
            Table::Allocations => "/v1/allocations",
            Table::Nodes => "/v1/nodes",
            Table::Evaluations => "/v1/evaluations",
            Table::Jobs => "/v1/jobs",
            Table::Deployments => "/v1/deployments",
        }
    }

    /// The topic that publishes its changes.
    pub const fn topic(self) -> &'static str {
        match self {
            Table::Allocations => "Allocation",
            Table::Nodes => "Node",
            Table::Evaluations => "Evaluation",
            Table::Jobs => "Job",
            Table::Deployments => "Deployment",
        }
    }

    /// Whether its objects belong to namespaces.
    pub const fn namespaced(self) -> bool {
        !matches!(self, Table::Nodes)
    }
}

/// A topic of the event stream, and a filter on its keys.
///
/// Any name is allowed: each minor release of Nomad adds topics, and Nomad accepts unknown ones without saying so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    /// `Job`, `Allocation`, …, or `*` for every topic.
    pub name: String,
    /// Only events with this key or filter key; `None` is all events.
    pub key: Option<String>,
}

impl Topic {
    /// Every key of a topic.
    pub fn all(name: impl Into<String>) -> Self {
        Topic { name: name.into(), key: None }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, ":{key}"))
    }
}

/// The text is not a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the topic {0:?} is not of the form Topic or Topic:FilterKey")]
pub struct BadTopic(String);

impl FromStr for Topic {
    type Err = BadTopic;

    /// Nomad splits at each colon and refuses a second one, so a key cannot have a colon.
    fn from_str(text: &str) -> Result<Self, BadTopic> {
        let bad = || BadTopic(text.to_owned());
        let (name, key) = match text.split_once(':') {
            None => (text, None),
            Some((_, key)) if key.is_empty() || key.contains(':') => return Err(bad()),
            Some((name, "*")) => (name, None),
            Some((name, key)) => (name, Some(key.to_owned())),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(bad());
        }
        Ok(Topic { name: name.to_owned(), key })
    }
}

/// What an ACL policy must say for one topic. The classes are those of Nomad's check of a subscription (`validateNsOp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// A capability in the namespace.
    Namespace(&'static [&'static str]),
    /// Any access to a variable of the namespace.
    Variables,
    /// `node { policy = "read" }`
    Node,
    /// `operator { policy = "read" }`
    Operator,
    /// Nothing less than a management token.
    Management,
}

impl Permission {
    /// What `topic` needs. The job list, which the backfill reads, needs `list-jobs` in addition to what the stream needs.
    pub(super) fn of(topic: &str) -> Self {
        match topic {
            "Job" => Permission::Namespace(&["list-jobs", "read-job"]),
            "Allocation" | "Evaluation" | "Deployment" | "Service" | "CSIPlugin" => {
                Permission::Namespace(&["read-job"])
            }
            "HostVolume" => Permission::Namespace(&["host-volume-read"]),
            "CSIVolume" => Permission::Namespace(&["csi-read-volume"]),
            "Variable" => Permission::Variables,
            "Node" => Permission::Node,
            "Operator" => Permission::Operator,
            _ => Permission::Management,
        }
    }

    /// Whether a policy with `self` allows `other` as well, in one namespace.
    fn includes(self, other: Permission) -> bool {
        match (self, other) {
            (Permission::Namespace(ours), Permission::Namespace(theirs)) => {
                theirs.iter().all(|capability| ours.contains(capability))
            }
            (Permission::Management, _) => true,
            (ours, theirs) => ours == theirs,
        }
    }

    /// What a policy must say for all of `permissions`, each with its namespace, without repetitions.
    pub(super) fn rules(permissions: &[(Permission, &str)]) -> String {
        let mut rules: Vec<String> = permissions
            .iter()
            .enumerate()
            .filter(|(n, (ours, namespace))| {
                let covers = |(m, (theirs, other)): (usize, &(Permission, &str))| {
                    let same_namespace = namespace == other || *theirs == Permission::Management;
                    // Of two equal ones, the first stays.
                    m != *n && same_namespace && theirs.includes(*ours) && (!ours.includes(*theirs) || m < *n)
                };
                !permissions.iter().enumerate().any(covers)
            })
            .map(|(_, (permission, namespace))| permission.rule(namespace))
            .collect();
        rules.sort();
        rules.dedup();
        rules.join(" and ")
    }

    /// The rule as a policy for `namespace` has it.
    pub(super) fn rule(self, namespace: &str) -> String {
        match self {
            Permission::Namespace(capabilities) => {
                format!("namespace {namespace:?} {{ capabilities = {capabilities:?} }}")
            }
            Permission::Variables => {
                format!("namespace {namespace:?} {{ variables {{ path \"*\" {{ capabilities = [\"list\"] }} }} }}")
            }
            Permission::Node => "node { policy = \"read\" }".to_owned(),
            Permission::Operator => "operator { policy = \"read\" }".to_owned(),
            Permission::Management => "a management token".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_are_read_and_written() {
        for text in ["Job", "*", "Job:web", "Node:3f-1", "New:api/v1"] {
            assert_eq!(text.parse::<Topic>().expect("a topic").to_string(), text);
        }
        assert_eq!("Job:*".parse::<Topic>(), Ok(Topic::all("Job")));
        for text in ["", ":web", "Job:", "Job:a:b", "a b", " "] {
            assert!(text.parse::<Topic>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_table_is_read_with_the_permission_of_its_topic() {
        for table in Table::ALL {
            let namespaced = matches!(Permission::of(table.topic()), Permission::Namespace(_));
            assert_eq!(namespaced, table.namespaced(), "{table:?}");
        }
    }

    #[test]
    fn rules_are_written_as_a_policy_has_them() {
        assert_eq!(
            Permission::of("Job").rule("team-a"),
            r#"namespace "team-a" { capabilities = ["list-jobs", "read-job"] }"#
        );
        assert_eq!(Permission::of("NodePool").rule("*"), "a management token");
        assert_eq!(Permission::of("*").rule("*"), "a management token");
    }

    #[test]
    fn rules_say_nothing_twice() {
        let rules = |topics: &[&str]| {
            let permissions: Vec<_> = topics.iter().map(|topic| (Permission::of(topic), "a")).collect();
            Permission::rules(&permissions)
        };
        assert_eq!(
            rules(&["Allocation", "Job", "Node", "Evaluation", "Node"]),
            r#"namespace "a" { capabilities = ["list-jobs", "read-job"] } and node { policy = "read" }"#
        );
        assert_eq!(rules(&["Job", "*", "Node", "NodePool"]), "a management token");
        let elsewhere = [(Permission::of("Job"), "a"), (Permission::of("Allocation"), "b")];
        assert_eq!(Permission::rules(&elsewhere).matches("namespace").count(), 2);
    }

    proptest! {
        #[test]
        fn a_topic_survives_its_text(text in "[A-Za-z:* ]{0,12}") {
            if let Ok(topic) = text.parse::<Topic>() {
                prop_assert_eq!(topic.to_string().parse::<Topic>(), Ok(topic));
            }
        }
    }
}
