//! What delivery does, as metrics and as the phase of each kind.

use std::time::Duration;

use crate::{
    delivery::{Observer, State},
    kind::Kind,
    telemetry::{Metrics, Phase, Status},
};

/// Counts what the delivery tells.
#[derive(Debug)]
pub struct Counters {
    metrics: Metrics,
    status: Status,
    kinds: Vec<Kind>,
}

impl Counters {
    /// Counts for `kinds`.
    pub fn new(metrics: Metrics, status: Status, kinds: Vec<Kind>) -> Self {
        Counters { metrics, status, kinds }
    }
}

impl Observer for Counters {
    fn delivered(&self, kind: Kind, records: usize, bytes: usize) {
        self.metrics.delivered(kind, records as u64, bytes as u64);
    }

    fn retried(&self, kind: Kind, records: usize) {
        self.metrics.retried(kind, records as u64);
    }

    fn dead_lettered(&self, kind: Kind, records: usize) {
        self.metrics.dead_letters(kind, "rejected", records as u64);
    }

    fn answered(&self, _records: usize, elapsed: Duration) {
        self.metrics.answered(elapsed);
    }

    fn dropped(&self, kind: Kind, records: usize) {
        self.metrics.dropped(kind, records as u64);
    }

    fn state(&self, state: State) {
        let phase = match state {
            State::Flowing => Phase::Leading,
            State::Retrying => Phase::Blocked { reason: "the sink does not take what it is sent".to_owned() },
            State::Held => Phase::Blocked { reason: "the sink rejected a record; see the log".to_owned() },
            State::Suspended => Phase::Blocked { reason: "the lease could not be renewed; see the log".to_owned() },
        };
        self.kinds.iter().for_each(|kind| self.status.set(*kind, phase.clone()));
    }
}
