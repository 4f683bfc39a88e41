//! What is in a dead-letter file, for people and for programs. Without the messages: they can carry secrets.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use serde::Serialize;

use super::read::{Damaged, Stored, read};
use crate::terminal::plain;

/// One letter, for programs.
#[derive(Serialize)]
struct Shown<'a> {
    time: &'a str,
    kind: &'a str,
    id: &'a str,
    key: &'a str,
    namespace: &'a str,
    job: &'a str,
    sink: &'a str,
    reason: &'a str,
    attempts: u32,
    context: &'a str,
    bytes: Option<usize>,
}

/// Writes a line for each letter of the file: as text with a sum at the end, or as one JSON object each. `false` where a
/// line cannot be read; which one it is, is said in its place.
///
/// # Errors
/// The file cannot be read, or `out` cannot be written.
pub fn list(path: &Path, json: bool, out: &mut impl Write) -> io::Result<bool> {
    let mut sums: BTreeMap<String, usize> = BTreeMap::new();
    let mut is_whole = true;
    for line in read(path)? {
        match line?.letter {
            Ok(letter) if json => {
                serde_json::to_writer(&mut *out, &shown(&letter))?;
                out.write_all(b"\n")?;
            }
            Ok(letter) => {
                let from =
                    if letter.sink.is_empty() { "input".to_owned() } else { format!("rejected by {}", letter.sink) };
                *sums.entry(plain(&from)).or_default() += 1;
                writeln!(out, "{}", words(&letter))?;
            }
            Err(Damaged { line, reason }) => {
                is_whole = false;
                if json {
                    writeln!(out, "{}", serde_json::json!({ "line": line, "damaged": reason }))?;
                } else {
                    writeln!(out, "line {line} is no dead letter: {}", plain(&reason))?;
                }
            }
        }
    }
    if !json {
        let sums: Vec<_> = sums.iter().map(|(from, count)| format!("{count} {from}")).collect();
        writeln!(out, "{}", if sums.is_empty() { "no dead letters".to_owned() } else { sums.join(", ") })?;
    }
    out.flush()?;
    Ok(is_whole)
}

fn shown(letter: &Stored) -> Shown<'_> {
    let Stored { time, kind, id, key, namespace, job, sink, reason, attempts, context, .. } = letter;
    let bytes = letter.message().map(|message| message.len());
    Shown { time, kind, id, key, namespace, job, sink, reason, attempts: *attempts, context, bytes }
}

fn words(letter: &Stored) -> String {
    let Stored { time, kind, id, reason, attempts, context, .. } = letter;
    let what = if id.is_empty() { context } else { id };
    let bytes = letter.message().map_or("no message".to_owned(), |message| format!("{} bytes", message.len()));
    plain(&format!("{time}  {kind}  {what}  {bytes}, sent {attempts} times: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTERS: &str = concat!(
        r#"{"time":"2026-01-02T03:04:05.000000Z","kind":"jobs","id":"jobs/default/web/9/0","key":"web","sink":"http","reason":"413 too\u001b[2J large","attempts":2,"body":"{\"secret\":1}"}"#,
        "\n{\"time\":\"2026-01-02T03:04:06.000000Z\",\"kind\":\"input\",\"reason\":\"no JSON\",\"attempts\":0,\"context\":\"events\",\"body_hex\":\"ff00\"}\n",
        "{\"time\":\"20",
    );

    fn listed(text: &str, json: bool) -> (String, bool) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("letters");
        std::fs::write(&path, text).expect("writable");
        let mut out = Vec::new();
        let is_whole = list(&path, json, &mut out).expect("there");
        (String::from_utf8(out).expect("text"), is_whole)
    }

    #[test]
    fn each_letter_has_a_line_and_none_its_message() {
        let (text, is_whole) = listed(LETTERS, false);
        assert!(!is_whole);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "2026-01-02T03:04:05.000000Z  jobs  jobs/default/web/9/0  12 bytes, sent 2 times: 413 too\u{fffd}[2J large"
        );
        assert_eq!(lines[1], "2026-01-02T03:04:06.000000Z  input  events  2 bytes, sent 0 times: no JSON");
        assert!(lines[2].starts_with("line 3 is no dead letter: EOF while parsing"), "{text}");
        assert_eq!(lines[3], "1 input, 1 rejected by http");
        assert!(!text.contains("secret"));
        assert_eq!(listed("", false), ("no dead letters\n".to_owned(), true));
    }

    #[test]
    fn programs_get_one_object_a_line() {
        let (text, is_whole) = listed(LETTERS, true);
        assert!(!is_whole && !text.contains("secret"));
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((&lines[0]["id"], &lines[0]["bytes"]), (&"jobs/default/web/9/0".into(), &12.into()));
        assert_eq!((&lines[1]["kind"], &lines[2]["line"]), (&"input".into(), &3.into()));
    }
}
