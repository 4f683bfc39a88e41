//! Says of a lasting failure that it lasts: at once, when another reason comes up, and each reason once a minute.

use std::{fmt::Display, time::Duration};

use tokio::time::Instant;
use tracing::{error, info, warn};

const SAY_AGAIN: Duration = Duration::from_secs(60);

/// The log of one thing that may fail for long.
#[derive(Debug)]
pub(crate) struct Outage {
    what: &'static str,
    since: Option<Instant>,
    /// What was said, and when: reasons can take turns.
    said: Vec<(Instant, String)>,
    /// Nothing waits for it: a warning will do.
    mild: bool,
}

impl Outage {
    /// An outage of `what`, which has not begun.
    pub(crate) fn new(what: &'static str) -> Self {
        Outage { what, since: None, said: Vec::new(), mild: false }
    }

    /// The same, where no record waits for `what`.
    pub(crate) fn mild(what: &'static str) -> Self {
        Outage { mild: true, ..Outage::new(what) }
    }

    /// It failed once more.
    pub(crate) fn log(&mut self, reason: &dyn Display) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let reason = reason.to_string();
        self.said.retain(|(at, _)| now - *at < SAY_AGAIN);
        if self.said.iter().all(|(_, said)| *said != reason) {
            let (what, for_seconds) = (self.what, (now - since).as_secs());
            if self.mild {
                warn!(what, reason, for_seconds, "not working while standing by; trying again");
            } else {
                error!(what, reason, for_seconds, "not working; trying again");
            }
            self.said.push((now, reason));
        }
    }

    /// It works.
    pub(crate) fn over(&mut self) {
        if let Some(since) = self.since.take() {
            info!(what = self.what, after_seconds = since.elapsed().as_secs(), "working again");
            self.said.clear();
        }
    }
}
