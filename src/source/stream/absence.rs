//! Whether the event stream is missing, or was only not found for a moment: a proxy without a backend and a server that
//! is starting answer 404 too, and an election refuses streams.

use std::time::Duration;

use tokio::time::Instant;

use crate::source::context::Polling;

/// One answer can be wrong; so many in a row are not.
const TIMES: u32 = 3;
/// It has to be missing for so many of the shortest pauses between two lists, but no longer than [`AT_MOST`].
const PAUSES: u32 = 10;
/// Elections are over by then.
const AT_MOST: Duration = Duration::from_secs(10);

/// How often in a row, and since when, the stream was not found.
#[derive(Debug, Default)]
pub(crate) struct Absence {
    since: Option<Instant>,
    times: u32,
}

impl Absence {
    /// It was not found once more. Returns whether it counts as missing.
    pub(crate) fn seen(&mut self, polling: &Polling) -> bool {
        self.times = self.times.saturating_add(1);
        let since = *self.since.get_or_insert_with(Instant::now);
        self.times >= TIMES && since.elapsed() >= lasts(polling)
    }

    /// The same for an answer that took `waited`. If that is as long as the stream has to be missing, it counts twice.
    pub(crate) fn seen_for(&mut self, polling: &Polling, waited: Duration) -> bool {
        self.since.get_or_insert_with(|| Instant::now().checked_sub(waited).unwrap_or_else(Instant::now));
        if waited >= AT_MOST {
            self.times = self.times.saturating_add(1);
        }
        self.seen(polling)
    }

    /// Whether it was not found the last time.
    pub(crate) fn has_begun(&self) -> bool {
        self.times > 0
    }

    /// The longest pause before the next try.
    pub(crate) fn pause(polling: &Polling) -> Duration {
        lasts(polling) / (TIMES + 1)
    }
}

/// How long it has to be missing.
fn lasts(polling: &Polling) -> Duration {
    (polling.interval * PAUSES).min(AT_MOST)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_takes_several_times_and_some_time() {
        let polling = Polling::default();
        let mut absence = Absence::default();
        assert!(!absence.has_begun());
        assert!((0..10).all(|_| !absence.seen(&polling)), "time has not passed");
        advance(Duration::from_secs(10)).await;
        assert!(absence.has_begun() && absence.seen(&polling));
        let mut seldom = Absence::default();
        assert!(!seldom.seen(&polling));
        advance(Duration::from_secs(60)).await;
        assert!(!seldom.seen(&polling), "a second time");
        assert!(seldom.seen(&polling), "a third time");
        let mut waited_for = Absence::default();
        assert!(!waited_for.seen_for(&polling, AT_MOST));
        assert!(waited_for.seen_for(&polling, AT_MOST), "twice ten seconds");
    }
}
