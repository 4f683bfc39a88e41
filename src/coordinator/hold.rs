//! A lease in hand: until when it may be relied on. Every coordinator with heartbeats keeps its leases so.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    clock::{Clock, Moment},
    turn::Seat,
};
use crate::{kind::Kind, lease::LeaseState};

/// The right to lead one resource.
pub(super) struct Hold {
    pub(super) kind: Kind,
    clock: Arc<dyn Clock>,
    /// How long after a heartbeat was sent it may be relied on.
    term: Duration,
    /// In nanoseconds of the clock.
    deadline: AtomicU64,
    lost: CancellationToken,
    /// It counts as led for the spread of pipelines.
    _seat: Option<Seat>,
}

impl Hold {
    /// The lease that a write has brought, which was sent at `sent`.
    pub(super) fn new(kind: Kind, clock: Arc<dyn Clock>, (term, sent): (Duration, Moment), seat: Option<Seat>) -> Self {
        let (deadline, lost) = (AtomicU64::new(0), CancellationToken::new());
        let hold = Hold { kind, clock, term, deadline, lost, _seat: seat };
        hold.renewed(sent);
        hold
    }

    pub(super) fn lease_state(&self) -> LeaseState {
        if self.lost.is_cancelled() {
            return LeaseState::Lost;
        }
        let now = u64::try_from(self.clock.now().0.as_nanos()).unwrap_or(u64::MAX);
        if now < self.deadline.load(Ordering::Acquire) { LeaseState::Held } else { LeaseState::Suspended }
    }

    /// A heartbeat that was sent at `sent` is stored.
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
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("kind", &self.kind).field("state", &self.lease_state()).finish_non_exhaustive()
    }
}
