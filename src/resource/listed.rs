//! The head of a listed object, read before the whole object.

use super::{DEFAULT_NAMESPACE, Unusable};
use crate::{
    json::Scanner,
    kind::Kind,
    position::{Identity, RaftIndex},
};

/// What a list says of one object, before the object is read in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The object's id.
    pub id: String,
    /// Its namespace; empty where it has none.
    pub namespace: String,
    /// The raft index of its version.
    pub modify_index: RaftIndex,
    /// The raft index of its first version; 0 where the reader did not meet it on its way to the other fields.
    pub create_index: RaftIndex,
}

impl Listed {
    /// Reads an element of any list, and stops once it has id, namespace and index. Nomad sorts the members of an
    /// object by name, so the bulk of an allocation's stub, the states of its tasks, comes after them. Its own parser
    /// checks the rest.
    ///
    /// # Errors
    /// It has no id or no `ModifyIndex`.
    pub fn parse(element: &[u8]) -> Result<Self, Unusable> {
        let text = std::str::from_utf8(element).map_err(Unusable::new)?;
        let (mut id, mut namespace, mut modify_index, mut create_index) = (None, None, None, 0);
        let mut scanner = Scanner::new(text);
        scanner.object()?;
        while id.is_none() || namespace.is_none() || modify_index.is_none() {
            match scanner.name()? {
                Some("ID") => id = Some(scanner.string()?),
                Some("Namespace") => namespace = Some(scanner.string()?),
                Some("ModifyIndex") => modify_index = Some(scanner.number()?),
                // A field of another type counts as missing, too.
                Some("CreateIndex") => create_index = scanner.skip()?.parse().unwrap_or_default(),
                Some(_) => drop(scanner.skip()?),
                None => break,
            }
        }
        let missing = |name: &str| Unusable::new(format!("missing field `{name}`"));
        Ok(Listed {
            id: id.filter(|id| !id.is_empty()).ok_or_else(|| missing("ID"))?.into_owned(),
            namespace: namespace.unwrap_or_default().into_owned(),
            modify_index: RaftIndex(modify_index.ok_or_else(|| missing("ModifyIndex"))?),
            create_index: RaftIndex(create_index),
        })
    }

    /// Adjusts it to the list of `kind`: a Nomad without namespaces writes none, and means the default one.
    #[must_use]
    pub fn of(mut self, kind: Kind) -> Self {
        if self.namespace.is_empty() && kind != Kind::Nodes {
            self.namespace = DEFAULT_NAMESPACE.to_owned();
        }
        self
    }

    /// The identity of the stream's first event of this version.
    pub fn identity(&self, topic: &str) -> Identity {
        Identity::new(topic, &self.namespace, &self.id, self.modify_index, 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn listed(id: &str, namespace: &str, index: u64) -> Listed {
        Listed {
            id: id.to_owned(),
            namespace: namespace.to_owned(),
            modify_index: RaftIndex(index),
            create_index: RaftIndex(0),
        }
    }

    fn parse(value: &Value) -> Result<Listed, Unusable> {
        Listed::parse(value.to_string().as_bytes())
    }

    #[test]
    fn what_follows_the_three_is_not_looked_at() {
        let text = br#"{"A":{"ID":"inner"},"ID":"a\u0062","ModifyIndex":7,"Namespace":"n","TaskStates":{"cut"#;
        assert_eq!(Listed::parse(text).expect("a head"), listed("ab", "n", 7));
    }

    #[test]
    fn an_object_without_a_namespace_is_read_to_its_end() {
        assert_eq!(parse(&json!({"ModifyIndex": 3, "Z": [{}], "ID": "x"})).expect("a node"), listed("x", "", 3));
        assert_eq!(parse(&json!({"Namespace": null, "ModifyIndex": 3, "ID": "x"})).expect("null"), listed("x", "", 3));
        assert!(Listed::parse(br#"{"ID":"x","ModifyIndex":3"#).is_err());
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_told() {
        for wrong in [
            json!({}),
            json!({"ID": "x", "Namespace": "n"}),
            json!({"ModifyIndex": 1}),
            json!([]),
            json!(1),
            json!({"ID": null, "ModifyIndex": 1}),
            json!({"ID": "x", "ModifyIndex": -1, "Namespace": "n"}),
        ] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let refused = Listed::parse(&bytes);
            prop_assert!(refused.is_err_and(|reason| !reason.to_string().is_empty()), "no three members at random");
        }

        #[test]
        fn any_order_gives_the_same(id in ".+", namespace in ".*", index: u64, order in Just([0, 1, 2, 3, 4]).prop_shuffle()) {
            let members = [
                format!("\"ID\":{}", json!(id)),
                format!("\"Namespace\":{}", json!(namespace)),
                format!("\"ModifyIndex\":{index}"),
                "\"ModifyTime\":5".to_owned(),
                "\"TaskStates\":{\"ID\":{\"ModifyIndex\":\"no\"}}".to_owned(),
            ];
            let text = format!("{{{}}}", order.map(|at| members[at].clone()).join(","));
            prop_assert_eq!(Listed::parse(text.as_bytes()).expect("an object"), listed(&id, &namespace, index));
        }
    }
}
