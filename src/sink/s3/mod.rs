//! Writes objects with lines of JSON to Amazon S3, Google Cloud Storage, Azure Blob Storage or a directory. Delivered means that the
//! service has answered that the whole object is there.
//!
//! A batch is one object, or one for each directory that its key names. The name of an object is made of its records, so an object
//! that is sent again replaces itself: a batch whose answer was lost comes once. After a crash batches are cut elsewhere, and what
//! follows the checkpoint comes again in other objects.
//!
//! | Answer | Outcome |
//! |---|---|
//! | success | delivered |
//! | anything else, no answer | retry of the whole object; no further object of the batch is written |
//!
//! No record is ever rejected: a service takes whatever bytes an object has. The library never retries by itself.

mod check;
mod config;
mod credentials;
mod fault;
mod object;
mod settings;
mod store;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex as Lock, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use object_store::{ObjectStore, PutOptions, PutPayload, path::Path};
use tokio::{sync::Mutex, task::spawn_blocking, time::timeout};

pub(super) use self::settings::DEFINITION;
use self::{config::Config, fault::Fault, object::Object};
use super::{Closed, ErrorClass, Outcome, Policy, Prepared, Sink, Unusable, lease, ndjson::Stamp};
use crate::{finding::Finding, lease::LeaseState, record::Record};

/// How long an object may take.
const PUT: Duration = Duration::from_secs(120);

/// Writes objects, one after the other.
#[derive(Debug)]
struct S3 {
    config: Config,
    /// `None` until the first record, and after a failure that another client could not have.
    store: Mutex<Option<Arc<dyn ObjectStore>>>,
    /// The batch under way: sent again, its objects have to have the same keys. `None` once it is delivered.
    tried: Lock<Option<Tried>>,
    is_reported: AtomicBool,
}

/// A batch that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tried {
    /// When it was tried first.
    stamp: Stamp,
    /// Its records. It comes again with some of them at most. A batch with others is another one: this one was given up with its lease.
    records: HashSet<u128>,
}

impl S3 {
    fn new(config: Config) -> Self {
        S3 { config, store: Mutex::default(), tried: Lock::default(), is_reported: AtomicBool::new(false) }
    }

    async fn put_all(&self, batch: &[Record]) -> Vec<Outcome> {
        let stamp = self.stamp(batch);
        let mut outcomes: Vec<_> = batch.iter().map(|_| Outcome::not_sent()).collect();
        for object in object::objects(&self.config, batch, &stamp) {
            match self.put(&object, batch).await {
                Ok(()) => object.records.iter().for_each(|place| outcomes[*place] = Outcome::Delivered),
                Err(fault) => {
                    object.records.iter().for_each(|place| outcomes[*place] = fault.outcome());
                    self.failed(&fault).await;
                    return outcomes;
                }
            }
        }
        *self.tried() = None;
        self.is_reported.store(false, Ordering::Relaxed);
        outcomes
    }

    /// When this batch was tried first; now, unless it comes again.
    fn stamp(&self, batch: &[Record]) -> Stamp {
        let records = batch.iter().map(|record| object::identity([record]));
        let mut tried = self.tried();
        if let Some(Tried { stamp, records: known }) = &*tried
            && records.clone().all(|record| known.contains(&record))
        {
            return stamp.clone();
        }
        let stamp = Stamp::of(SystemTime::now());
        *tried = Some(Tried { stamp: stamp.clone(), records: records.collect() });
        stamp
    }

    fn tried(&self) -> MutexGuard<'_, Option<Tried>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn put(&self, object: &Object, batch: &[Record]) -> Result<(), Fault> {
        let records = || object.records.iter().map(|place| &batch[*place]);
        let unheld = || Fault {
            class: ErrorClass::Unsent,
            reason: "the lease is not held any more".to_owned(),
            wants_other_client: false,
        };
        let store = self.open().await?;
        let bodies: Vec<Bytes> = records().map(|record| record.body.clone()).collect();
        let compression = self.config.compression;
        let bytes = spawn_blocking(move || object::bytes(compression, bodies)).await;
        let bytes = bytes.map_err(|panic| panic.to_string()).and_then(|bytes| bytes.map_err(|error| error.to_string()));
        let other = |reason| Fault { class: ErrorClass::Other, reason, wants_other_client: false };
        let bytes = bytes.map_err(|reason| other(format!("cannot compress: {reason}")))?;
        let key =
            Path::parse(&object.key).map_err(|error| other(format!("no valid key: {error}; correct SINK_S3_KEY")))?;
        if records().any(|record| record.ack.lease_state() != LeaseState::Held) {
            return Err(unheld());
        }
        // Given up, the connection breaks, and of an object that is not whole nothing is kept.
        tokio::select! {
            biased;
            () = lease::until_unheld(records()) => Err(unheld()),
            answer = timeout(PUT, store.put_opts(&key, PutPayload::from(bytes), PutOptions::default())) => match answer {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(Fault::of(&error, &self.config.place)),
                Err(_) => {
                    let name = self.config.place.service.name();
                    Err(Fault::timeout(format!("no answer from {name} within {PUT:?}; check the network, or lower SINK_S3_BATCH_SIZE")))
                }
            },
        }
    }

    async fn open(&self) -> Result<Arc<dyn ObjectStore>, Fault> {
        let mut store = self.store.lock().await;
        if let Some(store) = &*store {
            return Ok(Arc::clone(store));
        }
        let opened = store::open(&self.config).await?;
        *store = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Logs what only people can fix, once: otherwise it looks like any other outage.
    async fn failed(&self, fault: &Fault) {
        if fault.wants_other_client {
            *self.store.lock().await = None;
        }
        if fault.needs_people() && !self.is_reported.swap(true, Ordering::Relaxed) {
            tracing::error!(sink = self.name(), reason = fault.reason, "target refuses every record");
        }
    }
}

impl Sink for S3 {
    fn name(&self) -> &'static str {
        "s3"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.put_all(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, _cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(S3::new(self.clone())), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }

    fn gathers(&self) -> Option<(&'static str, usize)> {
        Some(("SINK_S3_BATCH_SIZE", self.batch_bytes))
    }
}
