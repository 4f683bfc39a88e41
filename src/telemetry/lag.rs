//! How far delivery is behind the cluster. Computed on demand from what is known anyway: the newest index of any line or table, and
//! the front of the ledger.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

use crate::position::RaftIndex;

/// What is delivered of a kind, and what is not: the ledger.
pub trait Backlog: Send + Sync {
    /// How far delivery is now.
    fn front(&self) -> Front;
}

/// How far delivery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// Everything that the event stream brought up to here is delivered, on the stream that is furthest.
    pub position: RaftIndex,
    /// The first index that is known to be undelivered: of a line that waits for the sink, or of a gap.
    pub undelivered: Option<RaftIndex>,
    /// When the oldest undelivered event arrived.
    pub oldest: Option<Instant>,
}

impl Front {
    /// The last index up to which nothing is undelivered.
    fn delivered(&self) -> RaftIndex {
        self.undelivered.map_or(self.position, |index| RaftIndex(index.0.saturating_sub(1)))
    }
}

/// The lag of one kind.
#[derive(Default)]
pub(super) struct Lag {
    newest: AtomicU64,
    unreachable: Mutex<Option<Unreachable>>,
    backlog: Mutex<Option<Arc<dyn Backlog>>>,
}

/// Indexes that the cluster has reached, and that this replica cannot receive.
#[derive(Clone, Copy, Debug)]
struct Unreachable {
    newest: RaftIndex,
    /// When the first of them became known.
    since: Instant,
}

/// How far delivery is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Behind {
    pub(super) position: RaftIndex,
    pub(super) indexes: u64,
    pub(super) oldest_seconds: f64,
}

impl Lag {
    pub(super) fn seen(&self, index: RaftIndex) {
        self.newest.fetch_max(index.0, Ordering::Relaxed);
    }

    /// Notes the index of a line that nothing confirms yet. It counts only if it is plausible: one absurd index must not show as lag
    /// for ever.
    pub(super) fn received(&self, index: RaftIndex) {
        if index.is_plausible_after(RaftIndex(self.newest.load(Ordering::Relaxed))) {
            self.seen(index);
        }
    }

    /// Notes that the cluster has reached `index`, and that this replica cannot receive it.
    pub(super) fn unreachable(&self, index: RaftIndex) {
        let mut unreachable = lock(&self.unreachable);
        // Tables also report indexes that are delivered already.
        let known = unreachable.filter(|known| known.newest > self.delivered());
        let since = known.map_or_else(Instant::now, |known| known.since);
        let newest = known.map_or(index, |known| known.newest.max(index));
        *unreachable = Some(Unreachable { newest, since });
    }

    /// Notes that this replica receives everything again.
    pub(super) fn reachable(&self) {
        *lock(&self.unreachable) = None;
    }

    pub(super) fn forget(&self) {
        self.newest.store(0, Ordering::Relaxed);
        self.reachable();
    }

    pub(super) fn follow(&self, backlog: Option<Arc<dyn Backlog>>) {
        *lock(&self.backlog) = backlog;
    }

    /// `None` while another replica leads: this one does not know what it has delivered.
    pub(super) fn behind(&self) -> Option<Behind> {
        let backlog = lock(&self.backlog).clone()?;
        // The front first: what arrives and is delivered between the two reads must not count as lag.
        let front = backlog.front();
        let (delivered, Front { position, oldest, .. }) = (front.delivered(), front);
        let unreachable = lock(&self.unreachable).filter(|unreachable| unreachable.newest > delivered);
        let newest = self.newest.load(Ordering::Relaxed).max(unreachable.map_or(0, |it| it.newest.0));
        let oldest = oldest.into_iter().chain(unreachable.map(|it| it.since)).min();
        Some(Behind {
            position,
            indexes: newest.saturating_sub(delivered.0),
            oldest_seconds: oldest.map_or(0.0, |since| since.elapsed().as_secs_f64()),
        })
    }

    fn delivered(&self) -> RaftIndex {
        lock(&self.backlog).as_ref().map_or(RaftIndex(0), |backlog| backlog.front().delivered())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lag").field("newest", &self.newest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    struct At(Front);

    impl Backlog for At {
        fn front(&self) -> Front {
            self.0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lag_is_what_is_known_and_not_delivered() {
        let lag = Lag::default();
        lag.seen(RaftIndex(165));
        lag.seen(RaftIndex(20));
        assert_eq!(lag.behind(), None);
        let front = Front { position: RaftIndex(15), ..Front::default() };
        let behind = |front: Front| {
            lag.follow(Some(Arc::new(At(front))));
            lag.behind().expect("a leader")
        };
        assert_eq!(behind(front).indexes, 150);
        // A quiet stream has an old position, and is behind by what waits on it alone.
        let waits = Front { undelivered: Some(RaftIndex(160)), oldest: Some(Instant::now()), ..front };
        advance(Duration::from_millis(1500)).await;
        let seen = behind(waits);
        assert_eq!((seen.indexes, seen.position), (6, RaftIndex(15)));
        assert!((1.5..2.0).contains(&seen.oldest_seconds), "{seen:?}");
        assert_eq!(behind(Front { position: RaftIndex(165), ..front }).indexes, 0);
        assert_eq!(behind(Front { position: RaftIndex(900), ..front }).indexes, 0);
        lag.received(RaftIndex(1 << 63));
        lag.received(RaftIndex(166));
        assert_eq!(behind(Front { position: RaftIndex(165), ..front }).indexes, 1);
        // A table below what is delivered neither starts nor hides the lag.
        lag.unreachable(RaftIndex(100));
        advance(Duration::from_secs(9)).await;
        lag.unreachable(RaftIndex(170));
        lag.unreachable(RaftIndex(180));
        lag.unreachable(RaftIndex(90));
        advance(Duration::from_secs(9)).await;
        let seen = behind(Front { position: RaftIndex(165), ..front });
        assert_eq!(seen.indexes, 15);
        assert!((9.0..10.0).contains(&seen.oldest_seconds), "{seen:?}");
        lag.reachable();
        assert_eq!(behind(Front { position: RaftIndex(165), ..front }).indexes, 1);
        lag.unreachable(RaftIndex(166));
        let all = Front { position: RaftIndex(166), ..front };
        assert_eq!((behind(all).indexes, behind(all).oldest_seconds), (0, 0.0));
        lag.forget();
        lag.received(RaftIndex(3));
        assert_eq!(behind(Front::default()).indexes, 3);
    }
}
