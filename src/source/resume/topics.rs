//! The topics that a kind subscribes to, and how a checkpoint stores those of raw events.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    kind::Kind,
    nomad::{Table, Topic, line::Event},
};

/// What a tracker subscribes to.
#[derive(Debug)]
pub(crate) struct WantedTopics {
    wanted: Vec<Topic>,
    /// What the checkpoint stores of them; only for raw events.
    to_store: Option<Arc<[String]>>,
    /// What it stored at the start; `None` if nothing was delivered before, so that nothing can be missing.
    before: Option<Vec<String>>,
}

impl WantedTopics {
    /// `before` is what the checkpoint stored at the start, if anything was delivered by then.
    pub(crate) fn new(kind: Kind, wanted: Vec<Topic>, before: Option<Vec<String>>) -> Self {
        let to_store = (kind == Kind::Events).then(|| stored(&wanted));
        WantedTopics { wanted, to_store, before }
    }

    pub(crate) fn wanted(&self) -> &[Topic] {
        &self.wanted
    }

    /// What the checkpoint stores; `None` for every kind but raw events.
    pub(crate) fn to_store(&self) -> Option<Arc<[String]>> {
        self.to_store.clone()
    }

    /// The topics that the checkpoint's own subscription did not have, once. `None` if they are the same.
    ///
    /// An older version stored no topics, and nothing can be said about them.
    pub(crate) fn take_added(&mut self) -> Option<Vec<String>> {
        let (now, before) = (self.to_store.as_deref()?, self.before.take()?);
        (before != now).then(|| if before.is_empty() { Vec::new() } else { added(&before, &self.wanted) })
    }

    /// Whether an event belongs to one of the topics.
    pub(crate) fn want(&self, event: &Event<'_>) -> bool {
        self.wanted.iter().any(|topic| {
            (topic.name == "*" || *topic.name == *event.topic)
                && topic.key.as_deref().is_none_or(|key| {
                    key == "*" || *key == *event.key || event.filter_keys.iter().any(|other| **other == *key)
                })
        })
    }
}

/// Whether a subscription to `topics` has all that one to `wanted` has.
pub(crate) fn brings(topics: &[Topic], wanted: &Topic) -> bool {
    topics.iter().any(|topic| {
        (topic.name == "*" || topic.name == wanted.name) && (topic.key.is_none() || topic.key == wanted.key)
    })
}

/// Whether a subscription to `topics` has the events of a table.
pub(crate) fn has_table(topics: &[Topic], table: Table) -> bool {
    topics.iter().any(|topic| topic.name == "*" || topic.name == table.topic())
}

/// The tables whose indexes together are at or past those of all events of `topics`: all tables, if a topic has none of its own.
pub(crate) fn tables(topics: &[Topic]) -> Vec<Table> {
    let own: Option<Vec<_>> = topics.iter().map(|topic| Table::from_topic(&topic.name)).collect();
    Table::ALL.into_iter().filter(|table| own.as_ref().is_none_or(|own| own.contains(table))).collect()
}

/// The topics as a checkpoint stores them: each once, in an order that does not depend on how they were given.
fn stored(topics: &[Topic]) -> Arc<[String]> {
    topics.iter().map(Topic::to_string).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The topics in `wanted` that a subscription to `before`, as a checkpoint stores it, did not fully have.
fn added(before: &[String], wanted: &[Topic]) -> Vec<String> {
    // A topic that only a newer version can read counts as nothing: at worst a gap is reported that is none.
    let before: Vec<Topic> = before.iter().filter_map(|topic| topic.parse().ok()).collect();
    let is_new = |topic: &&Topic| !brings(&before, topic);
    let new: Vec<Topic> = wanted.iter().filter(is_new).cloned().collect();
    stored(&new).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(texts: &[&str]) -> Vec<Topic> {
        texts.iter().map(|text| text.parse().expect("a topic")).collect()
    }

    #[test]
    fn a_subscription_brings_what_it_was_to_and_no_more() {
        let to = |subscribed: &[&str], wanted: &str| brings(&topics(subscribed), &topics(&[wanted])[0]);
        assert!(
            to(&["Job", "Node"], "Node")
                && to(&["*"], "Node")
                && to(&["Job"], "Job:web")
                && to(&["Job:web"], "Job:web")
                && to(&["*:web"], "Job:web")
        );
        assert!(
            !to(&["Job"], "Node")
                && !to(&["Job:web"], "Job")
                && !to(&["Job:web"], "Job:api")
                && !to(&["Job"], "*")
                && !to(&["Job:web"], "*:web")
        );
    }

    #[test]
    fn a_topic_without_a_table_can_be_past_any_of_them() {
        assert_eq!(tables(&topics(&["Node", "Job:web", "Job:api"])), [Table::Nodes, Table::Jobs]);
        for with in [&["*"][..], &["Job", "Service"], &["Variable"]] {
            assert_eq!(tables(&topics(with)), Table::ALL, "{with:?}");
        }
    }

    #[test]
    fn only_what_a_checkpoint_did_not_bring_is_added() {
        let stored_as = |texts: &[&str]| stored(&topics(texts)).to_vec();
        for (before, wanted, new) in [
            (&["Node"][..], &["Node", "Evaluation"][..], &["Evaluation"][..]),
            (&["Node"], &["*"], &["*"]),
            (&["*"], &["Node", "Job:web"], &[]),
            (&["Job", "Node"], &["Node", "Job", "Job:web"], &[]),
            (&["Job:web"], &["Job:web", "Job:api", "Job"], &["Job", "Job:api"]),
            (&["Job", "Node"], &["Job"], &[]),
            (&["Job"], &["Node", "Evaluation", "Node"], &["Evaluation", "Node"]),
        ] {
            assert_eq!(added(&stored_as(before), &topics(wanted)), new, "{before:?} to {wanted:?}");
        }
        // As a newer version could write it.
        assert_eq!(added(&["Job:a:b".to_owned()], &topics(&["Job"])), ["Job"]);
    }

    #[test]
    fn what_is_stored_does_not_depend_on_the_order() {
        assert_eq!(stored(&topics(&["Node", "Job:*", "Node"])), stored(&topics(&["Job", "Node"])));
        assert_eq!(*stored(&topics(&["Node", "Job:web,api"])), ["Job:web,api", "Node"]);
    }
}
