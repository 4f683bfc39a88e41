//! What may leave next while several batches are under way, and what their failures hold back. No I/O and no clock.
//!
//! A record waits in one of three places: in the backlog, with the records of its key that are held, or among those that
//! leave again. A key is held when one of its records failed, until no batch is under way that left before the failure was
//! known: such a batch can have later records of the key. [`UnderWay::ByKey`] also holds the keys that are under way.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use super::{
    Policy,
    backlog::{Backlog, Item},
    batch::{Batch, Counts, Entry},
};
use crate::{
    kind::Kind,
    record::Record,
    sink::{Outcome, UnderWay},
    window::Share,
};

type Key = (Kind, Arc<str>);

/// The batches under way, and what waits because of them.
#[derive(Debug)]
pub(super) struct Flow {
    is_by_key: bool,
    most: usize,
    /// The most bytes from the oldest record that is not through to the newest that has left.
    most_ahead: u64,
    batch_bytes: usize,
    flights: BTreeMap<u64, Flight>,
    next: u64,
    /// The bytes that have left so far; records that leave again count once.
    left: u64,
    /// The keys under way, if their order depends on it.
    busy: HashSet<Key>,
    held: HashMap<Key, Held>,
    held_records: usize,
    /// What was sent before and may leave again, in order.
    again: VecDeque<Entry>,
    /// What had left before the oldest record that has to leave again.
    hole: Option<u64>,
    /// The last batch of which something got through.
    progress: Option<u64>,
    /// The parts of the window of records that are delivered before an older one, by their batch. They count as if they
    /// were under way: the ledger still has to remember them.
    ahead: Vec<(u64, Vec<Share>)>,
}

#[derive(Debug)]
struct Flight {
    /// What had left before it.
    left: u64,
    /// It has records that were sent before.
    is_again: bool,
}

/// Records of one key that wait, in order.
#[derive(Debug, Default)]
struct Held {
    entries: VecDeque<Entry>,
    /// Some of them were sent.
    is_again: bool,
    /// The last batch that can have later records of the key.
    until: Option<u64>,
}

/// A batch that may leave, and whether it has to: nothing more fits, or somebody waits for it.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) batch: Batch,
    pub(super) is_due: bool,
}

impl Flow {
    pub(super) fn new(policy: &Policy) -> Self {
        let (is_by_key, most) = match policy.under_way {
            UnderWay::One => (false, 1),
            UnderWay::Ordered(most) => (false, most.max(1)),
            UnderWay::ByKey(most) => (true, most.max(1)),
        };
        // As much again as is under way: one slow batch then does not stop the others at once.
        let most_ahead = (policy.batch_bytes as u64).saturating_mul(2 * most as u64);
        Flow {
            is_by_key,
            most,
            most_ahead,
            batch_bytes: policy.batch_bytes,
            flights: BTreeMap::new(),
            next: 0,
            left: 0,
            busy: HashSet::new(),
            held: HashMap::new(),
            held_records: 0,
            again: VecDeque::new(),
            hole: None,
            progress: None,
            ahead: Vec::new(),
        }
    }

    /// Whether another batch may be under way, `most` at a time.
    pub(super) fn has_room(&self, most: usize) -> bool {
        self.flights.len() < most.min(self.most)
    }

    pub(super) fn is_any_under_way(&self) -> bool {
        !self.flights.is_empty()
    }

    /// How many records wait for their key or leave again.
    pub(super) fn waiting(&self) -> usize {
        self.held_records + self.again.len()
    }

    /// Whether nothing failed that is not through.
    pub(super) fn is_whole(&self) -> bool {
        self.hole.is_none()
    }

    /// Whether something waits that was sent before.
    pub(super) fn leaves_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// The next batch, of at most `records`: first what leaves again, then the backlog. Records of a key that is held
    /// wait with it.
    pub(super) fn pick(&mut self, backlog: &mut Backlog, records: usize) -> Option<Picked> {
        let mut batch = Batch::default();
        let mut is_due = false;
        while !is_due && let Some(entry) = self.again.pop_front() {
            if self.is_held(&entry.record) {
                self.hold(entry);
            } else if let Some(entry) = self.add(&mut batch, entry) {
                self.again.push_front(entry);
                is_due = true;
            } else {
                is_due = batch.records.len() >= records;
            }
        }
        while !is_due && let Some(item) = backlog.pop() {
            match item {
                Item::Drained(drain) if batch.is_empty() && self.is_idle() => drain.drained(),
                Item::Drained(_) => {
                    backlog.put_back(item);
                    is_due = true;
                }
                Item::Record(entry) if self.is_held(&entry.record) => self.hold(entry),
                Item::Record(entry) if self.is_too_far_ahead(batch.bytes + entry.record.body.len()) => {
                    backlog.put_back(Item::Record(entry));
                    break;
                }
                Item::Record(entry) => {
                    if let Some(entry) = self.add(&mut batch, entry) {
                        backlog.put_back(Item::Record(entry));
                        is_due = true;
                    } else {
                        is_due = batch.records.len() >= records;
                    }
                }
            }
        }
        (!batch.is_empty()).then_some(Picked { batch, is_due })
    }

    /// Puts back what was picked last.
    pub(super) fn put_back(&mut self, backlog: &mut Backlog, batch: Batch) {
        for entry in batch.into_entries().rev() {
            if entry.attempts > 0 {
                self.again.push_front(entry);
            } else {
                backlog.put_back(Item::Record(entry));
            }
        }
    }

    /// The batch leaves now. Returns its number.
    pub(super) fn launch(&mut self, batch: &Batch) -> u64 {
        let number = self.next;
        self.next += 1;
        let is_again = batch.attempts.iter().any(|attempts| *attempts > 0);
        self.flights.insert(number, Flight { left: self.left, is_again });
        let fresh = batch.records.iter().zip(&batch.attempts).filter(|(_, attempts)| **attempts == 0);
        self.left += fresh.map(|(record, _)| record.body.len() as u64).sum::<u64>();
        if self.is_by_key {
            self.busy.extend(batch.records.iter().map(key));
        }
        number
    }

    /// The sink has answered for the batch of this number. Returns what had left before it.
    pub(super) fn land(&mut self, number: u64, batch: &Batch) -> u64 {
        if self.is_by_key {
            for record in &batch.records {
                self.busy.remove(&key(record));
            }
        }
        let flight = self.flights.remove(&number);
        flight.map_or(self.left, |flight| flight.left)
    }

    /// Something of the batch with this number got through.
    pub(super) fn got_through(&mut self, number: u64) {
        self.progress = self.progress.max(Some(number));
    }

    /// Whether something of a batch that left after this one got through.
    pub(super) fn is_overtaken(&self, number: u64) -> bool {
        self.progress.is_some_and(|progress| progress > number)
    }

    /// Takes those out of a batch that are sent again whatever the sink answered: an earlier record of their key failed.
    pub(super) fn take_doubtful(&self, batch: &mut Batch, outcomes: &mut Vec<Outcome>) -> Batch {
        if self.held.is_empty() {
            return Batch::default();
        }
        batch.split_off(outcomes, |record, number| {
            let held = self.held.get(&key(record));
            held.and_then(|held| held.entries.front()).is_some_and(|first| first.number < number)
        })
    }

    /// Whether what is delivered with the batch of this number would run ahead of an older record.
    pub(super) fn is_behind_another(&self, number: u64) -> bool {
        self.hole.is_some() || self.flights.first_key_value().is_some_and(|(first, _)| *first < number)
    }

    /// Keeps the parts of the window until all older records are through.
    pub(super) fn keep_shares(&mut self, number: u64, shares: Vec<Share>) {
        if !shares.is_empty() {
            self.ahead.push((number, shares));
        }
    }

    /// These records of a batch, before which so much had left, have to be sent again.
    pub(super) fn failed(&mut self, batch: Batch, left: u64) {
        if batch.is_empty() {
            return;
        }
        self.hole = Some(self.hole.map_or(left, |hole| hole.min(left)));
        let until = self.flights.last_key_value().map(|(last, _)| *last).filter(|_| !self.is_by_key);
        for entry in batch.into_entries() {
            let held = self.held.entry(key(&entry.record)).or_default();
            if !held.is_again {
                // What left later has no record of the key.
                (held.is_again, held.until) = (true, until);
            }
            let place = held.entries.partition_point(|other| other.number < entry.number);
            held.entries.insert(place, entry);
            self.held_records += 1;
        }
    }

    /// Frees the keys that need not wait any more; those with failures only where `may_leave_again`.
    pub(super) fn release(&mut self, backlog: &mut Backlog, may_leave_again: bool) {
        let oldest = self.flights.first_key_value().map(|(number, _)| *number);
        if self.hole.is_some()
            && self.again.is_empty()
            && !self.flights.values().any(|flight| flight.is_again)
            && !self.held.values().any(|held| held.is_again)
        {
            self.hole = None;
        }
        if self.hole.is_none() {
            self.ahead.retain(|(number, _)| oldest.is_some_and(|oldest| oldest < *number));
        }
        if self.held.is_empty() {
            return;
        }
        let mut fresh = Vec::new();
        let busy = &self.busy;
        for (_, held) in self.held.extract_if(|key, held| {
            let is_past = held.until.is_none_or(|until| oldest.is_none_or(|oldest| oldest > until));
            is_past && (may_leave_again || !held.is_again) && !busy.contains(key)
        }) {
            self.held_records -= held.entries.len();
            for entry in held.entries {
                if entry.attempts > 0 {
                    self.again.push_back(entry);
                } else {
                    fresh.push(entry);
                }
            }
        }
        self.again.make_contiguous().sort_by_key(|entry| entry.number);
        fresh.sort_by_key(|entry| entry.number);
        for entry in fresh.into_iter().rev() {
            backlog.put_back(Item::Record(entry));
        }
    }

    /// Drops, undelivered, the records that wait and whose lease is lost.
    pub(super) fn drop_lost(&mut self) -> Counts {
        let mut lost = Counts::new();
        let mut waiting = Batch::default();
        std::mem::take(&mut self.again).into_iter().for_each(|entry| waiting.push(entry));
        lost.extend(waiting.drop_lost());
        self.again.extend(waiting.into_entries());
        for held in self.held.values_mut() {
            let mut waiting = Batch::default();
            std::mem::take(&mut held.entries).into_iter().for_each(|entry| waiting.push(entry));
            for (kind, (records, bytes)) in waiting.drop_lost() {
                let count = lost.entry(kind).or_default();
                (count.0, count.1) = (count.0 + records, count.1 + bytes);
                self.held_records -= records;
            }
            held.entries.extend(waiting.into_entries());
        }
        self.held.retain(|_, held| !held.entries.is_empty());
        lost
    }

    /// With nothing under way: everything that has to be sent again, in order. What else waits goes back to the backlog.
    pub(super) fn take_failed(&mut self, backlog: &mut Backlog) -> Batch {
        self.release(backlog, true);
        let mut batch = Batch::default();
        std::mem::take(&mut self.again).into_iter().for_each(|entry| batch.push(entry));
        batch
    }

    /// Whether nothing is under way, and nothing waits but the backlog.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.again.is_empty() && self.held.is_empty()
    }

    fn is_held(&self, record: &Record) -> bool {
        if self.held.is_empty() && self.busy.is_empty() {
            return false;
        }
        let key = key(record);
        self.held.contains_key(&key) || self.busy.contains(&key)
    }

    /// Lets a record wait behind the others of its key.
    fn hold(&mut self, entry: Entry) {
        let held = self.held.entry(key(&entry.record)).or_default();
        held.is_again |= entry.attempts > 0;
        let place = held.entries.partition_point(|other| other.number < entry.number);
        held.entries.insert(place, entry);
        self.held_records += 1;
    }

    /// Adds a record if it fits, or gives it back.
    fn add(&self, batch: &mut Batch, entry: Entry) -> Option<Entry> {
        if !batch.is_empty() && batch.bytes + entry.record.body.len() > self.batch_bytes {
            return Some(entry);
        }
        batch.push(entry);
        None
    }

    /// Whether a batch of so many bytes would leave too far ahead of the oldest record that is not through.
    fn is_too_far_ahead(&self, bytes: usize) -> bool {
        let first = self.flights.values().map(|flight| flight.left).chain(self.hole).min();
        first.is_some_and(|first| self.left - first + bytes as u64 > self.most_ahead)
    }
}

fn key(record: &Record) -> Key {
    (record.kind, Arc::clone(&record.key))
}
