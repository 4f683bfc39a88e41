//! What is done beside the stream, in every state of the driver: pages of lists, and summaries of jobs.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Driver;
use crate::source::{
    backfill::{JobSummary, page::PagePiece},
    context::{Interrupted, Stopped},
    tracker::{PageOutcome, Tracker},
};

/// How long summaries may take after a stop.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to do for one of the trackers.
#[derive(Debug)]
pub(super) enum BesideStep {
    /// Its next page may be asked for.
    Ask,
    /// Its page takes long.
    Slow,
    /// The next piece of its page has arrived; `None`: the task that read it is gone.
    PagePiece(Option<PagePiece>),
    /// A summary has arrived.
    JobSummary(JobSummary),
}

/// Waits for the next step, and returns its tracker. Cancel-safe. `after` was served last: the others are looked at
/// first.
pub(super) async fn next_step(trackers: &mut [Tracker], after: usize) -> Result<(usize, BesideStep), Stopped> {
    let count = trackers.len();
    let due = trackers.iter().enumerate().filter_map(|(n, tracker)| Some((tracker.page_due()?, n))).min();
    let (at, due_tracker) = due.unwrap_or_else(|| (Instant::now(), 0));
    let slow = trackers.iter().enumerate().filter_map(|(n, tracker)| Some((tracker.list.slow_at()?, n))).min();
    let (slow_at, slow_tracker) = slow.unwrap_or_else(|| (Instant::now(), 0));
    let arrived = poll_fn(|cx| {
        for n in (1..=count).map(|step| (after + step) % count) {
            let tracker = &mut trackers[n];
            if let Poll::Ready(summary) = tracker.summaries.poll(cx) {
                return Poll::Ready(summary.map(|summary| (n, BesideStep::JobSummary(summary))));
            }
            if let Poll::Ready(piece) = tracker.list.poll(cx) {
                return Poll::Ready(Ok((n, BesideStep::PagePiece(piece))));
            }
        }
        Poll::Pending
    });
    tokio::select! {
        biased;
        () = sleep_until(at), if due.is_some() => Ok((due_tracker, BesideStep::Ask)),
        () = sleep_until(slow_at), if slow.is_some() => Ok((slow_tracker, BesideStep::Slow)),
        arrived = arrived => arrived,
    }
}

impl Driver {
    /// Does a step. Returns what it means for the list of the tracker.
    pub(super) async fn take_beside_step(
        &mut self,
        tracker: usize,
        beside: BesideStep,
    ) -> Result<PageOutcome, Stopped> {
        self.last_turn = tracker;
        let tracker = &mut self.trackers[tracker];
        match beside {
            BesideStep::Ask => tracker.ask_page(&self.ctx),
            BesideStep::Slow => tracker.show_slow(&self.ctx),
            BesideStep::JobSummary(summary) => tracker.summaries.take(&self.ctx, summary).await?,
            BesideStep::PagePiece(piece) => return tracker.take_piece(&self.ctx, piece).await,
        }
        Ok(PageOutcome::Continues)
    }

    /// The driver ends: what is under way is delivered if it arrives at once, or left to the next start.
    pub(super) async fn finish_beside(&mut self) -> Result<(), Stopped> {
        let deadline = Instant::now() + PATIENCE;
        for tracker in &mut self.trackers {
            tracker.leave_page(&self.ctx).await?;
            // What was delivered after a waiting record would be sent again after a restart.
            while !tracker.summaries.is_empty() {
                let Ok(summary) = timeout_at(deadline, poll_fn(|cx| tracker.summaries.poll(cx))).await else { break };
                tracker.summaries.take(&self.ctx, summary?).await?;
            }
        }
        Ok(())
    }

    /// Waits for an answer that may be an error, while steps go on.
    pub(super) async fn meanwhile<T, E>(
        &mut self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Interrupted<E>> {
        self.wait_for(answer).await?.map_err(Interrupted::Failed)
    }

    /// Pauses while steps go on.
    pub(super) async fn rest(&mut self, pause: Duration) -> Result<(), Stopped> {
        self.wait_for(sleep(pause)).await
    }

    /// Waits for an answer while steps go on.
    pub(super) async fn wait_for<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, Stopped> {
        let (mut answer, stop) = (pin!(answer), self.ctx.stop.clone());
        loop {
            let (tracker, beside) = tokio::select! {
                biased;
                // A server that does not answer must not use up the time of a stop.
                () = stop.cancelled() => return Err(Stopped),
                answer = &mut answer => return Ok(answer),
                beside = next_step(&mut self.trackers, self.last_turn) => beside?,
            };
            self.take_beside_step(tracker, beside).await?;
        }
    }
}
