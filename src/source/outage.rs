//! Says of a lasting failure that it lasts: at once, when its reason changes, and once a minute.

use std::{fmt::Display, time::Duration};

use tokio::time::Instant;
use tracing::{error, info};

const SAY_AGAIN: Duration = Duration::from_secs(60);

/// The log of one thing that may fail for long.
#[derive(Debug)]
pub(super) struct Outage {
    what: &'static str,
    since: Option<Instant>,
    said: Option<(Instant, String)>,
}

impl Outage {
    /// An outage of `what`, which has not begun.
    pub(super) fn new(what: &'static str) -> Self {
        Outage { what, since: None, said: None }
    }

    /// It failed once more.
    pub(super) fn log(&mut self, reason: &dyn Display) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let reason = reason.to_string();
        let due = self.said.as_ref().is_none_or(|(at, said)| *said != reason || now - *at >= SAY_AGAIN);
        if due {
            error!(what = self.what, reason, for_seconds = (now - since).as_secs(), "not working; trying again");
            self.said = Some((now, reason));
        }
    }

    /// It works.
    pub(super) fn over(&mut self) {
        if let Some(since) = self.since.take() {
            info!(what = self.what, after_seconds = since.elapsed().as_secs(), "working again");
            self.said = None;
        }
    }
}
