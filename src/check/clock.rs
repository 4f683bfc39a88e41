//! No check lasts longer than a person waits.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::finding::Finding;

/// All checks run side by side, and end within this time. The rest of the five seconds is for the start and the end of the process.
const WITHIN: Duration = Duration::from_millis(4500);

/// When all checks have to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    begun: Instant,
}

/// What it means that a check does not end: who hangs, and what to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hang {
    pub(super) who: &'static str,
    pub(super) fix: &'static str,
}

impl Clock {
    pub(super) fn start() -> Self {
        Clock { begun: Instant::now() }
    }

    /// When it ends.
    pub(super) fn end(self) -> Instant {
        self.begun + WITHIN
    }

    /// How long since it began.
    pub(super) fn elapsed(self) -> Duration {
        self.begun.elapsed()
    }

    /// Runs a check. One that hangs is a finding, too.
    pub(super) async fn timed(self, what: &str, hang: Hang, check: impl Future<Output = Finding>) -> Finding {
        let begun = Instant::now();
        match timeout_at(self.end(), check).await {
            Ok(found) if found.took > Duration::ZERO => found,
            Ok(found) => found.after(begun.elapsed()),
            Err(_) => {
                let Hang { who, fix } = hang;
                let took = begun.elapsed();
                Finding::failed(what, format!("{who} did not answer within {:.1}s", took.as_secs_f64()), fix)
                    .after(took)
            }
        }
    }
}
