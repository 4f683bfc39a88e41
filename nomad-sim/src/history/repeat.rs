//! A recording over and over, each round with fresh ids.

use super::template::{Shift, ids};
use super::{Entry, History, Recording, Silent};

/// A recording repeated lazily: nothing but the recording itself is kept, however many rounds there are.
#[derive(Debug)]
pub struct Repeat {
    recording: Recording,
    round: u64,
    rounds: u64,
    generation: u64,
}

/// Rounds whose objects stay in the tables; older ones are garbage-collected as Nomad would.
const KEPT_ROUNDS: u64 = 10;

impl Repeat {
    /// `rounds` of a recording, the first as it was recorded.
    #[must_use]
    pub fn new(recording: Recording, rounds: u64) -> Self {
        Self { recording, round: 0, rounds, generation: 0 }
    }

    fn stride(&self) -> u64 {
        self.recording.last_index() + 1
    }

    fn shift(&self) -> Shift {
        let nanos = u64::try_from(self.recording.duration().as_nanos()).unwrap_or(u64::MAX);
        Shift {
            ids: if self.generation + self.round == 0 { 0 } else { ids(self.generation << 32 | self.round) },
            index: self.round * self.stride(),
            nanos: self.round.saturating_mul(nanos),
        }
    }
}

impl History for Repeat {
    fn next(&mut self) -> Option<Entry> {
        loop {
            if self.round >= self.rounds {
                return None;
            }
            if let Some(mut entry) = self.recording.next() {
                if self.round >= KEPT_ROUNDS && entry.index == self.round * self.stride() + self.recording.first_index()
                {
                    entry.silent.push(Silent::CollectBefore((self.round - KEPT_ROUNDS) * self.stride()));
                }
                return Some(entry);
            }
            self.round += 1;
            self.recording = self.recording.rewound(self.shift());
        }
    }

    fn anew(&self, generation: u64) -> Box<dyn History> {
        let mut anew = Self { recording: self.recording.clone(), round: 0, rounds: self.rounds, generation };
        anew.recording = self.recording.rewound(anew.shift());
        Box::new(anew)
    }
}
