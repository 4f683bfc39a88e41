//! Topics: 1 to 64 characters of `.`, `_`, `-`, letters and digits, perhaps with `#ephemeral` at the end, which counts.
//!
//! <https://github.com/nsqio/nsq/blob/v1.3.0/internal/protocol/names.go>

use std::borrow::Cow;

use crate::{record::Record, template::Template};

/// The longest name of a topic, in bytes.
const MAX: usize = 64;

/// What the name of a topic ends with that nsqd forgets with its last channel.
const EPHEMERAL: &str = "#ephemeral";

/// What stands for a character that no topic may have.
const OTHER: char = '_';

/// Checks the text of the setting. A topic with fields of the record in it has its length checked for each record.
pub(super) fn parse(text: &str) -> Result<Template, String> {
    let template: Template = text.parse().map_err(|error| format!("{error}"))?;
    let plain = template.constant().map_or_else(|| without_fields(text), str::to_owned);
    if !is_valid(&plain) {
        let rule = "a topic has 1 to 64 of the characters a-z A-Z 0-9 . _ -, and #ephemeral perhaps at its end";
        return Err(format!("{rule}; write one such as nomad-firehose, or nomad.{{Kind}}"));
    }
    Ok(template)
}

/// The topic of a record. In the values of fields, `_` stands for what no topic may have.
pub(super) fn of<'a>(template: &'a Template, record: &Record) -> Result<Cow<'a, str>, String> {
    let topic = template.render_escaped(record, escaped);
    if is_valid(&topic) {
        return Ok(topic);
    }
    Err(format!("its topic would have {} bytes; NSQ takes {MAX}: shorten SINK_NSQ_TOPIC_NAME", topic.len()))
}

/// The text with a letter for each field.
fn without_fields(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        plain.push_str(before);
        // A brace itself, which is written twice, stays: no topic has one.
        plain.push(if after.starts_with('{') { '{' } else { 'f' });
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    plain + rest
}

fn is_valid(topic: &str) -> bool {
    let name = topic.strip_suffix(EPHEMERAL).unwrap_or(topic);
    topic.len() <= MAX && !name.is_empty() && name.chars().all(is_plain)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn escaped(value: &str) -> Cow<'_, str> {
    if value.chars().all(is_plain) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.chars().map(|c| if is_plain(c) { c } else { OTHER }).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::testing::Book;

    #[test]
    fn a_topic_is_made_of_the_fields_of_a_record() {
        let mut record = Book::new().record("web", r#"{"Type":"a > b"}"#);
        let template = parse("nomad.{JobID}.{Type}").expect("a topic");
        for (job, topic) in [
            ("web", "nomad.web.a___b"),
            ("web/periodic-1", "nomad.web_periodic-1.a___b"),
            ("", "nomad.-.a___b"),
            ("caf\u{e9}", "nomad.caf_.a___b"),
        ] {
            record.job = job.into();
            assert_eq!(of(&template, &record).expect("short"), topic);
        }
        record.job = "x".repeat(MAX).into();
        assert!(of(&template, &record).expect_err("too long").contains("its topic would have 76 bytes"));
    }

    #[test]
    fn what_is_no_topic_is_refused() {
        let long = "x".repeat(MAX + 1);
        for text in ["", "a b", "a/b", "nomad#1", "#ephemeral", "a#ephemeral.b", "a{{b}}", "nomad/{Kind}", &long] {
            assert!(parse(text).expect_err(text).contains("1 to 64"), "{text}");
        }
        assert!(parse("a{").expect_err("no field").contains("a { has no }"));
        for text in
            ["nomad-firehose", "a.B_c-1", "nomad.{Kind}", "{TaskEvent.Type}", "nomad#ephemeral", "a.{Kind}#ephemeral"]
        {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_record_has_a_valid_topic_or_none(job in "\\PC{0,70}|[ #./{}\\n]{0,8}") {
            let mut record = Book::new().record("web", "{}");
            record.job = job.into();
            if let Ok(topic) = of(&parse("n.{JobID}").expect("a topic"), &record) {
                prop_assert!(is_valid(&topic), "{}", topic);
            }
        }
    }
}
