//! Why a page of a list has to be asked for again, and whether that is an outage.

use std::time::Duration;

use super::{fetch::Unread, tokens::Endless};
use crate::{nomad, position::RaftIndex};

/// Why a page has to be asked for again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
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

impl PageError {
    /// Whether Nomad does not give the list. The others come from a server that lags for a moment.
    pub(crate) fn is_outage(&self) -> bool {
        !matches!(self, PageError::Late { .. } | PageError::Older { .. } | PageError::Absent { .. } | PageError::Gone)
    }
}
