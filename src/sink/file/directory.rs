//! The directory: who may write to it, what is in it, and what is deleted from it. Blocking.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{config::Keep, fault::Fault};
use crate::{files, sink::ndjson::NDJSON, sys};

/// The suffix of a file that is still written to.
pub(super) const OPEN: &str = ".open";
/// The suffix of a file that is not yet compressed to its end.
pub(super) const PART: &str = ".part";
/// What a finished file can end with.
pub(super) const FINISHED: [&str; 3] = [NDJSON, ".ndjson.gz", ".ndjson.zst"];

const LOCK: &str = ".nomad-firehose.lock";
/// How long the process that has the lock may take to end: a pipeline that starts again in place waits for its predecessor.
const PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// How deep below the directory files are looked for. A pattern is not deeper.
pub(super) const DEEPEST: usize = 8;

/// The right to write to a directory. Dropping it frees it, and so does the end of the process.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock; waits a moment if another one has it.
    pub(super) fn take(directory: &Path) -> Result<Self, Fault> {
        let until = Instant::now() + PATIENCE;
        loop {
            match Lock::try_take(directory) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() < until => thread::sleep(POLL),
                Ok(None) => {
                    let error = io::Error::new(ErrorKind::WouldBlock, "another process or pipeline writes there");
                    return Err(Fault::of("lock", &directory.join(LOCK))(error));
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Takes the lock; `None` if another one has it.
    pub(super) fn try_take(directory: &Path) -> Result<Option<Self>, Fault> {
        let path = directory.join(LOCK);
        let failed = |doing| Fault::of(doing, &path);
        let mut options = OpenOptions::new();
        let file = files::open_private(&path, options.read(true).write(true).create(true).truncate(false));
        let file = file.map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
        let lock = Lock { file, path };
        // Another process can have replaced the file between the two calls; then this lock keeps no process out.
        if !lock.is_there() {
            return Ok(None);
        }
        lock.sign();
        Ok(Some(lock))
    }

    /// Whether another process or pipeline writes to the directory.
    pub(super) fn is_taken(directory: &Path) -> Result<bool, Fault> {
        Ok(directory.join(LOCK).exists() && Lock::try_take(directory)?.is_none())
    }

    /// Whether the directory still has the locked file. If not, another process can lock a new one.
    pub(super) fn is_there(&self) -> bool {
        files::is_named(&self.path, &self.file).unwrap_or(false)
    }

    /// Writes who has it. Only people read that, so a full disk does not matter.
    fn sign(&self) {
        let sign = || {
            self.file.set_len(0).and_then(|()| (&self.file).write_all(format!("{}\n", std::process::id()).as_bytes()))
        };
        if let Err(error) = sign() {
            tracing::debug!(%error, path = %self.path.display(), "cannot sign lock file");
        }
    }
}

/// Creates the directories between `root` and `file`, so that they survive a crash.
pub(super) fn create_parents(root: &Path, file: &Path, mode: u32) -> Result<(), Fault> {
    let Some(parent) = file.parent().filter(|parent| *parent != root && !parent.is_dir()) else { return Ok(()) };
    create_parents(root, parent, mode)?;
    // Who may read the files may search the directory.
    let mode = mode | ((mode & 0o444) >> 2);
    match sys::files::create_directory(parent, mode) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created.and_then(|()| files::sync_parent(parent)),
    }
    .map_err(Fault::of("create", parent))
}

/// The files below `directory` whose names end so, in no order. Links are not followed.
pub(super) fn files_below(directory: &Path, suffixes: &[&str]) -> Result<Vec<PathBuf>, Fault> {
    let mut found = Vec::new();
    let mut directories = vec![(directory.to_owned(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(Fault::of("read", &directory))? {
            let entry = entry.map_err(Fault::of("read", &directory))?;
            let kind = entry.file_type().map_err(Fault::of("examine", &entry.path()))?;
            if kind.is_dir() && depth < DEEPEST {
                directories.push((entry.path(), depth + 1));
            }
            let name = entry.file_name();
            let is_wanted = |name: &str| suffixes.iter().any(|suffix| name.ends_with(suffix));
            if kind.is_file() && name.to_str().is_some_and(is_wanted) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Deletes the oldest finished files until the rest is within the bounds. Files with other names than ours stay. Returns how many
/// it deleted.
pub(super) fn delete_old(directory: &Path, keep: Keep) -> Result<usize, Fault> {
    if keep == Keep::default() {
        return Ok(0);
    }
    let mut all = Vec::new();
    for path in files_below(directory, &FINISHED)? {
        let Some(time) = path.file_name().and_then(|name| time_of(name.to_str()?)).map(str::to_owned) else { continue };
        match fs::symlink_metadata(&path) {
            Ok(found) => all.push((time, path, found.len())),
            // A consumer has deleted it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Fault::of("examine", &path)(error)),
        }
    }
    all.sort();
    let (mut files, mut bytes) = (all.len(), all.iter().map(|(_, _, bytes)| bytes).sum::<u64>());
    let mut deleted = 0;
    for (_, path, length) in all {
        let is_within = keep.files.is_none_or(|most| files <= most) && keep.bytes.is_none_or(|most| bytes <= most);
        if is_within {
            break;
        }
        match fs::remove_file(&path) {
            Ok(()) => deleted += 1,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Fault::of("delete", &path)(error)),
        }
        files -= 1;
        bytes -= length;
    }
    Ok(deleted)
}

/// The time and the number in the name of a finished file: `20261129T075037.123Z` of `jobs-20261129T075037.123Z.ndjson.zst`.
fn time_of(name: &str) -> Option<&str> {
    let stem = FINISHED.iter().find_map(|suffix| name.strip_suffix(suffix))?;
    let is_time = |place: usize| {
        let time = stem.get(place..)?.strip_prefix('-')?;
        let (date, rest) = time.split_once('T')?;
        let (clock, number) = rest.split_once('Z')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
        (date.len() == 8 && clock.len() == 10 && [date, clock, number].into_iter().all(digits)).then_some(time)
    };
    stem.match_indices('-').find_map(|(place, _)| is_time(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let found = files_below(directory, &[""]).expect("a directory");
        let mut names: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(directory).expect("below").display().to_string())
            .filter(|name| name != LOCK)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_one_has_the_lock_and_a_lock_that_is_gone_keeps_nobody_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let lock = Lock::take(directory.path()).expect("free");
        assert!(Lock::try_take(directory.path()).expect("readable").is_none());
        let words = Lock::take(directory.path()).expect_err("taken").to_string();
        assert!(words.contains("another process or pipeline writes there; end the other process"), "{words}");
        fs::remove_file(directory.path().join(LOCK)).expect("there");
        assert!(!lock.is_there());
        let second = Lock::take(directory.path()).expect("free");
        drop(lock);
        assert!(second.is_there());
        assert!(Lock::take(&directory.path().join("none")).expect_err("missing").is_missing());
    }

    #[test]
    fn the_oldest_files_of_ours_are_deleted_first_wherever_they_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        create_parents(path, &path.join("a/b/c"), 0o640).expect("writable");
        for name in [
            "z-20260101T000000.000Z.ndjson",
            "a/b/k-20260101T000000.000Z-1.ndjson.gz",
            "a/x-20260102T000000.000Z.ndjson.zst",
            "y-20260103T000000.000Z.ndjson.open",
            "other.ndjson",
            "old-2026.ndjson",
        ] {
            fs::write(path.join(name), [0; 100]).expect("writable");
        }
        assert_eq!(delete_old(path, Keep::default()).expect("readable"), 0);
        let two = Keep { files: Some(2), bytes: None };
        assert_eq!(delete_old(path, two).expect("readable"), 1);
        assert_eq!(delete_old(path, two).expect("readable"), 0);
        assert_eq!(delete_old(path, Keep { files: None, bytes: Some(199) }).expect("readable"), 1);
        let left = [
            "a/x-20260102T000000.000Z.ndjson.zst",
            "old-2026.ndjson",
            "other.ndjson",
            "y-20260103T000000.000Z.ndjson.open",
        ];
        assert_eq!(names(path), left);
    }
}
