//! Texts as the services take them: ids, and values of attributes. Pure.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_128;

use crate::record::Record;

/// The most characters of a message group id and of a deduplication id (the references of SQS and SNS).
const ID: usize = 128;

/// What stands for an empty id.
const EMPTY: &str = "-";

/// The text as the id of a group or for deduplication: as it is if it has only ASCII letters, digits and punctuation and is
/// not too long, and otherwise its hash.
pub(in crate::sink) fn id(text: &str) -> Cow<'_, str> {
    if text.is_empty() {
        Cow::Borrowed(EMPTY)
    } else if text.len() <= ID && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("xxh3-{:032x}", xxh3_128(text.as_bytes())))
    }
}

/// What tells repeats. An id is unique in a cluster, and clusters can share a queue or a topic.
pub(in crate::sink) fn repeat(record: &Record, cluster: Option<&str>) -> String {
    match cluster {
        Some(cluster) => id(&format!("{cluster}/{}", record.id)).into_owned(),
        None => id(&record.id).into_owned(),
    }
}

/// Whether a message can have the character: those that XML has.
fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// The JSON text with each character that a message cannot have as `\uXXXX`. To whoever parses it, it is the same text: such a
/// character can only be in a string.
pub(in crate::sink) fn body(json: &str) -> Cow<'_, str> {
    replaced(json, |c, out| out.push_str(&format!("\\u{:04x}", u32::from(c))))
}

/// The value of an attribute: U+FFFD stands for each character that it cannot have.
pub(in crate::sink) fn value(text: &str) -> Cow<'_, str> {
    replaced(text, |_, out| out.push('\u{fffd}'))
}

fn replaced(text: &str, replace: impl Fn(char, &mut String)) -> Cow<'_, str> {
    // All of them are control characters of ASCII, or begin with this byte in UTF-8.
    let is_suspect = |byte: u8| byte < b' ' || byte == 0xef;
    if !text.bytes().any(is_suspect) || text.chars().all(is_allowed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_allowed(c) { out.push(c) } else { replace(c, &mut out) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_kept_if_it_can_be() {
        assert_eq!(id("default/web[1]~"), "default/web[1]~");
        assert_eq!(id(""), "-");
        let long = "k".repeat(129);
        for hashed in ["ä", "a b", "a\n", &long] {
            let id = id(hashed);
            assert!(id.starts_with("xxh3-") && id.len() == 37, "{id}");
        }
        assert_ne!(id("a b"), id("a c"));
    }

    #[test]
    fn characters_that_no_message_can_have_are_written_as_json_escapes() {
        assert_eq!(body("{\"a\":\"\u{ffff}\u{fffe}ü\u{fffd}\"}"), "{\"a\":\"\\uffff\\ufffeü\u{fffd}\"}");
        assert_eq!(value("a\u{1}b\u{ffff}"), "a\u{fffd}b\u{fffd}");
        assert!(matches!(body("{\"a\":\"ü\u{10ffff}\"}"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn any_json_stays_the_same_json(text in any::<String>(), more in "[\u{fffe}\u{ffff}\u{fffd}a]{0,8}") {
            let value = serde_json::Value::String(text + &more);
            let json = value.to_string();
            let sent = body(&json);
            prop_assert!(sent.chars().all(is_allowed), "{:?}", sent);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&sent).expect("JSON"), value);
        }

        #[test]
        fn any_text_gives_an_id_and_a_value_that_are_allowed(text in any::<String>()) {
            let id = id(&text);
            prop_assert!((1..=ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()), "{}", id);
            prop_assert!(value(&text).chars().all(is_allowed));
        }
    }
}
