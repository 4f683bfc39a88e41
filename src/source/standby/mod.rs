//! The standby: it keeps the event streams open into bounded replay buffers, from the leaders' positions on, so that a
//! take-over does not depend on the server's small buffer (`event_buffer_size` is 100 transactions unless set).

mod feed;
mod follow;
mod second_stream;

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{feed::BufferFeed, follow::Follower};
use super::{
    context::Context,
    resume::namespaces::Namespaces,
    stream::{
        replay_buffer::ReplayBuffer,
        subscription::{reads, wanted_in},
    },
};
use crate::{
    coordinator::Positions,
    kind::Kind,
    nomad::{EventStream, Topic},
    position::RaftIndex,
};

/// The streams of a standby replica. Dropping it ends them, and frees their buffers.
#[derive(Debug)]
pub struct Standby {
    stop: CancellationToken,
    followers: JoinSet<(Arc<str>, WarmStream)>,
}

impl Standby {
    /// Opens a stream for each namespace, with the topics of all that is `wanted`, as [`spawn`](super::spawn) does: otherwise the
    /// positions of the leaders would be past what was read.
    ///
    /// `leaders` has the positions of the leaders: older lines are removed. If one of the `waiting` kinds is missing there (the
    /// original program leads, or no replica), everything up to the bound is kept.
    ///
    /// `bytes` bounds the buffers, an even share for each namespace; the oldest lines go first. The line being read
    /// comes on top, one for each namespace. With 0 no stream is opened.
    pub fn start(
        ctx: &Context,
        namespaces: &[String],
        wanted: &[(Kind, Vec<Topic>)],
        waiting: &[Kind],
        leaders: watch::Receiver<Positions>,
        bytes: usize,
    ) -> Standby {
        let stop = ctx.stop.child_token();
        let mut followers = JoinSet::new();
        for (n, namespace) in namespaces.iter().enumerate().filter(|_| bytes > 0) {
            let kinds: Vec<Kind> = waiting.iter().copied().filter(|kind| reads(*kind, n == 0)).collect();
            if kinds.is_empty() {
                continue;
            }
            let topics = wanted_in(wanted, n == 0);
            let namespace: Arc<str> = Arc::from(&**namespace);
            let feed = BufferFeed::new(ReplayBuffer::new(bytes / namespaces.len(), ctx.metrics.clone()));
            let follower = Follower::new(ctx.clone(), Arc::clone(&namespace), (kinds, topics), leaders.clone(), feed);
            let stop = stop.clone();
            followers.spawn(async move { (namespace, follower.run(stop).await) });
        }
        Standby { stop, followers }
    }

    /// Ends the standby, and returns its buffers and its open streams. Waits for no server.
    pub async fn take(mut self) -> Warm {
        self.stop.cancel();
        let mut warm = Warm::default();
        while let Some(ended) = self.followers.join_next().await {
            let (namespace, stream) = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            warm.streams.insert(namespace, stream);
        }
        warm
    }
}

/// What a standby has buffered. The default is empty.
#[derive(Debug, Default)]
pub struct Warm {
    streams: HashMap<Arc<str>, WarmStream>,
}

impl Warm {
    /// Removes what was buffered for one namespace.
    pub(super) fn take(&mut self, namespace: &str) -> Option<WarmStream> {
        self.streams.remove(namespace)
    }
}

/// What was buffered for one namespace.
#[derive(Debug)]
pub(super) struct WarmStream {
    /// The lines.
    pub(super) buffer: ReplayBuffer,
    /// The index of the last line that was read, buffered or not.
    pub(super) read_to: RaftIndex,
    /// The open stream that continues right after the lines.
    pub(super) stream: Option<EventStream>,
    /// The topics of the subscription.
    pub(super) topics: Vec<Topic>,
    /// The namespaces of the subscription.
    pub(super) namespaces: Namespaces,
}
