//! How a sink describes itself: its settings, and how it is built from them.

use std::{fmt, time::Duration};

use futures_util::future::{self, BoxFuture};
use tracing::level_filters::LevelFilter;

use super::{Policy, Sink};
use crate::{
    finding::Finding,
    kind::Kind,
    settings::{Broken, Reader, Setting},
};

/// The description of a sink. A `static` of this type, `DEFINITION`, is in the `settings.rs` of each sink.
#[derive(Debug)]
pub struct Definition {
    /// Where records go, for the help of `SINK_TYPE`: `an exchange of RabbitMQ`.
    pub about: &'static str,
    /// Its settings, in the order of the help.
    pub settings: &'static [&'static Setting],
    /// Log targets of its libraries, each with the highest level that is ever logged: some log secrets or whole
    /// messages.
    pub log: &'static [(&'static str, LevelFilter)],
    /// It sends messages to people: equal ones are gathered into summaries.
    pub is_for_people: bool,
    /// Its protocol carries headers beside the body of a record.
    pub has_headers: bool,
    /// Reads and checks the settings without I/O. It notes every problem before it gives up.
    pub read: fn(&mut Reader<'_>, Kinds<'_>) -> Read,
}

/// The result of reading a sink's settings.
pub type Read = Result<Box<dyn Prepared>, Broken>;

/// Tells a sink which kinds of record it will get. Called only by a sink that needs to know.
pub type Kinds<'a> = &'a dyn Fn(&mut Reader<'_>) -> Vec<Kind>;

/// The valid settings of a sink.
pub trait Prepared: fmt::Debug + Send + Sync {
    /// Builds the sink, and says how it wants its batches. `cluster` is the label of this cluster. Reads certificates, and
    /// connects to nothing yet.
    ///
    /// # Errors
    /// A file cannot be used, or a value cannot be sent: the message names the variable.
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable>;

    /// Tries, within this time, whatever can be tried without sending anything. Each finding begins with `sink`.
    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        let _ = within;
        Box::pin(future::ready(vec![Finding::skipped("sink", "not checked; try it with --send-test")]))
    }

    /// How many bytes it gathers before it sends them, and the variable that says so; `None` if it sends what there is. They are
    /// part of the window all the while.
    fn gathers(&self) -> Option<(&'static str, usize)> {
        None
    }

    /// Whether the target drops a record whose id it has already. Another pipeline that writes there has the same ids.
    fn drops_repeats(&self) -> bool {
        false
    }

    /// What keeps the sink from sending headers of its own with each record, and what to do about it; `None` if it can.
    /// Asked only of a sink whose protocol has headers.
    fn keeps_headers_away(&self) -> Option<&'static str> {
        None
    }
}

/// A sink cannot be built from its settings. The message names the variable, and says why and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

impl Unusable {
    /// For an error whose message names the variable.
    pub fn new(error: impl fmt::Display) -> Self {
        Unusable(error.to_string())
    }
}
