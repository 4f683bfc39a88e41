//! What goes on beside the stream, whatever the lane is doing: pages of lists, and summaries of jobs.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::time::{Instant, sleep_until, timeout_at};

use super::Lane;
use crate::source::{
    Stopped,
    held::Summary,
    page::Piece,
    reconcile::{self, Turn},
    tracker::Tracker,
};

/// How long summaries may take after a stop.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be done for one of the members.
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

/// Waits for what is to be done next, and for which member. Cancel-safe. `after` is who had the last turn: the others
/// are looked at first.
pub(super) async fn next(trackers: &mut [Tracker], after: usize) -> Result<(usize, Beside), Stopped> {
    let count = trackers.len();
    let due = trackers.iter().enumerate().filter_map(|(n, tracker)| Some((tracker.page_due()?, n))).min();
    let (at, asks) = due.unwrap_or_else(|| (Instant::now(), 0));
    let slow = trackers.iter().enumerate().filter_map(|(n, tracker)| Some((tracker.slow_at()?, n))).min();
    let (slow_at, slow_one) = slow.unwrap_or_else(|| (Instant::now(), 0));
    let come = poll_fn(|cx| {
        for n in (1..=count).map(|step| (after + step) % count) {
            let tracker = &mut trackers[n];
            if let Poll::Ready(summary) = tracker.held.poll(cx) {
                return Poll::Ready(summary.map(|summary| (n, Beside::Summary(summary))));
            }
            if let Some(page) = &mut tracker.page
                && let Poll::Ready(piece) = page.poll(cx)
            {
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

impl Lane {
    /// Does it. Gives what it comes to for the member's list.
    pub(super) async fn go_on_beside(&mut self, tracker: usize, beside: Beside) -> Result<Turn, Stopped> {
        self.last_turn = tracker;
        let tracker = &mut self.trackers[tracker];
        match beside {
            Beside::Ask => reconcile::ask(&self.ctx, tracker),
            Beside::Slow => reconcile::say_slow(&self.ctx, tracker),
            Beside::Summary(summary) => tracker.held.take(&self.ctx, summary).await?,
            Beside::Piece(piece) => return reconcile::take(&self.ctx, tracker, piece).await,
        }
        Ok(Turn::On)
    }

    /// The lane ends: what was under way is delivered if it comes at once, or left to the next start.
    pub(super) async fn leave_beside(&mut self) -> Result<(), Stopped> {
        let deadline = Instant::now() + PATIENCE;
        for tracker in &mut self.trackers {
            reconcile::leave(&self.ctx, tracker).await?;
            // What was delivered after a record that is still held would come again after a restart.
            while !tracker.held.is_empty() {
                let Ok(summary) = timeout_at(deadline, poll_fn(|cx| tracker.held.poll(cx))).await else { break };
                tracker.held.take(&self.ctx, summary?).await?;
            }
        }
        Ok(())
    }

    /// Waits for an answer while all that goes on.
    pub(super) async fn meanwhile<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, Stopped> {
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
