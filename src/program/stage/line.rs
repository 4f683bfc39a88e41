//! The records inside the stage, in order: those that wait for what is read from Nomad, those that are ready for the worker,
//! and those that it was asked about.

use std::{collections::BTreeMap, collections::VecDeque, future::ready, sync::Arc};

use futures_util::{
    future::BoxFuture,
    stream::{FuturesOrdered, StreamExt as _},
};
use tokio_util::task::AbortOnDropHandle;

use super::super::{Enrich, Extra};
use crate::{delivery::Drain, kind::Kind, lease::LeaseState, record::Record};

/// How many records the worker has at a time.
const ASKED: usize = 512;

/// How many bytes of records the worker has at a time, but for one that is larger.
const ASKED_BYTES: usize = 1 << 20;

/// How many records wait for it before the stage takes no more.
const WAITING: usize = 512;

/// How many records are enriched at a time.
const ENRICHED: usize = 16;

/// What stands in line.
pub(super) enum Item {
    Record(Box<Flight>),
    Drain(Drain),
}

/// A record on its way.
pub(super) struct Flight {
    pub(super) record: Record,
    pub(super) extra: Extra,
    /// How often it was asked about.
    pub(super) attempts: u32,
    /// How much it is to blame for ends of the worker.
    blame: u32,
    /// Whether it was without an answer when a worker ended.
    pub(super) is_careful: bool,
}

#[derive(Debug)]
pub(super) struct Line {
    enrich: Option<Arc<dyn Enrich>>,
    arrived: VecDeque<Item>,
    entering: FuturesOrdered<BoxFuture<'static, Option<Item>>>,
    pub(super) ready: VecDeque<Item>,
    asked: VecDeque<Item>,
    /// The bytes of the bodies in `asked`.
    asked_bytes: usize,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Item::Record(flight) => flight.record.fmt(f),
            Item::Drain(_) => f.write_str("Drain"),
        }
    }
}

impl Line {
    pub(super) fn new(enrich: Option<Arc<dyn Enrich>>) -> Self {
        Line {
            enrich,
            arrived: VecDeque::new(),
            entering: FuturesOrdered::new(),
            ready: VecDeque::new(),
            asked: VecDeque::new(),
            asked_bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrived.is_empty() && self.entering.is_empty() && self.ready.is_empty() && self.asked.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.arrived.len() + self.entering.len() + self.ready.len() < WAITING
    }

    pub(super) fn take(&mut self, records: Vec<Record>) {
        let flights = records.into_iter().map(|record| {
            Item::Record(Box::new(Flight { record, extra: Extra::default(), attempts: 0, blame: 0, is_careful: false }))
        });
        match self.enrich {
            None => self.ready.extend(flights),
            Some(_) => self.arrived.extend(flights),
        }
        self.enter();
    }

    pub(super) fn take_drain(&mut self, drain: Drain) {
        match self.enrich {
            None => self.ready.push_back(Item::Drain(drain)),
            Some(_) => self.arrived.push_back(Item::Drain(drain)),
        }
        self.enter();
    }

    /// Reads what belongs to the records that have arrived, several at a time. Each in a task of its own: it goes on while the
    /// stage waits for the sink.
    fn enter(&mut self) {
        let Some(enrich) = &self.enrich else { return };
        while self.entering.len() < ENRICHED {
            let Some(item) = self.arrived.pop_front() else { return };
            self.entering.push_back(match item {
                Item::Drain(drain) => Box::pin(ready(Some(Item::Drain(drain)))),
                Item::Record(mut flight) => {
                    let enrich = Arc::clone(enrich);
                    let task = AbortOnDropHandle::new(tokio::spawn(async move {
                        flight.extra = enrich.extra(&flight.record).await;
                        Item::Record(flight)
                    }));
                    // A record that is lost in a panic is not delivered, and the checkpoint stops before it.
                    Box::pin(async move { task.await.ok() })
                }
            });
        }
    }

    /// The next record that has entered. Never returns while there is none.
    pub(super) async fn entered(&mut self) -> Option<Item> {
        match self.entering.next().await {
            Some(item) => {
                self.enter();
                item
            }
            None => std::future::pending().await,
        }
    }

    /// Whether the worker may have another record. `alone`: only one at a time.
    pub(super) fn may_ask(&self, alone: bool) -> bool {
        let next = match self.ready.front() {
            Some(Item::Record(flight)) => flight.record.body.len(),
            Some(Item::Drain(_)) => return true,
            None => return false,
        };
        !self.is_asked() || !alone && self.asked.len() < ASKED && self.asked_bytes + next <= ASKED_BYTES
    }

    /// Moves the next item behind those that were asked about.
    pub(super) fn next_to_ask(&mut self) -> Option<&Item> {
        let mut item = self.ready.pop_front()?;
        if let Item::Record(flight) = &mut item {
            flight.attempts = flight.attempts.saturating_add(1);
            self.asked_bytes += flight.record.body.len();
        }
        self.asked.push_back(item);
        self.asked.back()
    }

    /// Whether an answer is missing.
    pub(super) fn is_asked(&self) -> bool {
        // Drains in front are passed on at once.
        matches!(self.asked.back(), Some(Item::Record(_))) || self.asked.len() > 1
    }

    /// Takes out the record that is answered.
    pub(super) fn answered(&mut self) -> Option<Box<Flight>> {
        match self.asked.pop_front()? {
            Item::Record(flight) => {
                self.asked_bytes -= flight.record.body.len();
                Some(flight)
            }
            drain @ Item::Drain(_) => {
                self.asked.push_front(drain);
                None
            }
        }
    }

    pub(super) fn has_drain(&self) -> bool {
        matches!(self.asked.front(), Some(Item::Drain(_)))
    }

    /// Takes out a drain before which nothing is left.
    pub(super) fn drain(&mut self) -> Option<Drain> {
        if self.asked.is_empty() && matches!(self.ready.front(), Some(Item::Drain(_))) {
            self.next_to_ask();
        }
        match self.asked.pop_front()? {
            Item::Drain(drain) => Some(drain),
            record => {
                self.asked.push_front(record);
                None
            }
        }
    }

    /// Blames the first record without an answer, if it was asked about carefully. Returns all its blame.
    pub(super) fn blame(&mut self, blame: u32) -> u32 {
        match self.asked.front_mut() {
            Some(Item::Record(flight)) if flight.is_careful => {
                flight.blame += blame;
                flight.blame
            }
            _ => 0,
        }
    }

    /// The worker is gone: everything without an answer is ready again, in its order.
    pub(super) fn ask_again(&mut self) {
        while let Some(mut item) = self.asked.pop_back() {
            if let Item::Record(flight) = &mut item {
                flight.is_careful = true;
            }
            self.ready.push_front(item);
        }
        self.asked_bytes = 0;
    }

    /// Puts a record back in front of all others.
    pub(super) fn put_back(&mut self, flight: Box<Flight>) {
        self.asked_bytes += flight.record.body.len();
        self.asked.push_front(Item::Record(flight));
    }

    pub(super) fn first_ready(&self) -> Option<&Flight> {
        match self.ready.front()? {
            Item::Record(flight) => Some(flight),
            Item::Drain(_) => None,
        }
    }

    pub(super) fn has_ready_record(&self) -> bool {
        self.ready.iter().any(|item| matches!(item, Item::Record(_)))
    }

    /// Takes out the first record.
    pub(super) fn first_out(&mut self) -> Option<Box<Flight>> {
        match self.ready.pop_front()? {
            Item::Record(flight) => Some(flight),
            drain @ Item::Drain(_) => {
                self.ready.push_front(drain);
                None
            }
        }
    }

    /// Drops, undelivered, the records whose lease is lost. The worker must not have any.
    pub(super) fn drop_lost(&mut self) -> BTreeMap<Kind, u64> {
        let mut lost = BTreeMap::new();
        for items in [&mut self.ready, &mut self.arrived] {
            items.retain(|item| match item {
                Item::Record(flight) if flight.record.ack.lease_state() == LeaseState::Lost => {
                    *lost.entry(flight.record.kind).or_default() += 1;
                    false
                }
                _ => true,
            });
        }
        lost
    }
}
