//! From the cluster to records: the event stream, the proof that nothing is missing between two connections, and the
//! lists that deliver what could have been missed.
//!
//! # Layout
//!
//! The order is bottom up: a folder uses only folders above it in this list, and `tests/imports` checks that the files of
//! a folder never import each other in a circle.
//!
//! - `context`: what every driver needs.
//! - [`resume`]: how a connection resumes. Start at [`resume::proof`] for the gap proof; `resume::namespaces` finds
//!   namespaces that are created later.
//! - `backfill`: what lists still have to deliver, as a pure state machine, and the tasks that read pages, single objects
//!   and summaries of jobs.
//! - `stream`: the subscription, the task that reads its lines, the replay buffer of a standby, lines with an implausible
//!   index, and when a stream counts as missing.
//! - `tracker`: one kind's progress on a stream; every record enters its ledger there. `tracker::gaps` books and reports
//!   gaps, `tracker::lists` delivers pages, `tracker::objects` single objects, `tracker::polled` what lists deliver if
//!   there is no stream, and `tracker::legacy` resumes from the original program's value.
//! - `standby`: keeps the streams open in a replica that does not lead.
//! - `driver`: one stream and the trackers that read it. `driver::live` is the life of a connection, `driver::poll` reads
//!   lists if there is no stream.

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
use self::{
    driver::Driver,
    stream::subscription::{reads, wanted_in},
    tracker::Tracker,
};
use crate::{kind::Kind, ledger::Ledger, nomad::Topic};

/// A kind to read, with its topics and its ledger.
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
/// `wanted` has the topics of all kinds that any replica of the pipeline can lead, and each stream has all of them, whichever `kinds`
/// it is for. A position is proven by the lines around it, and those can be of kinds that another replica leads now: without them,
/// Nomad would seem to have lost lines.
///
/// A driver that can continue from the replay buffer of a [`Standby`] takes it out of `warm`; other buffers are
/// dropped.
pub fn spawn(
    ctx: &Context,
    namespaces: &[String],
    wanted: &[(Kind, Vec<Topic>)],
    kinds: &[Reading],
    mut warm: Warm,
) -> JoinSet<()> {
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
            let topics = wanted_in(wanted, first);
            drivers.spawn(Driver::new(namespace, first, topics, trackers, ctx.clone(), warm).run());
        }
    }
    drivers
}
