//! How many messages may still leave.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::{ledger::Underway, record::Record};

/// The time that the limit is for.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// The messages of the last minute, and those that wait for the sink: an outage must not end in a storm either.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    /// When the messages of the last minute left, the oldest first.
    left: VecDeque<Instant>,
    /// The messages that left and were not delivered when this was last looked at.
    waiting: Vec<Underway>,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Budget { limit, left: VecDeque::new(), waiting: Vec::new() }
    }

    /// Whether one more message may leave.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        while self.left.front().is_some_and(|left| *left + MINUTE <= now) {
            self.left.pop_front();
        }
        if self.left.len() >= self.limit {
            return false;
        }
        self.waiting.retain(|message| !message.is_over());
        self.waiting.len() < self.limit
    }

    /// `record` leaves now, whether there is room or not.
    pub(super) fn spend(&mut self, record: Record, now: Instant) -> Record {
        let (ack, underway) = record.ack.watched();
        // More than these change nothing.
        if self.left.len() > self.limit {
            self.left.pop_front();
        }
        self.left.push_back(now);
        if self.waiting.len() <= self.limit {
            self.waiting.push(underway);
        }
        Record { ack, ..record }
    }
}
