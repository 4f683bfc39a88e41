//! From events and listed objects to records: pure functions, without I/O and without a clock.

mod allocations;
mod job_stub;
mod listed;
mod object;
mod raw_event;
mod secrets;
mod task_events;

use std::{fmt, sync::Arc};

use bytes::Bytes;

pub use self::listed::Listed;
use crate::{
    checkpoint::Gap,
    kind::Kind,
    nomad::line::Event,
    position::RaftIndex,
    task_cursors::{TaskCursor, TaskKey},
};

/// The namespace of an object that names none; nodes have no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// A record without its ack handle.
#[derive(Debug)]
pub struct Draft {
    /// See [`crate::record::Record::id`].
    pub id: Box<str>,
    /// See [`crate::record::Record::key`].
    pub key: Arc<str>,
    /// See [`crate::record::Record::namespace`].
    pub namespace: Arc<str>,
    /// See [`crate::record::Record::job`].
    pub job: Arc<str>,
    /// See [`crate::record::Record::node`].
    pub node: Arc<str>,
    /// See [`crate::record::Record::index`].
    pub index: RaftIndex,
    /// See [`crate::record::Record::body`].
    pub body: Bytes,
}

/// The records of one event or one listed object.
#[derive(Debug, Default)]
pub struct Made {
    /// The records, in order.
    pub drafts: Vec<Draft>,
    /// The task events that are delivered with them.
    pub task_cursors: Vec<(TaskKey, TaskCursor)>,
    /// What the original program would store after delivering this: the newest task event's time in ns since 1970
    /// (allocations), the object's `ModifyIndex`, or for evaluations the raft index. `None` where there is no record.
    pub value: Option<u64>,
    /// Tasks whose last delivered event had fallen out of the ten that Nomad keeps.
    pub overruns: u32,
    /// The records still need the summary of their job, see [`with_summary`].
    pub lacks_summary: bool,
}

impl Made {
    fn one(draft: Draft, value: u64) -> Self {
        Made { drafts: vec![draft], value: Some(value), ..Made::default() }
    }
}

/// No record can be made of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

impl Unusable {
    fn new(reason: impl std::fmt::Display) -> Self {
        Unusable(reason.to_string())
    }
}

/// The task cursors before the event or object.
pub type CursorOf<'a> = &'a dyn Fn(TaskKey) -> Option<TaskCursor>;

/// What is known of tasks before an event or object.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    task_cursor: CursorOf<'a>,
    legacy: LegacyProgress,
}

/// Task events that another program has delivered, or that were not asked for, though no task cursor says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegacyProgress {
    /// None.
    #[default]
    Nothing,
    /// In versions up to an index, the events of a task that come before the first one of at least this time.
    Before {
        /// In ns since 1970, by the clients' clocks.
        time: u64,
        /// The newest version that this holds for.
        until: RaftIndex,
    },
    /// All events: they are older than the first start.
    All,
}

impl fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("legacy", &self.legacy).finish_non_exhaustive()
    }
}

impl<'a> Known<'a> {
    /// What task cursors say.
    pub fn task_cursors(task_cursor: CursorOf<'a>) -> Self {
        Known { task_cursor, legacy: LegacyProgress::Nothing }
    }

    /// And `legacy` for the events after them.
    pub fn and(self, legacy: LegacyProgress) -> Self {
        Known { legacy, ..self }
    }
}

/// The records of an event.
///
/// # Errors
/// The event belongs to the resource's topic, but its payload does not: it goes to the dead letters.
pub fn from_event(kind: Kind, event: &Event<'_>, known: Known<'_>) -> Result<Made, Unusable> {
    if kind.topic().is_some_and(|topic| topic != &*event.topic) {
        return Ok(Made::default());
    }
    match kind {
        Kind::Allocations => allocations::from_event(event, known),
        Kind::JobListStubs => job_stub::from_event(event),
        Kind::Events => Ok(Made::one(raw_event::from_event(event), event.index.0)),
        Kind::Nodes | Kind::Evaluations | Kind::Jobs | Kind::Deployments => object::from_event(kind, event),
    }
}

/// The body of a job's stub, with the answer of `/v1/job/ID/summary`, which no event carries.
///
/// # Errors
/// The summary is not JSON.
pub fn with_summary(body: &Bytes, summary: &[u8]) -> Result<Bytes, Unusable> {
    job_stub::with_summary(body, summary)
}

/// The records of an object from a list (allocations, evaluations, deployments, job stubs) or from a single read (jobs,
/// nodes).
///
/// # Errors
/// It is not an object of this resource's list.
pub fn from_object(kind: Kind, object: &Bytes, known: Known<'_>) -> Result<Made, Unusable> {
    match kind {
        Kind::Allocations => allocations::from_object(object, known),
        Kind::JobListStubs => job_stub::from_object(object),
        Kind::Events => Ok(Made::default()),
        Kind::Nodes | Kind::Evaluations | Kind::Jobs | Kind::Deployments => object::from_object(kind, object),
    }
}

/// The record that reports a gap in the stream of events itself.
pub fn gap(stream: &str, gap: &Gap) -> Draft {
    raw_event::gap(stream, gap)
}

/// The same for added topics, which are delivered `from` this raft index on.
pub fn gap_of_topics(stream: &str, from: RaftIndex, topics: &[String]) -> Draft {
    raw_event::gap_of_topics(stream, from, topics)
}
