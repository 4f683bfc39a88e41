//! A lock in hand: its session, and until when it may be relied on.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    heartbeat::Heartbeat,
    keys::{Keys, LOCK_FLAGS},
};
use crate::{
    checkpoint::Checkpoint,
    consul::{Client, Op, SessionId, Transaction},
    coordinator::{
        clock::{Clock, Moment},
        reach::CheckpointReach,
        turn::Seat,
    },
    kind::Kind,
    lease::{Error, LeaseState},
};

/// The deadline of giving a lock back.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(2);

/// The right to lead one resource, under one session.
pub(super) struct Tenure {
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
    reach: Mutex<CheckpointReach>,
    /// A checkpoint made from the last leader's heartbeats, for the case that its own checkpoint is gone.
    pub(super) known: Option<Checkpoint>,
    /// It counts as led for the spread of pipelines.
    _seat: Option<Seat>,
}

/// The lock that a transaction has brought.
pub(super) struct Grant {
    pub(super) kind: Kind,
    pub(super) keys: Keys,
    pub(super) session: SessionId,
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    /// How long after a heartbeat was sent it may be relied on.
    pub(super) term: Duration,
    /// When the transaction was sent.
    pub(super) sent: Moment,
    /// The last leader's heartbeat, where one was seen.
    pub(super) last: Option<Heartbeat>,
    /// Counts it as led.
    pub(super) seat: Option<Seat>,
}

impl Tenure {
    pub(super) fn new(grant: Grant) -> Arc<Self> {
        let Grant { kind, keys, session, client, clock, term, sent, last, seat } = grant;
        let tenure = Tenure {
            kind,
            keys,
            session,
            client,
            clock,
            term,
            deadline: AtomicU64::new(0),
            lost: CancellationToken::new(),
            _seat: seat,
            known: last.as_ref().and_then(Heartbeat::checkpoint),
            // Until this leader has stored a checkpoint, the last leader's progress holds.
            reach: Mutex::new(last.map(|last| last.reach).unwrap_or_default()),
        };
        tenure.renewed(sent);
        Arc::new(tenure)
    }

    pub(super) fn lease_state(&self) -> LeaseState {
        if self.lost.is_cancelled() {
            return LeaseState::Lost;
        }
        let now = u64::try_from(self.clock.now().0.as_nanos()).unwrap_or(u64::MAX);
        if now < self.deadline.load(Ordering::Acquire) { LeaseState::Held } else { LeaseState::Suspended }
    }

    /// A heartbeat that was sent at `sent` is in Consul.
    pub(super) fn renewed(&self, sent: Moment) {
        let deadline = u64::try_from(sent.after(self.term).0.as_nanos()).unwrap_or(u64::MAX);
        self.deadline.fetch_max(deadline, Ordering::AcqRel);
    }

    /// Ends it: no record may be sent under it from here on.
    pub(super) fn lose(&self) {
        self.lost.cancel();
    }

    /// Resolves when it is lost.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// How far the stored checkpoint reaches.
    pub(super) fn reach(&self) -> CheckpointReach {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `checkpoint` is stored.
    pub(super) fn reached(&self, checkpoint: &Checkpoint) {
        *self.reach.lock().unwrap_or_else(PoisonError::into_inner) = CheckpointReach::of(checkpoint);
    }

    /// Gives the lock back, with a farewell. The writer sends no heartbeat for it any more.
    pub(super) async fn give_back(&self) -> Result<(), Error> {
        let Tenure { keys, session, client, .. } = self;
        // By this a standby distinguishes it from a lock that was taken away.
        let value = Bytes::copy_from_slice(session.as_str().as_bytes());
        let unlock = Op::Unlock { key: keys.lock.clone(), session: session.clone(), value, flags: LOCK_FLAGS };
        let heartbeat = Op::Delete { key: keys.heartbeat.clone() };
        match client.transact(&[unlock, heartbeat], GIVE_BACK_WITHIN).await {
            // Consul refuses it only where another session has the lock already.
            Ok(Transaction::Done(_) | Transaction::Refused(_)) => Ok(()),
            Err(error) => Err(Error::Consul(Arc::new(error))),
        }
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenure").field("kind", &self.kind).field("state", &self.lease_state()).finish_non_exhaustive()
    }
}
