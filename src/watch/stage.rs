//! Between source and standard output: turns each record into its line, or leaves it out.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::{changes::Changes, filter::Filter, line::Pen};
use crate::{
    delivery::{self, Handle, Intake, Message},
    headline::Headline,
    kind::Kind,
    position::RaftIndex,
    record::Record,
};

/// How many submissions wait in front of the stage. The window bounds their bytes.
const QUEUE: usize = 16;

/// The most objects whose last line is remembered.
const REMEMBERED: usize = 4096;

pub(super) struct Stage {
    pub(super) filter: Filter,
    pub(super) pen: Pen,
    pub(super) changes: Changes,
    /// What has a greater index happens now. The rest happened before the start.
    pub(super) live_after: RaftIndex,
    pub(super) last: Last,
}

/// What was said last of each object: a new version that reads the same is no news to a person.
#[derive(Default)]
pub(super) struct Last(HashMap<(Kind, Arc<str>), u64>);

impl Last {
    /// Whether this was said of the object last. Task events are never the same: each happened.
    fn is_same(&mut self, record: &Record, headline: &Headline) -> bool {
        if matches!(record.kind, Kind::Allocations | Kind::Events) {
            return false;
        }
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        let said = xxh3_64(format!("{}  {}", headline.subject, headline.text).as_bytes());
        self.0.insert((record.kind, Arc::clone(&record.key)), said) == Some(said)
    }
}

impl Stage {
    /// The way into the stage, which passes lines on to `next`.
    pub(super) fn spawn(self, next: Handle) -> Handle {
        let (handle, intake) = delivery::stage(QUEUE);
        tokio::spawn(self.run(intake, next));
        handle
    }

    async fn run(mut self, mut intake: Intake, next: Handle) {
        while let Some(message) = intake.next().await {
            let message = match message {
                Message::Records(records) => Message::Records(self.lines(records).await),
                drain @ Message::Drain(_) => drain,
            };
            if next.pass(message).await.is_err() {
                // Nobody reads any more.
                return;
            }
        }
    }

    async fn lines(&mut self, records: Vec<Record>) -> Vec<Record> {
        let mut shown = Vec::with_capacity(records.len());
        for mut record in records {
            match self.line(&record).await {
                Some(line) => {
                    record.body = line.into();
                    shown.push(record);
                }
                None => record.ack.delivered(),
            }
        }
        shown
    }

    async fn line(&mut self, record: &Record) -> Option<String> {
        let body = serde_json::from_slice::<Value>(&record.body).unwrap_or(Value::Null);
        if !self.filter.passes(record, &body) {
            return None;
        }
        let diff = self.changes.diff(record, &body).await;
        let of_job = (record.kind == Kind::Jobs).then(|| Headline::of_job(&body, diff.as_ref())).flatten();
        let mut headline = of_job.unwrap_or_else(|| Headline::of_value(record.kind, &body));
        if record.kind == Kind::Allocations {
            headline = headline.on(&record.node);
        }
        if !self.pen.is_json() && self.last.is_same(record, &headline) {
            return None;
        }
        Some(self.pen.line(record, &headline, record.index > self.live_after))
    }
}
