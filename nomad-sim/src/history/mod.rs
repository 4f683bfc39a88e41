//! The source of the cluster's log: a recording, its repetition, a generator, or a test.

mod generate;
mod recording;
mod repeat;
mod template;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::line::Line;
use crate::object::Object;
use crate::table::Kind;
use crate::variables::Change;

pub use generate::{Generator, Options as GeneratorOptions};
pub use recording::{Error as RecordingError, Recording};
pub use repeat::Repeat;

/// One entry of the raft log.
#[derive(Debug, Default)]
pub struct Entry {
    /// The raft index.
    pub index: u64,
    /// What the broker publishes for it, in order; can be empty.
    pub lines: Vec<Arc<Line>>,
    /// What it changes without an event.
    pub silent: Vec<Silent>,
    /// Time since the entry before it, at normal speed.
    pub gap: Duration,
}

/// A change of the state that Nomad publishes no event for.
#[derive(Debug)]
pub enum Silent {
    /// A namespace was created.
    Namespace(String),
    /// An object appeared, as it does when a cluster begins before its history does.
    Upsert(Kind, Arc<Object>),
    /// An object was garbage-collected or, for a node, purged: kind, namespace, id.
    Remove(Kind, Box<str>, Box<str>),
    /// Everything but nodes that no entry since this index has changed was garbage-collected.
    CollectBefore(u64),
    /// A variable was written. Whether that is published is for [`variable_events`](crate::Builder::variable_events).
    Variable(Change),
}

/// A log that is read lazily, entry by entry, with growing indexes.
pub trait History: Send + fmt::Debug {
    /// The next entry; `None` at the end.
    fn next(&mut self) -> Option<Entry>;

    /// The same kind of history from its beginning, with other identities, as of a rebuilt cluster. `generation`
    /// distinguishes the rebuilt clusters.
    fn anew(&self, generation: u64) -> Box<dyn History>;
}

/// An empty history: the log grows by what a test appends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Empty;

impl History for Empty {
    fn next(&mut self) -> Option<Entry> {
        None
    }

    fn anew(&self, _generation: u64) -> Box<dyn History> {
        Box::new(Self)
    }
}
