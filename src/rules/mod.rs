//! Counting rules: records pass once there are enough of them. A stage behind the program and in front of the sink.
//!
//! A record passes when at least [`Config::at_least`] records of its group happened within [`Config::every`]. It stands for all of
//! them: its body says how many there were. Then the group counts from zero, and nothing of it passes for [`Config::every`]; what
//! comes meanwhile counts for the next time. So a group that goes on gives one message each [`Config::every`].
//!
//! **Time is that of the event**, where the record has one, so that a burst that arrives late counts as it happened. But a rule is about
//! the present: what is older than [`Config::every`] when it arrives is not counted. Otherwise a first start, or the backfill after an
//! outage, would report everything that ever went wrong.
//!
//! Records that do not pass are acknowledged at once. The counts are in memory alone: the next leader counts from zero.

mod body;
mod counts;
pub mod settings;

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::{
    body::counted,
    counts::{Counts, Verdict},
};
use crate::{
    delivery::{self, Handle, Intake, Message, Stopped},
    meta,
    record::Record,
    telemetry::Metrics,
    throttle::Throttle,
};

/// How many submissions wait in front of the stage.
const QUEUE: usize = 16;

/// When a record passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The time within which records are counted.
    pub every: Duration,
    /// How many of a group there have to be.
    pub at_least: usize,
}

/// Starts the stage in front of `next`. It ends once all handles are gone.
pub fn spawn(config: Config, metrics: Metrics, next: Handle) -> Handle {
    let (handle, intake) = delivery::stage(QUEUE);
    let rule = Rule { counts: Counts::new(config), config, metrics, log: Throttle::default() };
    tokio::spawn(async move {
        if rule.run(intake, next).await.is_err() {
            tracing::debug!("counting ends with its delivery");
        }
    });
    handle
}

#[derive(Debug)]
struct Rule {
    config: Config,
    counts: Counts,
    metrics: Metrics,
    log: Throttle,
}

impl Rule {
    async fn run(mut self, mut intake: Intake, next: Handle) -> Result<(), Stopped> {
        while let Some(message) = intake.next().await {
            match message {
                Message::Records(records) => {
                    let passed = records.into_iter().filter_map(|record| self.judge(record, SystemTime::now()));
                    next.submit(passed.collect()).await?;
                }
                drain @ Message::Drain(_) => next.pass(drain).await?,
            }
        }
        Ok(())
    }

    /// The record, if it passes.
    fn judge(&mut self, record: Record, now: SystemTime) -> Option<Record> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = meta::time(&record).map_or(now, |time| Duration::from_nanos(time.nanoseconds()));
        let verdict = self.counts.count(record.group.as_ref(), time, now);
        let forgotten = self.counts.take_forgotten();
        if forgotten > 0 {
            self.metrics.process().rule_groups_forgotten.inc_by(forgotten);
            if let Some(times) = self.log.due("forgotten") {
                tracing::warn!(times, "groups of a counting rule forgotten");
            }
        }
        match verdict {
            Verdict::Passes { count } => {
                let body = counted(&record.body, count, self.config.every);
                return Some(Record { body: body.unwrap_or(record.body), ..record });
            }
            Verdict::Waits => {}
            Verdict::TooOld => {
                if let Some(times) = self.log.due("old") {
                    tracing::info!(kind = %record.kind, id = %record.id, times, "records too old to be counted");
                }
            }
        }
        self.metrics.of(record.kind).records_filtered.inc();
        record.ack.delivered();
        None
    }
}
