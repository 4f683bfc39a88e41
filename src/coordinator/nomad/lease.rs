//! The lease that the supervisor holds: a [`Hold`], its checkpoint, and the way to the writer.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    store::Store,
    writer::{NotStored, Requests},
};
use crate::{
    checkpoint::Checkpoint,
    coordinator::hold::Hold,
    lease::{Error, Lease, LeaseState, Progress},
};

/// The lease of one resource in a Variable.
pub(super) struct NomadLease {
    hold: Arc<Hold>,
    store: Mutex<Store>,
    requests: Requests,
}

impl NomadLease {
    pub(super) fn new(hold: Arc<Hold>, store: Store, requests: Requests) -> Self {
        NomadLease { hold, store: Mutex::new(store), requests }
    }
}

impl fmt::Debug for NomadLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hold.fmt(f)
    }
}

impl Lease for NomadLease {
    fn lease_state(&self) -> LeaseState {
        self.hold.lease_state()
    }

    fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.hold.lost())
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>> {
        Box::pin(async {
            let mut store = self.store.lock().await;
            tokio::select! {
                biased;
                () = self.hold.lost() => Err(Error::Lost),
                loaded = store.load() => loaded,
            }
        })
    }

    fn save<'a>(&'a self, progress: &'a dyn Progress) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { self.store.lock().await.save(&self.requests, progress).await })
    }

    fn keep<'a>(
        &'a self,
        progress: &'a dyn Progress,
        hurry: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut due = self.requests.due.clone();
            due.mark_unchanged();
            tokio::select! {
                // An error means that the writer has ended; the save reports that.
                _ = due.changed() => {}
                () = hurry.cancelled() => {}
                () = self.hold.lost() => {}
            }
            self.save(progress).await
        })
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.hold.lose();
            match self.requests.give_back().await {
                // Another replica leads already.
                Ok(()) | Err(NotStored::Lost) => Ok(()),
                Err(NotStored::Unknown(error)) => Err(Error::Nomad(error)),
            }
        })
    }
}
