//! How a sink wants its records: the settings that the delivery follows.

use std::time::Duration;

/// How records are batched and how soon they are tried again. There is no limit on tries: giving up would be loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most records in a batch; at least one is always sent.
    pub batch_records: usize,
    /// The most bytes of bodies in a batch. A single larger record travels alone.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
    /// The longest first delay before a retry. Each delay is drawn evenly from zero up to a bound that doubles.
    pub retry_min: Duration,
    /// The value at which that bound stops doubling.
    pub retry_max: Duration,
    /// The longest wait that the far side can ask for (`Retry-After`).
    pub after_max: Duration,
    /// How many submissions wait in the queue. The window that the ack handles carry has already bounded the bytes.
    pub queue: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            batch_records: 1000,
            batch_bytes: 1 << 20,
            linger: Duration::ZERO,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(30),
            after_max: Duration::from_secs(300),
            queue: 1024,
        }
    }
}
