//! Which letters of the file were submitted, and what became of each.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    dead_letter::{Letter, Returns, read::StoredLetter},
    ledger::Ledger,
};

/// Letters in the order of the file. The delivery returns the letters that the sink refuses again.
#[derive(Default)]
pub(super) struct Flights(Mutex<VecDeque<Flight>>);

/// One letter, or several neighbours that are not to be sent.
pub(super) struct Flight {
    id: Box<str>,
    /// How often it had been sent before.
    attempts: u32,
    /// Its bytes in the file.
    at: Range<u64>,
    state: Fate,
}

enum Fate {
    /// Its own ledger: it has no pending entry once the letter is delivered.
    Sent(Arc<Ledger>),
    Refused(Box<Letter>),
    Kept,
}

/// What became of a letter.
#[derive(Debug)]
pub(super) enum Done {
    Delivered,
    Refused(Box<Letter>),
    /// It was sent, and is not known to be delivered.
    Undelivered(Range<u64>),
    /// It was not to be sent.
    Kept(Range<u64>),
}

impl Flight {
    pub(super) fn kept(at: Range<u64>) -> Self {
        Flight { id: Box::default(), attempts: 0, at, state: Fate::Kept }
    }

    pub(super) fn sent(at: Range<u64>, stored: &StoredLetter, ledger: &Arc<Ledger>) -> Self {
        let StoredLetter { id, attempts, .. } = stored;
        Flight { id: id.as_str().into(), attempts: *attempts, at, state: Fate::Sent(Arc::clone(ledger)) }
    }
}

impl Flights {
    /// Adds a letter. One that is not to be sent merges with such a neighbour: the window bounds only the letters that
    /// are sent, and any number of others can wait behind them.
    pub(super) fn push(&self, flight: Flight) {
        let mut flights = self.lock();
        match flights.back_mut() {
            Some(last)
                if matches!((&last.state, &flight.state), (Fate::Kept, Fate::Kept))
                    && last.at.end == flight.at.start =>
            {
                last.at.end = flight.at.end;
            }
            _ => flights.push_back(flight),
        }
    }

    /// The first letter, if its fate is known.
    pub(super) fn next(&self) -> Option<Done> {
        let mut flights = self.lock();
        if flights.front()?.is_on_the_way() {
            return None;
        }
        flights.pop_front().map(Flight::done)
    }

    /// All letters that are left, after the delivery has ended.
    pub(super) fn all(&self) -> Vec<Done> {
        self.lock().drain(..).map(Flight::done).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Flight>> {
        // A panic elsewhere leaves plain data behind; each change is made in one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Returns for Flights {
    /// Letters come in the order of the file, as a batch does. Earlier attempts count too.
    fn rejected(&self, letters: &[Letter]) {
        let mut flights = self.lock();
        let mut from = 0;
        for mut letter in letters.iter().cloned() {
            let found = flights.iter().skip(from).position(|flight| flight.id == letter.id && flight.is_on_the_way());
            let Some(found) = found.map(|found| found + from) else { continue };
            let flight = &mut flights[found];
            letter.attempts = letter.attempts.saturating_add(flight.attempts);
            flight.state = Fate::Refused(Box::new(letter));
            from = found + 1;
        }
    }
}

impl Flight {
    fn is_on_the_way(&self) -> bool {
        matches!(&self.state, Fate::Sent(ledger) if !is_delivered(ledger))
    }

    fn done(self) -> Done {
        match self.state {
            Fate::Sent(ledger) if is_delivered(&ledger) => Done::Delivered,
            Fate::Sent(_) => Done::Undelivered(self.at),
            Fate::Refused(letter) => Done::Refused(letter),
            Fate::Kept => Done::Kept(self.at),
        }
    }
}

/// The ledger has acknowledged its one entry.
fn is_delivered(ledger: &Ledger) -> bool {
    ledger.is_changed()
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Flights").field(&self.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkpoint::Checkpoint, coordinator::none::Always};

    #[test]
    fn what_is_not_to_be_sent_needs_no_memory_for_each() {
        let flights = Flights::default();
        let ledger = Ledger::new(Arc::new(Always), Checkpoint::default());
        flights.push(Flight::kept(0..10));
        flights.push(Flight::sent(10..20, &StoredLetter::default(), &ledger));
        for start in (20..1_000).step_by(10) {
            flights.push(Flight::kept(start..start + 10));
        }
        // After an empty line.
        flights.push(Flight::kept(1_001..1_010));
        let done = flights.all();
        assert!(
            matches!(done.as_slice(), [Done::Kept(a), Done::Undelivered(b), Done::Kept(c), Done::Kept(d)]
                if [a, b, c, d] == [&(0..10), &(10..20), &(20..1_000), &(1_001..1_010)]),
            "{done:?}"
        );
    }
}
