//! Real files in a directory. A full and a read-only disk: see `tests/sink_file.rs`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use proptest::prelude::*;

use super::*;
use crate::{delivery::testing::Book, sink::ndjson::Compression};

fn config(directory: &Path) -> Config {
    Config {
        directory: directory.to_owned(),
        name: "{Kind}".parse().expect("a pattern"),
        rotate_size: 1 << 20,
        rotate_interval: Duration::from_secs(3600),
        compression: Compression::None,
        fsync_interval: Duration::ZERO,
        mode: 0o640,
        keep: config::Keep::default(),
    }
}

fn writer(config: &Config) -> Writer {
    Writer::new(config.clone())
}

fn group(name: &str, bodies: &[&str]) -> Group {
    Group {
        name: name.to_owned(),
        bodies: bodies.iter().map(|body| bytes::Bytes::copy_from_slice(body.as_bytes())).collect(),
    }
}

fn write(writer: &mut Writer, name: &str, bodies: &[&str]) {
    let written = writer.write(&[group(name, bodies)], &|| true);
    assert!(written[0].lines == bodies.len() && written[0].failure.is_none(), "{written:?}");
}

/// The text of each file by its path without the time, in the order of their names.
fn texts(directory: &Path, suffixes: &[&str]) -> Vec<(String, String)> {
    let mut paths = directory::files_below(directory, suffixes).expect("readable");
    paths.sort();
    let text = |path: &std::path::PathBuf| {
        let how = match path.extension().and_then(|end| end.to_str()) {
            Some("gz") => Compression::Gzip(1),
            Some("zst") => Compression::Zstd(1),
            _ => Compression::None,
        };
        let mut text = String::new();
        let file = File::open(path).expect("readable");
        how.reader(file).expect("a decoder").read_to_string(&mut text).expect("text");
        let name = path.strip_prefix(directory).expect("below").display().to_string();
        let (stem, end) = name.split_once("-2").expect("a time");
        (format!("{stem}{}", &end[end.find('Z').expect("a time") + 1..]), text)
    };
    paths.iter().map(text).collect()
}

fn finished(directory: &Path) -> Vec<(String, String)> {
    texts(directory, &directory::FINISHED)
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn each_record_is_a_line_of_the_file_of_its_name_and_the_end_finishes_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let config = Config { name: "{Kind}/{Key}".parse().expect("a pattern"), ..config(path) };
    let (files, policy) = config.build(None).expect("valid");
    assert!(policy.linger.is_zero());
    let outcomes = files.send(&Book::new().records(&["a", "b", "a/../c"])).await.expect("open");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Delivered)), "{outcomes:?}");
    assert_eq!(finished(path), []);
    let names = |found: Vec<(String, String)>| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(
        names(texts(path, &[".open"])),
        ["jobs/a%2F..%2Fc.ndjson.open", "jobs/a.ndjson.open", "jobs/b.ndjson.open"]
    );
    files.close().await;
    assert_eq!(
        finished(path),
        pairs(&[("jobs/a%2F..%2Fc.ndjson", "{}\n"), ("jobs/a.ndjson", "{}\n"), ("jobs/b.ndjson", "{}\n")])
    );
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&path.join("jobs")), 0o750);
    let file = directory::files_below(path, &[".ndjson"]).expect("readable").remove(0);
    assert_eq!(mode(&file), 0o640);
    // It has freed the directory.
    assert!(!directory::Lock::is_taken(path).expect("readable"));
}

#[tokio::test]
async fn a_lease_that_has_ended_writes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (files, _) = config(directory.path()).build(None).expect("valid");
    let book = Book::new();
    book.lease.set(LeaseState::Suspended);
    let outcomes = files.send(&book.records(&["a"])).await.expect("open");
    assert!(matches!(&outcomes[0], Outcome::Retry { reason, .. } if reason.contains("lease")), "{outcomes:?}");
    assert_eq!(directory::files_below(directory.path(), &[".open"]).expect("readable").len(), 0);
}

#[test]
fn no_file_grows_beyond_its_size_and_a_larger_line_is_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = writer(&Config { rotate_size: 10, ..config(directory.path()) });
    let long = "x".repeat(50);
    write(&mut writer, "a", &["1234", "5678", "90", &long, "1"]);
    write(&mut writer, "a", &["2"]);
    writer.end();
    let texts: Vec<_> = finished(directory.path()).into_iter().map(|(_, text)| text).collect();
    // Files of one millisecond have a number, which sorts before the suffix.
    let mut sorted = texts.clone();
    sorted.sort();
    let mut expected = ["1234\n5678\n".to_owned(), "90\n".to_owned(), format!("{long}\n"), "1\n2\n".to_owned()];
    expected.sort();
    assert_eq!(sorted, expected);
}

#[test]
fn a_file_is_finished_at_its_age_also_if_nothing_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = writer(&Config { rotate_interval: Duration::ZERO, ..config(directory.path()) });
    write(&mut writer, "a", &["1"]);
    assert!(writer.tick().is_none(), "nothing is left to do");
    assert_eq!(finished(directory.path()), pairs(&[("a.ndjson", "1\n")]));
}

#[test]
fn only_so_many_files_are_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = writer(&config(directory.path()));
    for number in 0..100 {
        write(&mut writer, &format!("a{number}"), &["1"]);
    }
    assert_eq!((finished(directory.path()).len(), texts(directory.path(), &[".open"]).len()), (36, 64));
}

#[test]
fn the_next_start_finishes_what_a_crash_has_left_and_cuts_what_is_not_whole() {
    for compression in [Compression::None, Compression::Gzip(6), Compression::Zstd(3)] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let name = |rest: &str| path.join(format!("jobs-20260101T00000{rest}"));
        for (rest, text) in [
            ("0.000Z.ndjson.open", "{\"a\":1}\n{\"b\":2}\n"),
            ("1.000Z.ndjson.open", "{\"a\":1}\n{\"b\""),
            // After a crash of the machine.
            ("2.000Z.ndjson.open", "{\"a\":1}\n\0\0\0\n{\"c\":3}\n"),
            ("3.000Z.ndjson.open", "{\"half"),
            ("4.000Z.ndjson.open", ""),
            ("4.000Z.ndjson.gz.part", "half"),
            ("5.000Z.ndjson.open", "{\"a\":1}\n"),
            ("5.000Z.ndjson.open.txt", "not ours\n"),
        ] {
            fs::write(name(rest), text).expect("writable");
        }
        // It was compressed, and the process ended before it removed the open file.
        let whole = Compression::Zstd(3).compress("{\"a\":1}\n".as_bytes(), Vec::new()).expect("memory");
        fs::write(name("5.000Z.ndjson.zst"), whole).expect("writable");
        let mut writer = writer(&Config { compression, ..config(path) });
        write(&mut writer, "new", &["1"]);
        writer.end();
        let end = compression.suffix();
        let jobs = format!("jobs.ndjson{end}");
        let expected = [
            (jobs.as_str(), "{\"a\":1}\n{\"b\":2}\n"),
            (&jobs, "{\"a\":1}\n"),
            (&jobs, "{\"a\":1}\n"),
            ("jobs.ndjson.zst", "{\"a\":1}\n"),
            (&format!("new.ndjson{end}"), "1\n"),
        ];
        assert_eq!(finished(path), pairs(&expected), "{compression:?}");
        assert_eq!(directory::files_below(path, &[".open", ".part"]).expect("readable").len(), 0);
        assert!(name("5.000Z.ndjson.open.txt").exists());
    }
}

#[test]
fn a_file_of_somebody_else_is_never_overwritten() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    for compression in [Compression::None, Compression::Zstd(3)] {
        let theirs = path.join(format!("jobs-20260101T000000.000Z.ndjson{}", compression.suffix()));
        fs::write(&theirs, "theirs\n").expect("writable");
        fs::write(path.join("jobs-20260101T000000.000Z.ndjson.open"), "ours\n").expect("writable");
        let mut writer = writer(&Config { compression, ..config(path) });
        write(&mut writer, "new", &["1"]);
        writer.end();
        assert_eq!(fs::read_to_string(theirs).expect("there"), "theirs\n");
        assert!(path.join(format!("jobs-20260101T000000.000Z-1.ndjson{}", compression.suffix())).exists());
    }
}

#[test]
fn an_open_file_or_a_directory_that_somebody_removes_is_noticed_before_the_next_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("d");
    fs::create_dir(&path).expect("writable");
    let mut writer = writer(&config(&path));
    write(&mut writer, "a", &["1"]);
    fs::remove_file(directory::files_below(&path, &[".open"]).expect("readable").remove(0)).expect("there");
    write(&mut writer, "a", &["2"]);
    fs::remove_dir_all(&path).expect("there");
    let written = writer.write(&[group("a", &["3"]), group("b", &["4"])], &|| true);
    let reason = written[0].failure.as_deref().expect("it failed");
    assert!(reason.contains("create the directory that SINK_FILE_DIRECTORY names"), "{reason}");
    assert!(written[0].lines == 0 && written[1].lines == 0 && written[1].failure.is_none(), "{written:?}");
    fs::create_dir(&path).expect("writable");
    write(&mut writer, "a", &["3"]);
    writer.end();
    assert_eq!(finished(&path), pairs(&[("a.ndjson", "3\n")]));
}

#[test]
fn a_directory_has_one_writer() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut first, mut second) = (writer(&config(directory.path())), writer(&config(directory.path())));
    write(&mut first, "a", &["1"]);
    let written = second.write(&[group("a", &["2"])], &|| true);
    assert!(written[0].failure.as_deref().is_some_and(|reason| reason.contains("another process")), "{written:?}");
    first.end();
    write(&mut second, "a", &["2"]);
}

#[test]
fn the_oldest_finished_files_go_when_there_are_too_many() {
    let directory = tempfile::tempdir().expect("a directory");
    let keep = config::Keep { files: Some(3), bytes: None };
    let mut writer = writer(&Config { keep, ..config(directory.path()) });
    for number in 0..6 {
        write(&mut writer, &format!("a{number}"), &["1"]);
        // Each a millisecond later, and so a name later.
        while Stamp::of(SystemTime::now()).compact() == newest(directory.path()) {}
    }
    writer.end();
    let names: Vec<_> = finished(directory.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a3.ndjson", "a4.ndjson", "a5.ndjson"]);
}

fn newest(directory: &Path) -> String {
    let paths = directory::files_below(directory, &[".open"]).expect("readable");
    let times = paths.iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        Some(name.split_once('-')?.1.trim_end_matches(".ndjson.open").to_owned())
    });
    times.max().unwrap_or_default()
}

#[tokio::test]
async fn a_check_leaves_nothing_and_says_what_is_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let within = Duration::from_secs(60);
    let found = config(directory.path()).check(within).await;
    assert!(found[0].text.contains("can be written to, ") && found[0].fix.is_none(), "{found:?}");
    assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 0);
    let found = config(&directory.path().join("none")).check(within).await;
    assert!(found[0].fix.as_deref().is_some_and(|fix| fix.contains("SINK_FILE_DIRECTORY")), "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However an earlier process ended: every whole line of before the cut is there once, in order, and nothing else.
    #[test]
    fn a_crash_at_any_byte_leaves_whole_lines(
        lines in proptest::collection::vec("[a-z]{0,20}", 0..20),
        cut in any::<prop::sample::Index>(),
        kind in 0..3_u8,
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let text = &text[..cut.index(text.len() + 1)];
        fs::write(directory.path().join("jobs-20260101T000000.000Z.ndjson.open"), text).expect("writable");
        let compression = [Compression::None, Compression::Gzip(1), Compression::Zstd(1)][usize::from(kind)];
        let mut writer = writer(&Config { compression, ..config(directory.path()) });
        write(&mut writer, "new", &["1"]);
        writer.end();
        let found: BTreeMap<_, _> = finished(directory.path()).into_iter().collect();
        let whole = text.rfind('\n').map_or("", |last| &text[..=last]);
        let ours = found.get(&format!("jobs.ndjson{}", compression.suffix())).map_or("", String::as_str);
        prop_assert_eq!(ours, whole);
        prop_assert_eq!(found.len(), 1 + usize::from(!whole.is_empty()));
    }
}
