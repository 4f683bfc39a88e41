//! What goes on beside the stream, whatever the driver is doing: pages of lists, and summaries of jobs.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Driver;
use crate::source::{
    backfill::{Summary, page::Piece},
    context::{Interrupted, Stopped},
    tracker::{Tracker, Turn},
};

/// How long summaries may take after a stop.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be done for one of the trackers.
#[derive(Debug)]
pub(super) enum Beside {
    /// Its next page may be asked for.
    Ask,
    /// Its page takes long.
    Slow,
    /// So much of its page has come; `None`: what read it is gone.
    Piece(Option<Piece>),
    /// A summary has come.
    Summary(Summary),
}

/// Waits for what is to be done next, and for which tracker. Cancel-safe. `after` had the last turn: the others are looked
/// at first.
pub(super) async fn next(trackers: &mut [Tracker], after: usize) -> Result<(usize, Beside), Stopped> {
    let count = trackers.len();
    let due = trackers.iter().enumerate().filter_map(|(n, tracker)| Some((tracker.page_due()?, n))).min();
    let (at, asks) = due.unwrap_or_else(|| (Instant::now(), 0));
    let slow = trackers.iter().enumerate().filter_map(|(n, tracker)| Some((tracker.list.slow_at()?, n))).min();
    let (slow_at, slow_one) = slow.unwrap_or_else(|| (Instant::now(), 0));
    let come = poll_fn(|cx| {
        for n in (1..=count).map(|step| (after + step) % count) {
            let tracker = &mut trackers[n];
            if let Poll::Ready(summary) = tracker.summaries.poll(cx) {
                return Poll::Ready(summary.map(|summary| (n, Beside::Summary(summary))));
            }
            if let Poll::Ready(piece) = tracker.list.poll(cx) {
                return Poll::Ready(Ok((n, Beside::Piece(piece))));
            }
        }
        Poll::Pending
    });
    tokio::select! {
        biased;
        () = sleep_until(at), if due.is_some() => Ok((asks, Beside::Ask)),
        () = sleep_until(slow_at), if slow.is_some() => Ok((slow_one, Beside::Slow)),
        come = come => come,
    }
}

impl Driver {
    /// Does it. Gives what it comes to for the list of the tracker.
    pub(super) async fn go_on_beside(&mut self, tracker: usize, beside: Beside) -> Result<Turn, Stopped> {
        self.last_turn = tracker;
        let tracker = &mut self.trackers[tracker];
        match beside {
            Beside::Ask => tracker.ask_page(&self.ctx),
            Beside::Slow => tracker.show_slow(&self.ctx),
            Beside::Summary(summary) => tracker.summaries.take(&self.ctx, summary).await?,
            Beside::Piece(piece) => return tracker.take_piece(&self.ctx, piece).await,
        }
        Ok(Turn::On)
    }

    /// The driver ends: what was under way is delivered if it comes at once, or left to the next start.
    pub(super) async fn leave_beside(&mut self) -> Result<(), Stopped> {
        let deadline = Instant::now() + PATIENCE;
        for tracker in &mut self.trackers {
            tracker.leave_page(&self.ctx).await?;
            // What was delivered after a record that is still held would come again after a restart.
            while !tracker.summaries.is_empty() {
                let Ok(summary) = timeout_at(deadline, poll_fn(|cx| tracker.summaries.poll(cx))).await else { break };
                tracker.summaries.take(&self.ctx, summary?).await?;
            }
        }
        Ok(())
    }

    /// Waits for an answer that may be of no use, while all that goes on.
    pub(super) async fn meanwhile<T, E>(
        &mut self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Interrupted<E>> {
        self.wait_for(answer).await?.map_err(Interrupted::Failed)
    }

    /// Pauses while all that goes on.
    pub(super) async fn rest(&mut self, pause: Duration) -> Result<(), Stopped> {
        self.wait_for(sleep(pause)).await
    }

    /// Waits for an answer while all that goes on.
    pub(super) async fn wait_for<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, Stopped> {
        let (mut answer, stop) = (pin!(answer), self.ctx.stop.clone());
        loop {
            let (tracker, beside) = tokio::select! {
                biased;
                // A server that does not answer must not take the time that a stop has.
                () = stop.cancelled() => return Err(Stopped),
                answer = &mut answer => return Ok(answer),
                beside = next(&mut self.trackers, self.last_turn) => beside?,
            };
            self.go_on_beside(tracker, beside).await?;
        }
    }
}
