//! Leases and checkpoints in one directory: for replicas on one machine.
//!
//! # The files
//!
//! `TYPE` is [`Kind::storage_name`]: `allocations`, `jobs`, `jobliststub` …
//!
//! - `TYPE.lock`: the process with an exclusive `flock` on it has the lease. The file has the process id of the last
//!   holder, for people. The kernel frees the lock when the process ends, however it ends. The file stays, because
//!   removing it would let two processes lock two files of one name. If somebody removes it, a standby that has seen it
//!   locked waits for that file too, and the leader ends with its next save.
//! - `TYPE.json`: the [`Checkpoint`], one JSON object, replaced whole by a rename, and on disk before a save returns:
//!
//!   | field | |
//!   |---|---|
//!   | `version` | the layout; this program writes [`VERSION`](crate::checkpoint::VERSION) and reads the next one, too |
//!   | `cluster` | the cluster that it belongs to, as far as it was known: `region`, `label`, `keys`, and `until` when these are proof |
//!   | `value` | for `allocations` the time in ns of the newest task event; for `evaluations` and `events` the last raft index; else the greatest `ModifyIndex` |
//!   | `lanes` | by namespace, or `*`: `position` (`index` and the identities `seen` at it), `namespaces`, `backfill`, of `events` `topics` |
//!   | `marks` | for `allocations`: 64 hexadecimal digits a task |
//!
//! - `TYPE.json.tmp`: a save under way, or the rest of one that a crash cut off. It is never read.
//!
//! The directory must be on a file system of this machine: network file systems do not all keep `flock` exclusive.

mod inspect;
mod lock;
mod store;

#[cfg(test)]
mod tests;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{Mutex, mpsc},
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::{
    lock::{Attempt, Lock},
    store::CheckpointPart,
};
use super::{Claim, Coordinator, reset::reset_in_directory};
use crate::{
    checkpoint::Checkpoint,
    cluster::{self, Difference, Known, Verdict},
    files,
    kind::Kind,
    lease::{Error, Lease, LeaseState, Progress},
    task_cursors::Shard,
    telemetry::Status,
    throttle::{Classified, Throttle},
};

/// How often a standby tries the lock. `flock` notifies only threads that block in it, and a blocked thread cannot be
/// cancelled.
const POLL: Duration = Duration::from_millis(100);

/// How often a standby checks which cluster the leader's checkpoint belongs to.
const COMPARE: Duration = Duration::from_secs(5);

/// Task cursors that are taken out of the ledger at a time: 256 KiB.
const PIECE_MARKS: usize = 8192;
/// Parts that wait to be written. A checkpoint with few task cursors fits into them, and is written even if the caller
/// stops waiting.
const PIECES_READY: usize = 2;

/// The directory of `NOMAD_FIREHOSE_DATA_DIR`.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    known: Known,
    /// Where a standby says who leads.
    status: Option<Status>,
}

impl Directory {
    /// The coordinator in `path`. The first lease creates the directory, for this user alone.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Directory { path: path.into(), known: Known::nothing(), status: None }
    }

    /// The same for a replica of this cluster.
    #[must_use]
    pub fn of_cluster(self, known: Known) -> Self {
        Directory { known, ..self }
    }

    /// The same for a replica that shows on `status` who leads.
    #[must_use]
    pub fn shown_on(self, status: Status) -> Self {
        Directory { status: Some(status), ..self }
    }

    /// Checks at the start, and not with the first lease, that the files in the directory can be the program's own. The
    /// directory can be missing.
    ///
    /// # Errors
    /// It is no directory, or a lock or a checkpoint of one of `kinds` is no regular file.
    pub fn check(&self, kinds: &[Kind]) -> Result<(), Error> {
        if self.path.metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(lock::failed("open data directory", &self.path)(io::ErrorKind::NotADirectory.into()));
        }
        for kind in kinds {
            let (lock, checkpoint) = (self.lock_file(*kind), self.checkpoint_file(*kind));
            files::check(&lock).map_err(lock::failed("open lock", &lock))?;
            files::check(&checkpoint).map_err(lock::failed("open checkpoint", &checkpoint))?;
        }
        Ok(())
    }

    fn lock_file(&self, kind: Kind) -> PathBuf {
        self.path.join(format!("{}.lock", kind.storage_name()))
    }

    fn checkpoint_file(&self, kind: Kind) -> PathBuf {
        self.path.join(format!("{}.json", kind.storage_name()))
    }

    /// Which cluster the checkpoint belongs to.
    async fn claim(&self, kind: Kind) -> Result<Option<Claim>, Error> {
        let path = self.checkpoint_file(kind);
        let what = format!("the checkpoint {}", path.display());
        let cluster = blocking(move || Ok(store::read_cluster(&path))).await?;
        Ok(cluster.map(|cluster| Claim { what, cluster, is_leader: false }))
    }

    /// Fails if the leader belongs to another cluster, so that a standby does not wait for it.
    async fn objection(&self, kind: Kind) -> Result<(), Error> {
        let ours = self.known.identity();
        if ours.is_empty() {
            return Ok(());
        }
        let Some(Claim { what, cluster, .. }) = self.claim(kind).await? else { return Ok(()) };
        match ours.verdict(&cluster, cluster::now()) {
            // Only the whole checkpoint shows whether these are two clusters.
            Verdict::Other(Difference::Keys) | Verdict::Same { .. } | Verdict::Unknown => Ok(()),
            Verdict::Other(difference) => {
                let (setting, reset) = (self.place(kind).1, self.reset(kind));
                Err(Error::Foreign { kind, what, difference, setting, reset })
            }
        }
    }

    async fn wait(&self, kind: Kind) -> Result<Arc<dyn Lease>, Error> {
        let lock_file = self.lock_file(kind);
        let checkpoint_file = self.checkpoint_file(kind);
        let mut compared: Option<Instant> = None;
        let mut is_standby = false;
        let mut log = Throttle::default();
        let rivals = Arc::new(SyncMutex::new(Vec::new()));
        loop {
            let (directory, path, rivals) = (self.path.clone(), lock_file.clone(), Arc::clone(&rivals));
            let take = move || {
                lock::prepare(&directory)?;
                Lock::try_take_after(path, &mut rivals.lock().unwrap_or_else(PoisonError::into_inner))
            };
            match blocking(take).await {
                Ok(Attempt::Ours(lock)) => {
                    if is_standby {
                        tracing::info!(%kind, "lease taken over");
                    }
                    return Ok(Arc::new(FileLease::new(kind, lock, checkpoint_file)));
                }
                Ok(Attempt::Theirs(holder)) => {
                    if let Some(status) = &self.status {
                        status.holder(kind, named(&holder));
                    }
                    if !std::mem::replace(&mut is_standby, true) {
                        tracing::info!(%kind, %holder, path = %lock_file.display(), "standing by");
                    }
                    if compared.is_none_or(|last| last.elapsed() >= COMPARE) {
                        compared = Some(Instant::now());
                        self.objection(kind).await?;
                    }
                }
                Err(error) if is_passing(&error) => {
                    if let Some(times) = log.due(error.class()) {
                        tracing::warn!(%kind, %error, times, "cannot take lease");
                    }
                }
                Err(error) => return Err(error),
            }
            sleep(POLL).await;
        }
    }
}

impl Coordinator for Directory {
    fn acquire(&self, kind: Kind) -> BoxFuture<'_, Result<Arc<dyn Lease>, Error>> {
        Box::pin(self.wait(kind))
    }

    fn claims(&self, kind: Kind) -> BoxFuture<'_, Result<Vec<Claim>, Error>> {
        Box::pin(async move { Ok(self.claim(kind).await?.into_iter().collect()) })
    }

    fn place(&self, kind: Kind) -> (String, &'static str) {
        (self.checkpoint_file(kind).display().to_string(), "NOMAD_FIREHOSE_DATA_DIR")
    }

    fn reset(&self, kind: Kind) -> String {
        let file = self.checkpoint_file(kind);
        reset_in_directory(kind, file.parent().unwrap_or(&file))
    }
}

/// The holder of a lock for people: the lock file has its process id.
fn named(holder: &str) -> Option<String> {
    let process = holder.strip_prefix("pid ").map(|id| format!("process {id}"));
    process.or_else(|| (!holder.is_empty()).then(|| holder.to_owned()))
}

/// Whether waiting can fix it: a full disk, too many open files, an interrupted call.
fn is_passing(error: &Error) -> bool {
    let Error::Io { source, .. } = error else { return false };
    let kinds = [
        io::ErrorKind::StorageFull,
        io::ErrorKind::QuotaExceeded,
        io::ErrorKind::Interrupted,
        io::ErrorKind::ResourceBusy,
        io::ErrorKind::OutOfMemory,
    ];
    // EMFILE and ENFILE have no kind of their own.
    kinds.contains(&source.kind()) || matches!(source.raw_os_error(), Some(23 | 24))
}

/// The lease of one resource in a directory.
#[derive(Debug)]
struct FileLease {
    kind: Kind,
    lock: Arc<Lock>,
    checkpoint_file: PathBuf,
    lost: CancellationToken,
    /// The one save under way holds it, even when no caller waits for it any more.
    saving: Arc<Mutex<()>>,
}

impl FileLease {
    fn new(kind: Kind, lock: Lock, checkpoint_file: PathBuf) -> Self {
        FileLease {
            kind,
            lock: Arc::new(lock),
            checkpoint_file,
            lost: CancellationToken::new(),
            saving: Arc::default(),
        }
    }

    async fn store(&self, progress: &dyn Progress) -> Result<(), Error> {
        // Saves run in the order of the calls, even if the caller of an earlier one stopped waiting.
        let turn = Arc::clone(&self.saving).lock_owned().await;
        let Some(head) = progress.head() else { return Ok(()) };
        let offer = Offer(Some(progress));
        let (pieces, mut queue) = mpsc::channel(PIECES_READY);
        // The save keeps the lock: it is not freed while an abandoned save can still write.
        let (lock, lost, path) = (Arc::clone(&self.lock), self.lost.clone(), self.checkpoint_file.clone());
        let writing = blocking(move || {
            let mut write = || store::write(&path, &head, || queue.blocking_recv());
            let result = lock.check().inspect_err(|_| lost.cancel()).and_then(|()| write());
            drop((lock, turn));
            result
        });
        let all = u32::try_from(progress.task_cursors_len() / PIECE_MARKS).unwrap_or(u32::MAX).saturating_add(1);
        let reading = async {
            for number in 0..all {
                let task_cursors = progress.task_cursors(Shard { number, of: all });
                // The writer has failed, and reports why.
                if !task_cursors.is_empty() && pieces.send(CheckpointPart::TaskCursors(task_cursors)).await.is_err() {
                    return;
                }
            }
            pieces.send(CheckpointPart::End).await.ok();
        };
        let (stored, ()) = tokio::join!(writing, reading);
        stored.inspect(|()| offer.taken())
    }
}

/// A change that is being stored. If it is dropped before it is stored, it is offered again.
struct Offer<'a>(Option<&'a dyn Progress>);

impl Offer<'_> {
    fn taken(mut self) {
        self.0 = None;
    }
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        if let Some(progress) = self.0 {
            progress.not_stored();
        }
    }
}

impl Lease for FileLease {
    fn lease_state(&self) -> LeaseState {
        if self.lost.is_cancelled() { LeaseState::Lost } else { LeaseState::Held }
    }

    fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.lost.cancelled())
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>> {
        let (kind, path) = (self.kind, self.checkpoint_file.clone());
        Box::pin(blocking(move || store::read(kind, &path)))
    }

    fn save<'a>(&'a self, progress: &'a dyn Progress) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.store(progress))
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let turn = Arc::clone(&self.saving).lock_owned().await;
            self.lost.cancel();
            drop(turn);
            self.lock.give_back()
        })
    }
}

/// Runs file operations off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    spawn_blocking(work).await.unwrap_or_else(|stopped| {
        Err(Error::Io { operation: "run file operation", path: String::new(), source: stopped.into() })
    })
}
