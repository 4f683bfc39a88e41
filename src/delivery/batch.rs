//! A batch, and what the sink's answers leave of it. No I/O and no clock.

use std::{
    collections::{BTreeMap, HashSet},
    mem,
    time::Duration,
};

use super::pace::Advance;
use crate::{
    kind::Kind,
    lease::LeaseState,
    record::Record,
    sink::Outcome,
    throttle::{Class, Failure},
};

/// A record that is not delivered.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    /// Its number in the order of submission.
    pub(super) number: u64,
    /// How often it was sent.
    pub(super) attempts: u32,
}

/// Records on their way, in order, with their numbers and how often each was sent.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// They stand together: a sink gets a part of them.
    pub(super) records: Vec<Record>,
    pub(super) attempts: Vec<u32>,
    numbers: Vec<u64>,
    pub(super) bytes: usize,
}

/// Records and bytes by resource.
pub(super) type Counts = BTreeMap<Kind, (usize, usize)>;

/// The result of a round of sending.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) delivered: Counts,
    pub(super) dead_lettered: Counts,
    pub(super) kept: Counts,
}

impl Settled {
    pub(super) fn progress(&self) -> Advance {
        if self.kept.is_empty() {
            Advance::All
        } else if self.delivered.is_empty() && self.dead_lettered.is_empty() {
            Advance::None
        } else {
            Advance::Some
        }
    }
}

/// The failures among the answers.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Why the first record that has to be sent again failed.
    pub(super) reason: Option<Failure>,
    /// The longest wait that the far side asked for.
    pub(super) after: Option<Duration>,
    /// The rejected records without an earlier failure of the same key, with the reason.
    pub(super) rejected: Vec<(usize, String)>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn push(&mut self, entry: Entry) {
        let Entry { record, number, attempts } = entry;
        self.bytes += record.body.len();
        self.records.push(record);
        self.attempts.push(attempts);
        self.numbers.push(number);
    }

    /// Takes it apart.
    pub(super) fn into_entries(self) -> impl DoubleEndedIterator<Item = Entry> {
        let Batch { records, attempts, numbers, .. } = self;
        let marks = numbers.into_iter().zip(attempts);
        records.into_iter().zip(marks).map(|(record, (number, attempts))| Entry { record, number, attempts })
    }

    /// How many of its records, from the first one on, one send may carry.
    pub(super) fn portion(&self, most: usize, most_bytes: usize) -> usize {
        let mut bytes = 0_usize;
        let fits = self.records.iter().take(most).take_while(|record| {
            bytes = bytes.saturating_add(record.body.len());
            bytes <= most_bytes
        });
        fits.count().max(1).min(self.records.len())
    }

    /// Counts one more attempt of the first `records`.
    pub(super) fn tried(&mut self, records: usize) {
        for attempts in &mut self.attempts[..records] {
            *attempts = attempts.saturating_add(1);
        }
    }

    /// Takes one record out.
    pub(super) fn remove(&mut self, number: usize) -> Record {
        self.attempts.remove(number);
        self.numbers.remove(number);
        let record = self.records.remove(number);
        self.bytes -= record.body.len();
        record
    }

    /// Drops, undelivered, the records whose lease is lost.
    pub(super) fn drop_lost(&mut self) -> Counts {
        let mut lost = Counts::new();
        let is_lost = |record: &Record| record.ack.lease_state() == LeaseState::Lost;
        if !self.records.iter().any(is_lost) {
            return lost;
        }
        self.each(|_, record| {
            if !is_lost(&record) {
                return Some(record);
            }
            count(&mut lost, &record);
            None
        });
        lost
    }

    /// How much is in it.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        self.records.iter().for_each(|record| count(&mut counts, record));
        counts
    }

    /// Takes out the records for which `matches` holds, asked with their numbers; their outcomes are void.
    pub(super) fn split_off(&mut self, outcomes: &mut Vec<Outcome>, matches: impl Fn(&Record, u64) -> bool) -> Batch {
        let mut taken = Batch::default();
        let mut left = Batch::default();
        let answers = mem::take(outcomes);
        for (entry, outcome) in mem::take(self).into_entries().zip(answers) {
            if matches(&entry.record, entry.number) {
                taken.push(entry);
            } else {
                left.push(entry);
                outcomes.push(outcome);
            }
        }
        *self = left;
        taken
    }

    /// Whether a write of it may start now.
    pub(super) fn may_start(&self) -> bool {
        self.records.iter().all(|record| record.ack.lease_state() == LeaseState::Held)
    }

    /// The failures. A rejected record after a failure of its key is not listed: it is sent again first.
    pub(super) fn failures(&self, outcomes: &mut [Outcome]) -> Failures {
        let mut failures = Failures::default();
        let mut blocked = HashSet::new();
        for (number, (record, outcome)) in self.records.iter().zip(outcomes).enumerate() {
            match outcome {
                Outcome::Delivered => {}
                Outcome::Retry { reason, after, .. } => {
                    failures.after = failures.after.max(*after);
                    failures
                        .reason
                        .get_or_insert_with(|| Failure { class: Class::of_text(reason), reason: mem::take(reason) });
                    blocked.insert((record.kind, &*record.key));
                }
                Outcome::Reject { reason } => {
                    if !blocked.contains(&(record.kind, &*record.key)) {
                        failures.rejected.push((number, mem::take(reason)));
                    }
                }
            }
        }
        failures
    }

    /// Acknowledges the records that were delivered, and keeps the rest: each failure, every later record of its key,
    /// and the records without an outcome, which were not sent.
    ///
    /// `are_kept` says whether the rejected records are dead letters now; otherwise they are failures.
    pub(super) fn settle(&mut self, outcomes: &[Outcome], are_kept: bool) -> Settled {
        let is_delivered = |outcome: &Outcome| matches!(outcome, Outcome::Delivered);
        if outcomes.len() == self.records.len() && outcomes.iter().all(is_delivered) {
            return self.all_delivered();
        }
        let mut blocked = HashSet::new();
        let keep: Vec<bool> = self
            .records
            .iter()
            .zip(outcomes)
            .map(|(record, outcome)| {
                let key = (record.kind, &*record.key);
                let through = match outcome {
                    Outcome::Delivered => true,
                    Outcome::Retry { .. } => false,
                    Outcome::Reject { .. } => are_kept,
                };
                if !through {
                    blocked.insert(key);
                }
                blocked.contains(&key)
            })
            .collect();
        let mut round = Settled::default();
        self.each(|number, record| {
            match (keep.get(number), outcomes.get(number)) {
                (Some(false), Some(Outcome::Reject { .. })) => count(&mut round.dead_lettered, &record),
                (Some(false), _) => count(&mut round.delivered, &record),
                (Some(true), _) => {
                    count(&mut round.kept, &record);
                    return Some(record);
                }
                (None, _) => return Some(record),
            }
            record.ack.delivered();
            None
        });
        round
    }

    /// The usual round: everything is delivered.
    fn all_delivered(&mut self) -> Settled {
        let mut round = Settled::default();
        self.attempts.clear();
        self.numbers.clear();
        self.bytes = 0;
        for record in self.records.drain(..) {
            count(&mut round.delivered, &record);
            record.ack.delivered();
        }
        round
    }

    /// Passes each record to `keep`, in order.
    fn each(&mut self, mut keep: impl FnMut(usize, Record) -> Option<Record>) {
        for (place, entry) in mem::take(self).into_entries().enumerate() {
            let Entry { record, number, attempts } = entry;
            if let Some(record) = keep(place, record) {
                self.push(Entry { record, number, attempts });
            }
        }
    }
}

fn count(counts: &mut Counts, record: &Record) {
    let (records, bytes) = counts.entry(record.kind).or_default();
    *records += 1;
    *bytes += record.body.len();
}
