//! A lock in hand: its session, and until when it may be relied on.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;

use super::{
    heartbeat::Heartbeat,
    keys::{Keys, LOCK_FLAGS},
};
use crate::{
    checkpoint::Checkpoint,
    consul::{Client, Op, SessionId, Transaction},
    coordinator::{
        clock::{Clock, Moment},
        hold::Hold,
        reach::CheckpointReach,
        turn::Seat,
    },
    kind::Kind,
    lease::Error,
};

/// The deadline of giving a lock back.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(2);

/// The right to lead one resource, under one session.
pub(super) struct Tenure {
    pub(super) hold: Hold,
    pub(super) keys: Keys,
    pub(super) session: SessionId,
    pub(super) client: Client,
    reach: Mutex<CheckpointReach>,
    /// A checkpoint made from the last leader's heartbeats, for the case that its own checkpoint is gone.
    pub(super) known: Option<Checkpoint>,
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
        Arc::new(Tenure {
            hold: Hold::new(kind, clock, (term, sent), seat),
            keys,
            session,
            client,
            known: last.as_ref().and_then(Heartbeat::checkpoint),
            // Until this leader has stored a checkpoint, the last leader's progress holds.
            reach: Mutex::new(last.map(|last| last.reach).unwrap_or_default()),
        })
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
        f.debug_struct("Tenure").field("hold", &self.hold).finish_non_exhaustive()
    }
}
