//! Why a page of a list has to be asked for again.

use std::time::Duration;

use super::{fetch::Unread, tokens::Endless};
use crate::{nomad, position::RaftIndex};

/// Why a page has to be asked for again.
#[derive(Debug, thiserror::Error)]
pub(in crate::source) enum Failed {
    #[error(transparent)]
    Nomad(#[from] nomad::Error),
    #[error("the list is older than the stream: it is at index {page}, the stream at {seen}")]
    Late { page: RaftIndex, seen: RaftIndex },
    #[error("{id} is listed at index {listed}, and read at {given}: the server that answered lags behind")]
    Older { id: String, listed: RaftIndex, given: RaftIndex },
    #[error("{id} is listed and not found; asking once more before it counts as deleted")]
    Absent { id: String },
    #[error("the server at {server} heard from its leader {last_contact:?} ago, or knows none")]
    Stale { server: String, last_contact: Duration },
    #[error("{id} in namespace {namespace:?} is listed and cannot be read: {reason}")]
    Unread { id: String, namespace: String, reason: Box<Unread> },
    #[error(transparent)]
    Endless(#[from] Endless),
    #[error("the task that reads the list has ended")]
    Gone,
}

impl Failed {
    /// Whether Nomad does not give the list. The others are of a server that lags for a moment.
    pub(in crate::source) fn is_outage(&self) -> bool {
        !matches!(self, Failed::Late { .. } | Failed::Older { .. } | Failed::Absent { .. } | Failed::Gone)
    }
}
