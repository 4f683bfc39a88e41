//! How far delivery is behind what is known of the cluster. Computed when it is asked for, from facts that are kept anyway: the
//! newest index that any line or table had, and the front of the ledger.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

use crate::position::RaftIndex;

/// What is delivered of a kind, and what is not. The ledger.
pub trait Backlog: Send + Sync {
    /// Where delivery is now.
    fn front(&self) -> Front;
}

/// Where delivery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// Up to here everything that the stream brought is delivered, on the lane that is furthest.
    pub position: RaftIndex,
    /// The first index of which it is known that something is not delivered: a line that waits for the sink, or a range that a
    /// list is to give.
    pub undelivered: Option<RaftIndex>,
    /// Since when the oldest event waits for the sink.
    pub oldest: Option<Instant>,
}

impl Front {
    /// Up to here nothing waits.
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

/// What the cluster has, and nothing brings.
#[derive(Clone, Copy, Debug)]
struct Unreachable {
    newest: RaftIndex,
    /// Since when something of it is known.
    since: Instant,
}

/// How far it is behind.
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

    /// A line that has come, and that nothing vouches for yet: one absurd index must not show as lag for ever.
    pub(super) fn received(&self, index: RaftIndex) {
        if index.is_plausible_after(RaftIndex(self.newest.load(Ordering::Relaxed))) {
            self.seen(index);
        }
    }

    /// The cluster has come to `index`, and there is nothing that could bring it.
    pub(super) fn unreachable(&self, index: RaftIndex) {
        let mut unreachable = lock(&self.unreachable);
        // What is delivered, some table stands at as well.
        let known = unreachable.filter(|known| known.newest > self.delivered());
        let since = known.map_or_else(Instant::now, |known| known.since);
        let newest = known.map_or(index, |known| known.newest.max(index));
        *unreachable = Some(Unreachable { newest, since });
    }

    /// Whatever there is, comes.
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

    /// `None` while the kind is not led: what others deliver is not known here.
    pub(super) fn behind(&self) -> Option<Behind> {
        let backlog = lock(&self.backlog).clone()?;
        // The front first: what comes and is delivered between the two is not behind.
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
            lag.behind().expect("it is led")
        };
        assert_eq!(behind(front).indexes, 150);
        // A quiet lane, whose position is old, is behind by what waits on it.
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
        // A table that stands where everything is delivered neither begins nor hides it.
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
