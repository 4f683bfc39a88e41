//! From queue to sink: batches, retries, order, dead letters, acknowledgement. One task owns the sink.
//!
//! Records that were queued meanwhile leave at once with the next batch: a slow sink gets large batches, a quick one gets small
//! ones, and nothing waits unless [`Policy::linger`] says so. [`Policy::under_way`] says how many batches may be under way. With
//! more than one, a batch that is not full waits until the others are back, as it would with one.
//!
//! **Order per key.** When a record has to be sent again, every later record of its key that was sent is sent again after it,
//! delivered or not, before any newer record. So a consumer sees repeats, but every inversion lies inside a re-sent stretch that
//! is itself in order.
//!
//! **Retries** of records happen here and nowhere else, with full jitter and no end. While nothing gets through, an attempt
//! carries one record, and the attempts after it grow again; see [`Policy`] for the pauses.
//!
//! **What overtakes a failed record.** Of several batches under way, a failure holds back its key alone, until every batch that
//! could have later records of the key is back (`flow.rs`). Records of other keys go on, and their acknowledgements run ahead of
//! the gap in the ledger: at most as many bytes as two rounds of batches, and their part of the window stays in use until the gap
//! is closed. So an outage of one record never fills the memory. With one batch at a time, in an outage, and while a rejected
//! record holds the pipeline, nothing overtakes it, not even records of other keys.
//!
//! The one exception there is a **probe**. A refusal can mean the credentials or the record. After each refusal, the delivery
//! sends one record of another key, alone: the first undelivered one of its key, so that the order per key holds. If
//! the far side accepts it, it is delivered, and the ledger's front stays at the refused record; the number of attempts
//! bounds what waits behind that front. `suspect.rs` decides when the probes prove that the record is to blame.
//!
//! **Dropped is not delivered.** A record leaves this module in one of three ways: its ack handle reports it as
//! delivered (which a dead letter on disk or in the log also is), or it is dropped because its lease is lost, or
//! because the task was cancelled or the sink closed. The last two never move the checkpoint.

mod backlog;
mod batch;
mod counters;
mod flow;
mod observer;
mod pace;
mod suspect;
mod unsent;
mod worker;

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::unsent::Unsent;
pub use self::{counters::Counters, observer::Observer};
pub use crate::sink::Policy;
use crate::{
    dead_letter::DeadLetters,
    record::Record,
    sink::{Closed, Sink},
};

/// The delivery has ended: it was cancelled, or the sink is closed. Records that are not acknowledged are not
/// delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the delivery has ended")]
pub struct Stopped;

/// The way into the queue. When the last clone is dropped, the task sends what is queued and ends.
#[derive(Clone, Debug)]
pub struct Handle {
    queue: mpsc::Sender<Message>,
}

/// What passes through the queue.
#[derive(Debug)]
pub enum Message {
    /// Records, in order. A stage that drops one has to deliver its ack handle, or the checkpoint stops before it.
    Records(Vec<Record>),
    /// Somebody waits until everything submitted before is delivered. A stage passes it on behind all that it holds.
    Drain(Drain),
}

/// Tells the one who waits that everything before it is delivered. Dropped is not drained.
#[derive(Debug)]
pub struct Drain(oneshot::Sender<()>);

impl Drain {
    /// Everything before it is delivered.
    pub(crate) fn drained(self) {
        if self.0.send(()).is_err() {
            tracing::debug!("drain no longer awaited");
        }
    }
}

/// The end of a queue that a stage reads: it works between the source and delivery, and changes, drops or gathers records.
#[derive(Debug)]
pub struct Intake {
    messages: mpsc::Receiver<Message>,
}

impl Intake {
    /// The next message; `None` once all handles are gone and the queue is empty.
    pub async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }
}

/// The queue in front of a stage: it holds `submissions` before those who submit wait.
pub fn stage(submissions: usize) -> (Handle, Intake) {
    let (queue, messages) = mpsc::channel(submissions.max(1));
    (Handle { queue }, Intake { messages })
}

/// Starts the task that owns `sink`.
///
/// Cancelling `cancel` ends it at once, even during a send or a wait: unacknowledged records are dropped undelivered.
/// The task's result is `Ok` then, too; a closed sink is its only error.
pub fn spawn(
    sink: Box<dyn Sink>,
    policy: Policy,
    dead_letters: DeadLetters,
    observer: Arc<dyn Observer>,
    cancel: CancellationToken,
) -> (Handle, JoinHandle<Result<(), Closed>>) {
    let (queue, messages) = mpsc::channel(policy.queue.max(1));
    let worker = worker::Worker::new(sink, policy, dead_letters, observer, messages);
    let task = tokio::spawn(async move { cancel.run_until_cancelled_owned(worker.run()).await.unwrap_or(Ok(())) });
    (Handle { queue }, task)
}

impl Handle {
    /// Enqueues `records` in order; waits while the queue is full.
    ///
    /// # Errors
    /// [`Stopped`] when nothing will be sent any more; the records are dropped undelivered.
    pub async fn submit(&self, records: Vec<Record>) -> Result<(), Stopped> {
        if records.is_empty() {
            return Ok(());
        }
        self.pass(Message::Records(records)).await
    }

    /// Passes on what a stage got.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub async fn pass(&self, message: Message) -> Result<(), Stopped> {
        self.queue.send(message).await.map_err(|_| Stopped)
    }

    /// Waits until nothing will be sent any more.
    pub async fn stopped(&self) {
        self.queue.closed().await;
    }

    /// Waits until every record submitted before is delivered, is a dead letter, or was dropped because its lease is
    /// lost.
    ///
    /// # Errors
    /// [`Stopped`] when the task ended before that.
    pub async fn drain(&self) -> Result<(), Stopped> {
        let (drained, wait) = oneshot::channel();
        self.pass(Message::Drain(Drain(drained))).await?;
        wait.await.map_err(|_| Stopped)
    }
}
