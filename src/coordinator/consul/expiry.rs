//! Decides when a leader's lease is over, from what a standby has read of it. Pure.
//!
//! A leader emits until its lease is over, counted from the moment at which it sent its last heartbeat. A standby sees
//! that heartbeat in Consul later, so if it waits for the lease from then on, the lease has ended by any clock that
//! runs as fast.
//!
//! A standby remembers what it has seen: a deleted lock or heartbeat does not prove that the leader has stopped. A
//! leader has stopped when its lock says so after it was given back, or when its lease is over.

use std::time::Duration;

use super::{heartbeat::Heartbeat, keys::LOCK_FLAGS};
use crate::{
    consul::{Entry, ModifyIndex, SessionId},
    coordinator::{clock::Moment, term::margin},
};

/// The shortest lease that a standby believes, whatever a heartbeat says.
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest: a heartbeat that says more is damaged, and no standby waits for ever.
const LONGEST: Duration = Duration::from_secs(600);

/// Who has a lock, by the lock and the heartbeat from one read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// No session, as far as Consul knows. The last leader may not know yet that it has lost the lock. Consul can still
    /// refuse it, until its lock-delay is over.
    None,
    /// Our own session: an earlier request arrived, but its answer did not.
    Us,
    /// A program like this one.
    Leader { session: SessionId, heartbeat: Heartbeat },
    /// A program that writes no heartbeat, such as the original: only Consul can say that its time is over.
    Other { session: SessionId },
    /// The key is not a lock.
    NoLock { flags: u64 },
}

/// Who has the lock.
pub(super) fn holder(lock: Option<&Entry>, heartbeat: Option<&Entry>, us: &SessionId) -> Holder {
    if let Some(lock) = lock.filter(|lock| lock.flags != LOCK_FLAGS) {
        return Holder::NoLock { flags: lock.flags };
    }
    let Some(session) = lock.and_then(|lock| lock.session.as_ref()) else { return Holder::None };
    if session == us {
        return Holder::Us;
    }
    match heartbeat.and_then(|entry| Heartbeat::parse(&entry.value)) {
        Some(heartbeat) if heartbeat.is_of(session) => Holder::Leader { session: session.clone(), heartbeat },
        _ => Holder::Other { session: session.clone() },
    }
}

/// When the lease of a resource's leader is over, by everything that a standby has read.
#[derive(Clone, Debug, Default)]
pub(super) struct LeaseExpiry {
    /// The last leader that was seen and that has not given its lock back.
    leader: Option<SeenLeader>,
}

/// A leader, and when its heartbeat changed last.
#[derive(Clone, Debug)]
struct SeenLeader {
    session: SessionId,
    /// Its last heartbeat.
    heartbeat: Heartbeat,
    /// The last index of the heartbeat's key; `None` where there was no key.
    index: Option<ModifyIndex>,
    /// When the answer came that showed that first; `None` counts from the next answer on.
    since: Option<Moment>,
    /// The end of the lease of an earlier leader, which lost its lock in an unknown way.
    floor: Moment,
}

impl SeenLeader {
    /// How long a leader can emit that was healthy at `moment`.
    fn until(&self, moment: Moment) -> Moment {
        let lease = self.heartbeat.lease().clamp(SHORTEST, LONGEST);
        moment.after(lease + margin(lease)).max(self.floor)
    }

    fn due(&self) -> Moment {
        self.since.map_or(self.floor, |since| self.until(since))
    }

    /// The heartbeat's key changed, by an answer that came at `answered`.
    fn moved(&mut self, index: Option<ModifyIndex>, answered: Moment) {
        if self.index != index || self.since.is_none() {
            (self.index, self.since) = (index, Some(answered));
        }
    }
}

impl LeaseExpiry {
    /// Takes in a read whose answer came at `answered`.
    pub(super) fn observe(
        &mut self,
        lock: Option<&Entry>,
        heartbeat: Option<&Entry>,
        us: &SessionId,
        answered: Moment,
    ) {
        let index = heartbeat.map(|entry| entry.modify_index);
        let seen = heartbeat.and_then(|entry| Heartbeat::parse(&entry.value)).filter(|seen| !seen.is_of(us));
        let Some(seen) = seen else {
            // A heartbeat of our own has no other leader behind it: we know that we do not lead.
            match &mut self.leader {
                Some(leader) if is_farewell(lock, &leader.session) => self.leader = None,
                Some(leader) => leader.moved(index, answered),
                None => {}
            }
            return;
        };
        let session = SessionId::new(seen.session.as_str());
        match &mut self.leader {
            Some(leader) if leader.session == session => {
                leader.moved(index, answered);
                leader.heartbeat = seen;
            }
            before => {
                // It can have been healthy until now.
                let floor = before.as_ref().map(|before| before.until(answered)).unwrap_or_default();
                *before = Some(SeenLeader { session, heartbeat: seen, index, since: Some(answered), floor });
            }
        }
    }

    /// Counts from the next answer on. While Consul does not answer, a leader cannot renew its lease; afterwards it
    /// gets the time for it.
    pub(super) fn restart(&mut self) {
        if let Some(leader) = &mut self.leader {
            leader.floor = leader.due();
            leader.since = None;
        }
    }

    /// From when on a read that shows the same proves that the lease is over. `None` where no known leader could still
    /// emit.
    pub(super) fn due(&self) -> Option<Moment> {
        self.leader.as_ref().map(SeenLeader::due)
    }

    /// Whether a read that was sent at `asked`, and taken in, proves that no leader emits any more.
    pub(super) fn is_over(&self, asked: Moment) -> bool {
        self.due().is_none_or(|due| asked >= due)
    }

    /// The last heartbeat of the leader.
    pub(super) fn leader(&self) -> Option<&Heartbeat> {
        self.leader.as_ref().map(|leader| &leader.heartbeat)
    }

    /// Whether the leader has this session.
    pub(super) fn is_of(&self, session: &SessionId) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader.session == *session)
    }
}

/// Whether the leader of this session has given the lock back.
fn is_farewell(lock: Option<&Entry>, session: &SessionId) -> bool {
    lock.is_some_and(|lock| lock.session.is_none() && lock.value == session.as_str().as_bytes())
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
        Heartbeat { session, counter: 1, lease_ms, holder, cluster: None, reach: Default::default() }
    }

    fn beat(session: &str, index: u64) -> Entry {
        let (key, value) = ("heartbeat".into(), heartbeat(session, LEASE).text().into());
        Entry { key, value, modify_index: ModifyIndex(index), ..lock(None, 0) }
    }

    /// In milliseconds.
    const LEASE: u64 = 4000;

    fn ms(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    #[test]
    fn lock_and_heartbeat_must_name_the_same_session() {
        let us = session("us");
        let other = || Holder::Other { session: session("a") };
        for free in [None, Some(&lock(None, LOCK_FLAGS))] {
            assert_eq!(holder(free, None, &us), Holder::None);
            assert_eq!(holder(free, Some(&beat("a", 1)), &us), Holder::None);
        }
        assert_eq!(holder(Some(&lock(Some("us"), LOCK_FLAGS)), None, &us), Holder::Us);
        assert_eq!(holder(Some(&lock(Some("a"), LOCK_FLAGS)), None, &us), other());
        assert_eq!(holder(Some(&lock(Some("a"), LOCK_FLAGS)), Some(&beat("b", 1)), &us), other());
        let garbage = Entry { value: "garbage".into(), ..beat("a", 1) };
        assert_eq!(holder(Some(&lock(Some("a"), LOCK_FLAGS)), Some(&garbage), &us), other());
        assert_eq!(holder(Some(&lock(Some("a"), 7)), Some(&beat("a", 1)), &us), Holder::NoLock { flags: 7 });
        assert!(matches!(
            holder(Some(&lock(Some("a"), LOCK_FLAGS)), Some(&beat("a", 1)), &us),
            Holder::Leader { session, .. } if session.as_str() == "a"
        ));
    }

    #[test]
    fn only_the_farewell_of_the_leader_that_was_seen_ends_the_wait_at_once() {
        let us = session("us");
        let led = lock(Some("a"), LOCK_FLAGS);
        let given_back = |by: &'static str| Entry { value: by.into(), ..lock(None, LOCK_FLAGS) };
        let seen = || {
            let mut expiry = LeaseExpiry::default();
            expiry.observe(Some(&led), Some(&beat("a", 1)), &us, ms(1000));
            assert_eq!(expiry.due(), Some(ms(5500)));
            expiry
        };
        let mut expiry = seen();
        expiry.observe(Some(&given_back("a")), None, &us, ms(1500));
        assert!(expiry.is_over(ms(0)) && expiry.leader().is_none());
        // Gone, taken away, overwritten, our own from before, or given back by another leader.
        let garbage = Entry { value: "garbage".into(), ..beat("a", 2) };
        for (lock, beat) in [
            (None, None),
            (Some(given_back("")), None),
            (Some(given_back("b")), None),
            (Some(led.clone()), None),
            (Some(led.clone()), Some(garbage)),
            (None, Some(beat("us", 3))),
        ] {
            let mut expiry = seen();
            for at in [1500, 2000] {
                expiry.observe(lock.as_ref(), beat.as_ref(), &us, ms(at));
                // It can have sent a heartbeat right before.
                assert_eq!(expiry.due(), Some(ms(6000)), "{lock:?} {beat:?}");
            }
            assert!(expiry.is_of(&session("a")));
        }
        // A key that did not change keeps its time; after an outage of Consul the time starts again.
        let mut expiry = seen();
        expiry.observe(None, Some(&beat("a", 1)), &us, ms(1500));
        assert_eq!(expiry.due(), Some(ms(5500)));
        expiry.restart();
        assert!(!expiry.is_over(ms(5499)));
        expiry.observe(None, Some(&beat("a", 1)), &us, ms(9000));
        assert_eq!(expiry.due(), Some(ms(13_500)));
        // Another leader: the first one's lease counts too, until the second one gives the lock back.
        let mut expiry = seen();
        let short = Entry { value: heartbeat("b", 500).text().into(), ..beat("b", 2) };
        expiry.observe(Some(&lock(Some("b"), LOCK_FLAGS)), Some(&short), &us, ms(1500));
        assert_eq!(expiry.due(), Some(ms(6000)));
        expiry.observe(Some(&given_back("b")), None, &us, ms(1600));
        assert!(expiry.is_over(ms(1600)));
        // A standby does not wait for a leader that it never saw.
        let mut expiry = LeaseExpiry::default();
        expiry.observe(None, Some(&beat("us", 1)), &us, ms(1));
        expiry.observe(None, None, &us, ms(1));
        assert!(expiry.is_over(ms(1)));
    }

    /// What a stranger does to the keys.
    #[derive(Clone, Copy, Debug)]
    enum Attack {
        Lock,
        Heartbeat,
        Both,
        Session,
        Overwrite,
    }

    /// The keys of a resource that `a` leads.
    #[derive(Debug)]
    struct Store {
        lock: Option<Entry>,
        beat: Option<Entry>,
        index: u64,
    }

    impl Store {
        fn holds(&self) -> bool {
            self.lock.as_ref().is_some_and(|lock| lock.session.is_some())
        }

        fn suffer(&mut self, attack: Attack) {
            self.index += 1;
            match attack {
                Attack::Lock => self.lock = None,
                Attack::Heartbeat => self.beat = None,
                Attack::Both => (self.lock, self.beat) = (None, None),
                Attack::Session => {
                    if let Some(lock) = &mut self.lock {
                        lock.session = None;
                    }
                }
                Attack::Overwrite => self.beat = Some(Entry { value: "?".into(), ..beat("a", self.index) }),
            }
        }
    }

    /// What happens in Consul, in the order of time.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// A heartbeat arrives that was sent then.
        Beat(u64),
        Attack(Attack),
        /// A leader that stopped then gives the lock back.
        GiveBack(u64),
    }

    proptest! {
        /// A leader that sends heartbeats, and stops when its lease less the margin is over or when it gives the lock
        /// back; a stranger who changes the keys at will; and a standby that reads at any moments. It never takes over
        /// before the leader has stopped, and always does in the end: at once after a farewell that it sees.
        #[test]
        fn a_standby_never_takes_over_before_the_leader_has_stopped(
            beats in prop::collection::vec((1_u64..3000, 0_u64..5000), 1..20),
            attacks in prop::collection::vec((0_u64..30_000, prop_oneof![
                Just(Attack::Lock), Just(Attack::Heartbeat), Just(Attack::Both), Just(Attack::Session),
                Just(Attack::Overwrite),
            ]), 0..4),
            gives_back in prop::bool::ANY,
            reads in prop::collection::vec((1_u64..1500, 0_u64..300, prop::bool::weighted(0.9)), 1..80),
        ) {
            let us = session("us");
            let (mut at, mut arrives) = (0, 0);
            let mut events = Vec::new();
            // No heartbeat overtakes another.
            for (pause, way) in beats {
                at += pause;
                arrives = (at + way).max(arrives + 1);
                events.push((arrives, Event::Beat(at)));
            }
            if gives_back {
                events.push((arrives + 1, Event::GiveBack(arrives)));
            }
            let begin = events[0].0;
            events.extend(attacks.into_iter().map(|(at, attack)| (begin + 1 + at, Event::Attack(attack))));
            events.sort_by_key(|(at, _)| *at);
            let mut store = Store { lock: Some(lock(Some("a"), LOCK_FLAGS)), beat: None, index: 0 };
            // How long it emits at most: it learns nothing, and only time stops it.
            let mut stops = 0;
            let mut farewell = None;
            let mut events = events.into_iter().peekable();
            let mut until = |now: u64, store: &mut Store, stops: &mut u64, farewell: &mut Option<u64>| {
                while let Some((at, event)) = events.next_if(|(at, _)| *at <= now) {
                    match event {
                        Event::Beat(sent) if store.holds() => {
                            store.index += 1;
                            store.beat = Some(beat("a", store.index));
                            *stops = sent + LEASE - LEASE / 8;
                        }
                        Event::GiveBack(stopped) => {
                            *stops = stopped.min(*stops);
                            if store.holds() {
                                store.lock = Some(Entry { value: "a".into(), ..lock(None, LOCK_FLAGS) });
                                store.beat = None;
                                *farewell = Some(at);
                            }
                        }
                        Event::Beat(_) => {}
                        Event::Attack(attack) => store.suffer(attack),
                    }
                }
            };
            let (mut now, mut expiry, mut seen) = (begin, LeaseExpiry::default(), false);
            // In the end Consul answers.
            let reads = reads.into_iter().chain(std::iter::repeat_n((500, 10, true), 200));
            let mut took = None;
            for (pause, way, answered) in reads {
                now += pause;
                let asked = now;
                until(asked, &mut store, &mut stops, &mut farewell);
                let (lock, found) = (store.lock.clone(), store.beat.clone());
                now += way;
                if !answered {
                    expiry.restart();
                    continue;
                }
                expiry.observe(lock.as_ref(), found.as_ref(), &us, ms(now));
                seen |= expiry.leader().is_some();
                if !seen {
                    // A replica that has never seen a leader starts at once, as on the very first start.
                    continue;
                }
                let others = matches!(holder(lock.as_ref(), found.as_ref(), &us), Holder::Other { .. });
                if others && expiry.leader().is_none() {
                    continue;
                }
                if expiry.is_over(ms(asked)) {
                    until(now, &mut store, &mut stops, &mut farewell);
                    // The transaction checks that heartbeat and lock are unchanged.
                    let index = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.modify_index);
                    let holds = |entry: &Option<Entry>| entry.as_ref().and_then(|entry| entry.session.clone());
                    if index(&store.beat) == index(&found) && (holds(&store.lock).is_none() || holds(&lock).is_some()) {
                        prop_assert!(now > stops, "it takes over at {now}, and the leader emits until {stops}");
                        took = Some(asked);
                        break;
                    }
                } else if let Some(at) = farewell.filter(|at| *at <= asked) {
                    prop_assert!(store.lock.as_ref().is_none_or(|lock| lock.value.is_empty()), "given back at {at}");
                }
            }
            prop_assert!(took.is_some() || !seen, "nobody leads: {store:?} {expiry:?}");
        }
    }
}
