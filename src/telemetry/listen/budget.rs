//! How much of a processor the listener may take: what other programs ask of it must not slow the pipelines.

use std::time::Duration;

use tokio::{
    runtime::{Handle, RuntimeMetrics},
    time::{Instant, sleep_until},
};

/// A stretch of time, and how much of it may be spent on answers.
const STRETCH: Duration = Duration::from_millis(100);
const SHARE: Duration = Duration::from_millis(5);

/// What is left of the processor's time.
#[derive(Debug)]
pub(super) struct Budget {
    runtime: RuntimeMetrics,
    begun: Instant,
    spent: Duration,
}

impl Budget {
    /// The budget of the runtime that this runs on, which has one thread.
    pub(super) fn new() -> Self {
        let runtime = Handle::current().metrics();
        let spent = runtime.worker_total_busy_duration(0);
        Budget { runtime, begun: Instant::now(), spent }
    }

    /// Waits until something is left for one more request.
    pub(super) async fn left(&mut self) {
        let (now, busy) = (Instant::now(), self.runtime.worker_total_busy_duration(0));
        if now - self.begun >= STRETCH {
            (self.begun, self.spent) = (now, busy);
        } else if busy.saturating_sub(self.spent) > SHARE {
            sleep_until(self.begun + STRETCH).await;
            (self.begun, self.spent) = (Instant::now(), self.runtime.worker_total_busy_duration(0));
        }
    }
}
