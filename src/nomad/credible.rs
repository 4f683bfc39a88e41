//! Decides whether to believe the raft index of an answer.
//!
//! Positions follow the indexes of tables. One answer with an absurd index would move a position to where no event ever
//! comes. So an index far above everything seen before needs a second answer that confirms it.

use std::sync::{Mutex, PoisonError};

use crate::position::RaftIndex;

/// The greatest index that is believed, and the last claim that is not believed yet.
#[derive(Debug, Default)]
pub(super) struct Credible(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    believed: RaftIndex,
    claimed: Option<RaftIndex>,
}

impl Credible {
    /// Takes in the index of an answer, and says whether to believe it.
    pub(super) fn answer(&self, index: RaftIndex) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_near = |claimed: RaftIndex| index.is_plausible_after(claimed) && claimed.is_plausible_after(index);
        let believes = index.is_plausible_after(inner.believed) || inner.claimed.is_some_and(is_near);
        if believes {
            inner.believed = inner.believed.max(index);
        } else {
            inner.claimed = Some(index);
        }
        believes
    }

    /// Another source has this index, too: an answer with about the same index is then believed at once.
    pub(super) fn claim(&self, index: RaftIndex) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).claimed = Some(index);
    }

    /// A second answer contradicts the claim, so the claim cannot confirm a third one.
    pub(super) fn refute(&self, index: RaftIndex) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.claimed = inner.claimed.filter(|claimed| *claimed != index);
    }

    pub(super) fn newest(&self) -> RaftIndex {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).believed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_way_takes_two_witnesses() {
        let credible = Credible::default();
        let answer = |index| credible.answer(RaftIndex(index));
        assert!(answer(77) && answer(900_000) && answer(1_900_000));
        assert!(!answer(5_000_000) && answer(5_000_010), "a second answer");
        assert!(!answer(1 << 63) && answer(5_000_011), "which says otherwise");
        credible.refute(RaftIndex(1 << 63));
        assert!(!answer((1 << 63) + 1), "and is no witness for another");
        assert_eq!(credible.newest(), RaftIndex(5_000_011));
        credible.claim(RaftIndex(9_000_000));
        assert!(answer(9_000_003), "a line of the stream");
        assert!(answer(12) && !answer(u64::MAX) && !answer(20_000_000), "two that disagree");
        assert_eq!(credible.newest(), RaftIndex(9_000_003));
    }
}
