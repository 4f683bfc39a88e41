//! The file, and the one that will replace it. Blocking.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{
    dead_letter::{Letter, file},
    files, sys,
};

/// How many bytes are copied at a time.
const CHUNK: usize = 1 << 16;

/// Why a dead-letter file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened, or the file beside it cannot be made.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A directory, a pipe or a device.
    #[error("{} is not a regular file", .0.display())]
    NoFile(PathBuf),
    /// Another replay is at work on it.
    #[error("another replay of {} is under way", .0.display())]
    Busy(PathBuf),
    /// The replacement would belong to another user, and the program could no longer write to it.
    #[error("{} belongs to another user; replay it as that user or as root: {source}", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another program holds the lock.
    #[error(
        "cannot lock {}: another program holds its lock; the file is unchanged, and the next replay sends its delivered \
         letters again", .0.display()
    )]
    Locked(PathBuf),
    /// The file was renamed.
    #[error(
        "cannot replace {}: it was renamed during the replay; it still has all its letters, delivered ones included",
        .0.display()
    )]
    Moved(PathBuf),
    /// It cannot be read, or its replacement cannot be written.
    #[error("cannot replay {}: {source}; the file is unchanged, and the next replay sends its delivered letters again", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A dead-letter file, and beside it, as `PATH.replaying`, its replacement. The replacement is locked for as long as
/// this lives, so that one replay is at work at a time.
#[derive(Debug)]
pub(super) struct Rest {
    path: PathBuf,
    letters: File,
    /// Where the file ended when it was opened.
    until: u64,
    rest_path: PathBuf,
    rest: BufWriter<File>,
    lines: usize,
    /// The replacement is in its place.
    placed: bool,
}

impl Rest {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Open { path, source }
        };
        // A link stays a link: its target is replaced.
        let path = fs::canonicalize(path).map_err(failed(path))?;
        if !path.is_file() {
            return Err(Error::NoFile(path));
        }
        let letters = files::open(&path, OpenOptions::new().read(true).append(true)).map_err(failed(&path))?;
        let mut rest_path = OsString::from(&path);
        rest_path.push(".replaying");
        let rest_path = PathBuf::from(rest_path);
        let rest = loop {
            let rest = neighbour(&rest_path).map_err(failed(&rest_path))?;
            match rest.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Err(Error::Busy(path)),
                Err(fs::TryLockError::Error(error)) => return Err(failed(&rest_path)(error)),
            }
            // The last holder of the lock has renamed or removed it.
            if files::is_named(&rest_path, &rest).map_err(failed(&rest_path))? {
                break rest;
            }
        };
        let (lines, placed) = (0, false);
        // From here on, dropping it removes the replacement.
        let rest = BufWriter::with_capacity(CHUNK, rest);
        let opened = Rest { path, letters, until: 0, rest_path, rest, lines, placed };
        opened.own()?;
        Ok(opened)
    }

    /// Empties the replacement, and gives it the owner and the mode of the file.
    fn own(&self) -> Result<(), Error> {
        let rest = self.rest.get_ref();
        let set = || {
            rest.set_len(0)?;
            sys::files::own_like(rest, &self.letters)
        };
        set().map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => Error::Owner { path: self.path.clone(), source },
            _ => Error::Open { path: self.rest_path.clone(), source },
        })
    }

    /// A second handle on the file: a lock on it covers the first one as well.
    pub(super) fn handle(&self) -> Result<File, Error> {
        self.letters.try_clone().map_err(|source| self.broken(source))
    }

    /// Notes where the file ends. Call it under the file's lock, which it frees.
    pub(super) fn measure(&mut self) -> Result<(), Error> {
        let bytes = self.letters.metadata().map(|metadata| metadata.len());
        let measured = bytes.and_then(|bytes| self.letters.unlock().map(|()| bytes));
        self.until = measured.map_err(|source| self.broken(source))?;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the letters end that are replayed.
    pub(super) fn until(&self) -> u64 {
        self.until
    }

    pub(super) fn broken(&self, source: io::Error) -> Error {
        Error::Broken { path: self.path.clone(), source }
    }

    /// Keeps a letter in the file, with its new reason and attempts.
    pub(super) fn write(&mut self, letter: Letter) -> Result<(), Error> {
        self.lines += 1;
        file::write_lines(&mut self.rest, &[letter])
            .map_err(|source| Error::Broken { path: self.rest_path.clone(), source })
    }

    /// Keeps a line in the file as it is.
    pub(super) fn keep(&mut self, at: &Range<u64>) -> Result<(), Error> {
        self.copy(at).map_err(|source| Error::Broken { path: self.rest_path.clone(), source })
    }

    /// Copies whole lines; closes one that is cut off.
    fn copy(&mut self, at: &Range<u64>) -> io::Result<()> {
        let mut chunk = vec![0; usize::try_from(at.end - at.start).map_or(CHUNK, |bytes| bytes.min(CHUNK))];
        let (mut place, mut last) = (at.start, b'\n');
        while place < at.end {
            let bytes = usize::try_from(at.end - place).map_or(chunk.len(), |left| left.min(chunk.len()));
            let chunk = &mut chunk[..bytes];
            sys::files::read_exact_at(&self.letters, chunk, place)?;
            for byte in &*chunk {
                // An empty line is no letter.
                self.lines += usize::from(last == b'\n' && *byte != b'\n');
                last = *byte;
            }
            self.rest.write_all(chunk)?;
            place += bytes as u64;
        }
        if last == b'\n' { Ok(()) } else { self.rest.write_all(b"\n") }
    }

    /// Replaces the file by the letters that are left and everything from byte `from` on; returns how many letters that
    /// are. Where nothing has changed, the file stays. Call it under the file's lock.
    pub(super) fn commit(mut self, from: u64, changed: bool) -> Result<usize, Error> {
        let broken = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Broken { path, source }
        };
        let (path, rest_path) = (self.path.clone(), self.rest_path.clone());
        // A writer that waits for the lock finds another file under the name, and writes to that.
        let metadata = self.letters.metadata().map_err(broken(&path))?;
        if !files::is_named(&path, &self.letters).map_err(broken(&path))? {
            return Err(Error::Moved(path));
        }
        self.copy(&(from..metadata.len())).and_then(|()| self.rest.flush()).map_err(broken(&rest_path))?;
        if !changed {
            return Ok(self.lines);
        }
        if self.lines == 0 {
            self.letters.set_len(0).and_then(|()| self.letters.sync_all()).map_err(broken(&path))?;
            return Ok(0);
        }
        self.rest.get_ref().sync_all().map_err(broken(&rest_path))?;
        fs::rename(&rest_path, &path).map_err(broken(&path))?;
        self.placed = true;
        // Where only this fails, a crash of the machine could bring the old file back: repeats, and no loss.
        if let Err(error) = files::sync_parent(&path) {
            tracing::warn!(%error, path = %path.display(), "cannot sync directory of dead letters");
        }
        Ok(self.lines)
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        if let Err(error) = fs::remove_file(&self.rest_path) {
            tracing::warn!(%error, path = %self.rest_path.display(), "cannot remove replacement file");
        }
    }
}

/// Readable by its owner alone, and never through a link: the directory can belong to others.
fn neighbour(path: &Path) -> io::Result<File> {
    files::open_private(path, OpenOptions::new().read(true).append(true).create(true))
}
