//! Whether something is absent for good, or was only not found for a moment: a proxy without a backend and a server that
//! starts anew answer 404, too, and an election refuses streams.

use std::time::Duration;

use tokio::time::Instant;

use crate::source::context::Polling;

/// What one answer could be wrong about, so many in a row are not.
const TIMES: u32 = 3;
/// Nor for so many of the shortest pauses between two lists, but no longer than [`AT_MOST`].
const PAUSES: u32 = 10;
/// Elections are over by then.
const AT_MOST: Duration = Duration::from_secs(10);

/// How often in a row, and since when, something was not found.
#[derive(Debug, Default)]
pub(in crate::source) struct Absence {
    since: Option<Instant>,
    times: u32,
}

impl Absence {
    /// It was not found once more. Says whether it is to be believed.
    pub(in crate::source) fn seen(&mut self, polling: &Polling) -> bool {
        self.times = self.times.saturating_add(1);
        let since = *self.since.get_or_insert_with(Instant::now);
        self.times >= TIMES && since.elapsed() >= lasts(polling)
    }

    /// The same of an answer that was waited for. Where that took as long as it has to be missing, it counts twice.
    pub(in crate::source) fn seen_for(&mut self, polling: &Polling, waited: Duration) -> bool {
        self.since.get_or_insert_with(|| Instant::now().checked_sub(waited).unwrap_or_else(Instant::now));
        if waited >= AT_MOST {
            self.times = self.times.saturating_add(1);
        }
        self.seen(polling)
    }

    /// Whether it was missing when it was last looked for.
    pub(in crate::source) fn has_begun(&self) -> bool {
        self.times > 0
    }

    /// The longest pause until it is looked for again.
    pub(in crate::source) fn pause(polling: &Polling) -> Duration {
        lasts(polling) / (TIMES + 1)
    }
}

/// For how long it has to be missing.
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
