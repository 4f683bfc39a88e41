//! The numbers of one sink, looked up once: delivery counts each batch.

use std::{fmt, time::Duration};

use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use super::table::Process;

/// The numbers of one sink. The label `sink` is its name in `SINK_TYPE`.
pub(crate) struct SinkMetrics {
    requests: Counter,
    batch_records: Histogram,
    response_seconds: Histogram,
    /// By class.
    errors: Vec<(&'static str, Counter)>,
}

impl SinkMetrics {
    /// Those of the sink `name`, whose failures have these classes.
    pub(super) fn new(process: &Process, name: &'static str, classes: &[&'static str]) -> Self {
        let sink = [("sink", name)];
        let errors = |class: &&'static str| {
            (*class, process.sink_errors.get_or_create_owned(&[("sink", name), ("class", *class)]))
        };
        SinkMetrics {
            requests: process.sink_requests.get_or_create_owned(&sink),
            batch_records: process.sink_batch_records.get_or_create_owned(&sink),
            response_seconds: process.sink_response_seconds.get_or_create_owned(&sink),
            errors: classes.iter().map(errors).collect(),
        }
    }

    /// The sink has answered for a batch of `records`, after this time.
    pub(crate) fn answered(&self, records: usize, elapsed: Duration) {
        self.requests.inc();
        self.batch_records.observe(records as f64);
        self.response_seconds.observe(elapsed.as_secs_f64());
    }

    /// The answer had a failure of this class.
    pub(crate) fn failed(&self, class: &str) {
        if let Some((_, counter)) = self.errors.iter().find(|(known, _)| *known == class) {
            counter.inc();
        }
    }
}

impl fmt::Debug for SinkMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkMetrics").finish_non_exhaustive()
    }
}
