//! Decides when a leader's lease is over, from what was read of it. Pure.
//!
//! A leader emits until its lease is over, counted from the moment at which it sent its last heartbeat. Whoever saw that
//! heartbeat in Consul saw it later, so a lease that is waited for from then on has ended by any clock that runs as fast.

use std::time::Duration;

use super::{
    clock::Moment,
    heartbeat::{Heartbeat, margin},
    keys::LOCK_FLAGS,
};
use crate::consul::{Entry, ModifyIndex, SessionId};

/// The shortest lease that is believed, whatever a heartbeat says.
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest: a heartbeat that says more is damaged, and nobody is waited for for ever.
const LONGEST: Duration = Duration::from_secs(600);

/// Who has a lock, by the lock and the heartbeat as one read gave them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody. It may still be refused, while Consul's lock-delay lasts.
    Nobody,
    /// Nobody, but the last leader has not given it back: the lock was taken from it from outside, or its session has
    /// ended. It may not know that yet, and emits until its lease is over.
    Gone { session: SessionId, heartbeat: Heartbeat, index: ModifyIndex },
    /// Our own session: an earlier request got through whose answer did not.
    Us,
    /// A program like this one.
    Leader { session: SessionId, heartbeat: Heartbeat, index: ModifyIndex },
    /// A program that writes no heartbeat, such as the original: only Consul can say that its time is over.
    Other { session: SessionId },
    /// The key is not a lock.
    NoLock { flags: u64 },
}

/// Who has the lock.
pub(super) fn holder(lock: Option<&Entry>, heartbeat: Option<&Entry>, us: &SessionId) -> Holder {
    let told = heartbeat.and_then(|entry| Some((Heartbeat::parse(&entry.value)?, entry.modify_index)));
    if let Some(lock) = lock.filter(|lock| lock.flags != LOCK_FLAGS) {
        return Holder::NoLock { flags: lock.flags };
    }
    let Some(session) = lock.and_then(|lock| lock.session.as_ref()) else {
        return match told {
            // What we led ourselves we know to be lost, or we would not wait for it.
            Some((heartbeat, index)) if !heartbeat.is_of(us) => {
                Holder::Gone { session: SessionId::new(heartbeat.session.as_str()), heartbeat, index }
            }
            _ => Holder::Nobody,
        };
    };
    if session == us {
        return Holder::Us;
    }
    match told {
        Some((heartbeat, index)) if heartbeat.is_of(session) => {
            Holder::Leader { session: session.clone(), heartbeat, index }
        }
        _ => Holder::Other { session: session.clone() },
    }
}

/// A heartbeat that has not moved since it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standstill {
    session: SessionId,
    index: ModifyIndex,
    /// When the answer came that showed it first.
    since: Moment,
    /// The leader's lease.
    lease: Duration,
}

impl Standstill {
    /// Takes in that a read that was sent at `asked` and answered at `answered` showed this leader. A read that failed
    /// proves nothing, not even that it stood still before: forget the standstill then.
    pub(super) fn observe(
        before: Option<Standstill>,
        session: &SessionId,
        heartbeat: &Heartbeat,
        index: ModifyIndex,
        answered: Moment,
    ) -> Standstill {
        match before {
            Some(before) if before.session == *session && before.index == index => before,
            _ => {
                let lease = heartbeat.lease().clamp(SHORTEST, LONGEST);
                Standstill { session: session.clone(), index, since: answered, lease }
            }
        }
    }

    /// From when on a read that shows the same heartbeat proves that the lease is over.
    pub(super) fn due(&self) -> Moment {
        self.since.after(self.lease + margin(self.lease))
    }

    pub(super) fn session(&self) -> &SessionId {
        &self.session
    }

    pub(super) fn index(&self) -> ModifyIndex {
        self.index
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session(name: &str) -> SessionId {
        SessionId::new(name)
    }

    fn lock(session: Option<&str>, flags: u64) -> Entry {
        let session = session.map(SessionId::new);
        Entry { key: "lock".into(), value: "".into(), flags, session, lock_index: 1, modify_index: ModifyIndex(1) }
    }

    fn heartbeat(session: &str, lease_ms: u64) -> Heartbeat {
        let (session, holder) = (session.into(), "h".into());
        Heartbeat { session, counter: 1, lease_ms, holder, cluster: None, positions: Default::default() }
    }

    fn beat(session: &str) -> Entry {
        Entry { key: "heartbeat".into(), value: heartbeat(session, 4000).text().into(), ..lock(None, 0) }
    }

    #[test]
    fn lock_and_heartbeat_must_name_the_same_session() {
        let us = session("us");
        let other = || Holder::Other { session: session("a") };
        for free in [None, Some(&lock(None, LOCK_FLAGS))] {
            assert_eq!(holder(free, None, &us), Holder::Nobody);
            assert_eq!(holder(free, Some(&beat("us")), &us), Holder::Nobody);
            let Holder::Gone { session, .. } = holder(free, Some(&beat("a")), &us) else {
                panic!("it is not given back")
            };
            assert_eq!(session.as_str(), "a");
        }
        assert_eq!(holder(Some(&lock(Some("us"), LOCK_FLAGS)), None, &us), Holder::Us);
        assert_eq!(holder(Some(&lock(Some("a"), LOCK_FLAGS)), None, &us), other());
        assert_eq!(holder(Some(&lock(Some("a"), LOCK_FLAGS)), Some(&beat("b")), &us), other());
        let garbage = Entry { value: "garbage".into(), ..beat("a") };
        assert_eq!(holder(Some(&lock(Some("a"), LOCK_FLAGS)), Some(&garbage), &us), other());
        assert_eq!(holder(Some(&lock(Some("a"), 7)), Some(&beat("a")), &us), Holder::NoLock { flags: 7 });
        assert!(matches!(
            holder(Some(&lock(Some("a"), LOCK_FLAGS)), Some(&beat("a")), &us),
            Holder::Leader { session, .. } if session.as_str() == "a"
        ));
    }

    proptest! {
        /// A leader that sends a heartbeat and stops when its lease less the margin is over, and a standby that reads at
        /// any moments: it never takes over before the leader has stopped.
        #[test]
        fn a_standby_never_takes_over_before_the_leader_has_stopped(
            beats in prop::collection::vec((1_u64..3000, 0_u64..5000), 1..20),
            reads in prop::collection::vec((1_u64..1500, 0_u64..300, prop::bool::weighted(0.9)), 1..80),
        ) {
            let lease = Duration::from_millis(4000);
            let ms = |ms| Moment(Duration::from_millis(ms));
            // When each was sent, and when it was in Consul. None overtakes another.
            let (mut at, mut stored) = (0, 0);
            let beats: Vec<(u64, u64)> = beats.into_iter().map(|(pause, way)| {
                at += pause;
                stored = (at + way).max(stored + 1);
                (at, stored)
            }).collect();
            let mut now = beats[0].1;
            let mut standstill = None;
            for (pause, way, answered) in reads {
                now += pause;
                let asked = now;
                now += way;
                // What Consul had at the moment of asking; the answer can be as old as that.
                let seen = beats.iter().rposition(|(_, stored)| *stored <= asked).expect("the first is there");
                if !answered {
                    standstill = None;
                    continue;
                }
                let before = standstill.take();
                let next = Standstill::observe(before, &session("a"), &heartbeat("a", 4000), ModifyIndex(seen as u64), ms(now));
                if ms(asked) >= next.due() {
                    // The transaction checks the index: any heartbeat that has arrived by then refuses it.
                    if beats.iter().any(|(_, stored)| *stored > beats[seen].1 && *stored <= now) {
                        break;
                    }
                    // Heartbeats that arrive later are refused, so the last that counts is the one that was seen.
                    let stops = ms(beats[seen].0).after(lease - margin(lease));
                    prop_assert!(ms(now) > stops.after(margin(lease)), "{now} {stops:?}");
                    break;
                }
                standstill = Some(next);
            }
        }
    }
}
