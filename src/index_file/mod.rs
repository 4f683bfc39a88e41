//! The index file of nomad-events-sink, so that one can go over to this program and back.
//!
//! [`keep`] puts it around a coordinator: what only the file has, and not the checkpoint, is taken over with the lease, and after
//! each save the file says what the checkpoint says. nomad-events-sink starts each topic *at* its index and sends that index
//! again, so a file that is behind costs repeats, never a loss.

mod import;
mod text;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::text::Indexes;
use crate::{
    checkpoint::Checkpoint,
    coordinator::{Claim, Coordinator, Positions},
    files,
    kind::Kind,
    lease::{Changes, Error, Lease, LeaseState, Progress},
    nomad::Topic,
    task_cursors::{Shard, TaskCursor, TaskKey},
    throttle::Outage,
};

/// The file has one number a topic.
const LARGEST: usize = 1 << 20;

/// The index file, and what it is kept for.
#[derive(Clone, Debug)]
pub struct IndexFile {
    /// Where it is. It can be missing.
    pub path: PathBuf,
    /// The topics of the subscription.
    pub topics: Vec<Topic>,
    /// The streams: `*`, or the namespaces.
    pub streams: Vec<String>,
}

/// `coordinator`, with the file beside its checkpoint of raw events.
///
/// # Errors
/// The file cannot be read, or is not an index file.
pub fn keep(coordinator: Arc<dyn Coordinator>, file: IndexFile) -> Result<Arc<dyn Coordinator>, Unusable> {
    file.read().map_err(|reason| Unusable { path: file.path.clone(), reason })?;
    Ok(Arc::new(Kept { coordinator, file }))
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use NOMAD_FIREHOSE_INDEX_FILE={}: {reason}; restore it, or remove it to start without it", path.display())]
pub struct Unusable {
    path: PathBuf,
    reason: String,
}

impl IndexFile {
    fn read(&self) -> Result<Option<Indexes>, String> {
        files::check(&self.path).map_err(|error| error.to_string())?;
        match files::read(&self.path, LARGEST) {
            Ok(text) => Indexes::parse(&text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The checkpoint to resume from.
    fn add_to(&self, stored: Option<Checkpoint>) -> Result<Option<Checkpoint>, Error> {
        let path = || self.path.display().to_string();
        let corrupt = |reason| Error::Corrupt { path: path(), reason, reset: format!("rm {}", path()) };
        let Some(indexes) = self.read().map_err(corrupt)? else { return Ok(stored) };
        let Some(imported) = import::import(&indexes, stored.as_ref(), &self.topics, &self.streams) else {
            return Ok(stored);
        };
        let positions = imported.streams.iter().map(|(name, stream)| format!("{name}@{}", stream.position.index));
        let further = imported.streams.values().next().map(|stream| &stream.delivered).into_iter().flatten();
        let further: Vec<_> = further.map(|(topic, index)| format!("{topic}@{index}")).collect();
        info!(
            path = path(),
            positions = positions.collect::<Vec<_>>().join(" "),
            delivered = further.join(" "),
            "resuming from the index file"
        );
        Ok(Some(imported))
    }

    /// Brings the file up to date.
    fn write(&self, stored: &Checkpoint) -> io::Result<()> {
        let mut indexes = self.read().map_err(io::Error::other)?.unwrap_or_default();
        indexes.note(&self.topics, stored.streams.values());
        replace(&self.path, indexes.text().as_bytes())
    }
}

/// Replaces the file whole. Its mode stays, because nomad-events-sink can run as another user.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mode = fs::metadata(path).map(|found| found.permissions()).ok();
    let temporary = path.with_extension("json.tmp");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = files::open(&temporary, OpenOptions::new().write(true).create_new(true))?;
    if let Some(mode) = mode {
        file.set_permissions(mode)?;
    }
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// A coordinator with the index file beside it.
#[derive(Debug)]
struct Kept {
    coordinator: Arc<dyn Coordinator>,
    file: IndexFile,
}

impl Coordinator for Kept {
    fn acquire(&self, kind: Kind) -> BoxFuture<'_, Result<Arc<dyn Lease>, Error>> {
        Box::pin(async move {
            let lease = self.coordinator.acquire(kind).await?;
            if kind != Kind::Events {
                return Ok(lease);
            }
            let outage = Mutex::new(Outage::new("writing the index file"));
            Ok(Arc::new(KeptLease { lease, file: self.file.clone(), outage }) as Arc<dyn Lease>)
        })
    }

    fn leaders(&self) -> Option<watch::Receiver<Positions>> {
        self.coordinator.leaders()
    }

    fn keep_every(&self, interval: Duration) -> Duration {
        self.coordinator.keep_every(interval)
    }

    fn claims(&self, kind: Kind) -> BoxFuture<'_, Result<Vec<Claim>, Error>> {
        self.coordinator.claims(kind)
    }

    fn place(&self, kind: Kind) -> (String, &'static str) {
        self.coordinator.place(kind)
    }

    fn reset(&self, kind: Kind) -> String {
        self.coordinator.reset(kind)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.coordinator.close()
    }
}

/// A lease whose saves reach the index file, too.
#[derive(Debug)]
struct KeptLease {
    lease: Arc<dyn Lease>,
    file: IndexFile,
    outage: Mutex<Outage>,
}

impl KeptLease {
    /// The file follows the checkpoint, so it never says more than what is stored.
    async fn stored(&self, noted: Noted<'_>) {
        let Some(head) = noted.take() else { return };
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || file.write(&head)).await;
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => outage.over(),
            Err(source) => {
                let path = self.file.path.display().to_string();
                outage.log(&Error::Io { operation: "write index file", path, source });
            }
        }
    }
}

impl Lease for KeptLease {
    fn lease_state(&self) -> LeaseState {
        self.lease.lease_state()
    }

    fn lost(&self) -> BoxFuture<'_, ()> {
        self.lease.lost()
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>> {
        Box::pin(async move {
            let (stored, file) = (self.lease.load().await?, self.file.clone());
            tokio::task::spawn_blocking(move || file.add_to(stored)).await.unwrap_or_else(|stopped| {
                let path = self.file.path.display().to_string();
                Err(Error::Io { operation: "read index file", path, source: stopped.into() })
            })
        })
    }

    fn save<'a>(&'a self, progress: &'a dyn Progress) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let noted = Noted::new(progress);
            self.lease.save(&noted).await?;
            self.stored(noted).await;
            Ok(())
        })
    }

    fn keep<'a>(
        &'a self,
        progress: &'a dyn Progress,
        hurry: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let noted = Noted::new(progress);
            self.lease.keep(&noted, hurry).await?;
            self.stored(noted).await;
            Ok(())
        })
    }

    fn keeps(&self) -> bool {
        self.lease.keeps()
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.lease.release()
    }
}

/// A progress that notes what a save takes of it.
struct Noted<'a> {
    progress: &'a dyn Progress,
    head: Mutex<Option<Checkpoint>>,
}

impl<'a> Noted<'a> {
    fn new(progress: &'a dyn Progress) -> Self {
        Noted { progress, head: Mutex::new(None) }
    }

    fn note(&self, head: &Checkpoint) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head.head());
    }

    fn take(self) -> Option<Checkpoint> {
        self.head.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Noted<'_> {
    fn head(&self) -> Option<Checkpoint> {
        self.progress.head().inspect(|head| self.note(head))
    }

    fn changes(&self) -> Option<Changes> {
        self.progress.changes().inspect(|changes| self.note(&changes.head))
    }

    fn not_stored(&self) {
        self.progress.not_stored();
    }

    fn task_cursors(&self, shard: Shard) -> Vec<(TaskKey, TaskCursor)> {
        self.progress.task_cursors(shard)
    }

    fn task_cursors_len(&self) -> usize {
        self.progress.task_cursors_len()
    }
}
