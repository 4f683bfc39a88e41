//! Why a program failed on a record, without the record: reasons are logged, and records carry secrets.

use jaq_core::Error;
use jaq_json::Val;

/// How much of a program's own words is passed on.
const WORDS: usize = 300;

/// The reason for `error` of the program `code`.
///
/// jaq prints whole values into its errors. Here each is replaced by its type; a key is shown where the program names it.
pub(super) fn of(error: Error<Val>, code: &str) -> String {
    match error.into_val() {
        Val::TStr(text) => {
            let text = String::from_utf8_lossy(&text);
            plain(&text, code).unwrap_or_else(|| format!("the program failed: {}", cut(&text)))
        }
        value => format!("the program failed with {}", kind(&value.to_string())),
    }
}

/// The text of one of jaq's own errors without its values; `None` where it is none.
fn plain(text: &str, code: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("cannot index ") {
        let (value, key) = rest.rsplit_once(" with ")?;
        return Some(format!("cannot index {} with {}", kind(value), named(key, code)));
    }
    if let Some(rest) = text.strip_prefix("cannot use ") {
        let (value, wanted) = rest.rsplit_once(" as ")?;
        return Some(format!("cannot use {} as {}", kind(value), cut(wanted)));
    }
    if let Some(rest) = text.strip_prefix("cannot calculate ") {
        let split = |operator| rest.rsplit_once(operator).map(|(left, right)| (left, operator, right));
        let (left, operator, right) = [" + ", " - ", " * ", " / ", " % "].into_iter().find_map(split)?;
        return Some(format!("cannot calculate {}{operator}{}", kind(left), kind(right)));
    }
    if let Some(value) = text.strip_prefix("invalid path expression with input ") {
        return Some(format!("invalid path expression with {} as input", kind(value)));
    }
    if let Some(rest) = text.strip_prefix("cannot parse ") {
        let (value, _) = rest.rsplit_once(" as ")?;
        let (_, wanted) = text.rsplit_once(" as ")?;
        let wanted = wanted.split_once(':').map_or(wanted, |(wanted, _)| wanted);
        return Some(format!("cannot parse {} as {}", kind(value), cut(wanted)));
    }
    if let Some(value) = text.strip_prefix("cannot convert ").and_then(|rest| rest.strip_suffix(" to bytes")) {
        return Some(format!("cannot convert {} to bytes", kind(value)));
    }
    None
}

/// The type of a value, by the beginning of its JSON.
fn kind(json: &str) -> &'static str {
    match json.bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'b') => "bytes",
        _ => "a number",
    }
}

/// A key that the program has itself, or its type.
fn named(key: &str, code: &str) -> String {
    match key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) {
        Some(name) if !name.is_empty() && code.contains(name) => cut(key),
        _ => kind(key).to_owned(),
    }
}

fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(WORDS);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}
