use jaq_json::read;
use proptest::prelude::*;

use super::*;
use crate::program::json;

fn redacted(paths: &[&str], text: &str) -> String {
    let paths: Vec<Path> = paths.iter().map(|path| path.parse().expect("a path")).collect();
    let mut value = read::parse_single(text.as_bytes()).expect("JSON");
    let any = apply(&paths, &mut value);
    let mut out = Vec::new();
    json::write(&value, &mut out, usize::MAX).expect("JSON");
    let out = String::from_utf8(out).expect("JSON");
    assert_eq!(any, out != text, "{out}");
    out
}

#[test]
fn paths_reach_what_they_name() {
    let text =
        r#"{"Env":{"A":"1"},"Meta":{"password":["x"],"user":"u"},"Groups":[{"Tasks":[{"Env":null,"Name":"web"}]}]}"#;
    for (paths, expected) in [
        (
            &["..Env"][..],
            r#"{"Env":"[redacted]","Meta":{"password":["x"],"user":"u"},"Groups":[{"Tasks":[{"Env":"[redacted]","Name":"web"}]}]}"#,
        ),
        (
            &[".Env"],
            r#"{"Env":"[redacted]","Meta":{"password":["x"],"user":"u"},"Groups":[{"Tasks":[{"Env":null,"Name":"web"}]}]}"#,
        ),
        (
            &[".Meta.password", ".Env.B"],
            r#"{"Env":{"A":"1"},"Meta":{"password":"[redacted]","user":"u"},"Groups":[{"Tasks":[{"Env":null,"Name":"web"}]}]}"#,
        ),
        (
            &[".Meta.*"],
            r#"{"Env":{"A":"1"},"Meta":{"password":"[redacted]","user":"[redacted]"},"Groups":[{"Tasks":[{"Env":null,"Name":"web"}]}]}"#,
        ),
        (
            &[".Groups.Tasks.N*e", ".M*"],
            r#"{"Env":{"A":"1"},"Meta":"[redacted]","Groups":[{"Tasks":[{"Env":null,"Name":"[redacted]"}]}]}"#,
        ),
        (
            &["..Groups..Name", ".\"Env\""],
            r#"{"Env":"[redacted]","Meta":{"password":["x"],"user":"u"},"Groups":[{"Tasks":[{"Env":null,"Name":"[redacted]"}]}]}"#,
        ),
        (&[".Tasks.Env", "..Groups.Name"], text),
    ] {
        assert_eq!(redacted(paths, text), expected, "{paths:?}");
    }
}

#[test]
fn what_is_no_path_is_refused() {
    for text in ["", "Env", ".", "..", ".a..", "...a", ".a\"b", ".\"a", ".\"a\"b", ".\"\""] {
        assert!(text.parse::<Path>().is_err(), "{text}");
    }
    assert_eq!(".\"a.b\"..c".parse::<Path>().expect("a path").to_string(), ".\"a.b\"..c");
}

#[test]
fn stars_stand_for_any_characters() {
    for (glob, text, is_match) in [
        ("*", "", true),
        ("a*c", "abbc", true),
        ("a*c", "abcd", false),
        ("*Secret*", "MySecretKey", true),
        ("*a*b", "aabab", true),
        ("**", "x", true),
        ("a", "A", false),
        ("*.b", "a.b", true),
    ] {
        assert_eq!(matches(glob.as_bytes(), text.as_bytes()), is_match, "{glob} {text}");
    }
}

/// JSON in which the values under keys with `secret` have strings of their own.
fn tree(secret: bool) -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let word = if secret { "hidden-[a-z]{1,4}" } else { "shown-[a-z]{1,4}" };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let keys = if secret { "[abc]|hidden-[a-z]" } else { "[abc]|Env|a[.]b" };
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

/// Puts a secret under every `Env` of the tree.
fn plant(value: &mut serde_json::Value, secret: &serde_json::Value) {
    match value {
        serde_json::Value::Array(elements) => elements.iter_mut().for_each(|element| plant(element, secret)),
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                if key == "Env" { *value = secret.clone() } else { plant(value, secret) }
            }
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn no_string_of_a_redacted_subtree_survives(mut value in tree(false), secret in tree(true)) {
        plant(&mut value, &secret);
        let mut val = read::parse_single(value.to_string().as_bytes()).expect("JSON");
        apply(&["..E*v".parse().expect("a path")], &mut val);
        let mut out = Vec::new();
        json::write(&val, &mut out, usize::MAX).expect("JSON");
        let out = String::from_utf8(out).expect("JSON");
        prop_assert!(!out.contains("hidden"), "{}", out);
        // Everything else is as it was.
        let mut expected = value;
        plant(&mut expected, &REDACTED.into());
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&out).expect("JSON"), expected);
    }

    #[test]
    fn no_text_breaks_a_path(text in "[.a*\"]{0,12}|\\PC{0,8}") {
        if let Ok(path) = text.parse::<Path>() {
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }
    }
}

#[test]
fn a_body_is_shown_without_what_is_redacted() {
    let paths: [Path; 1] = ["..Env".parse().expect("a path")];
    let shown = super::redacted(&paths, br#"{"ID":"web","Tasks":[{"Env":{"KEY":"hush"}}]}"#);
    assert_eq!(String::from_utf8_lossy(&shown), r#"{"ID":"web","Tasks":[{"Env":"[redacted]"}]}"#);
    let deep = "[".repeat(30_000) + &"]".repeat(30_000);
    for unreadable in [deep.as_bytes(), b"", b"hush", b"{\"Env\":\"hush\""] {
        assert!(super::redacted(&paths, unreadable).is_empty());
    }
}
