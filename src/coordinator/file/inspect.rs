//! The checkpoints in a directory, seen from outside. Blocking, except for the trait.

use std::{
    fs::{self, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use futures_util::future::BoxFuture;

use super::{
    Directory, blocking,
    lock::{self, Attempt, Lock, failed},
    store::{self, CheckpointPart},
};
use crate::{
    coordinator::{
        Coordinator,
        inspect::{Content, Inspected, Inspector, Leader, Next, ResetOutcome, SetOutcome, Target, Unit},
    },
    files,
    kind::Kind,
    lease::Error,
};

/// The files of one resource.
struct Files {
    kind: Kind,
    lock: PathBuf,
    checkpoint: PathBuf,
    /// A checkpoint that was cut off.
    temporary: PathBuf,
}

impl Files {
    fn new(directory: &Path, kind: Kind) -> Self {
        let file = |end: &str| directory.join(format!("{}.{end}", kind.storage_name()));
        Files { kind, lock: file("lock"), checkpoint: file("json"), temporary: file("json.tmp") }
    }

    fn inspect(&self) -> Result<Inspected, Error> {
        let content = match store::read(self.kind, &self.checkpoint) {
            Ok(None) => Content::Nothing,
            Ok(Some(checkpoint)) => Content::Readable { checkpoint: Box::new(checkpoint), stored_value: None },
            Err(Error::Corrupt { path, reason, reset }) => Content::Unreadable { path, reason, reset },
            Err(error) => return Err(error),
        };
        let value = match &content {
            Content::Readable { checkpoint, .. } if checkpoint.value > 0 => Some(Ok(checkpoint.value)),
            _ => None,
        };
        let (entries, bytes) = sizes(&[&self.lock, &self.checkpoint, &self.temporary])?;
        Ok(Inspected { kind: self.kind, leader: self.leader()?, content, value, entries, bytes })
    }

    /// The system refuses a shared lock while another process has the exclusive one. A standby that tries at the same
    /// moment tries again a moment later.
    fn leader(&self) -> Result<Leader, Error> {
        let file = match files::open(&self.lock, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Leader::None),
            Err(error) => return Err(failed("open lock", &self.lock)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Leader::None),
            Err(TryLockError::WouldBlock) => Ok(known(lock::holder(&file))),
            Err(TryLockError::Error(error)) => Err(failed("examine lock", &self.lock)(error)),
        }
    }

    fn forget(&self) -> Result<ResetOutcome, Error> {
        let files = [&self.checkpoint, &self.temporary];
        let lock = match Lock::try_take(self.lock.clone())? {
            Attempt::Ours(lock) => lock,
            Attempt::Theirs(holder) => return Ok(ResetOutcome::Led(known(holder))),
        };
        let (entries, bytes) = sizes(&files)?;
        for path in files {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove checkpoint", path)(error));
                }
                _ => {}
            }
        }
        files::sync_parent(&self.checkpoint).map_err(failed("remove checkpoint", &self.checkpoint))?;
        lock.give_back()?;
        Ok(ResetOutcome::Forgotten { entries, bytes, value: None, next: Next::Anew })
    }
}

impl Files {
    fn set(&self, target: &Target, force: bool) -> Result<SetOutcome, Error> {
        let lock = match Lock::try_take(self.lock.clone())? {
            Attempt::Ours(lock) => lock,
            Attempt::Theirs(holder) => {
                let why = force.then_some("the lock belongs to a process that runs, and only its end frees it");
                return Ok(SetOutcome::Led { leader: known(holder), why });
            }
        };
        let before = self.inspect()?.content;
        let after = target.checkpoint(&before);
        store::write(&self.checkpoint, &after, || Some(CheckpointPart::End))?;
        lock.give_back()?;
        Ok(SetOutcome::Set { before: Box::new(before), after: Box::new(after), deposed: None })
    }
}

impl Inspector for Directory {
    fn place(&self) -> String {
        format!("files in {}", self.path.display())
    }

    fn unit(&self) -> Unit {
        Unit::Files
    }

    fn reset(&self, kind: Kind) -> String {
        Coordinator::reset(self, kind)
    }

    fn look(&self, kind: Kind) -> BoxFuture<'_, Result<Inspected, Error>> {
        let directory = self.path.clone();
        Box::pin(blocking(move || {
            exists(&directory)?;
            Files::new(&directory, kind).inspect()
        }))
    }

    /// The original program's integer is part of the checkpoint here, so it is always removed as well.
    fn forget(&self, kind: Kind, _value: bool) -> BoxFuture<'_, Result<ResetOutcome, Error>> {
        let directory = self.path.clone();
        Box::pin(blocking(move || {
            exists(&directory)?;
            Files::new(&directory, kind).forget()
        }))
    }

    fn set<'a>(&'a self, target: &'a Target, force: bool) -> BoxFuture<'a, Result<SetOutcome, Error>> {
        let (directory, target) = (self.path.clone(), target.clone());
        Box::pin(blocking(move || {
            exists(&directory)?;
            Files::new(&directory, target.kind).set(&target, force)
        }))
    }
}

fn known(holder: String) -> Leader {
    Leader::Known { holder, session: None, lease: None }
}

/// A missing directory is more likely misspelt than empty.
fn exists(directory: &Path) -> Result<(), Error> {
    fs::read_dir(directory).map(drop).map_err(failed("open data directory", directory))
}

/// How many of these files there are, and their size together.
fn sizes(files: &[&PathBuf]) -> Result<(usize, u64), Error> {
    let (mut entries, mut bytes) = (0, 0);
    for path in files {
        match fs::metadata(path) {
            Ok(found) => {
                entries += 1;
                bytes += found.len();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("examine file", path)(error)),
        }
    }
    Ok((entries, bytes))
}
