//! Writes into a message how many records it stands for.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use humantime::format_duration;

use crate::json::{Error, Scanner};

/// `body` with `"count"` and `"within"` as its last members; everything else in it stays as it is. `None` if it is no object.
pub(super) fn counted(body: &[u8], count: usize, within: Duration) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    let mut out = members(text).ok()?;
    let comma = if out.len() > 1 { "," } else { "" };
    let within = format_duration(within).to_string().replace(' ', "");
    write!(out, r#"{comma}"count":{count},"within":"{within}"}}"#).ok()?;
    Some(Bytes::from(out))
}

/// The members of an object without those two, and without the closing bracket.
fn members(text: &str) -> Result<String, Error> {
    let mut scanner = Scanner::new(text);
    scanner.object()?;
    let mut out = String::with_capacity(text.len() + 64);
    out.push('{');
    while let Some(name) = scanner.name()? {
        let value = scanner.skip()?;
        if name != "count" && name != "within" {
            let comma = if out.len() > 1 { "," } else { "" };
            out.extend([comma, "\"", name, "\":", value]);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn shown(body: &str) -> Option<String> {
        let body = counted(body.as_bytes(), 5, Duration::from_secs(630))?;
        Some(String::from_utf8(body.to_vec()).expect("text"))
    }

    #[test]
    fn an_object_says_how_many_it_stands_for() {
        for (body, expected) in [
            ("{}", r#"{"count":5,"within":"10m30s"}"#),
            (r#" {"text" : "a" } "#, r#"{"text":"a","count":5,"within":"10m30s"}"#),
            (r#"{"count":1,"a\"b":{"count":2},"within":3}"#, r#"{"a\"b":{"count":2},"count":5,"within":"10m30s"}"#),
        ] {
            assert_eq!(shown(body).as_deref(), Some(expected));
        }
        for body in [r#""text""#, "[1]", "5", "", "{", r#"{"a":}"#] {
            assert_eq!(shown(body), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn everything_else_stays(names in prop::collection::btree_map("\\PC{0,8}", any::<i64>(), 0..6)) {
            let mut object = json!(names);
            let body = shown(&object.to_string()).expect("an object");
            object["count"] = json!(5);
            object["within"] = json!("10m30s");
            prop_assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON"), object);
        }
    }
}
