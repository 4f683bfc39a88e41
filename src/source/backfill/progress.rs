//! How far a walk over a list has come, for people who wait for it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::info;

use crate::{kind::Kind, position::RaftIndex};

/// How often a walk that takes long is spoken of.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The walk of one kind over the list of one lane.
#[derive(Debug)]
pub(in crate::source) struct Progress {
    kind: Kind,
    namespace: Arc<str>,
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    totals: Totals,
    /// Objects of the pages before.
    before: u64,
    begun: Instant,
    tell_at: Instant,
    /// The creation index with which the second page began: where the table is ordered by it, what lies between that and
    /// its newest is what there is to do.
    from: Option<u64>,
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::source) struct Totals {
    /// Objects that were owed.
    pub(in crate::source) delivered: u64,
    /// Objects that were looked at.
    pub(in crate::source) walked: u64,
    /// Pages that were read whole.
    pub(in crate::source) pages: u64,
    /// How long it took; of a list that a restart went on with, its own part.
    pub(in crate::source) elapsed: Duration,
}

impl Progress {
    pub(in crate::source) fn new(kind: Kind, namespace: Arc<str>) -> Self {
        Progress { kind, namespace, under_way: None }
    }

    /// A page comes, the first one or a further one.
    pub(in crate::source) fn begin(&mut self) {
        self.under_way.get_or_insert_with(|| {
            let begun = Instant::now();
            UnderWay { totals: Totals::default(), before: 0, begun, tell_at: begun + TELL_EVERY, from: None }
        });
    }

    pub(in crate::source) fn walked(&mut self) {
        if let Some(UnderWay { totals, .. }) = &mut self.under_way {
            totals.walked += 1;
        }
    }

    pub(in crate::source) fn delivered(&mut self) {
        if let Some(UnderWay { totals, .. }) = &mut self.under_way {
            totals.delivered += 1;
        }
    }

    /// A page is read to its end. `next` is the token of the next one, and `table` where its table stands. Gives how many
    /// objects it had.
    pub(in crate::source) fn page(&mut self, next: Option<&str>, table: RaftIndex) -> u64 {
        let Some(walk) = &mut self.under_way else { return 0 };
        let objects = walk.totals.walked - std::mem::replace(&mut walk.before, walk.totals.walked);
        walk.totals.pages += 1;
        if let Some(next) = next {
            self.tell(next, table);
        }
        objects
    }

    fn tell(&mut self, next: &str, table: RaftIndex) {
        let Some(walk) = &mut self.under_way else { return };
        let share = share(self.kind, next, table, &mut walk.from);
        let (Totals { delivered, walked, pages, .. }, elapsed) = (walk.totals, walk.begun.elapsed());
        let now = Instant::now();
        if now < walk.tell_at {
            return;
        }
        walk.tell_at = now + TELL_EVERY;
        let (kind, namespace, elapsed) = (self.kind, &*self.namespace, format!("{}s", elapsed.as_secs()));
        let share = share.map(|share| format!("{:.0}%", 100.0 * share));
        info!(%kind, namespace, objects = delivered, walked, pages, elapsed, share, "backfill in progress");
    }

    /// It is at its end, or given up.
    pub(in crate::source) fn end(&mut self) -> Totals {
        let Some(UnderWay { totals, begun, .. }) = self.under_way.take() else { return Totals::default() };
        let elapsed = begun.elapsed();
        // More digits than anybody reads.
        Totals { elapsed: Duration::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)), ..totals }
    }
}

/// How much of the list is read, from 0 to 1, where its order tells. Jobs go by name, nodes by id: nothing can be said.
fn share(kind: Kind, next: &str, table: RaftIndex, from: &mut Option<u64>) -> Option<f64> {
    if !matches!(kind, Kind::Allocations | Kind::Evaluations | Kind::Deployments) {
        return None;
    }
    // `INDEX.ID` (Nomad 2.0.5); anything else tells nothing.
    let at: u64 = next.split_once('.')?.0.parse().ok()?;
    let from = *from.get_or_insert(at);
    let (done, all) = (at.checked_sub(from)?, table.0.checked_sub(from).filter(|all| *all > 0)?);
    Some((done as f64 / all as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ordered_by_creation_has_a_share() {
        let mut from = None;
        let mut share = |next, kind| share(kind, next, RaftIndex(1_000), &mut from);
        assert_eq!(share("service.default", Kind::Jobs), None);
        assert_eq!(share("a1b2-c3", Kind::Allocations), None);
        assert_eq!(share("500.a1b2", Kind::Allocations), Some(0.0));
        assert_eq!(share("750.a1b2", Kind::Allocations), Some(0.5));
        assert_eq!(share("1000.a1b2", Kind::Evaluations), Some(1.0));
        assert_eq!(share("4000.a1b2", Kind::Deployments), Some(1.0));
        assert_eq!(share("400.a1b2", Kind::Deployments), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_walk_counts_until_its_end() {
        let mut walk = Progress::new(Kind::Nodes, Arc::from("*"));
        walk.walked();
        assert_eq!(walk.end().walked, 0);
        for page in ["a", "b"] {
            walk.begin();
            walk.walked();
            walk.walked();
            walk.delivered();
            assert_eq!(walk.page(Some(page), RaftIndex(7)), 2);
            tokio::time::advance(Duration::from_millis(1_500)).await;
        }
        let Totals { delivered, walked, pages, elapsed } = walk.end();
        assert_eq!((delivered, walked, pages, elapsed), (2, 4, 2, Duration::from_secs(3)));
        assert_eq!(walk.end().pages, 0);
    }
}
