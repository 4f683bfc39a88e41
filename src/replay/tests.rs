//! Real files, a real delivery, and scripted sinks.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::PathBuf,
    sync::Mutex,
};

use super::*;
use crate::{
    dead_letter::{Letter, Place, file},
    delivery::testing::{Book, Script, reject, retry, with_small_files},
    sink::Outcome,
};

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Files { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("letters")
    }

    /// A letter for each record, which was sent twice.
    fn append(&self, records: &[Record]) {
        let letters: Vec<_> =
            records.iter().map(|record| Letter::new(record, "script", "too large".into(), 2)).collect();
        file::append(&self.path(), &letters).expect("writable");
    }

    fn raw(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path()).expect("writable");
        file.write_all(text.as_bytes()).expect("writable");
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).expect("there")
    }

    /// Id, reason and attempts of each letter.
    fn letters(&self) -> Vec<(String, String, u32)> {
        let lines = read::read(&self.path()).expect("there").map(|line| line.expect("readable").letter);
        let letters = lines.map(|letter| match letter {
            Ok(StoredLetter { id, reason, attempts, .. }) => (id, reason, attempts),
            Err(_) => ("damaged".to_owned(), String::new(), 0),
        });
        letters.collect()
    }

    fn ids(&self) -> Vec<String> {
        self.letters().into_iter().map(|(id, ..)| id).collect()
    }

    /// There is no file beside it.
    fn assert_alone(&self) {
        let names: Vec<_> =
            fs::read_dir(self.directory.path()).expect("there").map(|it| it.expect("it").path()).collect();
        assert_eq!(names, [self.path()]);
    }
}

fn options() -> Options {
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    Options { max_in_flight: 1 << 20, grace: Duration::from_millis(100), any_sink: false, stop, abort }
}

async fn run(files: &Files, sink: Box<Script>, options: &Options) -> Replayed {
    let replay = Replay::open(&files.path()).expect("ours");
    let replayed = timeout(Duration::from_secs(120), replay.run(sink, Policy::default(), options)).await;
    replayed.expect("in time").expect("it runs")
}

/// What `with_small_files` allows, in bytes.
const LIMIT: u64 = 8 << 10;

const INPUT: &str = "{\"time\":\"t\",\"kind\":\"input\",\"reason\":\"no JSON\",\"attempts\":0,\"body\":\"x\"}\n";

#[tokio::test]
async fn what_is_taken_is_gone_and_what_is_refused_again_stays_in_its_place() {
    let (files, book) = (Files::new(), Book::new());
    files.append(&book.records(&["a", "bad"]));
    files.raw(INPUT);
    files.append(&book.records(&["c", "bad", "e"]));
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o640)).expect("ours");
    let (sink, mut sent) = Script::new(|batch| {
        let answer = |record: &Record| if &*record.key == "bad" { reject("still") } else { Outcome::Delivered };
        Some(Ok(batch.iter().map(answer).collect()))
    });
    let replayed = run(&files, sink, &options()).await;
    assert_eq!(replayed, Replayed { delivered: 3, refused: 2, undelivered: 0, left: 3, interrupted: false });
    assert!(!replayed.is_done());
    let mut ids = Vec::new();
    while let Ok(batch) = sent.try_recv() {
        ids.extend(batch);
    }
    assert_eq!(ids, ["a/1", "bad/2", "c/3", "bad/4", "e/5"]);
    let refused = |id: &str| (id.to_owned(), "still".to_owned(), 3);
    assert_eq!(files.letters(), [refused("bad/2"), (String::new(), "no JSON".into(), 0), refused("bad/4")]);
    assert_eq!(fs::metadata(files.path()).expect("there").permissions().mode() & 0o777, 0o640);
    files.assert_alone();
}

#[tokio::test]
async fn a_file_whose_records_are_all_taken_is_empty() {
    let (files, book) = (Files::new(), Book::new());
    files.append(&book.records(&["a", "b"]));
    let (sink, _sent) = Script::willing();
    let replayed = run(&files, sink, &options()).await;
    assert_eq!(replayed, Replayed { delivered: 2, ..Replayed::default() });
    assert!(replayed.is_done());
    assert_eq!(files.text(), "");
    let (sink, _sent) = Script::willing();
    assert_eq!(run(&files, sink, &options()).await, Replayed::default());
    files.assert_alone();
}

#[tokio::test]
async fn what_is_damaged_foreign_or_no_record_is_left_as_it_was() {
    let (files, book) = (Files::new(), Book::new());
    let odd = concat!(
        "{\"kind\":\"jobs\",\"id\":\"x/1\",\"sink\":\"pigeon\",\"reason\":\"no\",\"body\":\"{}\"}\n",
        "{\"kind\":\"novelties\",\"id\":\"x/2\",\"sink\":\"script\",\"body\":\"{}\"}\n",
        "{\"kind\":\"jobs\",\"id\":\"x/3\",\"sink\":\"script\"}\n",
        "{\"kind\":\"jobs\",\"id\":\"\",\"sink\":\"script\",\"body\":\"{}\"}\n",
    );
    files.raw(odd);
    files.append(&book.records(&["a"]));
    files.raw("{\"time\":\"20");
    let (sink, mut sent) = Script::willing();
    let replayed = run(&files, sink, &options()).await;
    assert_eq!(replayed, Replayed { delivered: 1, refused: 0, undelivered: 5, left: 5, interrupted: false });
    assert_eq!(sent.recv().await.expect("sent"), ["a/1"]);
    assert_eq!(files.text(), format!("{odd}{{\"time\":\"20\n"));
    let (sink, mut sent) = Script::willing();
    let replayed = run(&files, sink, &Options { any_sink: true, ..options() }).await;
    assert_eq!((replayed.delivered, replayed.left), (1, 4));
    assert_eq!(sent.recv().await.expect("sent"), ["x/1"]);
}

/// A sink to which record `until` comes once, and which then fails for ever; says when.
fn failing(last: &'static str) -> (Box<Script>, tokio::sync::mpsc::UnboundedReceiver<Vec<String>>) {
    let down = Mutex::new(false);
    Script::new(move |batch| {
        let mut down = down.lock().expect("no panic");
        let answer = |record: &Record| {
            if *down {
                return retry("down");
            }
            *down = &*record.key == last;
            Outcome::Delivered
        };
        Some(Ok(batch.iter().map(answer).collect()))
    })
}

#[tokio::test]
async fn what_is_not_delivered_when_it_is_stopped_is_in_the_file() {
    for abort in [false, true] {
        let (files, book) = (Files::new(), Book::new());
        files.append(&book.records(&["a", "b", "c", "d"]));
        let (sink, mut sent) = failing("b");
        let (replay, options) = (Replay::open(&files.path()).expect("ours"), options());
        let (stop, aborted) = (options.stop.clone(), options.abort.clone());
        let running = tokio::spawn(async move { replay.run(sink, Policy::default(), &options).await });
        while sent.recv().await.expect("it sends") != ["c/3", "d/4"] {}
        if abort {
            aborted.cancel();
        }
        stop.cancel();
        let replayed = timeout(Duration::from_secs(120), running).await.expect("in time").expect("no panic");
        let replayed = replayed.expect("it runs");
        assert_eq!(replayed, Replayed { delivered: 2, refused: 0, undelivered: 2, left: 2, interrupted: true });
        assert_eq!(files.ids(), ["c/3", "d/4"]);
        files.assert_alone();
    }
}

/// The window is full of records that the sink does not take.
#[tokio::test]
async fn what_was_never_handed_over_is_in_the_file_too() {
    let (files, book) = (Files::new(), Book::new());
    let body = format!("\"{}\"", "x".repeat(30_000));
    let records: Vec<_> = (0..20).map(|_| book.record("a", body.clone())).collect();
    files.append(&records);
    let (sink, mut sent) = Script::new(|batch| Some(Ok(batch.iter().map(|_| retry("down")).collect())));
    let (replay, options) =
        (Replay::open(&files.path()).expect("ours"), Options { max_in_flight: 1 << 16, ..options() });
    let stop = options.stop.clone();
    let running = tokio::spawn(async move { replay.run(sink, Policy::default(), &options).await });
    sent.recv().await.expect("it sends");
    stop.cancel();
    let replayed = timeout(Duration::from_secs(120), running).await.expect("in time").expect("no panic");
    let replayed = replayed.expect("it runs");
    assert!(replayed.interrupted && replayed.left == 20 && replayed.delivered == 0, "{replayed:?}");
    assert_eq!(files.ids(), (1..=20).map(|n| format!("a/{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_appended_meanwhile_stays_behind_what_is_refused() {
    let (files, book) = (Files::new(), Arc::new(Book::new()));
    files.append(&book.records(&["a", "bad"]));
    let (late, path) = (Arc::clone(&book), files.path());
    let (sink, _sent) = Script::new(move |batch| {
        let letter = Letter::new(&late.record("late", "{}"), "script", "new".into(), 1);
        file::append(&path, &[letter]).expect("nobody holds it");
        let answer = |record: &Record| if &*record.key == "bad" { reject("still") } else { Outcome::Delivered };
        Some(Ok(batch.iter().map(answer).collect()))
    });
    let replayed = run(&files, sink, &options()).await;
    assert_eq!((replayed.delivered, replayed.refused, replayed.undelivered), (1, 1, 0));
    let ids = files.ids();
    assert_eq!((ids[0].as_str(), ids.len()), ("bad/2", replayed.left));
    assert!(ids.len() >= 2 && ids[1..].iter().all(|id| id.starts_with("late/")), "{ids:?}");
}

/// Writers that wait for the lock while the file is replaced must not write to the old one.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_all_the_time_loses_nothing() {
    let (files, book) = (Files::new(), Book::new());
    let writing = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (path, writing) = (files.path(), Arc::clone(&writing));
            std::thread::spawn(move || {
                let book = Book::new();
                let mut count = 0;
                while count < 20 || writing.load(std::sync::atomic::Ordering::SeqCst) {
                    count += 1;
                    let mut record = book.record("k", "{}");
                    record.id = format!("{writer}/{count}").into();
                    file::append(&path, &[Letter::new(&record, "script", "no".into(), 1)]).expect("writable");
                }
                count
            })
        })
        .collect();
    let mut seen = Vec::new();
    for round in 0..30 {
        files.append(&book.records(&["r"]));
        // A refused letter replaces the file; without one the file is emptied.
        let (sink, mut sent) = Script::new(move |batch| {
            let refused = |number: usize| round % 2 == 0 && number == 0;
            let answer = |number| if refused(number) { reject("still") } else { Outcome::Delivered };
            Some(Ok((0..batch.len()).map(answer).collect()))
        });
        run(&files, sink, &options()).await;
        while let Ok(batch) = sent.try_recv() {
            seen.extend(batch);
        }
    }
    writing.store(false, std::sync::atomic::Ordering::SeqCst);
    let counts: Vec<usize> = writers.into_iter().map(|writer| writer.join().expect("no panic")).collect();
    seen.extend(files.ids());
    let seen: std::collections::HashSet<_> = seen.into_iter().collect();
    for (writer, count) in counts.into_iter().enumerate() {
        for number in 1..=count {
            assert!(seen.contains(&format!("{writer}/{number}")), "{writer}/{number} of {count} is lost");
        }
    }
}

#[tokio::test]
async fn one_at_a_time_and_only_what_is_a_file() {
    let (files, book) = (Files::new(), Book::new());
    files.append(&book.records(&["a"]));
    let one = Replay::open(&files.path()).expect("ours");
    assert!(matches!(Replay::open(&files.path()), Err(Error::Busy(_))));
    drop(one);
    files.assert_alone();
    assert!(matches!(Replay::open(files.directory.path()), Err(Error::NoFile(_))));
    assert!(matches!(Replay::open(&files.directory.path().join("none")), Err(Error::Open { .. })));
    // A foreign link in the place of the replacement is not followed.
    let (neighbour, target) = (files.directory.path().join("letters.replaying"), files.directory.path().join("target"));
    fs::write(&target, "precious").expect("writable");
    symlink(&target, &neighbour).expect("a link");
    assert!(matches!(Replay::open(&files.path()), Err(Error::Open { .. })));
    assert_eq!(fs::read_to_string(&target).expect("there"), "precious");
}

#[tokio::test]
async fn a_link_stays_one_and_what_a_killed_replay_left_is_no_hindrance() {
    let (files, book) = (Files::new(), Book::new());
    files.append(&book.records(&["a", "bad"]));
    files.raw("\n");
    fs::write(files.directory.path().join("letters.replaying"), "half of a letter").expect("writable");
    let link = files.directory.path().join("link");
    symlink(files.path(), &link).expect("a link");
    let (sink, _sent) = Script::new(|batch| {
        let answer = |record: &Record| if &*record.key == "bad" { reject("still") } else { Outcome::Delivered };
        Some(Ok(batch.iter().map(answer).collect()))
    });
    let replay = Replay::open(&link).expect("ours");
    let replayed = replay.run(sink, Policy::default(), &options()).await.expect("it runs");
    assert_eq!((replayed.delivered, replayed.left), (1, 1));
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert_eq!(files.ids(), ["bad/2"]);
}

#[tokio::test]
async fn a_file_that_is_rotated_meanwhile_is_let_be() {
    let (files, book) = (Files::new(), Book::new());
    files.append(&book.records(&["a"]));
    let (before, path) = (files.text(), files.path());
    let away = files.directory.path().join("letters.1");
    let (from, to) = (path.clone(), away.clone());
    let (sink, _sent) = Script::new(move |batch| {
        fs::rename(&from, &to).expect("ours");
        Some(Ok(batch.iter().map(|_| Outcome::Delivered).collect()))
    });
    let replay = Replay::open(&path).expect("ours");
    let error = replay.run(sink, Policy::default(), &options()).await.expect_err("it is gone");
    assert!(matches!(error, Error::Moved(_)), "{error}");
    assert_eq!(fs::read_to_string(&away).expect("there"), before);
    // A program that appends from here on writes to a file of its own.
    DeadLetters::new(Place::File(path)).input(b"x", "no JSON", "").await.expect("writable");
    assert_eq!(files.letters().len(), 1);
    assert!(!files.directory.path().join("letters.replaying").exists());
}

#[tokio::test]
async fn the_file_keeps_its_owner() {
    let (files, book) = (Files::new(), Book::new());
    files.append(&book.records(&["bad"]));
    if std::os::unix::fs::chown(files.path(), Some(4711), Some(4712)).is_err() {
        // Only root can give files away.
        return;
    }
    let (sink, _sent) = Script::new(|batch| Some(Ok(batch.iter().map(|_| reject("still")).collect())));
    assert_eq!(run(&files, sink, &options()).await.refused, 1);
    let metadata = fs::metadata(files.path()).expect("there");
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (4711, 4712, 0o600));
    assert_eq!(files.letters(), [("bad/1".to_owned(), "still".to_owned(), 3)]);
}

#[tokio::test]
async fn a_file_that_somebody_keeps_locked_is_waited_for_until_it_is_stopped() {
    let (files, book) = (Files::new(), Book::new());
    files.append(&book.records(&["a"]));
    let held = fs::File::open(files.path()).expect("there");
    held.lock().expect("free");
    let (replay, options) = (Replay::open(&files.path()).expect("ours"), options());
    options.stop.cancel();
    let (sink, _sent) = Script::willing();
    let ended =
        timeout(Duration::from_secs(120), replay.run(sink, Policy::default(), &options)).await.expect("in time");
    assert!(matches!(ended, Err(Error::Locked(_))), "{ended:?}");
    drop(held);
    assert_eq!(files.ids(), ["a/1"]);
    files.assert_alone();
}

#[test]
fn a_disk_that_is_full_leaves_the_file_as_it_was() {
    if !with_small_files("replay::tests::a_disk_that_is_full_leaves_the_file_as_it_was") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let (files, book) = (Files::new(), Book::new());
        files.append(&book.records(&["a"]));
        let room = fs::metadata(files.path()).expect("there").len();
        while fs::metadata(files.path()).expect("there").len() + room <= LIMIT {
            files.append(&book.records(&["bad"]));
        }
        let before = files.text();
        let reason =
            "a reason that is far longer than the old one, so that what is left is longer than the file".repeat(3);
        let (sink, _sent) = Script::new(move |batch| Some(Ok(batch.iter().map(|_| reject(&reason)).collect())));
        let replay = Replay::open(&files.path()).expect("ours");
        let ended = timeout(Duration::from_secs(120), replay.run(sink, Policy::default(), &options())).await;
        let error = ended.expect("in time").expect_err("no room");
        assert!(error.to_string().contains("File too large"), "{error}");
        assert_eq!(files.text(), before);
        files.assert_alone();
    });
}
