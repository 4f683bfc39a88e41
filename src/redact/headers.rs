//! Finds what looks like credentials, known or not.

use std::{ops::Range, sync::LazyLock};

use regex_lite::Regex;

use super::REDACTED;

/// What can come between a name and its value: `: `, `":"`, `=`, `&quot;:&quot;`, `</td><td>`, `:[`.
const TO_VALUE: &str = r#"(?:\s|["'\\\]\[]|</?\w+>|&quot;|&#\w+;|%2[02])*(?::|=>?|%3[AaDd])(?:\s|["'\\\]\[]|</?\w+>|&quot;|&#34;|&#39;|%2[02])*"#;

/// The same, but only with quotes, for names that are also words of ordinary sentences.
const TO_QUOTED: &str = r#"(?:["']|\\"|&quot;)\s*(?::|=>?)\s*(?:["']|\\"|&quot;)"#;

/// One word, up to what ends it in JSON, in HTML and in lists.
const WORD: &str = r#"(?<value>[^\s"'\\<>\[\],;&]+)"#;

/// The same after the name of a scheme. Some schemes have more than one word.
const CREDENTIALS: &str =
    r#"(?<value>(?:(?:Digest|AWS4-HMAC-SHA256)[^\r\n<\\]+|(?:\w+(?: +|%20|\+))?[^\s"'\\<>\[\],;&]+))"#;

static CREDENTIAL: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let patterns = [
        format!(r"\b(?:proxy-)?authorization{TO_VALUE}{CREDENTIALS}"),
        format!(r"\bx-(?:[a-z]+-)*(?:token|key|secret|password){TO_VALUE}{WORD}"),
        format!(r#"\b(?:set-)?cookie{TO_VALUE}(?<value>[^\r\n<>"\\\]]+)"#),
        format!(r#"(?:token|password|passwd|secret|secret_?id|api_?key|access_?key){TO_QUOTED}(?<value>[^"'\\&]+)"#),
        format!(r"\b\w*(?:token|password|passwd|secret|secret_?id|api_?key|access_?key|signature)={WORD}"),
        r#"://(?<value>[^/\s@"'<>]+)@"#.to_owned(),
    ];
    let regex = |pattern: &String| Regex::new(&format!("(?i){pattern}")).expect("a constant pattern");
    patterns.iter().map(regex).collect()
});

/// Adds the places of credentials in `text`.
pub(super) fn find(text: &str, hits: &mut Vec<Range<usize>>) {
    // Most texts have nothing that can come before a value.
    if !text.contains([':', '=']) && !text.contains("%3") {
        return;
    }
    for regex in CREDENTIAL.iter() {
        let found = regex.captures_iter(text).filter_map(|captures| captures.name("value"));
        hits.extend(found.map(|value| value.range()).filter(|value| !is_gone(text, value)));
    }
}

/// Whether the value is redacted already, because texts come here more than once.
fn is_gone(text: &str, value: &Range<usize>) -> bool {
    let (before, rest) = text.split_at(value.start);
    let behind = text[value.end..].trim_start_matches([' ', '+']);
    before.ends_with('[') && rest.starts_with(&REDACTED[1..]) || behind.starts_with(REDACTED)
}
