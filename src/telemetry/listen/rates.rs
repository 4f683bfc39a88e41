//! How many records a second the sink takes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::telemetry::board::Row;

/// Over how long a rate is taken.
const OVER: Duration = Duration::from_secs(10);

/// Counts of the last seconds, by the name of the row.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<BTreeMap<String, VecDeque<(Instant, u64)>>>);

impl Rates {
    /// Notes how much is delivered. Call it about once a second.
    pub(super) fn sample<'a>(&self, rows: impl Iterator<Item = &'a Row>) {
        let now = Instant::now();
        let mut old = self.lock();
        let mut new = BTreeMap::new();
        for row in rows {
            let mut counts = old.remove(&row.name).unwrap_or_default();
            // A pipeline that starts again counts from 0.
            if counts.back().is_some_and(|(_, count)| *count > row.summary.delivered) {
                counts.clear();
            }
            counts.push_back((now, row.summary.delivered));
            while counts.front().is_some_and(|(at, _)| now - *at > OVER) {
                counts.pop_front();
            }
            new.insert(row.name.clone(), counts);
        }
        *old = new;
    }

    /// Records a second.
    pub(super) fn of(&self, row: &str) -> f64 {
        let counts = self.lock();
        let ends = counts.get(row).and_then(|counts| counts.front().zip(counts.back()));
        let Some(((from, before), (until, after))) = ends else { return 0.0 };
        let seconds = (*until - *from).as_secs_f64();
        if seconds > 0.0 { (after - before) as f64 / seconds } else { 0.0 }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<(Instant, u64)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
