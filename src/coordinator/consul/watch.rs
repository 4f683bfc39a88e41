//! The standby: one task that watches the locks of all kinds that are waited for, and takes them.
//!
//! A lock that is given back is noticed at once, by a blocking query on each. Leaders that live are looked at about eight
//! times in a lease: one read gives the locks and heartbeats of all kinds.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{debug, error, info};

use super::{
    Shared,
    clock::Moment,
    heartbeat::{self, Heartbeat},
    keys::{Keys, LOCK_FLAGS},
    lease::{Grant, Held},
    standstill::{Holder, Standstill, holder},
    writer::Command,
};
use crate::{
    backoff::Backoff,
    consul::{Entry, Get, Op, Read, SessionId, Transaction},
    coordinator::Positions,
    kind::Kind,
    source::outage::Outage,
};

/// How long leases that are asked for at the same moment are waited for, so that they are taken together.
const GATHER: Duration = Duration::from_millis(5);
/// How often a lock is looked at that nobody of ours has.
const OTHERS: Duration = Duration::from_secs(5);
/// How soon a lock is tried again that was refused: its lock-delay lasts, or somebody was quicker.
const REFUSED: Duration = Duration::from_secs(1);
/// How long a blocking query may wait.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// The deadline of a read beside that.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// How often the log says again that a key is no lock.
const REMIND: Duration = Duration::from_secs(60);

/// Somebody who waits for a lease.
pub(super) struct Waiter {
    pub(super) kind: Kind,
    pub(super) keys: Keys,
    pub(super) reply: oneshot::Sender<Arc<Held>>,
}

/// A kind that is waited for.
struct Wanted {
    waiter: Waiter,
    /// The heartbeat that has not moved for a while.
    standstill: Option<Standstill>,
    last: Option<Heartbeat>,
    /// What the log says of its holder.
    told: Option<SessionId>,
    complained: Option<Instant>,
    _lock: AbortOnDropHandle<()>,
}

/// A lock that may be ours.
struct Chance {
    /// Which of those that are wanted.
    number: usize,
    /// What has to be so, before the lock is taken.
    first: Vec<Op>,
}

pub(super) struct Watcher {
    shared: Arc<Shared>,
    session: watch::Receiver<Option<SessionId>>,
    positions: watch::Sender<Positions>,
    writer: mpsc::Sender<Command>,
    wanted: Vec<Wanted>,
    /// A lock has changed.
    changed: Arc<Notify>,
    outage: Outage,
    backoff: Backoff,
    /// The status says that something is wrong.
    faulty: bool,
}

impl Watcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        session: watch::Receiver<Option<SessionId>>,
        positions: watch::Sender<Positions>,
        writer: mpsc::Sender<Command>,
    ) -> Self {
        Watcher {
            shared,
            session,
            positions,
            writer,
            wanted: Vec::new(),
            changed: Arc::default(),
            outage: Outage::new("watching the leaders in consul"),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            // There may be no session yet.
            faulty: true,
        }
    }

    pub(super) async fn run(mut self, mut waiters: mpsc::Receiver<Waiter>, stop: CancellationToken) {
        let mut next = Instant::now();
        loop {
            self.wanted.retain(|wanted| !wanted.waiter.reply.is_closed());
            self.shared.wait_for(self.wanted.iter().map(|wanted| wanted.waiter.kind));
            let ready = !self.wanted.is_empty() && self.session.borrow().is_some();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                waiter = waiters.recv() => {
                    let Some(waiter) = waiter else { return };
                    self.want(waiter);
                    let gathered = Instant::now() + GATHER;
                    while let Ok(Some(waiter)) = tokio::time::timeout_at(gathered, waiters.recv()).await {
                        self.want(waiter);
                    }
                    next = Instant::now();
                }
                Ok(()) = self.session.changed() => next = Instant::now(),
                () = self.changed.notified() => next = Instant::now(),
                () = sleep_until(next), if ready => {
                    let session = self.session.borrow().clone();
                    if let Some(session) = session {
                        let pause = self.round(&session).await;
                        next = Instant::now() + pause;
                    }
                }
            }
        }
    }

    fn want(&mut self, waiter: Waiter) {
        let lock = watch_lock(Arc::clone(&self.shared), waiter.keys.lock.clone(), Arc::clone(&self.changed));
        self.wanted.push(Wanted {
            waiter,
            standstill: None,
            last: None,
            told: None,
            complained: None,
            _lock: AbortOnDropHandle::new(tokio::spawn(lock)),
        });
    }

    /// Looks at all locks once, takes what can be taken, and says when to look again.
    async fn round(&mut self, us: &SessionId) -> Duration {
        let mut ops = Vec::new();
        for Wanted { waiter, .. } in &self.wanted {
            // A tree of one key: a plain read of a key that is not there would fail the whole.
            ops.push(Op::GetTree { prefix: waiter.keys.lock.clone() });
            ops.push(Op::GetTree { prefix: waiter.keys.heartbeat.clone() });
        }
        let asked = self.shared.clock.now();
        let entries = match self.shared.client.look(&ops, READ_WITHIN).await {
            Ok(Transaction::Done(entries)) => entries,
            Ok(Transaction::Refused(refusals)) => {
                debug!(?refusals, "a read was refused");
                Vec::new()
            }
            Err(error) => {
                self.outage.log(&error);
                self.faulty = true;
                self.shared.standing_by(Some(&error));
                self.wanted.iter_mut().for_each(|wanted| wanted.standstill = None);
                return self.backoff.failed();
            }
        };
        self.outage.over();
        self.backoff.reset();
        if std::mem::take(&mut self.faulty) {
            self.shared.standing_by(None);
        }
        let answered = self.shared.clock.now();
        let chances = self.judge(&entries, us, asked, answered);
        self.publish();
        let refused = self.take_all(chances, us).await;
        self.pause(refused)
    }

    /// What each lock and heartbeat mean.
    fn judge(&mut self, entries: &[Entry], us: &SessionId, asked: Moment, answered: Moment) -> Vec<Chance> {
        let find = |key: &str| entries.iter().find(|entry| entry.key == key);
        let mut chances = Vec::new();
        let mut leaders: BTreeMap<(SessionId, String), Vec<Kind>> = BTreeMap::new();
        for (number, wanted) in self.wanted.iter_mut().enumerate() {
            let Waiter { kind, keys, .. } = &wanted.waiter;
            let before = wanted.standstill.take();
            wanted.last = None;
            match holder(find(&keys.lock), find(&keys.heartbeat), us) {
                Holder::Nobody => chances.push(Chance { number, first: Vec::new() }),
                Holder::Us => {
                    let session = us.clone();
                    chances.push(Chance { number, first: vec![Op::CheckSession { key: keys.lock.clone(), session }] });
                }
                Holder::Leader { session, heartbeat, index } => {
                    if wanted.told.as_ref() != Some(&session) {
                        wanted.told = Some(session.clone());
                        leaders.entry((session.clone(), heartbeat.holder.clone())).or_default().push(*kind);
                    }
                    let standstill = Standstill::observe(before, &session, &heartbeat, index, answered);
                    if asked >= standstill.due() {
                        chances.push(Chance { number, first: take_over(keys, &standstill) });
                    }
                    wanted.standstill = Some(standstill);
                    wanted.last = Some(heartbeat);
                }
                Holder::Gone { session, heartbeat, index } => {
                    let standstill = Standstill::observe(before, &session, &heartbeat, index, answered);
                    if asked >= standstill.due() {
                        let first = vec![Op::CheckIndex { key: keys.heartbeat.clone(), index }];
                        chances.push(Chance { number, first });
                    }
                    wanted.standstill = Some(standstill);
                    wanted.last = Some(heartbeat);
                }
                Holder::Other { session } => {
                    if wanted.told.as_ref() != Some(&session) {
                        info!(
                            %kind,
                            session = session.as_str(),
                            "standing by: a program without heartbeats has the lock, such as the original; consul says when \
                             it is over"
                        );
                        wanted.told = Some(session);
                    }
                }
                Holder::NoLock { flags } => {
                    if wanted.complained.is_none_or(|at| at.elapsed() >= REMIND) {
                        error!(%kind, key = keys.lock, flags, "the key is not a lock: somebody else has written it; remove it, or choose another NOMAD_FIREHOSE_CONSUL_PREFIX");
                        wanted.complained = Some(Instant::now());
                    }
                }
            }
        }
        for ((session, leader), kinds) in leaders {
            info!(kinds = names(&kinds), leader, session = session.as_str(), "standing by");
        }
        chances
    }

    /// Tells how far the leaders have come.
    fn publish(&self) {
        let positions = |wanted: &Wanted| Some((wanted.waiter.kind, wanted.last.as_ref()?.positions.clone()));
        let new: Positions = self.wanted.iter().filter_map(positions).collect();
        self.positions.send_if_modified(|old| {
            let is_new = *old != new;
            *old = new;
            is_new
        });
    }

    /// Takes the locks together, and one by one where that is refused: each can have its own reason. Says whether one was
    /// refused.
    async fn take_all(&mut self, chances: Vec<Chance>, us: &SessionId) -> bool {
        if chances.is_empty() {
            return false;
        }
        let numbers: Vec<usize> = chances.iter().map(|chance| chance.number).collect();
        let mut taken = Vec::new();
        let mut refused = false;
        if self.take(&chances, us).await {
            taken = numbers;
        } else if chances.len() > 1 {
            for chance in &chances {
                match self.take(std::slice::from_ref(chance), us).await {
                    true => taken.push(chance.number),
                    false => refused = true,
                }
            }
        } else {
            refused = true;
        }
        taken.sort_unstable();
        for number in taken.into_iter().rev() {
            self.wanted.remove(number);
        }
        refused
    }

    /// One transaction that takes all these locks, or none.
    async fn take(&mut self, chances: &[Chance], us: &SessionId) -> bool {
        let mut ops = Vec::new();
        for Chance { number, first } in chances {
            let Wanted { waiter, last, .. } = &self.wanted[*number];
            let keys = &waiter.keys;
            ops.extend(first.iter().cloned());
            ops.push(Op::Lock { key: keys.lock.clone(), session: us.clone(), value: "".into(), flags: LOCK_FLAGS });
            // Until our own is stored, the old leader's progress holds.
            let positions = last.as_ref().map(|heartbeat| heartbeat.positions.clone()).unwrap_or_default();
            ops.push(Op::Set { key: keys.heartbeat.clone(), value: self.shared.heartbeat(us, 0, positions), flags: 0 });
        }
        let sent = self.shared.clock.now();
        match self.shared.client.transact(&ops, self.shared.term()).await {
            Ok(Transaction::Done(_)) => {}
            Ok(Transaction::Refused(refusals)) => {
                debug!(?refusals, "a lock was refused");
                self.wanted_of(chances).for_each(|wanted| wanted.standstill = None);
                return false;
            }
            Err(error) => {
                self.outage.log(&error);
                self.wanted_of(chances).for_each(|wanted| wanted.standstill = None);
                return false;
            }
        }
        let mut taken: BTreeMap<Option<String>, Vec<Kind>> = BTreeMap::new();
        for Chance { number, first } in chances {
            let Wanted { waiter, last, told, .. } = &mut self.wanted[*number];
            let from = last.as_ref().filter(|_| !first.is_empty()).map(|heartbeat| heartbeat.holder.clone());
            if from.is_some() {
                self.shared.metrics.takeover(waiter.kind);
            }
            taken.entry(from).or_default().push(waiter.kind);
            *told = None;
            let held = Held::new(Grant {
                kind: waiter.kind,
                keys: waiter.keys.clone(),
                session: us.clone(),
                client: self.shared.client.clone(),
                clock: Arc::clone(&self.shared.clock),
                term: self.shared.term(),
                sent,
                positions: last.as_ref().map(|heartbeat| heartbeat.positions.clone()).unwrap_or_default(),
                writer: self.writer.clone(),
                due: self.shared.due.subscribe(),
            });
            let (reply, _) = oneshot::channel();
            let reply = std::mem::replace(&mut waiter.reply, reply);
            // The writer ends only with the process, and beats for it from now on: also where nobody waits any more, for
            // then it is given back when the coordinator is closed.
            if self.writer.send(Command::Lead(Arc::clone(&held))).await.is_err() || reply.send(held).is_err() {
                debug!("nobody waits for the lease any more");
            }
        }
        for (from, kinds) in taken {
            let kinds = names(&kinds);
            match from {
                Some(from) => {
                    info!(kinds, from, "leases taken over: their leader stood still for longer than its lease")
                }
                None => info!(kinds, "leases taken"),
            }
        }
        true
    }

    fn wanted_of(&mut self, chances: &[Chance]) -> impl Iterator<Item = &mut Wanted> {
        let numbers: Vec<usize> = chances.iter().map(|chance| chance.number).collect();
        self.wanted.iter_mut().enumerate().filter(move |(number, _)| numbers.contains(number)).map(|(_, wanted)| wanted)
    }

    /// When to look again.
    fn pause(&mut self, refused: bool) -> Duration {
        let now = self.shared.clock.now();
        let jittered = |pause: Duration| pause.mul_f64(0.9 + 0.2 * fastrand::f64());
        let mut pause = jittered(OTHERS);
        if refused {
            pause = jittered(REFUSED);
        }
        for standstill in self.wanted.iter().filter_map(|wanted| wanted.standstill.as_ref()) {
            let poll = jittered(heartbeat::interval(self.shared.lease) * 3 / 8);
            pause = pause.min(poll).min(standstill.due().since(now));
        }
        pause
    }
}

/// Kinds, for the log.
fn names(kinds: &[Kind]) -> String {
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    names.join(",")
}

/// Takes the lock from a leader whose lease is over. Its next heartbeat either moved the index, and this is refused, or
/// can never succeed again.
fn take_over(keys: &Keys, standstill: &Standstill) -> Vec<Op> {
    let check = Op::CheckIndex { key: keys.heartbeat.clone(), index: standstill.index() };
    let session = standstill.session().clone();
    vec![check, Op::Unlock { key: keys.lock.clone(), session, value: "".into(), flags: LOCK_FLAGS }]
}

/// Tells when a lock changes.
async fn watch_lock(shared: Arc<Shared>, key: String, changed: Arc<Notify>) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let mut after = None;
    loop {
        // Not all standbys come back at the same moment.
        let wait = LOCK_WAIT.mul_f64(0.8 + 0.4 * fastrand::f64());
        let get = Get { consistent: true, after, wait };
        match shared.client.get(&key, get, READ_WITHIN).await {
            Ok(Read { index, .. }) => {
                backoff.reset();
                if after != Some(index) {
                    changed.notify_one();
                }
                after = Some(index);
            }
            // What is wrong, the rounds say.
            Err(_) => {
                after = None;
                sleep(backoff.failed()).await;
            }
        }
    }
}
