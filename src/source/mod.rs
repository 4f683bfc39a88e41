//! From the cluster to records: the event stream, the proof that nothing lies between two connections, and the lists
//! that deliver what could have been missed.
//!
//! # Layout
//!
//! Bottom up; each folder uses only those above it in this list:
//!
//! - [`context`]: what every driver needs.
//! - `resume`: how a connection continues. Start at [`resume::proof`] for the gap proof; `resume::namespaces` finds
//!   namespaces that are created later.
//! - `backfill`: what lists still have to deliver, as a pure state machine, and the task that reads a page.
//! - `stream`: the subscription, the task that reads its lines, and the replay buffer of a standby.
//! - `tracker`: one resource's progress on a stream; every record enters its ledger there. `tracker::lists` delivers
//!   pages, `tracker::polled` what lists give where there is no stream, `tracker::legacy` continues from the original
//!   program's value.
//! - `standby`: keeps the stream open in a replica that does not lead.
//! - `driver`: one stream and the trackers that read it. `driver::live` is the life of a connection, `driver::poll` reads
//!   lists in its place.

mod backfill;
mod context;
mod driver;
pub mod resume;
mod standby;
mod stream;
mod tracker;

use std::sync::Arc;

use tokio::task::JoinSet;

pub use self::{
    context::{Context, Polling, Source, Start},
    standby::{Standby, Warm},
};
use self::{driver::Driver, stream::subscription::reads, tracker::Tracker};
use crate::{kind::Kind, ledger::Ledger, nomad::Topic};

/// One kind that is to be read, with the topics it asks for and its ledger.
#[derive(Debug)]
pub struct Reading {
    /// The kind.
    pub kind: Kind,
    /// Its topics; one for every kind but raw events.
    pub topics: Vec<Topic>,
    /// Where its records are acknowledged.
    pub ledger: Arc<Ledger>,
}

/// Starts a driver for each namespace; all kinds share its stream. They end when `ctx.stop` is cancelled.
///
/// A driver that can continue with what a [`Standby`] has buffered takes it out of `warm`; the rest of that is dropped.
pub fn spawn(ctx: &Context, namespaces: &[String], kinds: &[Reading], mut warm: Warm) -> JoinSet<()> {
    let mut drivers = JoinSet::new();
    for (n, namespace) in namespaces.iter().enumerate() {
        let namespace: Arc<str> = Arc::from(&**namespace);
        let first = n == 0;
        let trackers: Vec<Tracker> = kinds
            .iter()
            .filter(|reading| reads(reading.kind, first))
            .map(|reading| {
                let ledger = Arc::clone(&reading.ledger);
                Tracker::new(reading.kind, reading.topics.clone(), Arc::clone(&namespace), ledger)
            })
            .collect();
        if !trackers.is_empty() {
            let warm = warm.take(&namespace);
            drivers.spawn(Driver::new(namespace, first, trackers, ctx.clone(), warm).run());
        }
    }
    drivers
}
