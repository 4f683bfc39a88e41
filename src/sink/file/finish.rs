//! From an open file to a finished one, which then never changes. Blocking.
//!
//! A finished file gets its name in one step, when all of it is on disk. The open file is removed only after that, so a crash at
//! any moment leaves one of the two whole; the next start finishes what is open, and removes what is there twice.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, ErrorKind, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    config::Config,
    directory::{FINISHED, OPEN, PART, files_below},
    fault::Fault,
};
use crate::{
    files,
    sink::ndjson::{Compression, NDJSON},
    sys,
};

/// A file that is to be finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) path: PathBuf,
    /// How much of it is on disk; what is behind that goes. `None` if that has to be found out.
    pub(super) bytes: Option<u64>,
}

/// Finishes one file. Returns how many bytes were cut off from its end.
pub(super) fn finish(config: &Config, closed: &Closed) -> Result<u64, Fault> {
    let path = &closed.path;
    let failed = |doing| Fault::of(doing, path);
    let file = files::open(path, OpenOptions::new().read(true).append(true)).map_err(failed("open"))?;
    let length = file.metadata().map_err(failed("examine"))?.len();
    let whole = match closed.bytes {
        Some(bytes) => bytes,
        None => whole_lines(&file).map_err(failed("read"))?,
    };
    if whole < length {
        file.set_len(whole).and_then(|()| file.sync_all()).map_err(failed("cut"))?;
    }
    let plain = path.with_extension("");
    if whole == 0 || is_finished(&plain, &file)? {
        fs::remove_file(path).map_err(failed("remove"))?;
        return Ok(length - whole);
    }
    let target = free_name(&plain, config.compression);
    match config.compression {
        Compression::None => fs::rename(path, &target).map_err(failed("rename"))?,
        compression => {
            let part = suffixed(&target, PART);
            let written = compress(config.mode, compression, &file, &part);
            let renamed = written.and_then(|()| fs::rename(&part, &target).map_err(Fault::of("rename", &part)));
            if let Err(fault) = renamed {
                // It takes space that may be short.
                fs::remove_file(&part).ok();
                return Err(fault);
            }
        }
    }
    files::sync_parent(&target).map_err(Fault::of("sync the directory of", &target))?;
    if config.compression != Compression::None {
        fs::remove_file(path).map_err(failed("remove"))?;
    }
    Ok(length - whole)
}

/// What an earlier process has left in the directory, oldest first. Half-compressed files are removed: the open ones are still there.
pub(super) fn leftovers(directory: &Path) -> Result<Vec<Closed>, Fault> {
    for part in files_below(directory, &[".ndjson.gz.part", ".ndjson.zst.part"])? {
        fs::remove_file(&part).map_err(Fault::of("remove", &part))?;
    }
    let mut open = files_below(directory, &[&format!("{NDJSON}{OPEN}")])?;
    open.sort();
    Ok(open.into_iter().map(|path| Closed { path, bytes: None }).collect())
}

/// `path` with this at its end.
pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether no file has this name yet, however it is compressed. `plain` ends with `.ndjson`.
pub(super) fn is_free(plain: &Path) -> bool {
    let stem = plain.with_extension("");
    let ends = FINISHED.iter().copied().chain([".ndjson.open"]);
    ends.map(|end| suffixed(&stem, end)).all(|path| fs::symlink_metadata(path).is_err())
}

/// The name of the finished file. Only a file of somebody else can have it already.
fn free_name(plain: &Path, compression: Compression) -> PathBuf {
    let stem = plain.with_extension("");
    let name = |number: u32| {
        let number = if number == 0 { String::new() } else { format!("-{number}") };
        suffixed(&stem, &format!("{number}{NDJSON}{}", compression.suffix()))
    };
    let is_free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
    (0..).map(name).find(is_free).unwrap_or_else(|| name(0))
}

/// How many bytes are whole lines that were certainly written. After a crash of the machine, blocks that were not on disk yet read
/// as zeros; no record has a zero byte.
fn whole_lines(file: &File) -> io::Result<u64> {
    let mut from = file;
    from.seek(SeekFrom::Start(0))?;
    let (mut read, mut whole) = (0, 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(whole),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = &buffer[..length];
        let zero = memchr::memchr(0, bytes);
        if let Some(last) = memchr::memrchr(b'\n', &bytes[..zero.unwrap_or(length)]) {
            whole = read + last as u64 + 1;
        }
        if zero.is_some() {
            return Ok(whole);
        }
        read += length as u64;
    }
}

/// Whether a finished file has all of `open` already: the process ended before it removed that.
fn is_finished(plain: &Path, open: &File) -> Result<bool, Fault> {
    for compression in [Compression::Gzip(1), Compression::Zstd(1)] {
        let path = suffixed(plain, compression.suffix());
        let finished = match files::open(&path, OpenOptions::new().read(true)) {
            Ok(finished) => finished,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Fault::of("open", &path)(error)),
        };
        let mut from = open;
        from.seek(SeekFrom::Start(0)).map_err(Fault::of("read", &path))?;
        // What cannot be read is not the same.
        if compression.reader(finished).and_then(|finished| is_same(finished, from)).unwrap_or(false) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_same(one: impl Read, other: impl Read) -> io::Result<bool> {
    let mut other = BufReader::new(other).bytes();
    for byte in BufReader::new(one).bytes() {
        let byte = byte?;
        if other.next().transpose()? != Some(byte) {
            return Ok(false);
        }
    }
    Ok(other.next().is_none())
}

fn compress(mode: u32, compression: Compression, open: &File, part: &Path) -> Result<(), Fault> {
    let mut from = open;
    from.seek(SeekFrom::Start(0)).map_err(Fault::of("read", part))?;
    let file = files::open_private(part, OpenOptions::new().write(true).create(true).truncate(true));
    let file = file.map_err(Fault::of("create", part))?;
    sys::files::set_mode(&file, mode).map_err(Fault::of("set the mode of", part))?;
    let file = compression.compress(from, file).map_err(Fault::of("compress into", part))?;
    file.sync_all().map_err(Fault::of("sync", part))
}
