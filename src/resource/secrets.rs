//! Secrets that older versions of Nomad reveal: a node's secret, with which anybody can speak for it; the signed
//! identities of an allocation, with which anybody can act as its tasks; and the credentials of a login method.
//!
//! Newer versions of Nomad remove them from objects and events (the `Sanitize` of `Node`, `Allocation`, `ACLToken` and
//! `ACLAuthMethod` in 2.0.5; identities since 1.9.6 and 1.8.10, logins since 1.9.7), and write an empty string, a
//! `null` or a word in their place. This module does the same for all versions. A text without a secret is passed on
//! unchanged: it is searched for the name, and neither parsed nor copied.

use std::sync::LazyLock;

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem::Finder;

use crate::{
    json::{self, Scanner},
    nomad::line::Event,
};

/// A member that must not be passed on.
struct SecretMember {
    /// The names of the members that lead to it, in the payload of an event.
    path: &'static [&'static str],
    /// The last of these names as it is written in a text. Most texts have it at most once.
    quoted: Finder<'static>,
    /// What Nomad writes in its place.
    nothing: &'static str,
}

static OF_NODE: LazyLock<[SecretMember; 1]> = LazyLock::new(|| [SecretMember::new(&["Node", "SecretID"], "\"\"")]);
static OF_ALLOCATION: LazyLock<[SecretMember; 1]> =
    LazyLock::new(|| [SecretMember::new(&["Allocation", "SignedIdentities"], "null")]);
static OF_TOKEN: LazyLock<[SecretMember; 1]> = LazyLock::new(|| [SecretMember::new(&["ACLToken", "SecretID"], "\"\"")]);
static OF_AUTH_METHOD: LazyLock<[SecretMember; 3]> = LazyLock::new(|| {
    [
        SecretMember::new(&["AuthMethod", "Config", "OIDCClientSecret"], "\"redacted\""),
        SecretMember::new(&["AuthMethod", "Config", "OIDCClientAssertion", "ClientSecret"], "\"redacted\""),
        SecretMember::new(&["AuthMethod", "Config", "OIDCClientAssertion", "PrivateKey", "PemKey"], "\"redacted\""),
    ]
});

impl SecretMember {
    fn new(path: &'static [&'static str], nothing: &'static str) -> Self {
        let name = path.last().copied().unwrap_or_default();
        SecretMember { path, quoted: Finder::new(&format!("\"{name}\"")).into_owned(), nothing }
    }

    /// Whether `text` has a member of this name, anywhere, with a value in it.
    fn may_be_in(&self, text: &str) -> bool {
        self.quoted.find_iter(text.as_bytes()).any(|at| {
            let value = text[at + self.quoted.needle().len()..].trim_start();
            value.strip_prefix(':').is_some_and(|value| !is_nothing(value.trim_start()))
        })
    }
}

/// Whether a value, or a text that begins with it, is empty.
fn is_nothing(value: &str) -> bool {
    ["\"\"", "null", "{}", "[]", "\"redacted\""].iter().any(|nothing| value.starts_with(nothing))
}

/// Adds the values at `path` in the next value.
fn find<'a>(scanner: &mut Scanner<'a>, path: &[&str], found: &mut Vec<&'a str>) -> Result<(), json::Error> {
    let Some((next, path)) = path.split_first() else {
        let value = scanner.skip()?;
        found.extend((!is_nothing(value)).then_some(value));
        return Ok(());
    };
    let start = scanner.clone();
    if !scanner.skip()?.starts_with('{') {
        return Ok(());
    }
    *scanner = start;
    scanner.object()?;
    while let Some(name) = scanner.name()? {
        if name == *next {
            find(scanner, path, found)?;
        } else {
            scanner.skip()?;
        }
    }
    Ok(())
}

/// `whole` with the secrets emptied. `text` is the part of it to search, and `skipped` the names of each path that lead
/// to it.
fn blanked(whole: &Bytes, text: &str, secrets: &[SecretMember], skipped: usize) -> Bytes {
    let mut places = Vec::new();
    for secret in secrets.iter().filter(|secret| secret.may_be_in(text)) {
        let mut values = Vec::new();
        // Where a text is cut off, the secrets before that point are emptied all the same.
        find(&mut Scanner::new(text), &secret.path[skipped..], &mut values).ok();
        let place = |value: &str| (value.as_ptr().addr() - whole.as_ptr().addr(), value.len(), secret.nothing);
        places.extend(values.into_iter().map(place));
    }
    if places.is_empty() {
        return whole.clone();
    }
    places.sort_unstable();
    let (mut body, mut at) = (BytesMut::with_capacity(whole.len()), 0);
    for (start, length, nothing) in places {
        body.put_slice(&whole[at..start]);
        body.put_slice(nothing.as_bytes());
        at = start + length;
    }
    body.put_slice(&whole[at..]);
    body.freeze()
}

/// An event as it came, without the secrets of its object.
pub(super) fn without_in_event(event: &Event<'_>) -> Bytes {
    let secrets: &[SecretMember] = match &*event.topic {
        "Node" => &*OF_NODE,
        "Allocation" => &*OF_ALLOCATION,
        "ACLToken" => &*OF_TOKEN,
        "ACLAuthMethod" => &*OF_AUTH_METHOD,
        _ => &[],
    };
    blanked(&event.raw, event.payload, secrets, 0)
}

/// A node as it came, without its secret.
pub(super) fn without_in_node(node: &Bytes) -> Bytes {
    match std::str::from_utf8(node) {
        Ok(text) => blanked(node, text, &*OF_NODE, 1),
        Err(_) => node.clone(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::{
        kind::Kind,
        nomad::line::{Line, Occurrences, Text},
        resource::{Known, from_event, from_object},
    };

    /// The bodies of one event, as a raw event and as its own resource.
    fn bodies(topic: &str, payload: &str) -> Vec<(Kind, Bytes)> {
        let event = format!(
            r#"{{"Topic":"{topic}","Type":"T","Key":"k","Namespace":"","FilterKeys":null,"Index":7,"Payload":{payload}}}"#
        );
        let text = Text::new(format!(r#"{{"Index":7,"Events":[{event}]}}"#).into());
        let line = Line::parse(&text, &mut Occurrences::default()).expect("a line");
        let kinds = [Kind::Events, Kind::Nodes].into_iter();
        kinds
            .flat_map(|kind| {
                let made = from_event(kind, &line.events[0], Known::task_cursors(&|_| None)).expect("usable");
                made.drafts.into_iter().map(move |draft| (kind, draft.body))
            })
            .collect()
    }

    fn text(body: &Bytes) -> &str {
        std::str::from_utf8(body).expect("UTF-8")
    }

    #[test]
    fn secrets_of_older_nomads_are_blanked_and_nothing_else() {
        let node =
            r#"{"Node": {"ID":"n", "Meta":{"SecretID":"mine"},"ModifyIndex":7, "SecretID" : "hush-node" ,"Z":1.50}}"#;
        let bodies = bodies("Node", node);
        assert_eq!(bodies.len(), 2);
        for (kind, body) in bodies {
            let body = text(&body);
            assert!(!body.contains("hush"), "{kind}: {body}");
            assert!(
                body.contains(r#""Meta":{"SecretID":"mine"},"ModifyIndex":7, "SecretID" : "" ,"Z":1.50}"#),
                "{kind}: {body}"
            );
        }
        let object = Bytes::from_static(br#"{"ID":"n","ModifyIndex":7,"SecretID":"hush","Z":"hush"}"#);
        let made = from_object(Kind::Nodes, &object, Known::task_cursors(&|_| None)).expect("usable");
        assert_eq!(text(&made.drafts[0].body), r#"{"ID":"n","ModifyIndex":7,"SecretID":"","Z":"hush"}"#);
    }

    #[test]
    fn identities_of_allocations_are_blanked() {
        let allocation =
            r#"{"Allocation":{"ID":"a","SignedIdentities":{"web":"hush-jwt"},"Meta":{"SignedIdentities":{"a":1}}}}"#;
        let bodies = bodies("Allocation", allocation);
        let body = text(&bodies[0].1);
        assert!(
            body.contains(r#"{"Allocation":{"ID":"a","SignedIdentities":null,"Meta":{"SignedIdentities":{"a":1}}}}"#),
            "{body}"
        );
    }

    #[test]
    fn tokens_and_logins_keep_theirs() {
        let token = r#"{"ACLToken":{"AccessorID":"a","SecretID":"hush"}}"#;
        assert!(text(&bodies("ACLToken", token)[0].1).contains(r#"{"AccessorID":"a","SecretID":""}"#));
        let login = r#"{"AuthMethod":{"Config":{"OIDCClientAssertion":{"PrivateKey":{"PemKey":"hush"},"ClientSecret":"hush"},"OIDCClientSecret":"hush","PemKey":"b"}}}"#;
        let expected = r#"{"AuthMethod":{"Config":{"OIDCClientAssertion":{"PrivateKey":{"PemKey":"redacted"},"ClientSecret":"redacted"},"OIDCClientSecret":"redacted","PemKey":"b"}}}"#;
        assert!(text(&bodies("ACLAuthMethod", login)[0].1).contains(expected));
    }

    #[test]
    fn what_holds_no_secret_is_shared_and_not_copied() {
        for secret in [r#""SecretID":"","#, r#""SecretID":null,"#, r#""Meta":{"SecretID":"mine"},"#, ""] {
            let object = Bytes::from(format!(r#"{{{secret}"ID":"n","ModifyIndex":7}}"#));
            let made = from_object(Kind::Nodes, &object, Known::task_cursors(&|_| None)).expect("usable");
            assert_eq!(made.drafts[0].body.as_ptr(), object.as_ptr(), "{secret}");
        }
    }

    fn member() -> impl Strategy<Value = (String, Value)> {
        let leaf = prop_oneof![
            Just(Value::Null),
            Just(json!("")),
            any::<u32>().prop_map(Value::from),
            "[\"\\\\\\[\\]{},a-c\u{e9}\n ]{0,12}".prop_map(Value::from),
        ];
        let name = prop_oneof![
            Just("SecretID".to_owned()),
            Just("SignedIdentities".to_owned()),
            Just("Node".to_owned()),
            "[\"\\\\}A-C]{1,4}"
        ];
        let value = leaf.prop_recursive(3, 16, 4, move |inner| {
            let name = prop_oneof![Just("SecretID".to_owned()), Just("SignedIdentities".to_owned()), "[\"\\\\}a]{0,4}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name, inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        });
        (name, value)
    }

    proptest! {
        /// Whatever an object holds, in any order and with any blanks: only the value of the one member changes.
        #[test]
        fn only_the_value_of_the_one_member_changes(
            members in prop::collection::vec(member(), 0..8),
            is_node: bool,
            blank in prop::sample::select(vec!["", " ", "\n\t"]),
        ) {
            let (topic, secret, nothing) =
                if is_node { ("Node", "SecretID", "\"\"") } else { ("Allocation", "SignedIdentities", "null") };
            let written = |is_blanked: bool| {
                let mut text = format!("{{\"ID\":\"x\",{blank}\"ModifyIndex\":7");
                for (name, value) in &members {
                    let is_secret = name == secret && ![json!(""), json!(null), json!({}), json!([])].contains(value);
                    let value = if is_secret && is_blanked { nothing.to_owned() } else { value.to_string() };
                    text += &format!("{blank},{blank}{}{blank}:{blank}{value}{blank}", json!(name));
                }
                text + "}"
            };
            let payload = |object: &str| format!("{{\"Other\":{{\"SecretID\":\"kept\"}},\"{topic}\":{blank}{object}}}");
            let expected = written(true);
            for (kind, body) in bodies(topic, &payload(&written(false))) {
                match kind {
                    Kind::Events => {
                        let payload = payload(&expected);
                        prop_assert!(text(&body).ends_with(&format!("\"Payload\":{payload}}}")), "{}", text(&body));
                    }
                    _ => prop_assert_eq!(text(&body), expected.trim()),
                }
            }
        }
    }
}
