//! How far a walk over a list has come, for the log.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::info;

use crate::{kind::Kind, position::RaftIndex};

/// How often a long walk is logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The walk of one kind over the list of one stream.
#[derive(Debug)]
pub(crate) struct WalkProgress {
    kind: Kind,
    namespace: Arc<str>,
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    totals: WalkTotals,
    /// Objects of the pages before.
    before: u64,
    begun: Instant,
    log_at: Instant,
    /// The creation index at which the second page began. If the table is in the order of creation, the rest lies
    /// between this and its newest index.
    from: Option<u64>,
}

/// What a walk amounts to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WalkTotals {
    /// Objects that were delivered.
    pub(crate) delivered: u64,
    /// Objects that were looked at.
    pub(crate) walked: u64,
    /// Pages that were read whole.
    pub(crate) pages: u64,
    /// How long it took; after a restart, only the part since then.
    pub(crate) elapsed: Duration,
}

impl WalkProgress {
    pub(crate) fn new(kind: Kind, namespace: Arc<str>) -> Self {
        WalkProgress { kind, namespace, under_way: None }
    }

    /// A page arrives, the first one or a further one.
    pub(crate) fn begin(&mut self) {
        self.under_way.get_or_insert_with(|| {
            let begun = Instant::now();
            UnderWay { totals: WalkTotals::default(), before: 0, begun, log_at: begun + LOG_EVERY, from: None }
        });
    }

    pub(crate) fn walked(&mut self) {
        if let Some(UnderWay { totals, .. }) = &mut self.under_way {
            totals.walked += 1;
        }
    }

    pub(crate) fn delivered(&mut self) {
        if let Some(UnderWay { totals, .. }) = &mut self.under_way {
            totals.delivered += 1;
        }
    }

    /// A page is read to its end. `next` is the token of the next one, and `table` the index of its table. Returns how
    /// many objects it had.
    pub(crate) fn page(&mut self, next: Option<&str>, table: RaftIndex) -> u64 {
        let Some(walk) = &mut self.under_way else { return 0 };
        let objects = walk.totals.walked - std::mem::replace(&mut walk.before, walk.totals.walked);
        walk.totals.pages += 1;
        if let Some(next) = next {
            self.log(next, table);
        }
        objects
    }

    fn log(&mut self, next: &str, table: RaftIndex) {
        let Some(walk) = &mut self.under_way else { return };
        let share = share(self.kind, next, table, &mut walk.from);
        let (WalkTotals { delivered, walked, pages, .. }, elapsed) = (walk.totals, walk.begun.elapsed());
        let now = Instant::now();
        if now < walk.log_at {
            return;
        }
        walk.log_at = now + LOG_EVERY;
        let (kind, namespace, elapsed) = (self.kind, &*self.namespace, format!("{}s", elapsed.as_secs()));
        let share = share.map(|share| format!("{:.0}%", 100.0 * share));
        info!(%kind, namespace, objects = delivered, walked, pages, elapsed, share, "backfill in progress");
    }

    /// The walk ends, or is given up.
    pub(crate) fn end(&mut self) -> WalkTotals {
        let Some(UnderWay { totals, begun, .. }) = self.under_way.take() else { return WalkTotals::default() };
        let elapsed = begun.elapsed();
        // More digits do not help.
        WalkTotals { elapsed: Duration::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)), ..totals }
    }
}

/// How much of the list is read, from 0 to 1, if its order says. Jobs are in the order of names, nodes of IDs: nothing
/// can be said.
fn share(kind: Kind, next: &str, table: RaftIndex, from: &mut Option<u64>) -> Option<f64> {
    if !matches!(kind, Kind::Allocations | Kind::Evaluations | Kind::Deployments) {
        return None;
    }
    // `INDEX.ID` (Nomad 2.0.5); anything else says nothing.
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
        let mut walk = WalkProgress::new(Kind::Nodes, Arc::from("*"));
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
        let WalkTotals { delivered, walked, pages, elapsed } = walk.end();
        assert_eq!((delivered, walked, pages, elapsed), (2, 4, 2, Duration::from_secs(3)));
        assert_eq!(walk.end().pages, 0);
    }
}
