//! One table of objects in the order in which Nomad pages it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::object::Object;

/// The kinds of objects that have a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Paged by creation index and id.
    Allocation,
    /// Paged by creation index and id.
    Evaluation,
    /// Paged by creation index and id.
    Deployment,
    /// Paged by namespace and id.
    Job,
    /// Paged by id; without a namespace.
    Node,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Allocation, Self::Evaluation, Self::Deployment, Self::Job, Self::Node];

    /// The kind of a stream topic; `None` for topics without a table here.
    #[must_use]
    pub fn from_topic(topic: &str) -> Option<Self> {
        match topic {
            "Allocation" => Some(Self::Allocation),
            "Evaluation" => Some(Self::Evaluation),
            "Deployment" => Some(Self::Deployment),
            "Job" => Some(Self::Job),
            "Node" => Some(Self::Node),
            _ => None,
        }
    }

    fn pages_by_creation(self) -> bool {
        matches!(self, Self::Allocation | Self::Evaluation | Self::Deployment)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    created: u64,
    namespace: Arc<str>,
    id: Arc<str>,
}

/// The latest version of every object of one kind.
#[derive(Debug)]
pub(crate) struct Table {
    kind: Kind,
    rows: BTreeMap<Key, Arc<Object>>,
    /// id → creation index, for the tables that are ordered by it.
    created: HashMap<Arc<str>, u64>,
    /// The raft index that last changed the table, deletions included.
    pub(crate) index: u64,
}

/// What a list request selects.
#[derive(Debug, Default)]
pub(crate) struct Selection<'a> {
    /// `None`: every namespace.
    pub(crate) namespaces: Option<&'a [String]>,
    pub(crate) prefix: &'a str,
    /// 0: everything.
    pub(crate) per_page: usize,
    pub(crate) next_token: &'a str,
}

impl Table {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, rows: BTreeMap::new(), created: HashMap::new(), index: 0 }
    }

    fn key(&self, namespace: &str, id: &str) -> Option<Key> {
        if self.kind.pages_by_creation() {
            let (id, created) = self.created.get_key_value(id)?;
            return Some(Key { created: *created, namespace: Arc::from(""), id: id.clone() });
        }
        let namespace = if self.kind == Kind::Job { namespace } else { "" };
        Some(Key { created: 0, namespace: Arc::from(namespace), id: Arc::from(id) })
    }

    pub(crate) fn get(&self, namespace: &str, id: &str) -> Option<&Arc<Object>> {
        self.rows.get(&self.key(namespace, id)?)
    }

    pub(crate) fn insert(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        if self.kind.pages_by_creation() {
            // An id that comes back with another creation index must not leave its old row behind.
            let old = self.remove("", &object.id);
            self.created.insert(object.id.clone(), object.create_index);
            let key = Key { created: object.create_index, namespace: Arc::from(""), id: object.id.clone() };
            self.rows.insert(key, object);
            return old;
        }
        let namespace = if self.kind == Kind::Job { object.namespace.clone() } else { Arc::from("") };
        self.rows.insert(Key { created: 0, namespace, id: object.id.clone() }, object)
    }

    pub(crate) fn remove(&mut self, namespace: &str, id: &str) -> Option<Arc<Object>> {
        let key = self.key(namespace, id)?;
        self.created.remove(id);
        self.rows.remove(&key)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Object) -> bool) {
        let created = &mut self.created;
        self.rows.retain(|key, object| {
            let keeps = keep(object);
            if !keeps {
                created.remove(&key.id);
            }
            keeps
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A page and the token of the next one, which names its first object. With a prefix Nomad pages by id.
    pub(crate) fn page(&self, selection: &Selection<'_>) -> (Vec<Arc<Object>>, Option<String>) {
        let selected = |object: &&Arc<Object>| {
            object.id.starts_with(selection.prefix)
                && (self.kind == Kind::Node
                    || selection.namespaces.is_none_or(|all| all.iter().any(|ns| **ns == *object.namespace)))
        };
        let by_id = !selection.prefix.is_empty() && self.kind.pages_by_creation();
        let limit = if selection.per_page == 0 { usize::MAX } else { selection.per_page };
        let mut page = Vec::new();
        let mut next = None;
        let mut visit = |object: &Arc<Object>, token: &dyn Fn(&Object) -> String| {
            if page.len() == limit {
                next = Some(token(object));
                return false;
            }
            page.push(object.clone());
            true
        };
        if by_id {
            let mut all: Vec<_> = self.rows.values().filter(selected).collect();
            all.sort_by(|a, b| a.id.cmp(&b.id));
            for object in all.into_iter().filter(|object| *object.id >= *selection.next_token) {
                if !visit(object, &|o| o.id.to_string()) {
                    break;
                }
            }
        } else {
            let start = self.start(selection.next_token);
            for object in self.rows.range((start, Bound::Unbounded)).map(|(_, object)| object).filter(selected) {
                if !visit(object, &|o| self.token(o)) {
                    break;
                }
            }
        }
        (page, next)
    }

    fn token(&self, object: &Object) -> String {
        match self.kind {
            Kind::Node => object.id.to_string(),
            Kind::Job => format!("{}.{}", object.namespace, object.id),
            _ => format!("{}.{}", object.create_index, object.id),
        }
    }

    fn start(&self, token: &str) -> Bound<Key> {
        if token.is_empty() {
            return Bound::Unbounded;
        }
        let key = |created, namespace: &str, id: &str| {
            Bound::Included(Key { created, namespace: Arc::from(namespace), id: Arc::from(id) })
        };
        match (self.kind, token.split_once('.')) {
            (Kind::Node, _) => key(0, "", token),
            (Kind::Job, Some((namespace, id))) => key(0, namespace, id),
            (Kind::Job, None) => key(0, token, ""),
            (_, Some((created, id))) => key(created.parse().unwrap_or(0), "", id),
            (_, None) => Bound::Unbounded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Body;

    fn object(namespace: &str, id: &str, created: u64) -> Arc<Object> {
        let (namespace, id) = (Arc::from(namespace), Arc::from(id));
        let body = Body::Raw(bytes::Bytes::new());
        let (create_index, modify_index) = (created, created);
        Arc::new(Object { namespace, id, create_index, modify_index, job: None, finished: false, body })
    }

    fn ids(table: &Table, per_page: usize) -> Vec<String> {
        let mut token = String::new();
        let mut seen = Vec::new();
        loop {
            let (page, next) = table.page(&Selection { per_page, next_token: &token, ..Selection::default() });
            assert!(per_page == 0 || page.len() <= per_page);
            seen.extend(page.iter().map(|o| o.id.to_string()));
            match next {
                Some(next) => token = next,
                None => return seen,
            }
        }
    }

    #[test]
    fn pages_visit_each_object_once_in_the_order_of_its_table() {
        for kind in Kind::ALL {
            let mut table = Table::new(kind);
            for (namespace, id, created) in [("a", "x", 12), ("a", "b", 102), ("b", "a", 12), ("a-b", "w.q/1", 3)] {
                let namespace = if kind == Kind::Node { "" } else { namespace };
                table.insert(object(namespace, id, created));
            }
            let expected = match kind {
                Kind::Job => ["b", "x", "w.q/1", "a"],
                Kind::Node => ["a", "b", "w.q/1", "x"],
                _ => ["w.q/1", "a", "x", "b"],
            };
            for per_page in [0, 1, 2, 3, 4, 5] {
                assert_eq!(ids(&table, per_page), expected, "{kind:?} {per_page}");
            }
        }
    }
}
