//! Reads a dead-letter file. Blocking.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    ops::Range,
    path::Path,
};

use bytes::Bytes;
use serde::Deserialize;

use crate::{kind::Kind, record::Envelope};

/// One line of a dead-letter file. Unknown fields are ignored, missing ones are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StoredLetter {
    /// When it was written, RFC 3339.
    pub time: String,
    /// `allocations`, `jobs` …; `input` for what never became a record.
    pub kind: String,
    /// The record's id.
    pub id: String,
    /// The record's key.
    pub key: String,
    /// The namespace of its object.
    pub namespace: String,
    /// The job it belongs to.
    pub job: String,
    /// Which sink rejected it.
    pub sink: String,
    /// Why.
    pub reason: String,
    /// How often it was sent.
    pub attempts: u32,
    /// Of an input: where it came from.
    pub context: String,
    /// What the message is.
    pub envelope: Envelope,
    #[serde(flatten)]
    body: Body,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Body {
    /// The message, where it is text.
    body: Option<String>,
    /// The message, where it is not.
    body_hex: Option<String>,
}

impl StoredLetter {
    /// The message; `None` where the line has none, or its digits are invalid.
    pub fn message(&self) -> Option<Bytes> {
        match (&self.body.body, &self.body.body_hex) {
            (Some(text), _) => Some(Bytes::copy_from_slice(text.as_bytes())),
            (None, Some(digits)) => unhex(digits).map(Bytes::from),
            (None, None) => None,
        }
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// A line that is not a dead letter: its number in the file, counted from 1, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The line's number.
    pub line: usize,
    /// Why it cannot be read.
    pub reason: String,
}

/// One line of a dead-letter file.
#[derive(Clone, Debug)]
pub struct ReadLine {
    /// Its bytes in the file, line break included.
    pub at: Range<u64>,
    /// Its content.
    pub letter: Result<StoredLetter, Damaged>,
}

/// Reads a dead-letter file line by line. A line that a crash cut off is damaged; the others can be read.
///
/// # Errors
/// The file cannot be opened or read.
pub fn read(path: &Path) -> io::Result<impl Iterator<Item = io::Result<ReadLine>> + use<>> {
    Ok(lines(File::open(path)?))
}

/// The lines of a file that is read from its start.
pub(crate) fn lines(file: impl Read) -> impl Iterator<Item = io::Result<ReadLine>> {
    let mut file = BufReader::with_capacity(1 << 16, file);
    let (mut number, mut end) = (0, 0);
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        loop {
            line.clear();
            let at = match file.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(bytes) => end..end + bytes as u64,
                Err(error) => return Some(Err(error)),
            };
            (number, end) = (number + 1, at.end);
            let line = line.trim_ascii();
            if !line.is_empty() {
                let letter = serde_json::from_slice(line);
                let letter = letter.map_err(|error| Damaged { line: number, reason: error.to_string() });
                return Some(Ok(ReadLine { at, letter }));
            }
        }
    })
}

/// Which resources a file has records of; an unreadable file has none.
pub fn kinds(path: &Path) -> Vec<Kind> {
    // Reading a pipe would empty it for the next reader.
    if !path.is_file() {
        return Vec::new();
    }
    let lines = read(path).into_iter().flatten().map_while(Result::ok);
    let kinds: BTreeSet<Kind> = lines.filter_map(|line| line.letter.ok()?.kind.parse().ok()).collect();
    kinds.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dead_letter::{Letter, file};

    fn letter(body: &[u8], reason: &str) -> Letter {
        Letter {
            kind: "jobs",
            id: "jobs/a/1".into(),
            key: "a".into(),
            namespace: "default".into(),
            job: "a".into(),
            sink: "stdout",
            reason: reason.to_owned(),
            attempts: 3,
            context: String::new(),
            envelope: Envelope::None,
            body: Bytes::copy_from_slice(body),
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_named_and_the_others_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("letters");
        file::append(&path, &[letter(b"{}", "one")]).expect("writable");
        let whole = std::fs::read_to_string(&path).expect("written");
        std::fs::write(&path, format!("{whole}{}", &whole[..20])).expect("writable");
        file::append(&path, &[letter(b"{}", "three")]).expect("writable");
        let read: Vec<_> = read(&path).expect("there").map(|line| line.expect("readable").letter).collect();
        assert_eq!(read.len(), 3);
        assert_eq!(read[0].as_ref().map(|letter| letter.reason.as_str()), Ok("one"));
        assert_eq!(read[1].as_ref().map_err(|damaged| damaged.line), Err(2));
        assert_eq!(read[2].as_ref().map(|letter| (letter.attempts, letter.reason.as_str())), Ok((3, "three")));
    }

    #[test]
    fn an_envelope_comes_back_and_a_line_without_one_has_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("letters");
        let attributes = Envelope::Attributes(Box::new([("id".to_owned(), "a \" b".to_owned())].into()));
        let envelopes = [Envelope::None, Envelope::CloudEvent, attributes];
        let letters = envelopes.clone().map(|envelope| Letter { envelope, ..letter(b"{}", "refused") });
        file::append(&path, &letters).expect("writable");
        let text = std::fs::read_to_string(&path).expect("written");
        let has_envelope: Vec<_> = text.lines().map(|line| line.contains("\"envelope\":")).collect();
        assert_eq!(has_envelope, [false, true, true]);
        let read = read(&path).expect("there").map(|line| line.expect("readable").letter.expect("a letter"));
        assert_eq!(read.map(|letter| letter.envelope).collect::<Vec<_>>(), envelopes);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..8), reason in ".{0,20}") {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("letters");
            let letters: Vec<_> = bodies.iter().map(|body| letter(body, &reason)).collect();
            file::append(&path, &letters).expect("writable");
            let read: Vec<_> = read(&path).expect("there").map(|line| line.expect("readable").letter.expect("a letter")).collect();
            let messages: Vec<_> = read.iter().map(|letter| letter.message().expect("it has one").to_vec()).collect();
            prop_assert_eq!(messages, bodies);
            prop_assert!(read.iter().all(|letter| letter.reason == reason && letter.kind == "jobs" && letter.id == "jobs/a/1"));
        }

        #[test]
        fn any_bytes_are_read_or_named(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("letters");
            std::fs::write(&path, &text).expect("writable");
            for line in read(&path).expect("there") {
                if let Ok(letter) = line.expect("readable").letter {
                    letter.message();
                }
            }
        }
    }
}
