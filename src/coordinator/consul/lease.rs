//! A lease in hand: its deadline, and the way to the one task that writes for it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    clock::{Clock, Moment},
    heartbeat::{Heartbeat, Reach},
    keys::{Keys, LOCK_FLAGS},
    store::Store,
    writer::{Command, Failed, Job},
};
use crate::{
    checkpoint::Checkpoint,
    consul::{Client, ModifyIndex, Op, SessionId, Transaction},
    kind::Kind,
    lease::{Error, Lease, LeaseState, Progress},
};

/// The deadline of giving a lock back.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(2);

/// The right to lead one kind, under one session.
pub(super) struct Held {
    pub(super) kind: Kind,
    pub(super) keys: Keys,
    pub(super) session: SessionId,
    pub(super) client: Client,
    clock: Arc<dyn Clock>,
    /// How long after a heartbeat was sent it may be relied on.
    term: Duration,
    /// In nanoseconds of the clock.
    deadline: AtomicU64,
    lost: CancellationToken,
    writer: mpsc::Sender<Command>,
    /// Changes when a heartbeat is about to be sent.
    due: watch::Receiver<u64>,
    reach: Mutex<Reach>,
    /// What the last leader's heartbeats said, to go on from where its checkpoint is gone.
    pub(super) known: Option<Checkpoint>,
    store: AsyncMutex<Store>,
}

/// What a lease is made with.
pub(super) struct Grant {
    pub(super) kind: Kind,
    pub(super) keys: Keys,
    pub(super) session: SessionId,
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    /// How long after a heartbeat was sent it may be relied on.
    pub(super) term: Duration,
    /// When the request was sent that brought the lock.
    pub(super) sent: Moment,
    /// The last leader's heartbeat, where one was seen.
    pub(super) last: Option<Heartbeat>,
    pub(super) writer: mpsc::Sender<Command>,
    pub(super) due: watch::Receiver<u64>,
}

impl Held {
    pub(super) fn new(grant: Grant) -> Arc<Self> {
        let Grant { kind, keys, session, client, clock, term, sent, last, writer, due } = grant;
        let held = Held {
            kind,
            keys,
            session,
            client,
            clock,
            term,
            deadline: AtomicU64::new(0),
            lost: CancellationToken::new(),
            writer,
            due,
            known: last.as_ref().and_then(Heartbeat::checkpoint),
            // Until our own is stored, the old leader's progress holds.
            reach: Mutex::new(last.map(|last| last.reach).unwrap_or_default()),
            store: AsyncMutex::default(),
        };
        held.renewed(sent);
        Arc::new(held)
    }

    /// A heartbeat that was sent at `sent` is in Consul.
    pub(super) fn renewed(&self, sent: Moment) {
        let deadline = u64::try_from(sent.after(self.term).0.as_nanos()).unwrap_or(u64::MAX);
        self.deadline.fetch_max(deadline, Ordering::AcqRel);
    }

    /// Nobody may emit under it any more.
    pub(super) fn lose(&self) {
        self.lost.cancel();
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This is stored.
    pub(super) fn reached(&self, checkpoint: &Checkpoint) {
        *self.reach.lock().unwrap_or_else(PoisonError::into_inner) = Reach::of(checkpoint);
    }

    /// Writes `ops` in one transaction, if the lock is still ours. `reach` is that of the checkpoint that they store, where
    /// they do. Gives the index of the head, where it was among them.
    pub(super) async fn commit(
        self: &Arc<Self>,
        ops: Vec<Op>,
        reach: Option<Reach>,
    ) -> Result<Option<ModifyIndex>, Failed> {
        let (reply, answer) = oneshot::channel();
        let job = Job { held: Arc::clone(self), ops, reach, reply };
        self.writer.send(Command::Commit(job)).await.map_err(|_| Failed::Lost)?;
        answer.await.unwrap_or(Err(Failed::Lost))
    }
}

impl Held {
    /// Gives the lock back, with a farewell. No heartbeat is written for it any more.
    pub(super) async fn give_back(&self) -> Result<(), Error> {
        let Held { keys, session, client, .. } = self;
        // By this a standby tells it from a lock that was taken away.
        let value = Bytes::copy_from_slice(session.as_str().as_bytes());
        let unlock = Op::Unlock { key: keys.lock.clone(), session: session.clone(), value, flags: LOCK_FLAGS };
        let heartbeat = Op::Delete { key: keys.heartbeat.clone() };
        match client.transact(&[unlock, heartbeat], GIVE_BACK_WITHIN).await {
            // Refused, it is somebody else's already.
            Ok(Transaction::Done(_) | Transaction::Refused(_)) => Ok(()),
            Err(error) => Err(Error::Consul(Arc::new(error))),
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("kind", &self.kind).field("standing", &self.lease_state()).finish_non_exhaustive()
    }
}

impl Held {
    pub(super) fn lease_state(&self) -> LeaseState {
        if self.lost.is_cancelled() {
            return LeaseState::Lost;
        }
        let now = u64::try_from(self.clock.now().0.as_nanos()).unwrap_or(u64::MAX);
        if now < self.deadline.load(Ordering::Acquire) { LeaseState::Held } else { LeaseState::Suspended }
    }
}

/// What the supervisor holds.
#[derive(Clone, Debug)]
pub(super) struct Handle(pub(super) Arc<Held>);

impl Lease for Handle {
    fn lease_state(&self) -> LeaseState {
        self.0.lease_state()
    }

    fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.lost.cancelled())
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>> {
        Box::pin(async {
            let mut store = self.0.store.lock().await;
            let load = store.load(&self.0);
            tokio::select! {
                biased;
                () = self.0.lost.cancelled() => Err(Error::Lost),
                loaded = load => loaded,
            }
        })
    }

    fn save<'a>(&'a self, progress: &'a dyn Progress) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { self.0.store.lock().await.save(&self.0, progress).await })
    }

    fn keep<'a>(
        &'a self,
        progress: &'a dyn Progress,
        hurry: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut due = self.0.due.clone();
            due.mark_unchanged();
            tokio::select! {
                // Its end means that nothing is written any more, which the save then says.
                _ = due.changed() => {}
                () = hurry.cancelled() => {}
                () = self.0.lost.cancelled() => {}
            }
            self.save(progress).await
        })
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.0.lose();
            let (done, forgotten) = oneshot::channel();
            // From here on no heartbeat is sent for it. A writer that has ended sends none either.
            if self.0.writer.send(Command::Forget { held: Arc::clone(&self.0), done }).await.is_ok() {
                forgotten.await.ok();
            }
            self.0.give_back().await
        })
    }
}
