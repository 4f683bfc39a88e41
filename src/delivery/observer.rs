//! What the delivery reports for metrics and readiness.

use std::{fmt, time::Duration};

use crate::{kind::Kind, sink::ErrorClass, telemetry::SinkState};

/// Observes the delivery. Its task calls these methods: count and return.
pub trait Observer: Send + Sync + fmt::Debug {
    /// The sink has this many records and bytes of bodies in hand; none once it has answered.
    fn in_flight(&self, records: usize, bytes: usize) {
        let (_, _) = (records, bytes);
    }

    /// The sink answered for a batch of `records`, `elapsed` after it got it.
    fn answered(&self, records: usize, elapsed: Duration) {
        let (_, _) = (records, elapsed);
    }

    /// The answers had a failure of this kind.
    fn failed(&self, class: ErrorClass) {
        let _ = class;
    }

    /// Records were delivered and acknowledged.
    fn delivered(&self, kind: Kind, records: usize, bytes: usize) {
        let (_, _, _) = (kind, records, bytes);
    }

    /// Records will be sent again: failures, and the later records of their keys.
    fn retried(&self, kind: Kind, records: usize) {
        let (_, _) = (kind, records);
    }

    /// The sink rejected records; they are dead letters now, which acknowledges them.
    fn dead_lettered(&self, kind: Kind, records: usize) {
        let (_, _) = (kind, records);
    }

    /// Records were dropped undelivered: the lease was lost before they could be sent.
    fn dropped(&self, kind: Kind, records: usize) {
        let (_, _) = (kind, records);
    }

    /// The state changed, or the reason for it.
    fn state(&self, state: SinkState) {
        let _ = state;
    }
}

/// Counts nothing.
impl Observer for () {}
