//! Standing by: the event stream stays open into a bounded ring, from where the leaders are on, so that a take-over
//! needs nothing of the server's small buffer (its `event_buffer_size` is 100 transactions unless set).

mod doubt;
mod follow;
mod intake;

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{follow::Follower, intake::Intake};
use super::{
    context::Context,
    resume::namespaces::Namespaces,
    stream::{replay_buffer::ReplayBuffer, subscription::reads},
};
use crate::{
    coordinator::Positions,
    kind::Kind,
    nomad::{EventStream, Topic},
    position::RaftIndex,
};

/// The streams of a replica that stands by. Ends when it is dropped, and everything that is held with it.
#[derive(Debug)]
pub struct Standby {
    stop: CancellationToken,
    followers: JoinSet<(Arc<str>, WarmStream)>,
}

impl Standby {
    /// Opens a stream for each namespace, with the topics of all `kinds`, as [`spawn`](super::spawn) does.
    ///
    /// `leaders` tells how far the leaders are: older lines are let go. Where one of the kinds is not in it (an original
    /// leads, or nobody), everything up to the bound is kept.
    ///
    /// `bytes` bounds what is held, each namespace having an even share; the oldest go first. The line that is being
    /// read comes on top, one for each namespace. With 0 nothing is opened.
    pub fn start(
        ctx: &Context,
        namespaces: &[String],
        kinds: &[(Kind, Vec<Topic>)],
        leaders: watch::Receiver<Positions>,
        bytes: usize,
    ) -> Standby {
        let stop = ctx.stop.child_token();
        let mut followers = JoinSet::new();
        for (n, namespace) in namespaces.iter().enumerate().filter(|_| bytes > 0) {
            let kinds: Vec<_> = kinds.iter().filter(|(kind, _)| reads(*kind, n == 0)).collect();
            if kinds.is_empty() {
                continue;
            }
            let namespace: Arc<str> = Arc::from(&**namespace);
            let intake = Intake::new(ReplayBuffer::new(bytes / namespaces.len(), ctx.metrics.clone()));
            let follower = Follower::new(ctx.clone(), Arc::clone(&namespace), &kinds, leaders.clone(), intake);
            let stop = stop.clone();
            followers.spawn(async move { (namespace, follower.run(stop).await) });
        }
        Standby { stop, followers }
    }

    /// Ends standing by, and hands over what is held, and the streams that are open. Waits for no server.
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

/// What a standby has held. The default holds nothing.
#[derive(Debug, Default)]
pub struct Warm {
    streams: HashMap<Arc<str>, WarmStream>,
}

impl Warm {
    /// Takes out what was held of one namespace.
    pub(super) fn take(&mut self, namespace: &str) -> Option<WarmStream> {
        self.streams.remove(namespace)
    }
}

/// What was held of one namespace.
#[derive(Debug)]
pub(super) struct WarmStream {
    /// The lines.
    pub(super) buffer: ReplayBuffer,
    /// The index of the last line that was read, held or not.
    pub(super) read_to: RaftIndex,
    /// The stream that goes on right behind the lines.
    pub(super) stream: Option<EventStream>,
    /// What the subscription was to.
    pub(super) topics: Vec<Topic>,
    /// The namespaces of the subscription.
    pub(super) namespaces: Namespaces,
}
