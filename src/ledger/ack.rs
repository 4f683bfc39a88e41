//! Ack handles: the claims of records on their entry, shared, split and joined as records are.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::Ledger;
use crate::{lease::LeaseState, window::Share};

/// One record's claim on its entry. Deliver it or drop it: dropped is not delivered.
#[derive(Clone)]
#[must_use]
pub struct AckHandle(Claims);

#[derive(Clone)]
enum Claims {
    One(Arc<Outstanding>),
    /// At least one, all under the same lease.
    Many(Arc<[Arc<Outstanding>]>),
}

struct Outstanding {
    ledger: Arc<Ledger>,
    number: u64,
    remaining: AtomicUsize,
    bytes: Option<Share>,
}

/// Which line or page a record is of.
#[derive(Clone, Debug)]
pub struct Line(Weak<Outstanding>);

impl PartialEq for Line {
    fn eq(&self, other: &Line) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

/// Says whether a record that left a stage is still on its way.
#[derive(Debug)]
pub struct Underway(Weak<[Arc<Outstanding>]>);

impl Underway {
    /// Whether the record is delivered, or was dropped.
    pub fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl AckHandle {
    /// The common handle of the `records` records of an entry, at least one.
    pub(super) fn of(ledger: Arc<Ledger>, number: u64, records: usize, bytes: Option<Share>) -> Self {
        AckHandle(Claims::One(Arc::new(Outstanding { ledger, number, remaining: AtomicUsize::new(records), bytes })))
    }

    /// Whether a write of this record may start now.
    pub fn lease_state(&self) -> LeaseState {
        self.first().ledger.lease.lease_state()
    }

    /// Whether both records are under the same lease.
    pub fn has_lease_of(&self, other: &AckHandle) -> bool {
        Arc::ptr_eq(&self.first().ledger.lease, &other.first().ledger.lease)
    }

    /// The record is delivered, or is a dead letter. Call it once for each record.
    pub fn delivered(self) {
        self.claims().iter().for_each(|claim| claim.delivered());
    }

    /// The ack handles of `parts` records that were made of this one: it is delivered once all of them are. Without a
    /// part there is nothing to deliver, and it is delivered now.
    pub fn split(self, parts: usize) -> Vec<AckHandle> {
        if parts == 0 {
            self.delivered();
            return Vec::new();
        }
        for claim in self.claims() {
            claim.remaining.fetch_add(parts - 1, Ordering::AcqRel);
        }
        vec![self; parts]
    }

    /// The ack handle of one record that was made of several: all of them are delivered with it. `None` where there are
    /// none, or where they are not under the same lease, so that some could be lost and others not.
    pub fn join(handles: &[AckHandle]) -> Option<AckHandle> {
        let first = handles.first()?;
        let claims = || handles.iter().flat_map(AckHandle::claims).cloned();
        handles.iter().all(|handle| handle.has_lease_of(first)).then(|| AckHandle(Claims::Many(claims().collect())))
    }

    /// The same claim, and a sign of what became of it.
    pub fn watched(self) -> (AckHandle, Underway) {
        let claims: Arc<[_]> = match self.0 {
            Claims::One(claim) => Arc::new([claim]),
            Claims::Many(claims) => claims.iter().cloned().collect(),
        };
        let underway = Underway(Arc::downgrade(&claims));
        (AckHandle(Claims::Many(claims)), underway)
    }

    /// The part of the window that the record's line or page keeps in use, from 0 to 1. All records of one line keep the
    /// same share.
    pub fn portion(&self) -> f64 {
        self.claims().iter().filter_map(|claim| claim.bytes.as_ref()).map(|share| share.portion()).sum()
    }

    /// The parts of the window that the record's lines and pages keep in use. Keeping them keeps no claim.
    pub fn shares(&self) -> impl Iterator<Item = Share> {
        self.claims().iter().filter_map(|claim| claim.bytes.clone())
    }

    /// The line or page that the record is of. Keeping it keeps no claim.
    pub fn line(&self) -> Line {
        Line(Arc::downgrade(&self.claims()[0]))
    }

    fn claims(&self) -> &[Arc<Outstanding>] {
        match &self.0 {
            Claims::One(claim) => std::slice::from_ref(claim),
            Claims::Many(claims) => claims,
        }
    }

    fn first(&self) -> &Outstanding {
        &self.claims()[0]
    }
}

impl Outstanding {
    fn delivered(&self) {
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.ledger.complete(self.number);
        }
    }
}

impl fmt::Debug for Outstanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outstanding").field(&self.number).finish()
    }
}

impl fmt::Debug for AckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AckHandle").field(&self.first().number).finish()
    }
}
