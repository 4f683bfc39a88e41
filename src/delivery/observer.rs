//! What the delivery tells whoever counts: metrics and readiness.

use std::{fmt, time::Duration};

use crate::kind::Kind;

/// Whether records get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The last batch went through, or there is none to be sent.
    Flowing,
    /// The sink does not take what it is sent; it is tried again.
    Retrying {
        /// Why the last try failed.
        reason: String,
    },
    /// The sink rejected a record as it is, and the dead-letter policy is `stop`. The program is not ready.
    Held {
        /// Why it was rejected.
        reason: String,
    },
    /// The lease could not be renewed in time: nothing may be sent until it is.
    Suspended,
}

/// Is told what happens. Called on the delivery's task: count and return.
pub trait Observer: Send + Sync + fmt::Debug {
    /// The sink has so many records and bytes of bodies in hand; none of them when it has answered.
    fn in_flight(&self, records: usize, bytes: usize) {
        let (_, _) = (records, bytes);
    }

    /// The sink answered for a batch of `records`, `elapsed` after it was given it.
    fn answered(&self, records: usize, elapsed: Duration) {
        let (_, _) = (records, elapsed);
    }

    /// Delivered and acknowledged.
    fn delivered(&self, kind: Kind, records: usize, bytes: usize) {
        let (_, _, _) = (kind, records, bytes);
    }

    /// To be sent again: what failed, and what follows it under the same key.
    fn retried(&self, kind: Kind, records: usize) {
        let (_, _) = (kind, records);
    }

    /// Rejected by the sink and put into the dead-letter place, which acknowledges them.
    fn dead_lettered(&self, kind: Kind, records: usize) {
        let (_, _) = (kind, records);
    }

    /// Dropped undelivered, because the lease was lost before they could be sent.
    fn dropped(&self, kind: Kind, records: usize) {
        let (_, _) = (kind, records);
    }

    /// The state changed, or the reason for it.
    fn state(&self, state: Flow) {
        let _ = state;
    }
}

/// Counts nothing.
impl Observer for () {}
