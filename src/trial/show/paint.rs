//! Colours, and JSON over several lines.

/// The colours of a terminal, if it has any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(pub(super) bool);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Cyan,
}

impl Paint {
    pub(super) fn with(self, color: Color, text: &str) -> String {
        let code = match color {
            Color::Plain => return text.to_owned(),
            Color::Bold => "1",
            Color::Dim => "2",
            Color::Red => "31",
            Color::Green => "32",
            Color::Cyan => "36",
        };
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// JSON over several lines, its members in the order in which they are written, in at most `most` lines.
pub(super) fn pretty(json: &str, paint: Paint, most: usize) -> String {
    let (mut out, mut depth) = (String::new(), 0_usize);
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' { end_of_string(rest) } else { first.len_utf8() };
        let (token, after) = rest.split_at(length);
        rest = after.trim_start();
        match first {
            '"' if rest.starts_with(':') => out += &paint.with(Color::Cyan, token),
            '{' | '[' if rest.starts_with(['}', ']']) => {
                out += token;
                out += &rest[..1];
                rest = rest[1..].trim_start();
            }
            '{' | '[' => {
                depth += 1;
                out += token;
                new_line(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out += token;
            }
            ',' => {
                out += token;
                new_line(&mut out, depth);
            }
            ':' => out += ": ",
            _ => out += token,
        }
    }
    let lines = out.lines().count();
    if lines <= most {
        return out;
    }
    let shown: Vec<_> = out.lines().take(most).collect();
    format!("{}\n{}", shown.join("\n"), paint.with(Color::Dim, &format!("… {} more lines (--full)", lines - most)))
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
}

/// The length of the string that `text` begins with.
fn end_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn members_keep_their_order() {
        let text = r#"{"text":"a \"b\": {c}","fields":{},"list":[1,{"a":[]}]}"#;
        let shown = "{\n  \"text\": \"a \\\"b\\\": {c}\",\n  \"fields\": {},\n  \"list\": [\n    1,\n    {\n      \"a\": []\n    }\n  ]\n}";
        assert_eq!(pretty(text, Paint(false), 100), shown);
        assert_eq!(pretty(text, Paint(false), 2).lines().last(), Some("… 8 more lines (--full)"));
        assert_eq!(pretty("1.50", Paint(false), 9), "1.50");
    }

    proptest! {
        #[test]
        fn it_is_the_same_value(texts in prop::collection::vec("[\"\\\\{}\\[\\]:, a]{0,6}", 0..6), nested: bool) {
            let mut value = Value::from(texts.clone());
            if nested {
                value = texts.into_iter().map(|text| (text.clone(), Value::from(vec![text]))).collect::<serde_json::Map<_, _>>().into();
            }
            let shown = pretty(&value.to_string(), Paint(false), usize::MAX);
            prop_assert_eq!(serde_json::from_str::<Value>(&shown).expect("JSON"), value);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,60}") {
            pretty(&text, Paint(true), 5);
        }
    }
}
