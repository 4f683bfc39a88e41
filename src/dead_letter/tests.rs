//! Real files, and a device that is always full.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{
    delivery::testing::{Book, with_small_files},
    throttle::tests::Log,
};

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file");
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn in_file(path: &std::path::Path) -> DeadLetters {
    DeadLetters::new(Place::File(path.to_owned()))
}

#[test]
fn places_are_read_and_shown_alike() {
    for text in ["stop", "log", "file:/var/lib/dead.ndjson", "file:relative"] {
        assert_eq!(text.parse::<Place>().expect("a place").to_string(), text);
    }
    for text in ["", "file:", "Stop", "drop", "/var/lib/dead"] {
        let error = text.parse::<Place>().expect_err("no place");
        assert_eq!(error.to_string(), format!("\"{text}\" is not one of stop, log, file:PATH"));
    }
}

#[tokio::test]
async fn letters_are_logged_once_they_are_kept_and_not_with_each_try() {
    let (log, _guard) = Log::start();
    let book = Book::new();
    let letter = || vec![Letter::new(&book.record("a", "{}"), "http", "400 Bad Request".to_owned(), 1)];
    let directory = tempfile::tempdir().expect("a directory");
    let missing = in_file(&directory.path().join("missing/dead"));
    for _ in 0..3 {
        missing.rejected(letter()).await.expect_err("no directory");
        missing.input(b"no json", "expected value", "events").await.expect_err("no directory");
    }
    assert_eq!(log.lines(), Vec::<String>::new());
    in_file(&directory.path().join("dead")).rejected(letter()).await.expect("there is room");
    assert_eq!(log.lines().len(), 1, "{:?}", log.lines());
}

#[tokio::test]
async fn letters_carry_everything_needed_to_send_them_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead");
    let (place, book) = (in_file(&path), Book::new());
    let body = "{\"Name\":\"zwölf \\\" \\n\",\"Empty\":\"\"}";
    let mut record = book.record("a", body);
    record.job = "web".into();
    let letters = vec![
        Letter::new(&record, "http", "400 Bad Request".to_owned(), 3),
        Letter::new(&book.record("b", &b"\xff\x00"[..]), "http", "not text".to_owned(), 1),
    ];
    place.rejected(letters).await.expect("there is room");
    place.input(b"no json", "expected value", "line of namespace default").await.expect("there is room");

    let letters = lines(&path);
    assert_eq!(letters.len(), 3);
    let mut first = letters[0].clone();
    let time = first["time"].take();
    assert!(time.as_str().is_some_and(|time| time.starts_with("20") && time.ends_with('Z')), "{time}");
    first.as_object_mut().expect("an object").remove("time");
    let expected = serde_json::json!({
        "kind": "jobs", "id": "a/1", "key": "a", "namespace": "default", "job": "web", "sink": "http",
        "reason": "400 Bad Request", "attempts": 3, "body": body,
    });
    assert_eq!(first, expected);
    assert_eq!(letters[1]["body_hex"], "ff00");
    assert_eq!(letters[1].get("body"), None);
    assert_eq!(letters[2]["kind"], "input");
    assert_eq!(letters[2]["context"], "line of namespace default");
    assert_eq!(letters[2]["body"], "no json");
    assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_cannot_be_written_is_an_error_and_takes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead");
    symlink("/dev/full", &path).expect("a link");
    let (place, book) = (in_file(&path), Book::new());
    let letter = || vec![Letter::new(&book.record("a", "{}"), "http", "no".to_owned(), 1)];
    let error = place.rejected(letter()).await.expect_err("no file");
    assert!(error.to_string().contains("dead: it is a symbolic link, not a regular file"), "{error}");
    assert!(place.input(b"{", "cut off", "").await.is_err());
    fs::remove_file(&path).expect("the link");
    place.rejected(letter()).await.expect("there is room");
    assert_eq!(lines(&path).len(), 1);
}

#[test]
fn a_letter_that_fits_half_is_taken_back() {
    if !with_small_files("dead_letter::tests::a_letter_that_fits_half_is_taken_back") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let place = in_file(&path);
        place.input(b"one", "no json", "").await.expect("there is room");
        let error = place.input(&vec![b'x'; 1 << 20], "large", "").await.expect_err("no room");
        assert!(error.to_string().contains("File too large"), "{error}");
        place.input(b"two", "no json", "").await.expect("there is room");
    });
    let bodies: Vec<_> = lines(&path).into_iter().map(|letter| letter["body"].clone()).collect();
    assert_eq!(bodies, ["one", "two"]);
}

#[tokio::test]
async fn a_missing_directory_is_found_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = in_file(&directory.path().join("missing/dead"));
    assert!(missing.check().await.expect_err("no directory").to_string().contains("missing/dead"));
    let path = directory.path().join("dead");
    in_file(&path).check().await.expect("it can be made");
    assert!(lines(&path).is_empty());
    DeadLetters::new(Place::Stop).check().await.expect("nothing to check");
}

#[tokio::test]
async fn a_line_that_a_crash_cut_off_stays_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead");
    fs::write(&path, "{\"time\":\"20").expect("half a line");
    in_file(&path).input(b"x", "no json", "").await.expect("there is room");
    let text = fs::read_to_string(&path).expect("the file");
    let (half, letter) = text.split_once('\n').expect("two lines");
    assert_eq!(half, "{\"time\":\"20");
    assert_eq!(serde_json::from_str::<Value>(letter).expect("whole")["body"], "x");
}

#[tokio::test]
async fn writers_share_a_file_and_follow_its_rotation() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead");
    let writers = (0..8).map(|writer| {
        let place = in_file(&path);
        tokio::spawn(async move {
            for _ in 0..3 {
                place.input(&vec![b'x'; 100_000], "large", &writer.to_string()).await.expect("there is room");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    assert_eq!(lines(&path).len(), 24);
    fs::rename(&path, directory.path().join("dead.1")).expect("rotated");
    in_file(&path).input(b"x", "no json", "").await.expect("there is room");
    assert_eq!(lines(&path).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_input_comes_back_from_its_line(raw in prop::collection::vec(any::<u8>(), 0..200), reason in ".*", context in ".*") {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("dead");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(in_file(&path).input(&raw, &reason, &context)).expect("there is room");
        // Without a file, nothing can fail.
        runtime.block_on(DeadLetters::new(Place::Log).input(&raw, &reason, &context)).expect("only logged");
        let letter = lines(&path).remove(0);
        let body = match (letter["body"].as_str(), letter["body_hex"].as_str()) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(hex)) => {
                let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
                digits.map(|pair| u8::from_str_radix(pair, 16).expect("a digit")).collect()
            }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(body, raw);
        prop_assert_eq!(letter["reason"].as_str(), Some(&*redact::shown(reason, redact::LINE)));
    }
}

#[tokio::test]
async fn reasons_are_kept_and_logged_as_one_short_line_of_plain_text() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead");
    let reason = format!("no\u{1b}]0;owned\u{7}\r\n\u{202e}\u{2028}{}", "x".repeat(1 << 20));
    let letter = Letter::new(&Book::new().record("a", "{}"), "http", reason.clone(), 1);
    in_file(&path).rejected(vec![letter]).await.expect("there is room");
    in_file(&path).input(b"no json", &reason, &reason).await.expect("there is room");
    for letter in lines(&path) {
        for field in ["reason", "context"] {
            let text = letter[field].as_str().unwrap_or_default();
            assert!(crate::redact::is_plain(text) && text.len() < 8 << 10, "{text:.500}");
        }
    }
}
