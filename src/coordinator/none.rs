//! No coordination: the lease is there at once, and nothing is kept. Each start is a first start.

use futures_util::future::{self, BoxFuture};

use super::{Coordinator, Error, Lease};
use crate::{checkpoint::Checkpoint, kind::Kind};

/// Hands out every lease. Two processes that use it both emit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unshared;

#[derive(Debug)]
struct Always;

impl Coordinator for Unshared {
    fn acquire(&self, _kind: Kind) -> BoxFuture<'_, Result<Box<dyn Lease>, Error>> {
        Box::pin(future::ready(Ok(Box::new(Always) as Box<dyn Lease>)))
    }
}

impl Lease for Always {
    fn is_valid(&self) -> bool {
        true
    }

    fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::pending())
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>> {
        Box::pin(future::ready(Ok(None)))
    }

    fn save<'a>(&'a self, _checkpoint: &'a Checkpoint) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(future::ready(Ok(())))
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_lease_is_there_and_nothing_is_kept() {
        let (one, two) = (Unshared.acquire(Kind::Jobs).await, Unshared.acquire(Kind::Jobs).await);
        let (one, two) = (one.expect("at once"), two.expect("at once, too"));
        assert!(one.is_valid() && two.is_valid());
        one.save(&Checkpoint { value: 7, ..Checkpoint::default() }).await.expect("nothing to fail");
        assert_eq!(one.load().await.expect("nothing to fail"), None);
        one.release().await.expect("nothing to fail");
        assert!(two.is_valid());
    }
}
