//! What a list says of an object before it is read in full.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer as _,
    de::{self, Deserialize, IgnoredAny, MapAccess, Visitor},
};

use super::{DEFAULT_NAMESPACE, Unusable};
use crate::{
    kind::Kind,
    position::{Identity, RaftIndex},
};

/// What a list says of one object, before it is read in full.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// The object's id.
    pub id: String,
    /// Its namespace; empty where it has none.
    pub namespace: String,
    /// The raft index of its version.
    pub modify_index: RaftIndex,
}

impl Listed {
    /// Reads an element of any list. Where id, namespace and index are found it looks no further: Nomad sorts the
    /// members of an object by name, so that of an allocation's stub the bulk, the states of its tasks, comes behind them.
    /// Whether the rest is whole is for its parser to say.
    ///
    /// # Errors
    /// It has no id or no `ModifyIndex`.
    pub fn parse(element: &[u8]) -> Result<Self, Unusable> {
        let mut head = Head::default();
        let mut parser = serde_json::Deserializer::from_slice(element);
        match parser.deserialize_map(&mut head) {
            // An end before the object's own is an error to the parser.
            Err(error) if !head.is_complete() => return Err(Unusable::new(error)),
            _ => {}
        }
        let missing = |name: &str| Unusable::new(format!("missing field `{name}`"));
        Ok(Listed {
            id: head.id.ok_or_else(|| missing("ID"))?.into_owned(),
            namespace: head.namespace.unwrap_or_default().into_owned(),
            modify_index: RaftIndex(head.modify_index.ok_or_else(|| missing("ModifyIndex"))?),
        })
    }

    /// As the list of `kind` means it: a Nomad without namespaces names none, and has the default one.
    #[must_use]
    pub fn of(mut self, kind: Kind) -> Self {
        if self.namespace.is_empty() && kind != Kind::Nodes {
            self.namespace = DEFAULT_NAMESPACE.to_owned();
        }
        self
    }

    /// The identity that the stream's first event of this version has.
    pub fn identity(&self, topic: &str) -> Identity {
        Identity::new(topic, &self.namespace, &self.id, self.modify_index, 0)
    }
}

#[derive(Default)]
struct Head<'a> {
    id: Option<Cow<'a, str>>,
    namespace: Option<Cow<'a, str>>,
    modify_index: Option<u64>,
}

impl Head<'_> {
    fn is_complete(&self) -> bool {
        self.id.is_some() && self.namespace.is_some() && self.modify_index.is_some()
    }
}

/// A string, without a copy where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        Borrowed::deserialize(deserializer).map(|Borrowed(text)| Text(text))
    }
}

impl<'de> Visitor<'de> for &mut Head<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "ID" => self.id = Some(map.next_value::<Text<'_>>()?.0),
                "Namespace" => self.namespace = map.next_value::<Option<Text<'_>>>()?.map(|Text(text)| text),
                "ModifyIndex" => self.modify_index = Some(map.next_value()?),
                _ => map.next_value::<IgnoredAny>().map(|_| ())?,
            }
            if self.is_complete() {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn listed(id: &str, namespace: &str, index: u64) -> Listed {
        Listed { id: id.to_owned(), namespace: namespace.to_owned(), modify_index: RaftIndex(index) }
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
        fn any_order_gives_the_same(id in ".*", namespace in ".*", index: u64, order in Just([0, 1, 2, 3, 4]).prop_shuffle()) {
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
