//! Resumes from what the original program had delivered when it led before this one.
//!
//! It stores one integer for each kind, which means no more than this: if it is an index, no version above it was sent;
//! if it is a time, no task event after it was sent. See `docs/migration.md`.

use std::time::{Duration, SystemTime};

use tracing::{error, info};

use super::{StartMode, Tracker};
use crate::{
    checkpoint::LegacyValue,
    kind::Kind,
    ledger::{Effect, LegacyNeed},
    position::{Position, RaftIndex},
    resource::LegacyProgress,
    source::{
        context::{Context, Stopped},
        resume::proof::StreamCursor,
    },
};

/// How much older than the original's newest task event an event must be to count as delivered.
///
/// The stored time is the greatest of all clients' clocks, and a client's update reaches the servers up to some hundred
/// milliseconds after it happened, later if it has to be repeated: an event of a slower clock or client can be older
/// and still not have been sent. Repeats at a migration are harmless, a loss is not.
const OVERLAP: Duration = Duration::from_secs(10);

/// What the original program had delivered, as far as it decides what is sent.
#[derive(Debug, Default)]
pub(super) struct Legacy {
    /// Which task events.
    pub(super) task_events: LegacyProgress,
    /// At this index it may have delivered some events and not others.
    half_sent: Option<RaftIndex>,
}

impl Legacy {
    /// Whether it may have delivered some events of `index` and not others.
    pub(super) fn is_half_sent(&self, index: RaftIndex) -> bool {
        self.half_sent == Some(index)
    }
}

impl Tracker {
    /// Whether the original program led before, and this stream is not past what it had delivered.
    pub(crate) fn needs_legacy_value(&self) -> bool {
        // The original program has no raw events.
        self.kind != Kind::Events && self.ledger.legacy().is_some()
    }

    /// Starts after what the original program had delivered. `table` is the current index of the kind's tables, from
    /// the leader. If the value is an index, returns up to which creation the original program had all namespaces.
    pub(crate) async fn resume_from_legacy_value(
        &mut self,
        ctx: &Context,
        table: RaftIndex,
    ) -> Result<Option<RaftIndex>, Stopped> {
        let Some(stored) = self.ledger.legacy() else { return Ok(None) };
        if !is_credible(self.kind, stored, table, now()) {
            error!(
                kind = %self.kind, namespace = &*self.namespace, value = stored.value, %table,
                reason = "it is ahead of the cluster or of the clock", "legacy value ignored"
            );
            self.ledger.distrust_legacy_value();
        }
        let Some(legacy) = self.ledger.resume_from_legacy_value(table) else { return Ok(None) };
        let Some(last) = known_whole(self.kind, legacy.value) else {
            self.resume_from_time(legacy);
            return Ok(None);
        };
        let value = RaftIndex(legacy.value);
        // Until the stream has moved, a restart has to trust the index as this start does.
        self.ledger.need_legacy_value(&self.namespace, LegacyNeed { position: RaftIndex(last.0 + 1), lists: false });
        let position = self.cursor.position();
        if position.index > last || position.index == last && *position != Position::at(last) {
            return Ok(None);
        }
        info!(kind = %self.kind, namespace = &*self.namespace, %value, "resuming from the legacy value");
        self.cursor = StreamCursor::trusting(last);
        self.legacy.half_sent = (last < value).then_some(value);
        // Everything after it has to be delivered, and what is gone of that is a gap.
        self.start_mode = StartMode::Resumed;
        let (line, namespaces) = (Some((last, Vec::new())), Some(value));
        self.store(ctx, Effect { line, namespaces, ..Effect::default() }).await?;
        Ok(Some(value))
    }

    fn resume_from_time(&mut self, legacy: LegacyValue) {
        let until = legacy.until.unwrap_or_default();
        if self.kind != Kind::Allocations || legacy.value == 0 {
            // The value decides nothing: once the stream is there, it continues as any other.
            self.ledger.need_legacy_value(&self.namespace, LegacyNeed { position: RaftIndex(1), lists: false });
            return;
        }
        // The passes still to be read have the versions up to there too.
        self.ledger.need_legacy_value(&self.namespace, LegacyNeed { position: until.max(RaftIndex(1)), lists: true });
        info!(
            kind = %self.kind, namespace = &*self.namespace, time = legacy.value, %until,
            "resuming from the legacy value"
        );
        self.legacy.task_events =
            LegacyProgress::Before { time: legacy.value.saturating_sub(nanoseconds(OVERLAP)), until };
    }
}

/// Whether a value can be of this cluster and of the past: its index is not above the table's, its time is not in the
/// future.
fn is_credible(kind: Kind, legacy: LegacyValue, table: RaftIndex, now: u64) -> bool {
    match kind {
        Kind::Allocations => legacy.value <= now.saturating_add(nanoseconds(OVERLAP)),
        _ => legacy.value <= table.0,
    }
}

/// Up to which index the original program had delivered everything it ever would. `None` if its value says nothing
/// about an index.
fn known_whole(kind: Kind, value: u64) -> Option<RaftIndex> {
    let last = match kind {
        Kind::Allocations | Kind::Events => 0,
        // It sends the evaluations of an index only when their table has moved past that index.
        Kind::Evaluations => value.saturating_sub(1),
        Kind::Nodes | Kind::Jobs | Kind::JobListStubs | Kind::Deployments => value,
    };
    Some(RaftIndex(last)).filter(|last| last.0 > 0)
}

/// Wall-clock time in ns since 1970: the only one that compares with a task event's.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(nanoseconds).unwrap_or_default()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_ahead_is_of_no_use() {
        let credible = |kind, value| is_credible(kind, LegacyValue { value, until: None }, RaftIndex(500), 1 << 60);
        for kind in [Kind::Nodes, Kind::Evaluations, Kind::Jobs, Kind::JobListStubs, Kind::Deployments] {
            assert!(credible(kind, 0) && credible(kind, 500));
            assert!(!credible(kind, 501) && !credible(kind, u64::MAX));
        }
        assert!(credible(Kind::Allocations, 1 << 60) && credible(Kind::Allocations, (1 << 60) + 10_000_000_000));
        assert!(!credible(Kind::Allocations, (1 << 60) + 10_000_000_001));
        assert!(!credible(Kind::Allocations, u64::MAX) && !credible(Kind::Allocations, i64::MAX as u64 + 1));
    }

    #[test]
    fn the_evaluations_of_the_stored_index_are_still_missing() {
        assert_eq!(known_whole(Kind::Evaluations, 7), Some(RaftIndex(6)));
        assert_eq!(known_whole(Kind::Evaluations, 1), None);
        assert_eq!(known_whole(Kind::Jobs, 7), Some(RaftIndex(7)));
        assert_eq!(known_whole(Kind::Jobs, 0), None);
        assert_eq!(known_whole(Kind::Allocations, 7), None);
    }
}
