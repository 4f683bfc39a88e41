//! The records that wait to be sent, in order of submission, and who waits for them. No I/O and no clock.

use std::collections::VecDeque;

use super::{Drain, Message, batch::Entry};
use crate::record::Record;

/// What waits, with how much that is.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    items: VecDeque<Item>,
    records: usize,
    bytes: usize,
    /// The number of the next record that is submitted.
    next: u64,
}

/// One place in the backlog.
#[derive(Debug)]
pub(super) enum Item {
    /// A record that was not sent yet.
    Record(Entry),
    /// Somebody waits for everything before it.
    Drained(Drain),
}

impl Backlog {
    /// Puts a submission behind everything that came before it.
    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Records(records) => {
                for record in records {
                    let entry = Entry { record, number: self.next, attempts: 0 };
                    self.next += 1;
                    self.count(&entry.record);
                    self.items.push_back(Item::Record(entry));
                }
            }
            Message::Drain(drained) => self.items.push_back(Item::Drained(drained)),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        if let Item::Record(entry) = &item {
            self.discount(&entry.record);
        }
        Some(item)
    }

    /// Puts back what was popped last.
    pub(super) fn put_back(&mut self, item: Item) {
        if let Item::Record(entry) = &item {
            self.count(&entry.record);
        }
        self.items.push_front(item);
    }

    /// Takes out the record at a place that [`Backlog::position`] gave.
    pub(super) fn remove(&mut self, place: usize) -> Option<Record> {
        match self.items.remove(place)? {
            Item::Record(entry) => {
                self.discount(&entry.record);
                Some(entry.record)
            }
            Item::Drained(_) => None,
        }
    }

    /// The place of the first record that fits.
    pub(super) fn position(&self, fits: impl Fn(&Record) -> bool) -> Option<usize> {
        self.items.iter().position(|item| matches!(item, Item::Record(entry) if fits(&entry.record)))
    }

    pub(super) fn record(&self, place: usize) -> Option<&Record> {
        match self.items.get(place)? {
            Item::Record(entry) => Some(&entry.record),
            Item::Drained(_) => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// The bytes of their bodies.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether somebody waits for what is in it.
    pub(super) fn is_awaited(&self) -> bool {
        self.items.len() > self.records
    }

    fn count(&mut self, record: &Record) {
        self.records += 1;
        self.bytes += record.body.len();
    }

    fn discount(&mut self, record: &Record) {
        self.records -= 1;
        self.bytes -= record.body.len();
    }
}
