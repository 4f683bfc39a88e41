//! Lists a dead-letter file for people and programs, without the messages: they can carry secrets.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use serde::Serialize;

use super::read::{Damaged, StoredLetter, read};
use crate::redact::{LINE, escaped_json, shown};

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
    reason: String,
    attempts: u32,
    context: String,
    bytes: Option<usize>,
}

/// Writes a line for each letter of the file: as text with a sum at the end, or as one JSON object each. `false` where
/// a line cannot be read; a line in its place says which.
///
/// # Errors
/// The file cannot be read, or `out` cannot be written.
pub fn list(path: &Path, json: bool, out: &mut impl Write) -> io::Result<bool> {
    let mut sums: BTreeMap<String, usize> = BTreeMap::new();
    let mut is_whole = true;
    for line in read(path)? {
        match line?.letter {
            Ok(letter) if json => {
                writeln!(out, "{}", escaped_json(&serde_json::to_string(&for_programs(&letter))?))?;
            }
            Ok(letter) => {
                let from =
                    if letter.sink.is_empty() { "input".to_owned() } else { format!("rejected by {}", letter.sink) };
                *sums.entry(shown(from, LINE)).or_default() += 1;
                writeln!(out, "{}", words(&letter))?;
            }
            Err(Damaged { line, reason }) => {
                is_whole = false;
                if json {
                    writeln!(out, "{}", serde_json::json!({ "line": line, "damaged": shown(reason, LINE) }))?;
                } else {
                    writeln!(out, "line {line} is no dead letter: {}", shown(reason, LINE))?;
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

fn for_programs(letter: &StoredLetter) -> Shown<'_> {
    let StoredLetter { time, kind, id, key, namespace, job, sink, reason, attempts, context, .. } = letter;
    let bytes = letter.message().map(|message| message.len());
    let (reason, context) = (shown(reason, LINE), shown(context, LINE));
    Shown { time, kind, id, key, namespace, job, sink, reason, attempts: *attempts, context, bytes }
}

fn words(letter: &StoredLetter) -> String {
    let StoredLetter { time, kind, id, reason, attempts, context, .. } = letter;
    let what = if id.is_empty() { context } else { id };
    let bytes = letter.message().map_or("no message".to_owned(), |message| format!("{} bytes", message.len()));
    let reason = shown(reason, LINE);
    shown(format!("{time}  {kind}  {what}  {bytes}, sent {attempts} times: {reason}"), 2 * LINE)
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
    fn what_others_wrote_neither_commands_a_terminal_nor_turns_its_text_around() {
        let outside = "a\u{202e}b\u{2028}c\u{9b}31m";
        let letter = serde_json::json!({
            "time": "2026-01-02T03:04:05.000000Z", "kind": "jobs", "id": outside, "key": outside, "sink": outside,
            "reason": outside.repeat(10_000), "context": outside, "attempts": 1, "body": "{}",
        });
        for json in [false, true] {
            let (text, is_whole) = listed(&letter.to_string(), json);
            assert!(is_whole);
            for line in text.lines() {
                assert!(crate::redact::is_plain(line) && line.len() < 8 << 10, "{line:.500}");
            }
            if json {
                let shown: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(shown["id"], outside, "a program gets the id as it is");
            }
        }
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
