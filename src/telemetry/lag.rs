//! How far delivery is behind the cluster. Computed on demand from what is known anyway: the newest index of any line or table, and
//! the front of the ledger.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::arrivals::{self, Arrivals};
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
    /// The index of the line that the sink has to deliver next.
    pub line: Option<RaftIndex>,
    /// When the oldest undelivered event arrived, or the oldest gap was found that lists still have to fill.
    pub oldest: Option<Instant>,
    /// Since when something is delivered that no checkpoint holds.
    pub unsaved: Option<Instant>,
}

impl Front {
    /// The last index up to which nothing is undelivered. Tables moved up to `quiet` without an event.
    fn delivered(&self, quiet: RaftIndex) -> RaftIndex {
        let before = |index: RaftIndex| RaftIndex(index.0.saturating_sub(1));
        self.undelivered.map_or(self.position.max(quiet), before)
    }

    /// The same without the gaps: the last index of the stream that does not wait for the sink.
    fn streamed(&self, quiet: RaftIndex) -> RaftIndex {
        let before = |index: RaftIndex| RaftIndex(index.0.saturating_sub(1));
        self.line.map_or(self.position.max(quiet), before)
    }
}

/// The lag of one kind.
pub(super) struct Lag {
    /// What the times in atomics count from.
    start: Instant,
    newest: AtomicU64,
    /// Tables moved up to here without an event.
    quiet: AtomicU64,
    /// When the last line was received, in milliseconds after the start; 0 before the first.
    received: AtomicU64,
    /// When the last sample was taken, as before.
    sampled: AtomicU64,
    arrivals: Mutex<Arrivals>,
    unreachable: Mutex<Option<Unreachable>>,
    backlog: Mutex<Option<Arc<dyn Backlog>>>,
}

impl Default for Lag {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Lag {
            start: Instant::now(),
            newest: zero(),
            quiet: zero(),
            received: zero(),
            sampled: zero(),
            arrivals: Mutex::default(),
            unreachable: Mutex::default(),
            backlog: Mutex::default(),
        }
    }
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
    /// How long something has been delivered that no checkpoint holds.
    pub(super) unsaved_seconds: f64,
}

impl Lag {
    /// Notes that Nomad has reached `index`.
    pub(super) fn seen(&self, index: RaftIndex) {
        self.seen_at(index, Instant::now());
    }

    fn seen_at(&self, index: RaftIndex, at: Instant) {
        if self.newest.fetch_max(index.0, Ordering::Relaxed) >= index.0 {
            return;
        }
        let now = self.millis(at);
        // One lock in a while: lines come much faster.
        if now >= self.sampled.load(Ordering::Relaxed) + arrivals::EVERY.as_millis() as u64 {
            self.sampled.store(now, Ordering::Relaxed);
            lock(&self.arrivals).note(index, at);
        }
    }

    /// Notes the index of a line that nothing confirms yet. It counts only if it is plausible: one absurd index must not show as lag
    /// for ever.
    pub(super) fn received(&self, index: RaftIndex, at: Instant) {
        self.received.store(self.millis(at), Ordering::Relaxed);
        if index.is_plausible_after(RaftIndex(self.newest.load(Ordering::Relaxed))) {
            self.seen_at(index, at);
        }
    }

    /// How long ago the last line was received; `None` before the first.
    pub(super) fn since_received(&self) -> Option<Duration> {
        let at = self.received.load(Ordering::Relaxed);
        (at > 0).then(|| (self.start + Duration::from_millis(at - 1)).elapsed())
    }

    /// Milliseconds after the start, from 1 on.
    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_millis() as u64 + 1
    }

    /// Notes that tables moved up to `index` without an event that is missing here.
    pub(super) fn quiet(&self, index: RaftIndex) {
        self.quiet.fetch_max(index.0, Ordering::Relaxed);
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
        self.quiet.store(0, Ordering::Relaxed);
        lock(&self.arrivals).forget();
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
        let quiet = RaftIndex(self.quiet.load(Ordering::Relaxed));
        let delivered = front.delivered(quiet);
        let known = RaftIndex(self.newest.load(Ordering::Relaxed));
        let unreachable = lock(&self.unreachable).filter(|unreachable| unreachable.newest > delivered);
        let newest = unreachable.map_or(known, |it| it.newest.max(known));
        // A line counts from its arrival, also where it is not in the ledger yet.
        let arrived = lock(&self.arrivals).since(front.streamed(quiet), known);
        let oldest = front.oldest.into_iter().chain(arrived).chain(unreachable.map(|it| it.since)).min();
        let age = |since: Option<Instant>| since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        Some(Behind {
            position: front.position,
            indexes: newest.0.saturating_sub(delivered.0),
            oldest_seconds: age(oldest),
            unsaved_seconds: age(front.unsaved),
        })
    }

    fn delivered(&self) -> RaftIndex {
        let quiet = RaftIndex(self.quiet.load(Ordering::Relaxed));
        lock(&self.backlog).as_ref().map_or(RaftIndex(0), |backlog| backlog.front().delivered(quiet))
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
        let line = Some(RaftIndex(160));
        let waits = Front { undelivered: line, line, oldest: Some(Instant::now()), ..front };
        advance(Duration::from_millis(1500)).await;
        let seen = behind(waits);
        assert_eq!((seen.indexes, seen.position), (6, RaftIndex(15)));
        assert!((1.5..2.0).contains(&seen.oldest_seconds), "{seen:?}");
        assert_eq!(behind(Front { position: RaftIndex(165), ..front }).indexes, 0);
        assert_eq!(behind(Front { position: RaftIndex(900), ..front }).indexes, 0);
        lag.received(RaftIndex(1 << 63), Instant::now());
        lag.received(RaftIndex(166), Instant::now());
        assert_eq!(behind(Front { position: RaftIndex(165), ..front }).indexes, 1);
        // A table below what is delivered neither starts nor hides the lag.
        lag.unreachable(RaftIndex(100));
        advance(Duration::from_secs(9)).await;
        lag.unreachable(RaftIndex(170));
        lag.unreachable(RaftIndex(180));
        lag.unreachable(RaftIndex(90));
        advance(Duration::from_secs(9)).await;
        // Line 166 arrived before the tables moved.
        let seen = behind(Front { position: RaftIndex(165), ..front });
        assert_eq!(seen.indexes, 15);
        assert!((18.0..19.0).contains(&seen.oldest_seconds), "{seen:?}");
        lag.reachable();
        assert_eq!(behind(Front { position: RaftIndex(165), ..front }).indexes, 1);
        lag.unreachable(RaftIndex(166));
        let all = Front { position: RaftIndex(166), ..front };
        assert_eq!((behind(all).indexes, behind(all).oldest_seconds), (0, 0.0));
        lag.forget();
        lag.received(RaftIndex(3), Instant::now());
        assert_eq!(behind(Front::default()).indexes, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_to_be_read_ages_and_what_was_no_event_does_not() {
        let lag = Lag::default();
        let behind = |front: Front| {
            lag.follow(Some(Arc::new(At(front))));
            let Behind { indexes, oldest_seconds, .. } = lag.behind().expect("a leader");
            (indexes, oldest_seconds.round())
        };
        let at = |position| Front { position: RaftIndex(position), ..Front::default() };
        lag.received(RaftIndex(10), Instant::now());
        assert_eq!((behind(at(10)), lag.since_received()), ((0, 0.0), Some(Duration::ZERO)));
        advance(Duration::from_secs(600)).await;
        // The ledger does not know these two.
        lag.received(RaftIndex(11), Instant::now());
        advance(Duration::from_secs(20)).await;
        lag.received(RaftIndex(12), Instant::now());
        advance(Duration::from_secs(10)).await;
        assert_eq!(behind(at(10)), (2, 30.0));
        assert_eq!(behind(at(11)), (1, 10.0));
        assert_eq!(behind(at(12)), (0, 0.0));
        // A table moves, and the stream brings nothing.
        lag.seen(RaftIndex(15));
        advance(Duration::from_secs(7)).await;
        assert_eq!(behind(at(12)), (3, 7.0));
        // It was garbage collection.
        lag.quiet(RaftIndex(15));
        assert_eq!(behind(at(12)), (0, 0.0));
        // A gap that lists have to fill has an age of its own.
        let gap = Front { undelivered: Some(RaftIndex(5)), oldest: Some(Instant::now()), ..at(12) };
        advance(Duration::from_secs(4)).await;
        assert_eq!(behind(gap), (11, 4.0));
        assert_eq!(lag.since_received(), Some(Duration::from_secs(21)));
    }
}
