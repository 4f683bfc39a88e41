//! Puts what a message says for one sink into the payload of that sink.

use serde_json::{Map, Value};

/// Merges `patch` into `target`, as a JSON merge patch (RFC 7396): objects are merged member by member, `null` removes a member, and
/// everything else replaces what is there.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}
