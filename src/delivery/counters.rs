//! Counts in metrics what the delivery does, and shows the state of the sink.

use std::time::Duration;

use super::Observer;
use crate::{
    kind::Kind,
    sink::ErrorClass,
    telemetry::{
        Metrics, SinkState, Status,
        metrics::{self, SinkMetrics},
    },
};

/// The observer of a run.
#[derive(Debug)]
pub struct Counters {
    metrics: Metrics,
    sink: SinkMetrics,
    status: Status,
}

impl Counters {
    /// Counts in `metrics` what the sink of this name does, and shows its state in `status`.
    pub fn new(metrics: Metrics, status: Status, sink: &'static str) -> Self {
        let sink = metrics.sink(sink, &ErrorClass::ALL.map(ErrorClass::name));
        Counters { metrics, sink, status }
    }
}

impl Observer for Counters {
    fn in_flight(&self, records: usize, _bytes: usize) {
        self.status.sink_has_batch(records > 0);
    }

    fn delivered(&self, kind: Kind, records: usize, bytes: usize) {
        self.metrics.delivered(kind, records as u64, bytes as u64);
    }

    fn retried(&self, kind: Kind, records: usize) {
        self.metrics.of(kind).retries.inc_by(records as u64);
    }

    fn dead_lettered(&self, kind: Kind, records: usize) {
        self.metrics.dead_letters(kind, metrics::REJECTED, records as u64);
    }

    fn answered(&self, records: usize, elapsed: Duration) {
        self.sink.answered(records, elapsed);
    }

    fn failed(&self, class: ErrorClass) {
        self.sink.failed(class.name());
    }

    fn dropped(&self, kind: Kind, records: usize) {
        self.metrics.of(kind).records_unsent_at_lease_loss.inc_by(records as u64);
    }

    fn state(&self, state: SinkState) {
        self.status.sink(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Leadership, SourceState};

    #[test]
    fn a_sink_that_recovers_leaves_a_standby_and_an_outage_of_nomad_alone() {
        let status = Status::new(&[Kind::Nodes, Kind::Jobs]);
        let counters = Counters::new(Metrics::new(&[Kind::Nodes, Kind::Jobs]), status.clone(), "http");
        let shown =
            || -> Vec<String> { status.phases().iter().map(|(kind, phase)| format!("{kind}: {phase}")).collect() };
        status.lease(Kind::Nodes, Leadership::Standby);
        status.lease(Kind::Jobs, Leadership::Leading);
        status.source(Kind::Jobs, "*", SourceState::Blocked { reason: "nomad is away".to_owned() });
        counters.state(SinkState::Retrying { reason: "status 503".to_owned() });
        let both = "jobs: blocked: nomad is away; the sink fails, delivery is retried: status 503";
        assert_eq!(shown(), ["nodes: standby", both]);
        counters.state(SinkState::Flowing);
        assert_eq!(shown(), ["nodes: standby", "jobs: blocked: nomad is away"]);
    }
}
