//! Faults of requests for variables.

use std::time::Duration;

use super::{Server, lock};
use crate::variables::Lost;

/// Faults of requests for variables, each effective at once.
impl Server {
    /// A request for a variable takes effect after `before`, and is answered `after` that. A write whose client has
    /// gone by then takes effect all the same.
    pub fn slow_variables(&self, before: Duration, after: Duration) {
        let mut faults = lock(&self.variables);
        (faults.delay, faults.answer_delay) = (before, after);
    }

    /// The next requests for variables, this many, are answered with 500, without effect.
    pub fn fail_variables(&self, times: u32) {
        lock(&self.variables).errors = times;
    }

    /// The next writes of variables, this many, take effect, and their answers get lost.
    pub fn lose_variable_answers(&self, times: u32, how: Lost) {
        lock(&self.variables).lost = Some((times, how));
    }

    /// The next writes of variables, this many, are answered with 500 and without effect, and take effect after
    /// [`commit_late_variables`](Server::commit_late_variables): as with a leader that is parted from its followers,
    /// and leads again. Seen on three servers.
    pub fn late_variables(&self, times: u32) {
        let mut faults = lock(&self.variables);
        (faults.late, faults.holding) = (times, true);
    }

    /// Late writes take effect now, in no particular order; no further one is late.
    pub fn commit_late_variables(&self) {
        let mut faults = lock(&self.variables);
        (faults.late, faults.holding) = (0, false);
    }

    /// Requests for variables hang until `false`; then they take effect, even those whose client has gone.
    pub fn hang_variables(&self, hanging: bool) {
        lock(&self.variables).hanging = hanging;
    }

    /// The server has lost its leader: writes and default reads of variables are refused, stale reads answered.
    pub fn cut_off(&self, cut_off: bool) {
        lock(&self.variables).cut_off = cut_off;
    }

    /// The server still believes to lead, as a leader does that was suspended or parted: it answers default reads of
    /// variables from its own state, which can lag. Writes it can only pass on to the log.
    pub fn deposed(&self, deposed: bool) {
        lock(&self.variables).deposed = deposed;
    }
}
