//! What differs between two JSON values.

use serde_json::Value;

/// A difference. The path is one that jq understands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) path: String,
    /// `None` where there was nothing.
    pub(super) old: Option<Value>,
    /// `None` where nothing is left.
    pub(super) new: Option<Value>,
}

/// All differences, in the order of `old`, those that `new` adds last.
pub(super) fn changes(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(String::new(), old, new, &mut changes);
    changes
}

/// How many members two objects have in common; `None` if one of them is no object.
pub(super) fn common(old: &Value, new: &Value) -> Option<usize> {
    let (old, new) = (old.as_object()?, new.as_object()?);
    Some(old.iter().filter(|(name, value)| new.get(*name) == Some(value)).count())
}

fn compare(path: String, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before {
                let path = member(&path, name);
                match after.get(name) {
                    Some(new) => compare(path, value, new, changes),
                    None => changes.push(Change { path, old: Some(value.clone()), new: None }),
                }
            }
            for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
                changes.push(Change { path: member(&path, name), old: None, new: Some(value.clone()) });
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (at, (old, new)) in before.iter().zip(after).enumerate() {
                compare(format!("{path}[{at}]"), old, new, changes);
            }
        }
        _ if old == new => {}
        _ => changes.push(Change { path, old: Some(old.clone()), new: Some(new.clone()) }),
    }
}

fn member(path: &str, name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain { format!("{path}.{name}") } else { format!("{path}.{}", Value::from(name)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_as_small_as_it_can_be() {
        let old = json!({"Meta": {"a-b": 1, "c": 2}, "Tasks": [{"Env": {"A": "x"}}, 1], "List": [1], "Gone": null});
        let new = json!({"Meta": {"a-b": 3, "c": 2}, "Tasks": [{"Env": "[redacted]"}, 1], "List": [1, 2], "New": 1});
        let shown: Vec<_> = changes(&old, &new).into_iter().map(|change| change.path).collect();
        assert_eq!(shown, [".Gone", ".List", ".Meta.\"a-b\"", ".Tasks[0].Env", ".New"]);
        assert_eq!(common(&old, &new), Some(0));
        assert_eq!(common(&old, &old), Some(4));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), (0..3_u8).prop_map(Value::from), "[a.\"-]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-c]{1}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn equal_values_and_only_these_have_no_difference(old in value(), new in value()) {
            prop_assert_eq!(changes(&old, &new).is_empty(), old == new);
            prop_assert!(changes(&old, &old).is_empty());
            prop_assert!(changes(&old, &new).iter().all(|change| change.old != change.new));
        }
    }
}
