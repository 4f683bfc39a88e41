//! Whether a proxy holds the stream back, most often by buffering it.
//!
//! Tables also move without an event, so a table that is ahead of the stream is no proof. If it stays ahead on a second
//! connection, its list is read: only a version there that the stream should have brought proves that the stream is
//! held back.

use serde::Deserialize;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{
    ConnectionEnd, Driver,
    tables::{Probe, TableAnswer, Why},
};
use crate::{
    kind::Kind,
    nomad::{Client, Error, ListQuery, Table},
    position::RaftIndex,
    source::{backfill::PageTokens, context::Stopped, resume::topics::has_table, tracker::Tracker},
    telemetry::SourceState,
};

/// What the operator can do about it.
const HINT: &str =
    "a proxy probably buffers the stream: turn that off for /v1/event/stream (nginx: proxy_buffering off)";
/// Objects per page.
const PER_PAGE: u32 = 500;

/// What is known about a stream that may be held back.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// A table was ahead of the stream on the previous connection too.
    pub(super) suspected: bool,
    /// The stream is held back as far as is known, and shown so until a connection shows otherwise. That it has caught
    /// up is no proof, because a proxy passes a full buffer on.
    pub(super) held_back: bool,
    /// The ranges to look for in lists.
    to_check: Vec<ListRange>,
    /// Tables moved up to here without an event.
    cleared: RaftIndex,
    /// When lists were last asked, and when they may be asked next without an alarm.
    lists: Option<(Instant, Instant)>,
}

impl Suspicion {
    /// Tables moved without an event: nothing is missing now.
    fn clear(&mut self, cleared: RaftIndex) {
        *self = Suspicion { cleared, held_back: self.held_back, lists: self.lists, ..Suspicion::default() };
    }

    /// Whether lists may be asked without an alarm.
    fn may_ask(&self) -> bool {
        self.lists.is_none_or(|(_, next)| Instant::now() >= next)
    }

    fn asks_lists(&mut self) {
        let now = Instant::now();
        self.lists = Some((now, now));
    }

    /// The lists have answered: reading them takes at most a twentieth of the time.
    fn have_lists(&mut self) {
        if let Some((asked, next)) = &mut self.lists {
            *next = Instant::now() + 20 * asked.elapsed();
        }
    }
}

/// Versions that a list may have, and the stream has not brought.
#[derive(Clone, Copy, Debug)]
struct ListRange {
    table: Table,
    after: RaftIndex,
    until: RaftIndex,
}

/// Why nothing arrives, in the words of the status page.
pub(super) fn reason(server: &str) -> String {
    format!(
        "the event stream of {server} brings nothing while tables move: a proxy probably buffers it; turn that off for \
         /v1/event/stream (nginx: proxy_buffering off)"
    )
}

impl Driver {
    /// The watchdog: has a table moved past everything that the stream brought since the last check? If half a line
    /// does not grow, there is no second check, and the stream is shown as held back at once: Nomad writes whole lines.
    ///
    /// Otherwise a false alarm is normal for a quiet cluster; each one postpones the next. While lines wait for the sink (`held_up`), there is none:
    /// the position then lags behind however fast the stream is.
    pub(super) fn stream_is_behind(
        &mut self,
        answer: &TableAnswer,
        stalled: bool,
        held_up: bool,
    ) -> Option<ConnectionEnd> {
        let (mut behind, mut due) = (Vec::new(), false);
        let server = self.connection.as_ref().map_or("", |connection| &connection.server);
        for tracker in &mut self.trackers {
            let Some(index) = tracker.tables().and_then(|tables| answer.greatest(&tables)) else { continue };
            let read = tracker.cursor.position().index;
            self.ctx.metrics.seen(tracker.kind, index);
            let before = std::mem::replace(&mut tracker.watchdog.table_before, index);
            let seen = if stalled { index } else { before };
            if held_up || seen <= read || seen <= self.suspicion.cleared || !tracker.cursor.is_proven() {
                continue;
            }
            behind.extend(ranges(tracker, read, seen));
            if self.suspicion.suspected {
                continue;
            }
            if stalled {
                warn!(kind = %tracker.kind, table = %seen, %read, server,
                    hint = HINT, "event stream stalled within a line");
                due = true;
            } else if tracker.watchdog.may_alarm() {
                warn!(kind = %tracker.kind, table = %seen, %read, server,
                    hint = HINT, "event stream is behind its table");
                due = true;
            }
        }
        if stalled && !behind.is_empty() {
            self.hold_back();
        }
        if due {
            self.suspicion.suspected = true;
            self.ctx.client.fail_over(self.server());
            return Some(if stalled { ConnectionEnd::Lost } else { ConnectionEnd::Resubscribe });
        }
        if self.suspicion.suspected {
            if behind.is_empty() {
                self.suspicion.clear(self.suspicion.cleared);
            }
            self.suspicion.to_check = behind;
        } else if self.suspicion.may_ask() {
            // No alarm is due. What garbage collection did would count as lag until the next one.
            self.suspicion.to_check = behind;
        }
        None
    }

    /// Shows how far the tables are ahead of a stream that brings nothing.
    pub(super) fn look(&self, answer: &TableAnswer) {
        for tracker in &self.trackers {
            if let Some(index) = tracker.tables().and_then(|tables| answer.greatest(&tables)) {
                self.ctx.metrics.seen(tracker.kind, index);
            }
        }
    }

    /// The stream is held back, as far as is known.
    pub(super) fn hold_back(&mut self) {
        self.suspicion.held_back = true;
        self.show_stream();
    }

    /// The connection has shown that no proxy holds the stream back.
    pub(super) fn flows_again(&mut self) {
        if std::mem::take(&mut self.suspicion.held_back) {
            info!(namespace = &*self.namespace, server = self.server(), "event stream is no longer held back");
            self.show_stream();
        }
    }

    /// Shows in the status how the stream is read.
    pub(super) fn show_stream(&self) {
        match self.suspicion.held_back {
            true => self.show(&SourceState::Blocked { reason: reason(self.server()) }),
            false => self.show(&SourceState::Streaming),
        }
    }

    /// Reads from lists what the stream should have brought, in the background; `None` if nothing is in question.
    pub(super) fn ask_lists(&mut self) -> Option<Probe> {
        let ranges = std::mem::take(&mut self.suspicion.to_check);
        if ranges.is_empty() {
            return None;
        }
        self.suspicion.asks_lists();
        let (client, namespace) = (self.ctx.client.clone(), self.namespace.clone());
        Some(Box::pin(async move {
            let mut answer = TableAnswer::new(Why::Lists);
            for range in ranges {
                match newest_in(&client, &namespace, range).await {
                    Ok(newest) => answer.newer.extend(newest.map(|index| (range.table, index))),
                    Err(error) => {
                        warn!(%error, "cannot check whether the stream is held back");
                        answer.failed = true;
                    }
                }
            }
            answer
        }))
    }

    /// Processes what lists have and the stream had not brought.
    pub(super) fn take_lists(&mut self, answer: &TableAnswer) -> Option<ConnectionEnd> {
        self.suspicion.have_lists();
        let is_missing = |(table, index): &&(Table, RaftIndex)| {
            let reads = |tracker: &&Tracker| tracker.tables().is_some_and(|tables| tables.contains(table));
            self.trackers.iter().filter(reads).any(|tracker| tracker.cursor.position().index < *index)
        };
        let missing = answer.newer.iter().find(is_missing);
        if missing.is_some() && !self.suspicion.suspected {
            // The next connection has to show whether it was this one alone.
            self.suspicion.suspected = true;
            self.ctx.client.fail_over(self.server());
            return Some(ConnectionEnd::Resubscribe);
        }
        if let Some((table, index)) = missing {
            error!(namespace = &*self.namespace, server = self.server(), table = table.topic(), listed = %index,
                hint = HINT, "event stream is held back");
            self.hold_back();
            return Some(ConnectionEnd::HeldBack);
        }
        if !answer.failed {
            let cleared = self.trackers.iter().map(|tracker| tracker.watchdog.table_before).max().unwrap_or_default();
            self.suspicion.clear(cleared);
            for tracker in &self.trackers {
                self.ctx.metrics.moved_without_event(tracker.kind, tracker.watchdog.table_before);
            }
        }
        None
    }

    /// A first list needs no stream: while the stream brings nothing, the tables say what lists have to deliver. A
    /// stored position is left to the stream, because only the stream has the versions in between, and its next
    /// connection can be a good one.
    pub(super) async fn begin_without_stream(&mut self) -> Result<(), Stopped> {
        let probe = self.ask_for_proof();
        let answer = self.wait_for(probe).await?;
        self.record_tables(&answer.indexes);
        let before = self.listed_to();
        self.prove(&answer, Tracker::starts_from_nothing).await?;
        // What lists deliver from there on is of all namespaces.
        if before <= self.coverage.watermark() && self.coverage.raise_to(self.listed_to()) {
            self.store_watermark().await?;
        }
        Ok(())
    }

    /// Records the indexes of the tables, which lists have to reach. Raw events have no list: whatever table moves,
    /// they are behind until there is a stream.
    pub(super) fn record_tables(&self, tables: &[(Table, RaftIndex)]) {
        for tracker in &self.trackers {
            let of_tracker = tables.iter().filter(|(table, _)| has_table(tracker.topics(), *table));
            let newest = of_tracker.map(|(_, index)| *index).max();
            match (newest, tracker.kind) {
                (Some(index), Kind::Events) => self.ctx.metrics.unreachable(tracker.kind, index),
                (Some(index), kind) => self.ctx.metrics.seen(kind, index),
                (None, _) => {}
            }
        }
    }

    /// The position of the slowest kind that lists deliver.
    fn listed_to(&self) -> RaftIndex {
        let positions = self.trackers.iter().filter(|tracker| tracker.table().is_some());
        positions.map(|tracker| tracker.cursor.position().index).min().unwrap_or_default()
    }
}

/// The ranges that lists can check for a tracker; none for one that reads single keys of a topic.
fn ranges(tracker: &Tracker, after: RaftIndex, until: RaftIndex) -> Vec<ListRange> {
    let of_all = tracker.topics().iter().all(|topic| topic.key.is_none());
    let tables = tracker.tables().filter(|_| of_all).unwrap_or_default();
    tables.into_iter().map(|table| ListRange { table, after, until }).collect()
}

/// The index of some version in the range, if the list has one.
async fn newest_in(client: &Client, namespace: &str, range: ListRange) -> Result<Option<RaftIndex>, Error> {
    let (mut token, mut tokens): (Option<String>, PageTokens) = Default::default();
    loop {
        let query = ListQuery {
            per_page: PER_PAGE,
            next_token: token.as_deref(),
            task_states: false,
            ..ListQuery::new(range.table, namespace)
        };
        let mut page = client.list(&query).await?;
        while let Some(element) = page.next().await? {
            let index = RaftIndex(changed_at(range.table, &element));
            if index > range.after && index <= range.until {
                return Ok(Some(index));
            }
        }
        let Some(next) = page.next_token.take() else { return Ok(None) };
        tokens.record_next(token.as_deref(), &next).map_err(|endless| Error::Garbage {
            address: page.server().to_owned(),
            what: format!("the list of {}", range.table.topic()),
            text: endless.to_string(),
        })?;
        token = Some(next);
    }
}

/// The index of the last change that has an event. A job's stability changes its `ModifyIndex` without one.
fn changed_at(table: Table, element: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Stub {
        #[serde(rename = "ModifyIndex")]
        modified: u64,
        #[serde(rename = "JobModifyIndex")]
        job_modified: Option<u64>,
    }
    let Ok(Stub { modified, job_modified }) = serde_json::from_slice(element) else { return 0 };
    if table == Table::Jobs { job_modified.unwrap_or(modified) } else { modified }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_without_an_event_is_no_proof() {
        let stub = br#"{"ID":"web","ModifyIndex":90,"JobModifyIndex":40,"Stable":true}"#;
        assert_eq!(changed_at(Table::Jobs, stub), 40);
        assert_eq!(changed_at(Table::Deployments, stub), 90);
        assert_eq!(changed_at(Table::Jobs, br#"{"ModifyIndex":90}"#), 90);
        assert_eq!(changed_at(Table::Nodes, b"[]"), 0);
    }
}
