//! Files that are read again when they have changed.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::expiry::{self, Expiring, Expiry};
use crate::files;

/// The largest PEM file: the authorities of a whole system are some hundreds of KiB.
const MAX_PEM: usize = 16 << 20;

/// A file that changed this recently may change again without a trace: clocks of file systems tick coarsely.
const SETTLED: Duration = Duration::from_secs(2);

/// A file that cannot be used: the variable that names it, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadFile {
    pub(crate) variable: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

impl BadFile {
    pub(super) fn new(variable: &'static str, path: &Path, reason: impl Into<String>) -> Self {
        BadFile { variable, path: path.to_owned(), reason: reason.into() }
    }
}

/// What is made of some files.
pub(super) trait Source: Send + Sync + std::fmt::Debug + 'static {
    type Made: Clone + Send + std::fmt::Debug;

    /// The files as they are now; a directory counts as one.
    fn paths(&self) -> Vec<PathBuf>;

    /// Reads them, with the time at which what they hold expires.
    fn read(&self) -> Result<(Self::Made, Vec<Expiry>), BadFile>;
}

/// What was last made of the files, kept up to date.
#[derive(Debug)]
pub(super) struct Watched<S: Source> {
    source: S,
    state: Mutex<State<S::Made>>,
}

#[derive(Debug)]
struct State<T> {
    made: T,
    expiries: Vec<Expiry>,
    stamp: Stamp,
    /// Nothing can have changed since the last look unless the stamp has.
    is_settled: bool,
    /// What the log already says is wrong with the files.
    reported: Option<BadFile>,
}

impl<S: Source> Watched<S> {
    /// Reads the files for the first time.
    pub(super) fn new(source: S) -> Result<Arc<Self>, BadFile> {
        let stamp = Stamp::of(&source.paths());
        let (made, expiries) = source.read()?;
        expiries.iter().for_each(Expiry::log);
        let is_settled = stamp.is_settled();
        let state = Mutex::new(State { made, expiries, stamp, is_settled, reported: None });
        let watched = Arc::new(Watched { source, state });
        expiry::watch(&watched);
        Ok(watched)
    }

    /// What is made of the files as they are now, or of what they were when they could last be used.
    pub(super) fn current(&self) -> S::Made {
        self.refreshed().made.clone()
    }

    fn refreshed(&self) -> MutexGuard<'_, State<S::Made>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken before the files are read: what changes meanwhile is seen the next time.
        let stamp = Stamp::of(&self.source.paths());
        if state.is_settled && stamp == state.stamp {
            return state;
        }
        match self.source.read() {
            Ok((made, expiries)) => {
                if stamp != state.stamp || state.reported.is_some() {
                    expiries.iter().for_each(Expiry::log);
                }
                (state.made, state.expiries, state.reported) = (made, expiries, None);
            }
            Err(bad) if state.reported.as_ref() == Some(&bad) => {}
            Err(bad) => {
                let BadFile { variable, path, reason } = &bad;
                let file = path.display();
                tracing::error!(%file, %variable, %reason, action = "keep what was loaded before", "cannot load certificate");
                state.reported = Some(bad);
            }
        }
        state.is_settled = stamp.is_settled();
        state.stamp = stamp;
        state
    }
}

impl<S: Source> Expiring for Watched<S> {
    fn expiries(&self) -> Vec<Expiry> {
        self.refreshed().expiries.clone()
    }
}

/// By what one state of files is told from another. Links are followed: Kubernetes exchanges one above the files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp(Vec<(PathBuf, Option<[i64; 4]>)>, i64);

impl Stamp {
    fn of(paths: &[PathBuf]) -> Self {
        let mut newest = 0;
        let mut look = |path: &PathBuf| {
            let found = fs::metadata(path).ok()?;
            newest = newest.max(found.ctime());
            // The time of the last change of the inode can be set by nobody, unlike that of the content.
            let changed = found.ctime().wrapping_mul(1_000_000_000).wrapping_add(found.ctime_nsec());
            Some([found.dev().cast_signed(), found.ino().cast_signed(), found.size().cast_signed(), changed])
        };
        let stamps = paths.iter().map(|path| (path.clone(), look(path))).collect();
        Stamp(stamps, newest)
    }

    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(self.1).unwrap_or(0).saturating_add(SETTLED.as_secs()) < now.as_secs()
    }
}

pub(super) fn read(variable: &'static str, path: &Path) -> Result<Vec<u8>, BadFile> {
    let unreadable = |error| BadFile::new(variable, path, format!("{error}; give a PEM file this program may read"));
    files::read(path, MAX_PEM).map_err(unreadable)
}

/// The certificates of a file, at least one.
pub(super) fn certificates(variable: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(variable, path)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(BadFile::new(variable, path, "holds no certificate; give one in PEM")),
        Err(error) => Err(BadFile::new(variable, path, format!("is no PEM file: {error}; give a certificate in PEM"))),
    }
}
