//! How long lines take from their arrival to the acknowledgement of their last record.

use std::fmt;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::time::Instant;

/// Takes in latencies of one kind. Cheap to clone; all clones count in the same histogram.
#[derive(Clone)]
pub struct Latency(pub(super) Histogram);

impl Default for Latency {
    fn default() -> Self {
        // From a millisecond, a local pipe, to four minutes and more, an outage.
        Latency(Histogram::new(exponential_buckets(0.001, 4.0, 10)))
    }
}

impl Latency {
    /// Something that was received at `since` is acknowledged now.
    pub(crate) fn observe(&self, since: Instant) {
        self.0.observe(since.elapsed().as_secs_f64());
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latency").finish_non_exhaustive()
    }
}
