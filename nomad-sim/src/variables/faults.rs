//! What can go wrong with requests for variables.

use std::time::Duration;

/// How an answer to a write gets lost, after the write has taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// 500 with `rpc error: EOF`, as a follower answers whose leader dies.
    Failed,
    /// The connection ends without an answer.
    Closed,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Before a request takes effect.
    pub(crate) delay: Duration,
    /// After it has.
    pub(crate) answer_delay: Duration,
    /// So many requests are answered with 500, without effect.
    pub(crate) errors: u32,
    /// The answers to so many writes get lost.
    pub(crate) lost: Option<(u32, Lost)>,
    /// So many writes are answered with 500 and take effect later; until then they are held.
    pub(crate) late: u32,
    pub(crate) holding: bool,
    pub(crate) hanging: bool,
    pub(crate) cut_off: bool,
    pub(crate) deposed: bool,
}

impl Faults {
    /// Whether this request fails without effect.
    pub(crate) fn take_error(&mut self) -> bool {
        let fails = self.errors > 0;
        self.errors = self.errors.saturating_sub(1);
        fails
    }

    /// Whether this write is refused now and committed later.
    pub(crate) fn take_late(&mut self) -> bool {
        let late = self.late > 0;
        self.late = self.late.saturating_sub(1);
        late
    }

    /// How the answer to this write gets lost.
    pub(crate) fn take_lost(&mut self) -> Option<Lost> {
        let (times, how) = self.lost.as_mut()?;
        let how = (*times > 0).then_some(*how);
        *times = times.saturating_sub(1);
        how
    }
}
