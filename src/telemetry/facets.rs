//! The facets of the state of each resource. One owner writes each facet.

use std::collections::BTreeMap;

use crate::kind::Kind;

/// The lease of a resource. Written by the supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Leadership {
    /// The coordinator was not asked for it yet.
    #[default]
    Starting,
    /// It is waited for, ready to take over.
    Standby,
    /// It is held: the resource is read and delivered.
    Leading,
    /// The resource has ended.
    Stopped,
    /// The coordinator refuses it, or cannot work.
    Blocked {
        /// Why, for a person.
        reason: String,
    },
}

impl Leadership {
    /// Whether the resource is read under it.
    pub(super) fn is_held(&self) -> bool {
        matches!(self, Leadership::Leading | Leadership::Blocked { .. })
    }
}

/// How a lane reads a resource. Written by the lane, for its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceState {
    /// No connection has worked yet.
    #[default]
    Connecting,
    /// The event stream is read.
    Streaming,
    /// Lists are read: there is no event stream.
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

/// The lists of a resource. Written by the reader of lists, for the namespace of its lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListState {
    /// None is to be read, or the last page was read.
    #[default]
    Fine,
    /// They are read, and take long.
    Slow {
        /// How long, for a person.
        text: String,
    },
    /// The list under way cannot be read.
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
    /// It does not take what it is sent; delivery tries again.
    Retrying {
        /// Why, for a person.
        reason: String,
    },
    /// It rejects a record, and everything behind that waits.
    Held {
        /// Why, for a person.
        reason: String,
    },
    /// The lease could not be renewed in time: nothing may be sent until it is.
    Suspended,
}

/// A task of the coordinator. Each is the owner of its own fault.
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
    /// What is the matter with the coordinator's tasks; those that work are missing.
    pub(super) faults: BTreeMap<Duty, String>,
    pub(super) sink: SinkState,
}

/// What belongs to one resource alone.
#[derive(Debug, Default)]
pub(super) struct Facets {
    pub(super) lease: Leadership,
    /// Why the lease cannot be taken, though nobody else has it.
    pub(super) barred: Option<String>,
    /// By namespace, as are the lists.
    pub(super) sources: BTreeMap<String, SourceState>,
    pub(super) lists: BTreeMap<String, ListState>,
}
