//! The open files, and when each is finished. Blocking: the sink's own thread runs it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, IoSlice, Write},
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;

use super::{
    config::Config,
    directory::{Lock, OPEN, create_parents, delete_old},
    fault::Fault,
    finish::{Closed, finish, is_free, leftovers, suffixed},
};
use crate::{
    backoff::Backoff,
    files,
    sink::ndjson::{NDJSON, Stamp},
    sys,
    throttle::Throttle,
};

/// The most files that are open at a time. The one that was not written to for longest is finished for a further one.
const MOST_OPEN: usize = 64;

/// How many lines go into one vectored write: each takes two slices, and Linux takes 1024 (`IOV_MAX`).
const LINES: usize = 512;

/// Lines for one file.
#[derive(Debug)]
pub(super) struct Group {
    /// The path of the file below the directory, without its time and its suffixes.
    pub(super) name: String,
    pub(super) bodies: Vec<Bytes>,
}

/// What became of a group: how many lines are on disk, and why the next one is not. Nothing of the others is in a file. Without a
/// failure they were not tried, because an earlier group failed.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) lines: usize,
    pub(super) failure: Option<String>,
}

#[derive(Debug)]
struct OpenFile {
    name: String,
    path: PathBuf,
    file: File,
    /// How much of it is on disk.
    bytes: u64,
    /// When it is finished.
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Writer {
    config: Config,
    /// `None` until the first write: a replica that never leads leaves the directory to another one.
    lock: Option<Lock>,
    /// The one that was written to last is the last one.
    open: Vec<OpenFile>,
    closed: Vec<Closed>,
    /// When to try again to finish files, if that has failed.
    again: Option<Instant>,
    backoff: Backoff,
    log: Throttle,
}

impl Writer {
    pub(super) fn new(config: Config) -> Self {
        Writer {
            config,
            lock: None,
            open: Vec::new(),
            closed: Vec::new(),
            again: None,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
            log: Throttle::default(),
        }
    }

    /// Writes each group and waits until it is on disk, in their order, up to the first failure.
    pub(super) fn write(&mut self, groups: &[Group], may_start: &dyn Fn() -> bool) -> Vec<Written> {
        let mut has_failed = false;
        let results = groups.iter().map(|group| {
            let mut written = Written::default();
            while written.lines < group.bodies.len() && !has_failed {
                let rest = &group.bodies[written.lines..];
                let result = if may_start() {
                    self.write_lines(&group.name, rest).map_err(|fault| fault.to_string())
                } else {
                    Err("the lease ran out in the midst of a batch".to_owned())
                };
                match result {
                    Ok(lines) => written.lines += lines,
                    Err(reason) => {
                        written.failure = Some(reason);
                        has_failed = true;
                    }
                }
            }
            written
        });
        results.collect()
    }

    /// Finishes what is due. Returns when the next one is; `None` if nothing is open.
    pub(super) fn tick(&mut self) -> Option<Instant> {
        let now = Instant::now();
        while let Some(place) = self.open.iter().position(|open| open.until <= now) {
            self.close(place);
        }
        if self.again.is_none_or(|again| again <= now) {
            self.finish_closed();
        }
        let due = self.open.iter().map(|open| open.until);
        due.chain(self.again).min()
    }

    /// Finishes all files, and leaves the directory to others.
    pub(super) fn end(&mut self) {
        while !self.open.is_empty() {
            self.close(0);
        }
        self.finish_closed();
        self.lock = None;
    }

    /// Writes as many lines as still belong into the file, at least one, and waits until they are on disk. Returns their number.
    fn write_lines(&mut self, name: &str, bodies: &[Bytes]) -> Result<usize, Fault> {
        self.enter()?;
        let place = self.place(name, bodies.first().map_or(0, line_bytes))?;
        let mut open = self.open.remove(place);
        let (mut lines, mut bytes) = (0, 0);
        for body in bodies {
            let more = bytes + line_bytes(body);
            if lines > 0 && open.bytes + more > self.config.rotate_size {
                break;
            }
            (lines, bytes) = (lines + 1, more);
        }
        let written = write_all(&mut open.file, &bodies[..lines]).map_err(Fault::of("write to", &open.path));
        let synced = written.and_then(|()| {
            open.file.sync_data().map_err(|error| {
                // What the kernel could not write may count as written from now on, so the file is used no more.
                open.until = Instant::now();
                Fault::of("sync", &open.path)(error)
            })
        });
        if synced.is_ok() {
            open.bytes += bytes;
        } else if open.file.set_len(open.bytes).is_err() {
            open.until = Instant::now();
        }
        // The last one is the one that was written to last.
        self.open.push(open);
        if synced.is_err() {
            self.tick();
        }
        synced.map(|()| lines)
    }

    /// Takes the lock, and what an earlier process has left.
    fn enter(&mut self) -> Result<(), Fault> {
        if self.lock.as_ref().is_some_and(Lock::is_there) {
            return Ok(());
        }
        let lock = Lock::take(&self.config.directory)?;
        let ours: Vec<_> = self.open.iter().map(|open| open.path.clone()).collect();
        let found = leftovers(&self.config.directory)?;
        let found = found.into_iter().filter(|found| !ours.contains(&found.path));
        let found: Vec<_> = found.filter(|found| self.closed.iter().all(|closed| closed.path != found.path)).collect();
        self.lock = Some(lock);
        if !found.is_empty() {
            tracing::info!(files = found.len(), path = %self.config.directory.display(), "finishing files of an earlier run");
            self.closed.extend(found);
            self.finish_closed();
        }
        Ok(())
    }

    /// The place of the open file for so many bytes more.
    fn place(&mut self, name: &str, bytes: u64) -> Result<usize, Fault> {
        if let Some(place) = self.open.iter().position(|open| open.name == name) {
            let open = &self.open[place];
            let is_full = open.bytes > 0 && open.bytes + bytes > self.config.rotate_size;
            let is_there = files::is_named(&open.path, &open.file).map_err(Fault::of("find", &open.path))?;
            if !is_there {
                tracing::warn!(path = %open.path.display(), "open file was removed");
                self.open.remove(place);
            } else if is_full || open.until <= Instant::now() {
                self.close(place);
                self.finish_closed();
            } else {
                return Ok(place);
            }
        }
        if self.open.len() >= MOST_OPEN {
            self.close(0);
            self.finish_closed();
        }
        let open = self.create(name)?;
        self.open.push(open);
        Ok(self.open.len() - 1)
    }

    fn create(&self, name: &str) -> Result<OpenFile, Fault> {
        let Config { directory, mode, .. } = &self.config;
        let time = Stamp::of(SystemTime::now()).compact();
        let plain = |number: u32| {
            let number = if number == 0 { String::new() } else { format!("-{number}") };
            directory.join(format!("{name}-{time}{number}{NDJSON}"))
        };
        let plain = (0..).map(plain).find(|plain| is_free(plain)).unwrap_or_else(|| plain(0));
        let path = suffixed(&plain, OPEN);
        create_parents(directory, &path, *mode)?;
        let file = files::open_private(&path, OpenOptions::new().read(true).append(true).create_new(true));
        let file = file.map_err(Fault::of("create", &path))?;
        let ready = sys::files::set_mode(&file, *mode).and_then(|()| files::sync_parent(&path));
        if let Err(error) = ready {
            // Nothing is in it. If it stays, the next start removes it.
            fs::remove_file(&path).ok();
            return Err(Fault::of("prepare", &path)(error));
        }
        Ok(OpenFile {
            name: name.to_owned(),
            path,
            file,
            bytes: 0,
            until: Instant::now() + self.config.rotate_interval,
        })
    }

    fn close(&mut self, place: usize) {
        let OpenFile { path, bytes, .. } = self.open.remove(place);
        self.closed.push(Closed { path, bytes: Some(bytes) });
    }

    /// Finishes what is closed, as far as that succeeds now.
    fn finish_closed(&mut self) {
        self.again = None;
        if self.closed.is_empty() {
            return;
        }
        let mut first = None;
        let config = &self.config;
        self.closed.retain(|closed| match finish(config, closed) {
            Ok(0) => false,
            Ok(bytes) => {
                // Ours was acknowledged up to there.
                if closed.bytes.is_none() {
                    tracing::info!(path = %closed.path.display(), bytes, "incomplete end of a file removed");
                }
                false
            }
            Err(fault) if fault.is_missing() => {
                tracing::warn!(path = %closed.path.display(), "open file was removed");
                false
            }
            Err(fault) => {
                first.get_or_insert(fault);
                true
            }
        });
        match delete_old(&self.config.directory, self.config.keep) {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, path = %self.config.directory.display(), "oldest files deleted"),
            Err(fault) => {
                first.get_or_insert(fault);
            }
        }
        let Some(fault) = first else { return self.backoff.reset() };
        self.again = Some(Instant::now() + self.backoff.failed());
        if let Some(times) = self.log.due("finish") {
            tracing::error!(reason = %fault, times, waiting = self.closed.len(), "cannot finish files");
        }
    }
}

/// The bytes of a line, with its line break.
fn line_bytes(body: &Bytes) -> u64 {
    body.len() as u64 + 1
}

/// Writes each body with a line break.
fn write_all(file: &mut impl Write, bodies: &[Bytes]) -> io::Result<()> {
    for bodies in bodies.chunks(LINES) {
        let mut slices: Vec<_> = bodies.iter().flat_map(|body| [IoSlice::new(body), IoSlice::new(b"\n")]).collect();
        let mut slices = slices.as_mut_slice();
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match file.write_vectored(slices) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut slices, count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
