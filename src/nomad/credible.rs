//! Decides whether to believe the raft index of an answer.
//!
//! Positions follow the indexes of tables. One answer with an absurd index would move a position to where no event ever
//! comes. So an index far above everything seen before needs a second answer that confirms it.

use std::sync::{Mutex, PoisonError};

use super::{
    client::{Call, Client},
    error::Error,
    list::index_of,
};
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
    fn answer(&self, index: RaftIndex) -> bool {
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
    fn claim(&self, index: RaftIndex) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).claimed = Some(index);
    }

    /// A second answer contradicts the claim, so the claim cannot confirm a third one.
    fn refute(&self, index: RaftIndex) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.claimed = inner.claimed.filter(|claimed| *claimed != index);
    }

    fn newest(&self) -> RaftIndex {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).believed
    }
}

impl Client {
    /// The greatest raft index of any answer that is believed.
    pub fn newest_index(&self) -> RaftIndex {
        self.credible().newest()
    }

    /// A line of the stream has this index, and nothing confirms it yet. A table's answer that agrees is then believed
    /// without a second one.
    pub fn claim_index(&self, index: RaftIndex) {
        self.credible().claim(index);
    }

    /// Believes an index, or sends `again` to confirm it. `again` is the same request without a wait.
    pub(super) async fn believe(
        &self,
        address: &str,
        index: RaftIndex,
        again: impl FnOnce() -> Call,
    ) -> Result<(), Error> {
        if self.credible().answer(index) {
            return Ok(());
        }
        let again = again();
        let (response, server) = self.get(&again, self.deadline()).await?;
        let second = index_of(server, &again, response.headers())?;
        // If the second one is near, both are true.
        if self.credible().answer(second) && index.is_plausible_after(second) {
            return Ok(());
        }
        self.credible().refute(index);
        let text = format!("X-Nomad-Index is {index}, and {second} in a second answer");
        Err(Error::Garbage { address: address.to_owned(), what: again.what, text })
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
