//! The state of a batch that is being sent in several calls at a time: the outcomes so far, the records that are not sent yet,
//! and the keys that have to wait.

use std::collections::{HashSet, VecDeque};

use super::api::Api;
use crate::{
    kind::Kind,
    lease::LeaseState,
    record::Record,
    sink::{ErrorClass, Outcome},
};

/// The most records in a call: the same for SQS, SNS and EventBridge.
pub(super) const RECORDS: usize = 10;

/// One record of a call.
#[derive(Debug)]
pub(super) struct Entry<E> {
    /// Its number in the batch.
    pub(super) number: usize,
    pub(super) entry: E,
}

/// Whose records wait for each other.
type Key<'a> = (Kind, &'a str);

fn key(record: &Record) -> Key<'_> {
    (record.kind, &record.key)
}

/// Whether nothing more of its key may be sent after this outcome of a record.
pub(super) fn blocks_key(api: &impl Api, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Delivered => false,
        Outcome::Retry { .. } => true,
        Outcome::Reject { .. } => api.keeps_keys_apart(),
    }
}

pub(super) struct Round<'a, A> {
    api: &'a A,
    batch: &'a [Record],
    outcomes: Vec<Option<Outcome>>,
    /// The records that are in no call yet, in order.
    waiting: VecDeque<usize>,
    /// Keys with a record in a call that is under way.
    busy: HashSet<Key<'a>>,
    /// Keys with a record that has to be sent again: later records of the key would only be sent twice. Where order counts, also keys
    /// with a rejected record: it may be taken later, and a service that knows the later ones already would drop their repeats.
    blocked: HashSet<Key<'a>>,
    /// A call failed as a whole: nothing more is sent.
    is_over: bool,
}

impl<'a, A: Api> Round<'a, A> {
    pub(super) fn new(api: &'a A, batch: &'a [Record]) -> Self {
        Round {
            api,
            batch,
            outcomes: batch.iter().map(|_| None).collect(),
            waiting: (0..batch.len()).collect(),
            busy: HashSet::new(),
            blocked: HashSet::new(),
            is_over: false,
        }
    }

    /// The records of the next call; `None` if none may be sent now. None of them has a key that is in another call.
    pub(super) fn next_part(&mut self) -> Option<Vec<Entry<A::Entry>>> {
        let (mut part, mut left, mut bytes) = (Vec::new(), VecDeque::new(), 0_usize);
        // Keys of this part.
        let mut keys = HashSet::new();
        while let Some(number) = self.waiting.pop_front().filter(|_| !self.is_over) {
            let key = key(&self.batch[number]);
            if self.busy.contains(&key) || self.api.keeps_keys_apart() && keys.contains(&key) {
                left.push_back(number);
                continue;
            }
            if !self.may_go(number) {
                continue;
            }
            match self.api.entry(&self.batch[number]) {
                Err(reason) => self.set(number, Outcome::Reject { reason }),
                Ok((entry, size)) if part.is_empty() || bytes.saturating_add(size) <= self.api.call_bytes() => {
                    bytes += size;
                    keys.insert(key);
                    part.push(Entry { number, entry });
                }
                Ok(_) => {
                    left.push_back(number);
                    break;
                }
            }
            if part.len() == RECORDS {
                break;
            }
        }
        left.append(&mut self.waiting);
        self.waiting = left;
        self.busy.extend(keys);
        (!part.is_empty()).then_some(part)
    }

    /// Whether a record may be sent now. If not, sets its outcome.
    fn may_go(&mut self, number: usize) -> bool {
        let record = &self.batch[number];
        if self.blocked.contains(&key(record)) {
            let reason = "not sent: a record of its key before it failed";
            self.outcomes[number] = Some(Outcome::failed(ErrorClass::Unsent, reason));
        } else if record.ack.lease_state() != LeaseState::Held {
            self.blocked.insert(key(record));
            self.outcomes[number] = Some(Outcome::failed(ErrorClass::Unsent, "the lease is not held"));
        } else {
            return true;
        }
        false
    }

    /// A call has ended with these outcomes. `is_over` says that it failed as a whole.
    pub(super) fn ended(&mut self, outcomes: Vec<(usize, Outcome)>, is_over: bool) {
        self.is_over |= is_over;
        for (number, outcome) in outcomes {
            self.busy.remove(&key(&self.batch[number]));
            self.set(number, outcome);
        }
    }

    fn set(&mut self, number: usize, outcome: Outcome) {
        if blocks_key(self.api, &outcome) {
            self.blocked.insert(key(&self.batch[number]));
        }
        self.outcomes[number] = Some(outcome);
    }

    pub(super) fn outcomes(self) -> Vec<Outcome> {
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(Outcome::not_sent)).collect()
    }
}
