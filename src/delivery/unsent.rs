//! Says in the log what a lost lease has left unsent: a line a kind, and not one for each batch or summary.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::kind::Kind;

/// What is dropped within this time is one line.
const TOGETHER: Duration = Duration::from_secs(1);

/// Records that were dropped because their lease is lost, until the log says so: at the latest when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    records: BTreeMap<Kind, usize>,
    since: Option<Instant>,
}

impl Unsent {
    pub(crate) fn add(&mut self, kind: Kind, records: usize) {
        *self.records.entry(kind).or_default() += records;
        self.since.get_or_insert_with(Instant::now);
    }

    /// When [`Unsent::log_if_due`] has something to log.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.since.map(|since| since + TOGETHER)
    }

    /// Logs what was dropped, if the first of it was dropped some time ago.
    pub(crate) fn log_if_due(&mut self) {
        if self.due_at().is_some_and(|due| due <= Instant::now()) {
            self.log();
        }
    }

    /// Logs what was dropped.
    pub(crate) fn log(&mut self) {
        self.since = None;
        for (kind, records) in std::mem::take(&mut self.records) {
            tracing::warn!(%kind, records, reason = "lease lost", "records dropped undelivered");
        }
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.log();
    }
}
