//! Asks Nomad again where the raft index of an answer cannot be believed at once.

use super::{
    client::{Call, Client},
    error::Error,
    list::index_of,
};
use crate::position::RaftIndex;

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
