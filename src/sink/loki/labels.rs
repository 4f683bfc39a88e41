//! The labels of a record: which stream it belongs to.

use crate::{
    record::Record,
    template::{MISSING, Template},
};

/// What Loki's default `max_label_value_length` allows, in bytes. A longer value is cut.
const VALUE: usize = 2048;

/// One label of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Label {
    /// Letters, digits and `_`.
    pub(in crate::sink) name: String,
    /// Its value.
    pub(in crate::sink) value: Template,
}

/// The labels of one record, ordered by name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Labels(Vec<(String, String)>);

impl Labels {
    /// The values for `record`. A label whose field the record does not have is left out: to Loki, that is the same as an
    /// empty one.
    pub(super) fn of(labels: &[Label], record: &Record) -> Self {
        let pairs = labels.iter().filter_map(|Label { name, value }| {
            let text = value.render(record);
            let is_there = value.is_constant() || text != MISSING;
            is_there.then(|| (name.clone(), cut(&text).to_owned()))
        });
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort();
        Labels(pairs)
    }

    /// The labels of the stream for records of too many label sets; and those of this record that it does not have.
    pub(super) fn overflow(self, labels: &[Label]) -> (Self, Vec<(String, String)>) {
        let is_constant = |name: &str| labels.iter().any(|label| label.name == name && label.value.is_constant());
        let (mut kept, rest): (Vec<_>, Vec<_>) = self.0.into_iter().partition(|(name, _)| is_constant(name));
        kept.push(("overflow".to_owned(), "true".to_owned()));
        kept.sort();
        (Labels(kept), rest)
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(VALUE)]
}

impl std::fmt::Display for Labels {
    /// As Loki reads them: `{job="nomad", kind="jobs"}`, with values in quotes as Go writes them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name}=\"", if number == 0 { "{" } else { ", " })?;
            for c in value.chars() {
                match c {
                    '"' | '\\' => write!(f, "\\{c}")?,
                    c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                    c => write!(f, "{c}")?,
                }
            }
            f.write_str("\"")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::testing::Book;

    fn label(text: &str) -> Label {
        let (name, value) = text.split_once('=').expect("a label");
        Label { name: name.to_owned(), value: value.parse().expect("a template") }
    }

    fn text(labels: &[&str], body: &str) -> String {
        let labels: Vec<_> = labels.iter().map(|text| label(text)).collect();
        Labels::of(&labels, &Book::new().record("a", body.to_owned())).to_string()
    }

    #[test]
    fn labels_are_in_the_order_of_their_names_and_without_what_a_record_does_not_have() {
        let labels = ["kind={Kind}", "job=nomad", "task={Task}", "namespace={Namespace}", "who={JobID}"];
        assert_eq!(text(&labels, r#"{"Task":"t"}"#), r#"{job="nomad", kind="jobs", namespace="default", task="t"}"#);
    }

    #[test]
    fn what_is_left_over_has_the_constant_labels_alone() {
        let labels = [label("job=nomad"), label("task={Task}"), label("kind={Kind}")];
        let record = Book::new().record("a", r#"{"Task":"t"}"#);
        let (kept, rest) = Labels::of(&labels, &record).overflow(&labels);
        assert_eq!(kept.to_string(), r#"{job="nomad", overflow="true"}"#);
        assert_eq!(rest, [("kind".to_owned(), "jobs".to_owned()), ("task".to_owned(), "t".to_owned())]);
    }

    proptest! {
        /// What stands between the quotes is a string of JSON, too, which has the same escapes.
        #[test]
        fn any_value_comes_back(value in "\\PC{0,20}|[\"\\\\\\n\\r\\x00\u{85}a]{0,12}") {
            let body = serde_json::json!({"A": value}).to_string();
            let text = text(&["job=nomad", "a={A}"], &body);
            if value.is_empty() || value == MISSING {
                prop_assert_eq!(text, "{job=\"nomad\"}");
            } else {
                let quoted = text.strip_prefix("{a=").and_then(|rest| rest.strip_suffix(", job=\"nomad\"}"));
                let back: String = serde_json::from_str(quoted.expect("both labels")).expect("a string");
                prop_assert_eq!(back, value);
            }
        }
    }
}
