//! How a sink wants its records: the settings that the delivery follows.

use std::time::Duration;

/// How records are batched and how soon they are tried again. There is no limit on tries: giving up would be loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many batches may be under way at a time.
    pub under_way: UnderWay,
    /// The most records in a batch; at least one is always sent.
    pub batch_records: usize,
    /// The most bytes of bodies in a batch. A single larger record travels alone.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
    /// A batch is sent again as a whole: to the sink it is one thing, and not many. Otherwise one record is tried first.
    pub is_whole: bool,
    /// The longest first delay before a retry. Each delay is drawn evenly from zero up to a bound that doubles.
    pub retry_min: Duration,
    /// The value at which that bound stops doubling.
    pub retry_max: Duration,
    /// The longest wait that the far side can ask for (`Retry-After`).
    pub after_max: Duration,
    /// How many submissions wait in the queue. The window that the ack handles carry has already bounded the bytes.
    pub queue: usize,
}

/// How many batches may be under way at a time, and who keeps the order of their records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnderWay {
    /// One: the next batch leaves once each record of this one has an outcome.
    #[default]
    One,
    /// So many, over an ordered channel: the sink writes batches in the order in which their futures are polled first.
    Ordered(usize),
    /// So many, and never two with records of one key: the sink may send them in any order.
    ByKey(usize),
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            under_way: UnderWay::One,
            batch_records: 1000,
            batch_bytes: 1 << 20,
            linger: Duration::ZERO,
            is_whole: false,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(30),
            after_max: Duration::from_secs(300),
            queue: 1024,
        }
    }
}
