//! Decides when a leader's lease is over, from what a standby has read of its Variable. Pure.
//!
//! A leader emits until its lease is over, counted from the moment at which it sent its last heartbeat that was stored. A standby
//! reads that heartbeat later. So once it has seen no newer one for the lease and a margin, by its own clock, the lease has ended by
//! any clock that runs as fast. Whether there really is no newer one, no read can prove; the write that takes the lease does, because
//! it is refused if the Variable has changed.
//!
//! A standby remembers what it has seen: a Variable that somebody has deleted does not prove that its leader has stopped. That there is
//! none can be true again and again, so it proves nothing about the time before. A standby then creates the Variable, which ends
//! every heartbeat of the old leader, and waits for the lease afterwards.

use std::time::Duration;

use super::record::Heartbeat;
use crate::{
    coordinator::{clock::Moment, term::margin},
    position::RaftIndex,
};

/// The shortest lease that a standby believes, whatever a heartbeat says.
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest: a heartbeat that says more is damaged, and no standby waits for ever.
const LONGEST: Duration = Duration::from_secs(600);

/// What a read has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// The index of the Variable; 0 where there is none.
    pub(super) index: RaftIndex,
    /// The heartbeat in it; `None` where there is none, or where it cannot be read.
    pub(super) heartbeat: Option<&'a Heartbeat>,
}

/// When the lease of the leader is over, by everything that a standby has read.
#[derive(Clone, Debug, Default)]
pub(super) struct Expiry {
    /// The last leader that was seen and that has not given its lease back.
    leader: Option<Leader>,
}

#[derive(Clone, Debug)]
struct Leader {
    heartbeat: Heartbeat,
    index: RaftIndex,
    /// When the answer came that showed this index first; `None` counts from the next answer on.
    since: Option<Moment>,
    /// The end of the lease of an earlier leader, which has not given it back.
    floor: Moment,
}

impl Leader {
    /// How long it can emit if it was healthy at `moment`.
    fn until(&self, moment: Moment) -> Moment {
        let lease = self.heartbeat.lease().clamp(SHORTEST, LONGEST);
        moment.after(lease + margin(lease)).max(self.floor)
    }

    fn due(&self) -> Moment {
        self.since.map_or(self.floor, |since| self.until(since))
    }
}

impl Expiry {
    /// Takes in a read whose answer came at `answered`. `us` is our own id: a heartbeat of ours has no leader behind it, because we
    /// know that we do not lead.
    pub(super) fn observe(&mut self, seen: Seen<'_>, us: &str, answered: Moment) {
        let Seen { index, heartbeat } = seen;
        match (heartbeat, &mut self.leader) {
            // Whoever gives it back, or takes it, knows that every leader before has stopped.
            (Some(heartbeat), leader) if heartbeat.released || heartbeat.id == us => *leader = None,
            (Some(heartbeat), Some(leader)) if leader.heartbeat.id == heartbeat.id => {
                if leader.index != index || leader.since.is_none() {
                    (leader.index, leader.since) = (index, Some(answered));
                }
                leader.heartbeat = heartbeat.clone();
            }
            (Some(heartbeat), before) => {
                // It can have been healthy until now.
                let floor = before.as_ref().map(|before| before.until(answered)).unwrap_or_default();
                *before = Some(Leader { heartbeat: heartbeat.clone(), index, since: Some(answered), floor });
            }
            // Somebody has deleted the Variable, or written into it.
            (None, Some(leader)) => {
                if leader.index != index || leader.since.is_none() {
                    (leader.index, leader.since) = (index, Some(answered));
                }
            }
            (None, None) => {}
        }
    }

    /// Counts from the next answer on. While Nomad does not answer, a leader cannot renew its lease; afterwards it gets the time for
    /// it.
    pub(super) fn restart(&mut self) {
        if let Some(leader) = &mut self.leader {
            leader.floor = leader.due();
            leader.since = None;
        }
    }

    /// From when on the lease may be taken. `None` where no known leader could still emit.
    pub(super) fn due(&self) -> Option<Moment> {
        self.leader.as_ref().map(Leader::due)
    }

    /// Whether the lease may be taken at `now`, if the Variable is as it was last seen.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        self.leader.as_ref().is_none_or(|leader| leader.since.is_some() && now >= leader.due())
    }

    /// How long to wait after the Variable was created in the place of a deleted one; `None` where no known leader could still emit.
    pub(super) fn silence(&self) -> Option<Duration> {
        let lease = self.leader.as_ref()?.heartbeat.lease().clamp(SHORTEST, LONGEST);
        Some(lease + margin(lease))
    }

    /// The last heartbeat of the leader.
    pub(super) fn leader(&self) -> Option<&Heartbeat> {
        self.leader.as_ref().map(|leader| &leader.heartbeat)
    }
}
