//! Small helpers over undecoded JSON.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a JSON object in their order, values undecoded.
#[derive(Debug)]
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((key.0, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Rewrites a JSON text with the members of every object in another order: Nomad's maps come in a different order
/// from one answer to the next. Numbers and strings keep their exact text.
pub(crate) fn shuffled(text: &str, rng: &mut fastrand::Rng) -> String {
    let mut out = String::with_capacity(text.len());
    shuffle_into(text, rng, &mut out);
    out
}

fn shuffle_into(text: &str, rng: &mut fastrand::Rng, out: &mut String) {
    if let Ok(Members(mut members)) = serde_json::from_str::<Members<'_>>(text) {
        rng.shuffle(&mut members);
        out.push('{');
        for (n, (key, value)) in members.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            out.push_str(&quoted(key));
            out.push(':');
            shuffle_into(value.get(), rng, out);
        }
        out.push('}');
    } else if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) {
        out.push('[');
        for (n, item) in items.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            shuffle_into(item.get(), rng, out);
        }
        out.push(']');
    } else {
        out.push_str(text);
    }
}

/// A string as a JSON string literal.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_changes_the_order_and_nothing_else() {
        let text =
            r#"{"a":{"x":0.0016162565892933066,"y":[1,{"k":null,"l":"\u00e9"}]},"b":"t","c":18446744073709551615}"#;
        let mut rng = fastrand::Rng::with_seed(7);
        let mut orders = std::collections::HashSet::new();
        for _ in 0..20 {
            let other = shuffled(text, &mut rng);
            assert!(other.contains("0.0016162565892933066"));
            let (a, b): (serde_json::Value, serde_json::Value) =
                (serde_json::from_str(text).unwrap(), serde_json::from_str(&other).unwrap());
            assert_eq!(a, b);
            orders.insert(other);
        }
        assert!(orders.len() > 2);
    }
}
