//! Subjects: what a record's fields may not bring into one is written in another way, and can be read back.
//!
//! `.` separates the tokens of a subject, `*` and `>` are wildcards, blanks end it, and `$` begins the server's own subjects. In the
//! value of a field, each of these, and `%` itself, becomes `%` with two hexadecimal digits, as in a URL: a job `web.v2` is the token
//! `web%2Ev2`.

use std::{borrow::Cow, fmt::Write as _};

use crate::{record::Record, template::Template};

/// The most bytes of a subject. By default a server takes lines of 4,096 bytes (`max_control_line`), with an inbox and two sizes in them.
const MAX: usize = 3_800;

/// Checks the text of the setting: what stands around fields cannot be escaped.
pub(super) fn parse(text: &str) -> Result<Template, String> {
    let template: Template = text.parse().map_err(|error| format!("{error}"))?;
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("a subject has no spaces; write one such as nomad.{Kind}.{JobID}".to_owned());
    }
    if text.contains(['*', '>']) {
        return Err("* and > are for subscribers; write a subject such as nomad.{Kind}.{JobID}".to_owned());
    }
    // Dots within braces separate the names of a path.
    let plain = without_fields(text);
    if plain.split('.').any(str::is_empty) {
        return Err("a token is empty; write one such as nomad.{Kind}.{JobID}".to_owned());
    }
    if plain.starts_with('$') {
        return Err("a subject that begins with $ is the server's own; begin with another token".to_owned());
    }
    if text.len() > MAX {
        return Err(format!("a subject has at most {MAX} bytes; write a shorter one"));
    }
    Ok(template)
}

/// The text with a letter for each field.
fn without_fields(text: &str) -> String {
    let text = text.replace("{{", "b").replace("}}", "b");
    let mut depth = 0_u32;
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            '{' => {
                depth += 1;
                plain.push('f');
            }
            '}' => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}

/// The subject of a record.
pub(super) fn of<'a>(template: &'a Template, record: &'a Record) -> Result<Cow<'a, str>, String> {
    let subject = template.render_escaped(record, escaped);
    if subject.len() > MAX {
        return Err(format!("its subject would have {} bytes; {MAX} are the most", subject.len()));
    }
    Ok(subject)
}

/// The value of a field as part of a token.
fn escaped(value: &str) -> Cow<'_, str> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '$' | '%');
    if !value.contains(is_odd) {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len() + 8);
    for c in value.chars() {
        if is_odd(c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                write!(out, "%{byte:02X}").expect("a string");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::testing::Book;

    #[test]
    fn a_field_is_always_one_token() {
        let mut record = Book::new().record("web", r#"{"Type":"a > b"}"#);
        for (job, subject) in [
            ("web", "nomad.web.a%20%3E%20b"),
            ("web.v2", "nomad.web%2Ev2.a%20%3E%20b"),
            ("*", "nomad.%2A.a%20%3E%20b"),
            ("100%", "nomad.100%25.a%20%3E%20b"),
            ("", "nomad.-.a%20%3E%20b"),
            ("caf\u{e9}\u{a0}", "nomad.caf\u{e9}%C2%A0.a%20%3E%20b"),
        ] {
            record.job = job.into();
            assert_eq!(of(&parse("nomad.{JobID}.{Type}").expect("a subject"), &record).expect("short"), subject);
        }
        record.job = "x".repeat(MAX).into();
        assert!(of(&parse("nomad.{JobID}").expect("a subject"), &record).expect_err("too long").contains("3800"));
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        for (text, part) in [
            ("a b", "no spaces"),
            ("a.*", "for subscribers"),
            ("nomad.>", "for subscribers"),
            ("nomad..a", "a token is empty"),
            (".nomad", "a token is empty"),
            ("nomad.", "a token is empty"),
            ("$JS.API", "the server's own"),
            ("nomad.{", "a { has no }"),
        ] {
            assert!(parse(text).expect_err(text).contains(part), "{text}");
        }
        for text in ["nomad", "{Kind}", "nomad.{TaskEvent.Type}", "a{{b}}.c"] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_value_can_be_read_back(value in "\\PC{0,12}|[ .*>$%a\\r\\n\\t\u{a0}\u{2028}]{0,8}") {
            let escaped = escaped(&value);
            prop_assert!(!escaped.contains(|c: char| c.is_whitespace() || c.is_control() || ".*>$".contains(c)), "{}", escaped);
            prop_assert_eq!(percent_decode_str(&escaped).decode_utf8().expect("UTF-8"), value.as_str());
        }
    }
}
