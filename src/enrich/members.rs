//! Picks the wanted members of an object, as they are written.

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::json::{Error, Scanner};

/// A JSON object of the wanted members of `object`, in the wanted order; a missing one is null. `None` if `object` is not the
/// one of this namespace (empty for none) and ID, or no object.
pub(super) fn pick(object: &[u8], namespace: &str, id: &str, wanted: &[&str]) -> Option<Bytes> {
    let text = std::str::from_utf8(object).ok()?;
    let mut found = vec!["null"; wanted.len()];
    let head = read(text, |name, value| {
        if let Some(at) = wanted.iter().position(|wanted| *wanted == name) {
            found[at] = value;
        }
    });
    let Head { id: found_id, namespace: found_namespace } = head.ok()?;
    // A Nomad without namespaces writes none.
    let is_its = found_id.as_deref() == Some(id) && found_namespace.is_none_or(|found| found == namespace);
    let members: Vec<_> = wanted.iter().zip(found).map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let picked = format!("{{{}}}", members.join(","));
    // The scanner does not check what it skips.
    (is_its && serde_json::from_str::<IgnoredAny>(&picked).is_ok()).then(|| Bytes::from(picked))
}

struct Head {
    id: Option<String>,
    namespace: Option<String>,
}

fn read<'a>(text: &'a str, mut member: impl FnMut(&'a str, &'a str)) -> Result<Head, Error> {
    let mut head = Head { id: None, namespace: None };
    let mut scanner = Scanner::new(text);
    scanner.object()?;
    while let Some(name) = scanner.name()? {
        let start = scanner.clone();
        match name {
            "ID" => head.id = Some(scanner.string()?.into_owned()),
            "Namespace" => head.namespace = Some(scanner.string()?.into_owned()),
            _ => drop(scanner.skip()?),
        }
        member(name, scanner.since(&start));
    }
    scanner.end_of_text()?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn picked(object: &Value, namespace: &str, wanted: &[&str]) -> Option<Value> {
        pick(object.to_string().as_bytes(), namespace, "n/1", wanted)
            .map(|picked| serde_json::from_slice(&picked).expect("JSON"))
    }

    #[test]
    fn only_what_is_wanted_is_passed_on() {
        let node =
            json!({"ID": "n/1", "SecretID": "hush", "Meta": {"SecretID": "mine"}, "Name": "a\"b", "Events": [1]});
        assert_eq!(
            picked(&node, "", &["ID", "Name", "Meta", "NodePool"]),
            Some(json!({"ID": "n/1", "Name": "a\"b", "Meta": {"SecretID": "mine"}, "NodePool": null}))
        );
    }

    #[test]
    fn another_object_is_none() {
        for other in [json!({"ID": "n"}), json!({"ID": "n/1", "Namespace": "b"}), json!({}), json!([]), json!(null)] {
            assert_eq!(picked(&other, "a", &["ID"]), None, "{other}");
        }
        assert_eq!(pick(br#"{"ID":"n/1","Meta":{"a":tru}}"#, "", "n/1", &["Meta"]), None);
        assert_eq!(pick(br#"{"ID":"n/1"} x"#, "", "n/1", &["ID"]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_give_json_or_nothing(
            bytes in prop::collection::vec(
                prop_oneof![prop::sample::select(b"{}[]\",:\\ID1n".to_vec()), any::<u8>()], 0..120,
            ),
            is_inside: bool,
        ) {
            let text = if is_inside { [&br#"{"ID":"n/1","Meta":"#[..], &bytes, b"}"].concat() } else { bytes };
            if let Some(picked) = pick(&text, "", "n/1", &["ID", "Meta"]) {
                let picked: Value = serde_json::from_slice(&picked).expect("JSON");
                prop_assert_eq!(&picked["ID"], "n/1");
            }
        }
    }
}
