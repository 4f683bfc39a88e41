//! The facets of the state of each resource. One owner writes each facet.

use std::{collections::BTreeMap, time::SystemTime};

use tokio::time::Instant;

use crate::kind::Kind;

/// The lease of a resource. Written by the supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Leadership {
    /// The coordinator was not asked for the lease yet.
    #[default]
    Starting,
    /// Another replica holds it. This one is ready to take over.
    Standby,
    /// This replica holds it, reads the resource and delivers it.
    Leading,
    /// The resource has stopped.
    Stopped,
    /// The coordinator refuses it, or fails.
    Blocked {
        /// Why, for a person.
        reason: String,
    },
}

impl Leadership {
    /// Whether the resource can be read under it.
    pub(super) fn is_held(&self) -> bool {
        matches!(self, Leadership::Leading | Leadership::Blocked { .. })
    }
}

/// How a resource is read. Written by each of its streams, for its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceState {
    /// No connection has succeeded yet.
    #[default]
    Connecting,
    /// Reading the event stream.
    Streaming,
    /// Reading lists, because there is no event stream.
    Polling {
        /// Why there is none, for a person.
        reason: Option<String>,
    },
    /// Nothing can be read.
    Blocked {
        /// Why, for a person.
        reason: String,
    },
}

/// The lists of a resource. Written by the reader of lists, for the namespace of its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListState {
    /// No list is due, or the last page was read.
    #[default]
    Fine,
    /// A list is being read, and takes long.
    Slow {
        /// How long, for a person.
        text: String,
    },
    /// A list cannot be read.
    Failing {
        /// Why, for a person.
        reason: String,
    },
}

/// The sink, which all resources of a process share. Written by delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SinkState {
    /// The last batch was delivered, or none was sent yet.
    #[default]
    Flowing,
    /// The sink fails, and delivery retries.
    Retrying {
        /// Why, for a person.
        reason: String,
    },
    /// The sink rejected a record, and everything after it waits.
    Held {
        /// Why, for a person.
        reason: String,
    },
    /// The lease was not renewed in time: delivery sends nothing until it is.
    Suspended,
}

/// What has to be fixed while a resource is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The coordinator, or the place of the lease.
    Lease,
    /// Nomad, its event stream or its lists.
    Nomad,
    /// The jq program, or what it asks of Nomad.
    Program,
    /// The sink fails.
    Sink,
    /// The sink rejects a record.
    Rejected,
    /// The pipeline does not run.
    Pipeline,
}

/// A task of the coordinator. Each writes its own fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Keeps the session under which leases are taken.
    Session,
    /// Watches the leaders while standing by.
    Watch,
    /// Renews the leases that are held.
    Renewal,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) kinds: BTreeMap<Kind, Facets>,
    /// Why the coordinator's tasks fail. A task that works has no entry.
    pub(super) faults: BTreeMap<Duty, String>,
    /// Why the pipeline's program takes no records; `None` while it does.
    pub(super) program: Option<String>,
    /// Why records wait for what the program asks of Nomad, by the variable. One that is answered has no entry.
    pub(super) lookups: BTreeMap<&'static str, String>,
    pub(super) sink: SinkState,
    /// When the sink got the batch that it has in hand; `None` between two batches.
    pub(super) asked: Option<Instant>,
}

/// The facets of one resource.
#[derive(Debug, Default)]
pub(super) struct Facets {
    pub(super) lease: Leadership,
    /// Why this replica could not take the lease if it were free.
    pub(super) barred: Option<String>,
    /// By namespace, like the lists.
    pub(super) sources: BTreeMap<String, SourceState>,
    pub(super) lists: BTreeMap<String, ListState>,
    /// Who leads, while it is another replica.
    pub(super) holder: Option<String>,
    /// The word of the phase, and since when it is this one.
    pub(super) since: Option<(&'static str, SystemTime)>,
}
