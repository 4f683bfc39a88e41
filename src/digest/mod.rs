//! Never a storm of notifications: a stage in front of a sink for people.
//!
//! The first message of a topic leaves at once. Equal ones are held back for [`Config::window`], and leave as one summary. Once more
//! than [`Config::limit`] messages would leave within a minute, or that many wait for the sink, everything is held back, and one summary
//! a minute leaves until it is quiet again.
//!
//! **A record is acknowledged with the message that counts it**: a summary carries the claims of all its records
//! ([`AckHandle::join`](crate::ledger::AckHandle::join)). So a crash repeats what was held back, and loses none of it. A stop or the
//! hand-over of a lease sends the summaries at once, because a [`Drain`](delivery::Drain) passes behind everything that is held back.
//!
//! **What is held back is bounded.** Of a record in a summary only its claim and its line are kept, but the claim keeps the record's share
//! of the window. The summaries leave early when they keep half of the window, or `MOST_HELD` records.

mod budget;
mod held;
pub mod settings;
mod state;

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use self::state::Digest;
use crate::{
    delivery::{self, Handle, Intake, Message, Stopped},
    telemetry::Metrics,
};

/// The most records that are held back. Each of them costs a claim of eight bytes, and its line and lease some hundred.
const MOST_HELD: usize = 10_000;

/// How many submissions wait in front of the stage.
const QUEUE: usize = 16;

/// When messages leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long equal messages are gathered after one has left.
    pub window: Duration,
    /// How many messages may leave within a minute, and how many may wait for the sink.
    pub limit: usize,
}

/// Starts the stage in front of `next`. It ends once all handles are gone and what it held has left.
pub fn spawn(config: Config, metrics: Metrics, next: Handle) -> Handle {
    let (handle, intake) = delivery::stage(QUEUE);
    let digest = Digest::new(config, metrics);
    tokio::spawn(async move {
        if run(digest, intake, next).await.is_err() {
            tracing::debug!("summaries end with their delivery");
        }
    });
    handle
}

async fn run(mut digest: Digest, mut intake: Intake, next: Handle) -> Result<(), Stopped> {
    loop {
        digest.log_unsent();
        let message = match digest.due_at() {
            Some(due) => timeout_at(due, intake.next()).await.ok(),
            None => Some(intake.next().await),
        };
        let mut leaving = Vec::new();
        match message {
            Some(Some(Message::Records(records))) => {
                for record in records {
                    digest.take(record, Instant::now(), &mut leaving);
                }
                next.submit(leaving).await?;
            }
            Some(Some(drain @ Message::Drain(_))) => {
                digest.flush(Instant::now(), &mut leaving);
                next.submit(leaving).await?;
                next.pass(drain).await?;
            }
            Some(None) => {
                digest.flush(Instant::now(), &mut leaving);
                return next.submit(leaving).await;
            }
            None => {
                digest.due(Instant::now(), &mut leaving);
                next.submit(leaving).await?;
            }
        }
    }
}
