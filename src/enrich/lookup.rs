//! Asks Nomad until it answers, and knows when it never will.
//!
//! | Nomad | The record |
//! |---|---|
//! | cannot be reached, has no leader, answers too many requests | waits, however long that takes |
//! | does not accept the token, or does not permit the request | waits; the log names the capability that is missing |
//! | does not know the object (404) | gets null |
//! | fails for this one object, and answers for others | gets null after some tries, and the log names it |
//!
//! Whoever waits holds back the records of its own pipeline, and no others.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, sleep},
};

use super::{
    FRESH, Key,
    cache::{Bounds, Cache},
};
use crate::{
    backoff::Backoff,
    nomad::{self, Client, Table},
    record::Record,
    telemetry::{Metrics, Status},
    throttle::Outage,
};

/// After how many failures in a row the status shows that records wait.
const SHOWN: u32 = 3;
/// After how many failures of one object others are asked for.
const TRIES: u32 = 4;
/// How long "there is no such object" counts as known. It can be created.
const ABSENT: Duration = Duration::from_secs(10);
/// How long an old value is used when Nomad could not be asked for a new one.
const STALE: Duration = Duration::from_secs(10);

/// The lookups of one variable.
pub(super) struct Lookup {
    outage: Mutex<Outage>,
    metrics: Metrics,
    status: Option<Status>,
    /// `$node`.
    variable: &'static str,
    /// Whether a record waits for an outage to end.
    is_patient: bool,
}

impl Lookup {
    pub(super) fn new(variable: &'static str, outage: Outage, metrics: Metrics) -> Self {
        Lookup { outage: Mutex::new(outage), metrics, status: None, variable, is_patient: true }
    }

    /// Shows there that records wait.
    pub(super) fn shown_on(&mut self, status: Status) {
        self.status = Some(status);
    }

    /// Gives up at the first failure.
    pub(super) fn impatient(&mut self) {
        self.is_patient = false;
    }

    /// What Nomad answers, as soon as it does. `None` if it fails for what this record needs, and for nothing else.
    pub(super) async fn ask<T, F>(&self, client: &Client, record: &Record, ask: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, nomad::Error>>,
    {
        let (mut backoff, mut own, mut failures) = (Backoff::default(), 0, 0);
        let mut waiting = Waiting { lookup: self, is_shown: false };
        loop {
            let error = match ask().await {
                Ok(answer) => {
                    self.works();
                    return Some(answer);
                }
                Err(error) => error,
            };
            if self.is_patient {
                self.fails(&error);
            }
            failures += 1;
            if failures >= SHOWN || !error.is_retryable() {
                waiting.show(&error);
            }
            own += u32::from(is_of_one_object(&error));
            if !self.is_patient || own >= TRIES && answers_for_others(client).await {
                self.works();
                self.give_up(record, &error.to_string());
                return None;
            }
            sleep(backoff.failed()).await;
        }
    }

    /// The record gets null for good.
    pub(super) fn give_up(&self, record: &Record, reason: &str) {
        self.metrics.of(record.kind).lookups_failed.inc();
        let (kind, id) = (record.kind.name(), &*record.id);
        tracing::error!(kind, id, variable = self.variable, reason, "lookup failed and variable is null");
    }

    fn works(&self) {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner).over();
    }

    fn fails(&self, error: &nomad::Error) {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner).log(error);
    }
}

/// Shows that a record waits, until it does no longer.
struct Waiting<'a> {
    lookup: &'a Lookup,
    is_shown: bool,
}

impl Waiting<'_> {
    fn show(&mut self, error: &nomad::Error) {
        let Lookup { status, variable, .. } = self.lookup;
        if let Some(status) = status {
            status.lookup(variable, Some(format!("records wait for {variable}: {error}")));
            self.is_shown = true;
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(status) = self.lookup.status.as_ref().filter(|_| self.is_shown) {
            status.lookup(self.lookup.variable, None);
        }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("variable", &self.variable).finish_non_exhaustive()
    }
}

/// Whether the failure can be that of one object alone.
fn is_of_one_object(error: &nomad::Error) -> bool {
    match error {
        nomad::Error::Status { code, .. } => !matches!(code, 408 | 425 | 429),
        nomad::Error::Timeout { .. } | nomad::Error::Broken { .. } | nomad::Error::Garbage { .. } => true,
        _ => false,
    }
}

/// Whether Nomad has a leader that answers, be it with a refusal.
async fn answers_for_others(client: &Client) -> bool {
    client.table_index(Table::Jobs, "*").await.map_or_else(|error| !error.is_retryable(), |_| true)
}

/// Lookups whose answers hold for a while.
pub(super) struct Cached {
    lookup: Lookup,
    cells: Mutex<Cache<Key, Cell<Held>>>,
}

/// What is known under a key. Whoever looks it up holds the lock, so that others wait for the one answer.
pub(super) type Cell<T> = Arc<AsyncMutex<Option<T>>>;

struct Held {
    value: Option<Bytes>,
    until: Instant,
}

impl Held {
    fn new(value: Option<Bytes>, time: Duration) -> Self {
        let time = if value.is_some() { time } else { ABSENT };
        Held { value, until: Instant::now() + time }
    }
}

impl Cached {
    pub(super) fn lookup(&mut self) -> &mut Lookup {
        &mut self.lookup
    }

    pub(super) fn new(lookup: Lookup, bounds: Bounds) -> Self {
        Cached { lookup, cells: Mutex::new(Cache::new(bounds)) }
    }

    /// The value of `key`, from memory or from Nomad.
    pub(super) async fn get<F>(&self, client: &Client, record: &Record, key: &Key, ask: impl Fn() -> F) -> Option<Bytes>
    where
        F: Future<Output = Result<Option<Bytes>, nomad::Error>>,
    {
        let cell = cell(&self.cells, key);
        let mut held = cell.lock().await;
        if let Some(known) = &*held
            && Instant::now() < known.until
        {
            return known.value.clone();
        }
        let old = held.take().and_then(|known| known.value);
        let new = match old {
            // It was true a minute ago. That is better than to hold a record back.
            Some(old) => match ask().await {
                Ok(new) => {
                    self.lookup.works();
                    Held::new(new, FRESH)
                }
                Err(error) if error.is_retryable() => {
                    self.lookup.fails(&error);
                    Held::new(Some(old), STALE)
                }
                Err(_) => Held::new(self.lookup.ask(client, record, ask).await.flatten(), FRESH),
            },
            None => Held::new(self.lookup.ask(client, record, ask).await.flatten(), FRESH),
        };
        let value = new.value.clone();
        *held = Some(new);
        let bytes = value.as_ref().map_or(0, Bytes::len);
        drop(held);
        keep(&self.cells, key, cell, bytes);
        value
    }
}

/// The cell of `key`, perhaps an empty one.
pub(super) fn cell<T>(cells: &Mutex<Cache<Key, Cell<T>>>, key: &Key) -> Cell<T> {
    let mut cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cell) = cells.get(key) {
        return cell.clone();
    }
    let cell = Cell::default();
    cells.insert(key.clone(), cell.clone(), size_of_key(key));
    cell
}

/// Holds a cell that has got a value of this size.
pub(super) fn keep<T>(cells: &Mutex<Cache<Key, Cell<T>>>, key: &Key, cell: Cell<T>, bytes: usize) {
    let bytes = bytes + size_of_key(key) + size_of::<T>();
    cells.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), cell, bytes);
}

fn size_of_key(key: &Key) -> usize {
    key.0.len() + key.1.len() + size_of::<Key>()
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("lookup", &self.lookup).finish_non_exhaustive()
    }
}
