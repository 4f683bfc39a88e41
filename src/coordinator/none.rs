//! No coordination: the lease is there at once, and nothing is stored. Each start is a first start.

use std::sync::Arc;

use futures_util::future::{self, BoxFuture};

use super::Coordinator;
use crate::{
    checkpoint::Checkpoint,
    kind::Kind,
    lease::{Error, Lease, LeaseState, Progress},
};

/// Grants every lease. Two processes that use it both emit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unshared;

/// A lease that is held for ever, and stores nothing.
#[derive(Clone, Copy, Debug)]
pub struct Always;

impl Coordinator for Unshared {
    fn acquire(&self, _kind: Kind) -> BoxFuture<'_, Result<Arc<dyn Lease>, Error>> {
        Box::pin(future::ready(Ok(Arc::new(Always) as Arc<dyn Lease>)))
    }
}

impl Lease for Always {
    fn lease_state(&self) -> LeaseState {
        LeaseState::Held
    }

    fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::pending())
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>> {
        Box::pin(future::ready(Ok(None)))
    }

    fn save<'a>(&'a self, progress: &'a dyn Progress) -> BoxFuture<'a, Result<(), Error>> {
        // Takes the change and drops it, so that changes do not pile up.
        drop(progress.head());
        Box::pin(future::ready(Ok(())))
    }

    fn keeps(&self) -> bool {
        false
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    #[tokio::test]
    async fn every_lease_is_there_and_nothing_is_kept() {
        let (one, two) = (Unshared.acquire(Kind::Jobs).await, Unshared.acquire(Kind::Jobs).await);
        let (one, two) = (one.expect("at once"), two.expect("at once, too"));
        assert_eq!((one.lease_state(), two.lease_state()), (LeaseState::Held, LeaseState::Held));
        one.save(&*Ledger::new(Arc::clone(&one), Checkpoint { value: 7, ..Checkpoint::default() }))
            .await
            .expect("nothing to fail");
        assert_eq!(one.load().await.expect("nothing to fail"), None);
        one.release().await.expect("nothing to fail");
        assert_eq!(two.lease_state(), LeaseState::Held);
    }
}
