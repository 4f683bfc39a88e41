//! Decides what one read of all locks and heartbeats means.

use std::collections::BTreeMap;

use tracing::{error, info};

use super::{Awaited, Chance, Waiter, Watcher, names};
use crate::{
    consul::{Entry, Op, SessionId},
    coordinator::{
        clock::Moment,
        consul::{
            expiry::{Holder, LeaseExpiry, holder},
            heartbeat::Heartbeat,
            keys::{Keys, LOCK_FLAGS},
            shared::{SETTING, Shared, leader},
        },
        reset::reset_in_consul,
    },
    kind::Kind,
    lease::Error,
};

/// What to do about a key that is not a lock.
const FIX: &str = "remove it, or set NOMAD_FIREHOSE_CONSUL_PREFIX to another folder";

/// The result of a read, and when it was sent and answered.
pub(super) struct Look<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) asked: Moment,
    pub(super) answered: Moment,
}

impl Watcher {
    /// Which locks may be taken.
    pub(super) fn judge(&mut self, look: &Look<'_>, us: &SessionId) -> Vec<Chance> {
        let find = |key: &str| look.entries.iter().find(|entry| entry.key == key);
        let mut chances = Vec::new();
        let mut leaders: BTreeMap<(SessionId, String), Vec<Kind>> = BTreeMap::new();
        for (number, wanted) in self.wanted.iter_mut().enumerate() {
            let Waiter { kind, keys, .. } = &wanted.waiter;
            let (kind, keys, shared) = (*kind, keys.clone(), &self.shared);
            let (lock, beat) = (find(&keys.lock), find(&keys.heartbeat));
            let expiry = self.expiries.entry(kind).or_default();
            expiry.observe(lock, beat, us, look.answered);
            (wanted.due, wanted.last, wanted.barred) = (None, None, None);
            let found = holder(lock, beat, us);
            shared.status.holder(kind, named(&found));
            let mut wait = |wanted: &mut Awaited, first: Vec<Op>| {
                if let Some(from) = wanted.wait(expiry, shared, look.asked) {
                    chances.push(Chance { number, first, from });
                }
            };
            match found {
                Holder::Us => {
                    let first = vec![Op::CheckSession { key: keys.lock, session: us.clone() }];
                    chances.push(Chance { number, first, from: None });
                }
                Holder::None => wait(wanted, vec![unmoved(&keys, beat)]),
                Holder::Leader { heartbeat, .. } if let Some(difference) = shared.differs(&heartbeat) => {
                    let what = leader(&heartbeat.holder, kind);
                    let reset = reset_in_consul(kind, &keys.state);
                    wanted.foreign = Some(Error::Foreign { kind, what, difference, setting: SETTING, reset });
                }
                Holder::Leader { session, heartbeat } => {
                    wait(wanted, vec![unmoved(&keys, beat), take_away(&keys, session.clone())]);
                    if wanted.is_new(&session) {
                        leaders.entry((session, heartbeat.holder)).or_default().push(kind);
                    }
                }
                // Its heartbeat was deleted; the next one brings it back.
                Holder::Other { session } if expiry.is_of(&session) => {
                    wait(wanted, vec![unmoved(&keys, beat), take_away(&keys, session)]);
                }
                Holder::Other { session } => {
                    if wanted.is_new(&session) {
                        info!(%kind, session = session.as_str(), "standing by for a program without heartbeats");
                    }
                }
                Holder::NoLock { flags } => {
                    let reason = format!("the key {} is not a lock: another program has written it; {FIX}", keys.lock);
                    if wanted.log.due("no lock").is_some() {
                        error!(%kind, key = keys.lock, flags, fix = FIX, "key is not a lock");
                    }
                    wanted.barred = Some(reason);
                }
            }
        }
        for ((session, leader), kinds) in leaders {
            info!(kinds = names(&kinds), leader, session = session.as_str(), "standing by");
        }
        chances
    }
}

impl Awaited {
    /// Waits for the end of a lease. Once it is over, returns whose it was, where that is known.
    fn wait(&mut self, expiry: &LeaseExpiry, shared: &Shared, asked: Moment) -> Option<Option<String>> {
        self.due = expiry.due();
        let last = expiry.leader();
        // The positions of another cluster's leader are useless.
        self.last = last.filter(|heartbeat| shared.differs(heartbeat).is_none()).cloned();
        expiry.is_over(asked).then(|| last.map(|Heartbeat { holder, .. }| holder.clone()))
    }

    /// Whether the log has not named this holder yet.
    fn is_new(&mut self, session: &SessionId) -> bool {
        self.named.replace(session.clone()).as_ref() != Some(session)
    }
}

/// Who has the lock, for people; `None` if it is no program, or this one.
fn named(holder: &Holder) -> Option<String> {
    match holder {
        Holder::None | Holder::Us | Holder::NoLock { .. } => None,
        Holder::Leader { heartbeat, .. } => Some(heartbeat.holder.clone()),
        Holder::Other { session } => Some(format!("a program without heartbeats (session {session})")),
    }
}

/// Refuses the transaction if a leader has come, or come back, since the read.
fn unmoved(keys: &Keys, beat: Option<&Entry>) -> Op {
    let key = keys.heartbeat.clone();
    match beat {
        Some(Entry { modify_index: index, .. }) => Op::CheckIndex { key, index: *index },
        None => Op::CheckNotExists { key },
    }
}

/// Takes the lock from a leader whose lease is over. If its heartbeat is unchanged, its next one is refused.
fn take_away(keys: &Keys, session: SessionId) -> Op {
    Op::Unlock { key: keys.lock.clone(), session, value: "".into(), flags: LOCK_FLAGS }
}
