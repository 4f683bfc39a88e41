//! Text with the fields of a record in it: `nomad.{Namespace}.{JobID}.{TaskEvent.Type}`.
//!
//! A name in braces is a field of the record (`Kind`, `Namespace`, `JobID`, `Key`, `ID`), or a path into the JSON of its
//! body, the names of nested objects with dots between them. A field that a record does not have becomes [`MISSING`],
//! so that the number of words in a routing key stays the same. `{{` and `}}` stand for braces.

use std::{borrow::Cow, fmt, str::FromStr};

use serde_json::Value;

use crate::record::Record;

/// The text for a field that a record does not have, or that is empty.
pub const MISSING: &str = "-";

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
    /// Names of members, from the outermost object in. At least one.
    Path(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Kind,
    Namespace,
    JobId,
    Key,
    Id,
}

const FIELDS: [(&str, Field); 5] = [
    ("Kind", Field::Kind),
    ("Namespace", Field::Namespace),
    ("JobID", Field::JobId),
    ("Key", Field::Key),
    ("ID", Field::Id),
];

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A `{` without its `}`.
    #[error("a {{ has no }}; write {{{{ for the brace itself")]
    Open,
    /// A `}` without its `{`.
    #[error("a }} has no {{; write }}}} for the brace itself")]
    Close,
    /// The text between braces is not a path.
    #[error("{{{0}}} names no field; write {{JobID}}, or a path into the record such as {{TaskEvent.Type}}")]
    Path(String),
}

impl Template {
    /// Whether every record gives the same text.
    pub fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The text, if every record gives the same.
    pub fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for `record`. Its body is parsed only if a path needs it.
    pub fn render(&self, record: &Record) -> Cow<'_, str> {
        self.render_escaped(record, |value| Cow::Borrowed(value))
    }

    /// The same with each value as `escape` writes it. The text around the fields stays as it is.
    pub fn render_escaped(&self, record: &Record, escape: impl Fn(&str) -> Cow<'_, str>) -> Cow<'_, str> {
        match self.parts.as_slice() {
            [] => return Cow::Borrowed(""),
            [Part::Text(text)] => return Cow::Borrowed(text),
            _ => {}
        }
        let needs_body = self.parts.iter().any(|part| matches!(part, Part::Path(_)));
        let body = if needs_body { serde_json::from_slice(&record.body).unwrap_or(Value::Null) } else { Value::Null };
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(field) => out.push_str(&escape(or_missing(&field.of(record)))),
                Part::Path(path) => out.push_str(&escape(or_missing(&at(&body, path)))),
            }
        }
        Cow::Owned(out)
    }
}

impl Field {
    fn of(self, record: &Record) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Field::Kind => record.kind.name(),
            Field::Namespace => &record.namespace,
            Field::JobId => &record.job,
            Field::Key => &record.key,
            Field::Id => &record.id,
        })
    }
}

fn or_missing(text: &str) -> &str {
    if text.is_empty() { MISSING } else { text }
}

/// Strings, numbers and booleans as they are; an empty text for objects, lists and `null`.
fn at<'a>(body: &'a Value, path: &[String]) -> Cow<'a, str> {
    match path.iter().try_fold(body, |value, name| value.get(name)) {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Cow::Owned(value.to_string()),
        _ => Cow::Borrowed(""),
    }
}

impl FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(found) = rest.find(['{', '}']) {
            plain.push_str(&rest[..found]);
            let brace = &rest[found..=found];
            rest = &rest[found + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
            } else if brace == "}" {
                return Err(Error::Close);
            } else {
                let (name, after) = rest.split_once('}').ok_or(Error::Open)?;
                rest = after;
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(part(name)?);
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template { parts })
    }
}

fn part(name: &str) -> Result<Part, Error> {
    if let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) {
        return Ok(Part::Field(*field));
    }
    let bad = |part: &str| part.is_empty() || part.chars().any(|c| c.is_whitespace() || c.is_control() || c == '{');
    if name.split('.').any(bad) {
        return Err(Error::Path(name.to_owned()));
    }
    Ok(Part::Path(name.split('.').map(str::to_owned).collect()))
}

impl fmt::Display for Template {
    /// Writes a text that can be parsed again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Part::Field(field) => {
                let name = FIELDS.iter().find(|(_, known)| known == field).map_or("", |(name, _)| *name);
                write!(f, "{{{name}}}")
            }
            Part::Path(path) => write!(f, "{{{}}}", path.join(".")),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::testing::Book;

    fn rendered(template: &str, body: &str) -> String {
        let mut record = Book::new().record("web", body.to_owned());
        record.job = "web".into();
        template.parse::<Template>().expect("a template").render(&record).into_owned()
    }

    #[test]
    fn fields_and_paths_are_filled_in() {
        let body = r#"{"TaskEvent":{"Type":"Started","Time":7,"Fails":false},"List":[1],"Null":null,"JobID":"other"}"#;
        for (template, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("nomad.{Namespace}.{JobID}.{TaskEvent.Type}", "nomad.default.web.Started"),
            ("{Kind}/{Key}/{ID}", "jobs/web/web/1"),
            ("{TaskEvent.Time}{TaskEvent.Fails}", "7false"),
            ("{List}{Null}{TaskEvent}{TaskEvent.Type.No}{No}", "-----"),
            ("{{{Kind}}}", "{jobs}"),
            ("a{{b}}c", "a{b}c"),
        ] {
            assert_eq!(rendered(template, body), expected, "{template}");
        }
    }

    #[test]
    fn what_a_record_does_not_have_is_a_dash() {
        let mut record = Book::new().record("node", "no JSON");
        record.namespace = "".into();
        let template: Template = "{Namespace}.{JobID}.{Any}".parse().expect("a template");
        assert_eq!(template.render(&record), "-.-.-");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, error) in [
            ("{", Error::Open),
            ("a{b", Error::Open),
            ("}", Error::Close),
            ("{{}", Error::Close),
            ("{}", Error::Path(String::new())),
            ("{a..b}", Error::Path("a..b".to_owned())),
            ("{a b}", Error::Path("a b".to_owned())),
            ("{a{b}", Error::Path("a{b".to_owned())),
        ] {
            assert_eq!(text.parse::<Template>(), Err(error), "{text}");
        }
    }

    #[test]
    fn only_text_is_constant() {
        let constant = |text: &str| text.parse::<Template>().expect("a template").is_constant();
        assert!(constant("") && constant("a{{b"));
        assert!(!constant("{ID}") && !constant("a{b.c}"));
    }

    proptest! {
        #[test]
        fn what_is_parsed_is_shown_as_it_can_be_parsed_again(text in r"([a-c{}. ]|\{\{|\}\}|\{[A-Za-z]+(\.[a-z]+)?\}){0,12}") {
            if let Ok(template) = text.parse::<Template>() {
                let again = template.to_string().parse::<Template>();
                prop_assert_eq!(again, Ok(template));
            }
        }

        #[test]
        fn nothing_breaks_it(text in any::<String>(), body in any::<String>()) {
            if let Ok(template) = text.parse::<Template>() {
                let record = Book::new().record("key", body);
                let is_as_written = template.render(&record) == text.replace("{{", "{").replace("}}", "}");
                prop_assert!(!template.is_constant() || is_as_written, "{}", text);
            }
        }
    }
}
