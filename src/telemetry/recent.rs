//! The last records of a process, for people who look at the status page.
//!
//! The source shows each record to a [`Tap`] on its way to the stages. That must cost next to nothing, and wait for nobody: the
//! tap copies small bodies, a hundred a second at most, and only while no viewer holds the ring. What it lets go by is counted, and
//! the page says so. A record is turned into text only when somebody looks.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::time::Instant;

use crate::{kind::Kind, position::RaftIndex};

/// How many records are kept.
pub const KEPT: usize = 200;
/// The most bytes of bodies that are kept of all pipelines.
const BODIES: usize = 512 << 10;
/// The largest body that is kept.
const BODY: usize = 16 << 10;
/// How many records of a pipeline are looked at in a second.
const A_SECOND: u64 = 100;

/// Makes a body fit to be seen: it takes out what the pipeline redacts.
pub type Veil = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// The last records of a process. Cheap to clone; all clones share the same.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Arc<Passed>>,
    bytes: usize,
    /// The number of the next entry.
    next: u64,
}

/// A record that went by.
pub struct Passed {
    /// Counts the records of the ring, from 1.
    pub number: u64,
    /// The name of its pipeline, if it has one.
    pub pipeline: Option<Arc<str>>,
    /// What it is about.
    pub kind: Kind,
    /// Its id.
    pub id: Box<str>,
    /// The namespace of the object; empty where it has none.
    pub namespace: Arc<str>,
    /// The raft index of its version.
    pub index: RaftIndex,
    /// When it went by.
    pub at: SystemTime,
    /// How many records of the pipeline went by unseen before this one.
    pub skipped: u64,
    /// Its body, unless that was too large.
    body: Option<Box<[u8]>>,
    veil: Option<Veil>,
}

impl Passed {
    /// The body without what the pipeline redacts; `None` if it was too large to be kept.
    pub fn body(&self) -> Option<Vec<u8>> {
        let body = self.body.as_deref()?;
        Some(self.veil.as_ref().map_or_else(|| body.to_vec(), |veil| veil(body)))
    }
}

impl fmt::Debug for Passed {
    /// Without the body: it can carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passed").field("number", &self.number).field("id", &self.id).finish_non_exhaustive()
    }
}

/// A record as the source sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What it is about.
    pub kind: Kind,
    /// Its id.
    pub id: &'a str,
    /// The namespace of the object; empty where it has none.
    pub namespace: &'a Arc<str>,
    /// The raft index of its version.
    pub index: RaftIndex,
    /// The message.
    pub body: &'a [u8],
}

impl Recent {
    /// Where a pipeline shows its records.
    pub fn tap(&self, pipeline: Option<&str>, veil: Option<Veil>) -> Tap {
        let shared = Shared { recent: self.clone(), pipeline: pipeline.map(Arc::from), veil, pace: Pace::default() };
        Tap(Some(Arc::new(shared)))
    }

    /// The entries after the one with this number, the oldest first.
    pub fn after(&self, number: u64) -> Vec<Arc<Passed>> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.entries.iter().filter(|entry| entry.number > number).cloned().collect()
    }
}

impl Ring {
    fn push(&mut self, entry: Passed) {
        self.bytes += entry.body.as_ref().map_or(0, |body| body.len());
        self.entries.push_back(Arc::new(entry));
        while self.entries.len() > KEPT || self.bytes > BODIES {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.body.as_ref().map_or(0, |body| body.len());
        }
    }
}

/// Where a pipeline shows its records as they go by. Cheap to clone; the default keeps none.
#[derive(Clone, Default)]
pub struct Tap(Option<Arc<Shared>>);

struct Shared {
    recent: Recent,
    pipeline: Option<Arc<str>>,
    veil: Option<Veil>,
    pace: Pace,
}

/// How many records were taken in the present second. Several tasks count at once: one too many does no harm.
struct Pace {
    begun: Instant,
    second: AtomicU64,
    taken: AtomicU64,
    skipped: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            begun: Instant::now(),
            second: AtomicU64::default(),
            taken: AtomicU64::default(),
            skipped: AtomicU64::default(),
        }
    }
}

impl Pace {
    /// How many more may be taken now.
    fn left(&self) -> u64 {
        let second = self.begun.elapsed().as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.taken.store(0, Ordering::Relaxed);
        }
        A_SECOND.saturating_sub(self.taken.load(Ordering::Relaxed))
    }
}

impl Tap {
    /// Shows `count` records that go by. Never waits.
    pub fn pass<'a>(&self, count: usize, records: impl Iterator<Item = Seen<'a>>) {
        let Some(shared) = &self.0 else { return };
        let pace = &shared.pace;
        let wanted = pace.left().min(count as u64);
        let ring = match (wanted, shared.recent.0.try_lock()) {
            (0, _) => None,
            (_, Ok(ring)) => Some(ring),
            (_, Err(TryLockError::Poisoned(poisoned))) => Some(poisoned.into_inner()),
            (_, Err(TryLockError::WouldBlock)) => None,
        };
        let Some(mut ring) = ring else {
            pace.skipped.fetch_add(count as u64, Ordering::Relaxed);
            return;
        };
        let at = SystemTime::now();
        for Seen { kind, id, namespace, index, body } in records.take(wanted as usize) {
            ring.next += 1;
            let entry = Passed {
                number: ring.next,
                pipeline: shared.pipeline.clone(),
                kind,
                id: id.into(),
                namespace: Arc::clone(namespace),
                index,
                at,
                skipped: pace.skipped.swap(0, Ordering::Relaxed),
                body: (body.len() <= BODY).then(|| body.into()),
                veil: shared.veil.clone(),
            };
            ring.push(entry);
        }
        pace.taken.fetch_add(wanted, Ordering::Relaxed);
        pace.skipped.fetch_add(count as u64 - wanted, Ordering::Relaxed);
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tap").field(&self.0.as_ref().map(|shared| &shared.pipeline)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn pass(tap: &Tap, numbers: std::ops::Range<u64>, size: usize) {
        let (namespace, body) = (Arc::from("default"), vec![b' '; size]);
        let ids: Vec<String> = numbers.map(|number| number.to_string()).collect();
        let seen =
            ids.iter().map(|id| Seen { kind: Kind::Jobs, id, namespace: &namespace, index: RaftIndex(7), body: &body });
        tap.pass(ids.len(), seen);
    }

    fn ids(recent: &Recent) -> Vec<(String, u64)> {
        recent.after(0).iter().map(|entry| (entry.id.to_string(), entry.skipped)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_by_too_fast_is_counted() {
        let recent = Recent::default();
        let tap = recent.tap(Some("web"), None);
        pass(&tap, 0..150, 10);
        pass(&tap, 150..1000, 10);
        assert_eq!(recent.after(0).len(), 100);
        advance(Duration::from_secs(1)).await;
        pass(&tap, 1000..1001, 10);
        assert_eq!(ids(&recent).pop(), Some(("1000".to_owned(), 900)));
        assert_eq!(recent.after(100).len(), 1);
        Tap::default().pass(1, std::iter::empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_ring_is_bounded_in_number_and_bytes() {
        let recent = Recent::default();
        let tap = recent.tap(None, None);
        for second in 0..5 {
            pass(&tap, second * 100..second * 100 + 100, 10);
            advance(Duration::from_secs(1)).await;
        }
        let kept = ids(&recent);
        assert_eq!((kept.len(), kept[0].0.as_str()), (KEPT, "300"));
        pass(&tap, 500..600, BODY);
        assert_eq!(recent.after(0).len(), BODIES / BODY);
        pass(&tap, 600..601, BODY + 1);
        advance(Duration::from_secs(1)).await;
        pass(&tap, 601..602, BODY + 1);
        assert!(recent.after(0).last().expect("one").body().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_viewer() {
        let recent = Recent::default();
        let tap = recent.tap(None, Some(Arc::new(|_: &[u8]| b"hidden".to_vec())));
        {
            let _held = recent.0.lock().expect("no panic");
            pass(&tap, 0..3, 10);
        }
        pass(&tap, 3..4, 10);
        assert_eq!(ids(&recent), [("3".to_owned(), 3)]);
        assert_eq!(recent.after(0)[0].body().expect("small"), b"hidden");
    }
}
