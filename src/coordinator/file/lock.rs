//! The lock file, and its directory. Blocking.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    files,
    lease::Error,
    sys::files::{Id, create_private_directory, links},
};

/// An exclusive lock. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

/// The result of an attempt to lock.
#[derive(Debug)]
pub(super) enum Attempt {
    /// This process has it.
    Ours(Lock),
    /// Another process has it: the text of the lock file.
    Theirs(String),
}

/// A lock file that another process had locked. It is remembered by the file and not by its path: removing it does not
/// stop that process.
#[derive(Debug)]
pub(super) struct Rival {
    file: File,
    holder: String,
}

impl Rival {
    /// Whether it is still locked.
    fn goes_on(&self) -> bool {
        match self.file.try_lock() {
            // The last handle frees it in any case.
            Ok(()) => self.file.unlock().is_err(),
            Err(_) => true,
        }
    }

    fn is_file(&self, file: &File) -> bool {
        Id::of(&self.file).is_ok_and(|ours| Id::of(file).is_ok_and(|theirs| theirs == ours))
    }
}

impl Lock {
    pub(super) fn try_take(path: PathBuf) -> Result<Attempt, Error> {
        Lock::try_take_after(path, &mut Vec::new())
    }

    /// As [`Lock::try_take`], for a standby that has seen `rivals`: a rival that is still locked keeps the standby from
    /// the lock.
    pub(super) fn try_take_after(path: PathBuf, rivals: &mut Vec<Rival>) -> Result<Attempt, Error> {
        match Lock::try_once(path)? {
            Ok(lock) => {
                rivals.retain(|rival| !rival.is_file(&lock.file) && rival.goes_on());
                Ok(rivals.first().map(|rival| Attempt::Theirs(rival.holder.clone())).unwrap_or(Attempt::Ours(lock)))
            }
            Err(rival) => {
                let holder = rival.holder.clone();
                if !rivals.iter().any(|known| known.is_file(&rival.file)) {
                    rivals.push(rival);
                }
                Ok(Attempt::Theirs(holder))
            }
        }
    }

    fn try_once(path: PathBuf) -> Result<Result<Lock, Rival>, Error> {
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = files::open_private(&path, &mut options).map_err(failed("open lock", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Err(Rival { holder: holder(&file), file })),
                Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
            }
            let lock = Lock { file, path: path.clone() };
            // Another process can have replaced the file between the two calls; then this lock keeps no process out.
            if lock.check().is_ok() {
                lock.sign();
                return Ok(Ok(lock));
            }
        }
    }

    /// Whether the path still names the locked file. Where it does not, another process can lock the new one.
    pub(super) fn check(&self) -> Result<(), Error> {
        let named = Id::at(&self.path).map_err(failed("find locked file", &self.path))?;
        let locked = Id::of(&self.file).map_err(failed("examine lock", &self.path))?;
        if named == locked {
            return Ok(());
        }
        Err(failed("keep lock", &self.path)(io::Error::other("the lock file was replaced while it was locked")))
    }

    pub(super) fn give_back(&self) -> Result<(), Error> {
        self.file.unlock().map_err(failed("unlock", &self.path))
    }

    /// Writes who holds it. Only people read that, so a full disk does not matter.
    fn sign(&self) {
        let sign = || -> io::Result<()> {
            // A second name belongs to another program: do not empty its file.
            if links(&self.file)? > 1 {
                return Ok(());
            }
            self.file.set_len(0)?;
            (&self.file).write_all(format!("pid {}\n", std::process::id()).as_bytes())
        };
        if let Err(error) = sign() {
            tracing::debug!(%error, path = %self.path.display(), "cannot sign lock file");
        }
    }
}

pub(super) fn holder(mut file: &File) -> String {
    let mut text = [0; 64];
    let length = file.read(&mut text).unwrap_or(0);
    String::from_utf8_lossy(&text[..length]).trim().to_owned()
}

/// Creates the data directory, so that it survives a crash.
pub(super) fn prepare(directory: &Path) -> Result<(), Error> {
    match directory.metadata() {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(failed("open data directory", directory)(io::ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("open data directory", directory)(error)),
    }
    let new = directory.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    let new: Vec<_> = new.collect();
    create_private_directory(directory).map_err(failed("create data directory", directory))?;
    for path in new {
        files::sync_parent(path).map_err(failed("create data directory", directory))?;
    }
    Ok(())
}

/// Wraps an error of `operation` on `path`.
pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.display().to_string();
    move |source| Error::Io { operation, path, source }
}
