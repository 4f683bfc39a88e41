//! The lease that the supervisor holds: a [`Tenure`], its checkpoint, and the way to the writer.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::{store::Store, tenure::Tenure, writer::Requests};
use crate::{
    checkpoint::Checkpoint,
    lease::{Error, Lease, LeaseState, Progress},
};

/// The lease of one resource in Consul.
pub(super) struct ConsulLease {
    tenure: Arc<Tenure>,
    store: Mutex<Store>,
    requests: Requests,
    /// Changes when the writer is about to send a heartbeat.
    due: watch::Receiver<u64>,
}

impl ConsulLease {
    pub(super) fn new(tenure: Arc<Tenure>, requests: Requests, due: watch::Receiver<u64>) -> Self {
        let store = Mutex::new(Store::new(Arc::clone(&tenure), requests.clone()));
        ConsulLease { tenure, store, requests, due }
    }
}

impl fmt::Debug for ConsulLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tenure.fmt(f)
    }
}

impl Lease for ConsulLease {
    fn lease_state(&self) -> LeaseState {
        self.tenure.hold.lease_state()
    }

    fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.tenure.hold.lost())
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>> {
        Box::pin(async {
            let mut store = self.store.lock().await;
            tokio::select! {
                biased;
                () = self.tenure.hold.lost() => Err(Error::Lost),
                loaded = store.load() => loaded,
            }
        })
    }

    fn save<'a>(&'a self, progress: &'a dyn Progress) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { self.store.lock().await.save(progress).await })
    }

    fn keep<'a>(
        &'a self,
        progress: &'a dyn Progress,
        hurry: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut due = self.due.clone();
            due.mark_unchanged();
            tokio::select! {
                // An error means that the writer has ended; the save reports that.
                _ = due.changed() => {}
                () = hurry.cancelled() => {}
                () = self.tenure.hold.lost() => {}
            }
            self.save(progress).await
        })
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.tenure.hold.lose();
            self.requests.forget(&self.tenure).await;
            self.tenure.give_back().await
        })
    }
}
