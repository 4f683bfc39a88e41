//! Which producer a batch goes to, and when another one takes its place.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Config, client,
    fault::Fault,
    producer::{Gone, Producer},
};
use crate::sink::ErrorClass;

/// How long the threads and connections of a producer may take to end.
const END: Duration = Duration::from_secs(10);

/// How many batches can be under way, as the semaphore counts them.
const ALL: u32 = {
    assert!(Config::UNDER_WAY <= 64);
    Config::UNDER_WAY as u32
};

/// The producer of the sink, and what outlives it.
pub(super) struct Links {
    config: Arc<Config>,
    /// Fair: whoever asked first is first.
    link: Mutex<Link>,
    slots: Arc<Semaphore>,
    lessons: Arc<Lessons>,
}

/// What was learned, for the producers to come.
#[derive(Debug)]
pub(super) struct Lessons {
    /// The most bytes of records in one request for a partition, except for a single larger one.
    request_bytes: AtomicUsize,
    /// What only people can fix is in the log.
    is_reported: AtomicBool,
}

#[derive(Debug, Default)]
struct Link {
    producer: Option<Arc<Producer>>,
    /// The producer before it is gone when this resolves.
    gone: Option<Gone>,
}

impl Links {
    pub(super) fn new(config: Arc<Config>) -> Self {
        let lessons =
            Lessons { request_bytes: AtomicUsize::new(client::REQUEST_BYTES), is_reported: AtomicBool::new(false) };
        let slots = Arc::new(Semaphore::new(Config::UNDER_WAY));
        Links { config, link: Mutex::default(), slots, lessons: Arc::new(lessons) }
    }

    /// Waits until all that asked before have their records in the client's queue.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn { links: self, link: self.link.lock().await }
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("lessons", &self.lessons).finish_non_exhaustive()
    }
}

/// The right to put a batch into the queue next.
pub(super) struct Turn<'a> {
    links: &'a Links,
    link: MutexGuard<'a, Link>,
}

/// One batch's place with a producer.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) producer: Arc<Producer>,
    pub(super) lessons: Arc<Lessons>,
    /// The most bytes of records in one request of this producer.
    pub(super) request_bytes: usize,
    _permit: OwnedSemaphorePermit,
}

impl Turn<'_> {
    /// A place with a producer that is of use.
    ///
    /// # Errors
    /// There is none, and why.
    pub(super) async fn slot(&mut self) -> Result<Slot, Fault> {
        let Links { config, slots, lessons, .. } = self.links;
        let permit = if self.link.producer.as_ref().is_some_and(|producer| !producer.must_go(config)) {
            acquire(slots, 1).await
        } else {
            let mut all = acquire(slots, ALL).await;
            // Nothing is under way: what the old producer has learned goes with it.
            self.renew().await?;
            all.split(1).unwrap_or(all)
        };
        let producer =
            self.link.producer.clone().ok_or_else(|| Fault::new(ErrorClass::Local, "there is no producer"))?;
        let request_bytes = lessons.request_bytes();
        Ok(Slot { producer, lessons: Arc::clone(lessons), request_bytes, _permit: permit })
    }

    async fn renew(&mut self) -> Result<(), Fault> {
        if let Some(old) = self.link.producer.take() {
            old.close();
        }
        if let Some(gone) = &mut self.link.gone {
            if timeout(END, gone).await.is_err() {
                let words = format!("not sent: the connections of the last producer did not close within {END:?}");
                return Err(Fault::new(ErrorClass::Local, words));
            }
            self.link.gone = None;
        }
        let started = Producer::start(&self.links.config, self.links.lessons.request_bytes());
        let (producer, gone) = started.map_err(|error| Fault::new(ErrorClass::Local, error.to_string()))?;
        (self.link.producer, self.link.gone) = (Some(Arc::new(producer)), Some(gone));
        Ok(())
    }
}

async fn acquire(slots: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    Arc::clone(slots).acquire_many_owned(permits).await.expect("nobody closes it")
}

impl Lessons {
    fn request_bytes(&self) -> usize {
        self.request_bytes.load(Ordering::Acquire)
    }

    /// A request with a record of so many bytes and others was refused: the next producer sends less at once, so that the record goes
    /// alone.
    pub(super) fn send_less(&self, record: usize) {
        let less = |bytes: usize| (bytes / 2).min(record.saturating_sub(1)).max(1);
        // Several batches can have the same to say.
        self.request_bytes
            .update(Ordering::AcqRel, Ordering::Acquire, |bytes| if bytes > record { less(bytes) } else { bytes });
    }

    /// Logs a fault that only people can fix, once: otherwise it looks like any other outage.
    pub(super) fn report_once(&self, fault: &Fault) {
        if fault.needs_people() && !self.is_reported.swap(true, Ordering::AcqRel) {
            tracing::error!(reason = fault.reason(), "kafka refuses the records");
        }
    }

    /// Records arrive.
    pub(super) fn works(&self) {
        self.is_reported.store(false, Ordering::Release);
    }
}
