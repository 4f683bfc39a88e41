//! The timers of locks, which the leader keeps in its memory.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// One timer for each lock id: two variables with one id share it, as in Nomad.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    running: HashMap<String, Timer>,
    next: u64,
    /// Counts leaders. Nothing that an earlier one had planned takes place.
    pub(crate) term: u64,
}

#[derive(Debug, Clone, Copy)]
struct Timer {
    number: u64,
    ends: Instant,
}

/// What a task that watches a timer finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was renewed, or is not over yet.
    Until(Instant),
    /// It ran out, and is removed now.
    Over,
    /// It was stopped.
    Gone,
}

impl Timers {
    /// Starts a timer and names it; `None` where one of that id runs already, which is left as it is.
    pub(crate) fn start(&mut self, id: &str, time: Duration) -> Option<u64> {
        if self.running.contains_key(id) {
            return None;
        }
        self.next += 1;
        self.running.insert(id.to_owned(), Timer { number: self.next, ends: Instant::now() + time });
        Some(self.next)
    }

    /// Whether there is such a timer to renew.
    pub(crate) fn renew(&mut self, id: &str, time: Duration) -> bool {
        let timer = self.running.get_mut(id);
        timer.map(|timer| timer.ends = Instant::now() + time).is_some()
    }

    pub(crate) fn stop(&mut self, id: &str) {
        self.running.remove(id);
    }

    /// Another leader, or another cluster: nothing runs.
    pub(crate) fn clear(&mut self) {
        self.running.clear();
        self.term += 1;
    }

    pub(crate) fn look(&mut self, id: &str, number: u64) -> Found {
        match self.running.get(id) {
            Some(timer) if timer.number == number => {
                if timer.ends > Instant::now() {
                    return Found::Until(timer.ends);
                }
                self.running.remove(id);
                Found::Over
            }
            _ => Found::Gone,
        }
    }
}
