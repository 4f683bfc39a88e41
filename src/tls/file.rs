//! Files that are loaded again when they have changed.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::validity::{self, HasValidity, Validity};
use crate::{files, sys};

/// The largest PEM file. The authorities of a whole system take some hundreds of KiB.
const MAX_PEM: usize = 16 << 20;

/// A file that changed more recently is loaded again each time: file system clocks tick coarsely, so that it may change once more with
/// the same timestamp.
const SETTLED: Duration = Duration::from_secs(2);

/// A file that cannot be used, with the variable that names it and the reason.
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

/// Something that is loaded from files.
pub(super) trait Load: Send + Sync + std::fmt::Debug + 'static {
    type Loaded: Clone + Send + std::fmt::Debug;

    /// The files that exist now. A directory counts as one.
    fn paths(&self) -> Vec<PathBuf>;

    /// Loads the files, with the validity of their certificates.
    fn load(&self) -> Result<(Self::Loaded, Vec<Validity>), BadFile>;
}

/// What was last loaded from the files, kept up to date.
#[derive(Debug)]
pub(super) struct Watched<S: Load> {
    source: S,
    state: Mutex<State<S::Loaded>>,
}

#[derive(Debug)]
struct State<T> {
    loaded: T,
    validities: Vec<Validity>,
    versions: FileVersions,
    /// Whether equal versions prove that nothing has changed.
    is_settled: bool,
    /// The problem with the files that was logged last.
    reported: Option<BadFile>,
}

impl<S: Load> Watched<S> {
    /// Loads the files for the first time.
    pub(super) fn new(source: S) -> Result<Arc<Self>, BadFile> {
        let versions = FileVersions::of(&source.paths());
        let (loaded, validities) = source.load()?;
        validities.iter().for_each(Validity::log);
        let is_settled = versions.is_settled();
        let state = Mutex::new(State { loaded, validities, versions, is_settled, reported: None });
        let watched = Arc::new(Watched { source, state });
        validity::watch(&watched);
        Ok(watched)
    }

    /// What the files hold now. If they cannot be used now, what they held when they last could.
    pub(super) fn current(&self) -> S::Loaded {
        self.refreshed().loaded.clone()
    }

    fn refreshed(&self) -> MutexGuard<'_, State<S::Loaded>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken before the files are read, so that a change during the read is noticed the next time.
        let versions = FileVersions::of(&self.source.paths());
        if state.is_settled && versions == state.versions {
            return state;
        }
        match self.source.load() {
            Ok((loaded, validities)) => {
                if versions != state.versions || state.reported.is_some() {
                    validities.iter().for_each(Validity::log);
                }
                (state.loaded, state.validities, state.reported) = (loaded, validities, None);
            }
            Err(bad) if state.reported.as_ref() == Some(&bad) => {}
            Err(bad) => {
                let BadFile { variable, path, reason } = &bad;
                let file = path.display();
                tracing::error!(%file, %variable, %reason, action = "keep what was loaded before", "cannot load certificate");
                state.reported = Some(bad);
            }
        }
        state.is_settled = versions.is_settled();
        state.versions = versions;
        state
    }
}

impl<S: Load> HasValidity for Watched<S> {
    fn validities(&self) -> Vec<Validity> {
        self.refreshed().validities.clone()
    }
}

/// Tells one state of the files from another. Links are followed: Kubernetes replaces a link above the files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileVersions(Vec<(PathBuf, Option<[i64; 4]>)>, i64);

impl FileVersions {
    fn of(paths: &[PathBuf]) -> Self {
        let mut newest = 0;
        let mut look = |path: &PathBuf| {
            let (version, since) = sys::files::version(path).ok()?;
            newest = newest.max(since);
            Some(version)
        };
        let stamps = paths.iter().map(|path| (path.clone(), look(path))).collect();
        FileVersions(stamps, newest)
    }

    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(self.1).unwrap_or(0).saturating_add(SETTLED.as_secs()) < now.as_secs()
    }
}

pub(super) fn read(variable: &'static str, path: &Path) -> Result<Vec<u8>, BadFile> {
    let unreadable =
        |error| BadFile::new(variable, path, format!("{error}; set it to a PEM file that this program may read"));
    files::read(path, MAX_PEM).map_err(unreadable)
}

/// The certificates of a file, at least one.
pub(super) fn certificates(variable: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(variable, path)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(BadFile::new(variable, path, "holds no certificate; set it to a PEM file with one")),
        Err(error) => {
            Err(BadFile::new(variable, path, format!("is not a PEM file: {error}; set it to a certificate in PEM")))
        }
    }
}
