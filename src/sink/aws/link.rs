//! The client that calls share, and when to look for credentials again.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::{Fault, Reach};

/// A client, once there is one.
pub(in crate::sink) struct Link<C>(Mutex<State<C>>);

struct State<C> {
    /// `None` until the first record, and when the sink needs other credentials than the client has.
    reach: Option<Arc<Reach<C>>>,
    /// The client was refused, and other credentials could help.
    is_refused: bool,
}

/// A client for one batch.
pub(in crate::sink) struct Lent<C> {
    pub(in crate::sink) reach: Arc<Reach<C>>,
    /// The client was refused before the batch began.
    was_refused: bool,
}

impl<C> Default for Link<C> {
    fn default() -> Self {
        Link(Mutex::new(State { reach: None, is_refused: false }))
    }
}

impl<C> Link<C> {
    /// The client. If there is none, `find` makes one; further callers wait for it.
    pub(in crate::sink) async fn lend<'a>(
        &self,
        find: impl FnOnce() -> BoxFuture<'a, Result<Reach<C>, Fault>>,
    ) -> Result<Lent<C>, Fault> {
        let mut state = self.0.lock().await;
        let reach = match &state.reach {
            Some(reach) => Arc::clone(reach),
            None => Arc::new(find().await?),
        };
        state.reach = Some(Arc::clone(&reach));
        Ok(Lent { reach, was_refused: state.is_refused })
    }

    /// A batch has ended; `is_refused` says that other credentials could help.
    ///
    /// A client learns from each answer how far our clock is from the server's, and signs by that from then on. If our clock is
    /// wrong, the same client succeeds on its second try; a new one never does. So a client is replaced only if it is refused
    /// in a batch that began after a refusal.
    pub(in crate::sink) async fn ended(&self, lent: &Lent<C>, is_refused: bool) {
        let mut state = self.0.lock().await;
        // Another batch may have replaced it.
        if !state.reach.as_ref().is_some_and(|reach| Arc::ptr_eq(reach, &lent.reach)) {
            return;
        }
        if is_refused && lent.was_refused {
            *state = State { reach: None, is_refused: false };
        } else {
            state.is_refused = is_refused;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lend(link: &Link<u8>, client: u8) -> Lent<u8> {
        let reach = Reach { client, region: "r".to_owned() };
        link.lend(|| Box::pin(async { Ok(reach) })).await.expect("it is found")
    }

    #[tokio::test]
    async fn a_client_is_replaced_when_it_is_refused_again_and_not_by_batches_that_are_refused_together() {
        let link = Link::default();
        let (first, second) = (lend(&link, 1).await, lend(&link, 2).await);
        assert_eq!((first.reach.client, second.reach.client), (1, 1));
        link.ended(&first, true).await;
        link.ended(&second, true).await;
        let third = lend(&link, 3).await;
        assert_eq!(third.reach.client, 1, "both began before the first refusal");
        link.ended(&third, true).await;
        let fourth = lend(&link, 4).await;
        assert_eq!(fourth.reach.client, 4);
        // Of a client that is gone.
        link.ended(&third, true).await;
        link.ended(&fourth, true).await;
        assert_eq!(lend(&link, 5).await.reach.client, 4);
    }

    #[tokio::test]
    async fn a_success_forgets_a_refusal() {
        let link = Link::default();
        for is_refused in [true, false, true, false] {
            let lent = lend(&link, 1).await;
            link.ended(&lent, is_refused).await;
        }
        assert_eq!(lend(&link, 2).await.reach.client, 1);
        let refused = link.lend(|| Box::pin(async { Err(Fault::Refused("no".to_owned())) })).await;
        assert!(refused.is_ok(), "there is one");
    }
}
