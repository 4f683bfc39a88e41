//! No check lasts longer than a person waits.

use std::{future::Future, sync::mpsc, thread, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::finding::Finding;

/// All checks run side by side, and end within this time. The rest of the five seconds is for the start and the end of the process.
const WITHIN: Duration = Duration::from_millis(4500);

/// Runs `work` on a thread of its own, and waits at most this long. `None` if it does not end: the thread is left behind.
///
/// A file on a disk that hangs blocks whoever opens it, and no timer of a runtime helps against that.
pub(super) fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let worker = thread::Builder::new().name("check".to_owned());
    // If nobody waits any more, nobody needs it.
    worker.spawn(move || sender.send(work()).ok()).ok()?;
    receiver.recv_timeout(limit).ok()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_blocks_its_thread_is_not_waited_for() {
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
        let (sender, receiver) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(10), move || receiver.recv().is_ok()), None);
        drop(sender);
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_a_finding() {
        let hang = Hang { who: "the server", fix: "look after it" };
        let found = Clock::start().timed("x", hang, std::future::pending()).await;
        assert_eq!((found.text.as_str(), found.took), ("the server did not answer within 4.5s", WITHIN));
        assert_eq!(found.fix.as_deref(), Some("look after it"));
        let found = Clock::start().timed("x", hang, async { Finding::ok("x", "well") }).await;
        assert_eq!(found.text, "well");
    }
}
