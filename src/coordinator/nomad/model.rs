//! A model of the protocol: replicas with the real [`Expiry`], a Variable that is written by condition, and a network that delays,
//! loses and answers from old state. It looks for two replicas that may emit at the same time.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use proptest::prelude::*;

use super::{
    expiry::{Expiry, Seen},
    record::Heartbeat,
};
use crate::{
    coordinator::{clock::Moment, term},
    position::RaftIndex,
};

/// All times are milliseconds.
const LEASE: u64 = 4000;
const TERM: u64 = LEASE - LEASE / 8;
const REPLICAS: usize = 3;

#[derive(Clone, Debug)]
struct Stored {
    index: u64,
    heartbeat: Option<Heartbeat>,
}

/// One request, and what the network does to it.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// From the replica to the moment at which Nomad applies it.
    there: u64,
    back: u64,
    /// The answer is lost: the replica gives up after its deadline.
    is_lost: bool,
    /// For a read: how many states ago it answers from.
    stale: usize,
    /// What happens beside it.
    chance: Chance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chance {
    Nothing,
    /// The replica that acts next is stopped for so long.
    Pause(u64),
    /// It gives the lease back, if it leads.
    GiveBack,
    /// It is killed, and starts again.
    Kill,
    /// Somebody deletes the Variable.
    Delete,
    /// Somebody writes something else into it.
    Overwrite,
}

#[derive(Clone, Debug)]
enum Step {
    /// The replica acts.
    Act,
    Read {
        way: Way,
    },
    Readable {
        seen: Option<Stored>,
        way: Way,
    },
    Write {
        write: Write,
        way: Way,
    },
    Written {
        write: Write,
        result: Result<u64, Option<Stored>>,
    },
    GivenUp {
        write: Write,
    },
}

#[derive(Clone, Debug)]
struct Write {
    cas: u64,
    heartbeat: Heartbeat,
    sent: u64,
    is_take: bool,
    /// It creates what somebody has deleted: the lease is waited for afterwards.
    is_claim: bool,
}

#[derive(Debug, Default)]
struct Replica {
    /// Changes with each start.
    start: u64,
    expiry: Expiry,
    seen: Option<Stored>,
    leads: Option<Lead>,
    /// Until when it may emit, by what it has stored, even if it does not know that yet.
    may_emit_until: u64,
}

#[derive(Debug)]
struct Lead {
    index: u64,
    counter: u64,
    unknown: Vec<(u64, u64)>,
}

/// When, a number that keeps the order of equals, who, which start of it, and where the step is.
type Entry = (u64, u64, usize, u64, usize);

/// Steps in the order of time.
struct Queue(BinaryHeap<Reverse<Entry>>, Vec<Step>);

impl Queue {
    fn push(&mut self, at: u64, (replica, start): (usize, u64), step: Step) {
        self.1.push(step);
        let number = self.1.len() - 1;
        self.0.push(Reverse((at, number as u64, replica, start, number)));
    }

    fn pop(&mut self) -> Option<(u64, usize, u64, Step)> {
        let Reverse((at, _, replica, start, number)) = self.0.pop()?;
        Some((at, replica, start, self.1[number].clone()))
    }
}

struct World {
    replicas: Vec<Replica>,
    history: Vec<Option<Stored>>,
    index: u64,
    taken: usize,
}

impl World {
    fn now(&self) -> Option<Stored> {
        self.history.last().cloned().flatten()
    }

    fn put(&mut self, heartbeat: Option<Heartbeat>) -> u64 {
        self.index += 1;
        self.history.push(Some(Stored { index: self.index, heartbeat }));
        self.index
    }

    fn id(&self, number: usize) -> String {
        format!("{number}-{}", self.replicas[number].start)
    }

    fn heartbeat(&self, number: usize, counter: u64, released: bool) -> Heartbeat {
        let (id, holder) = (self.id(number), String::new());
        Heartbeat { id, counter, lease_ms: LEASE, holder, cluster: None, released }
    }
}

fn moment(at: u64) -> Moment {
    Moment(Duration::from_millis(at))
}

fn way() -> impl Strategy<Value = Way> {
    let chance = prop_oneof![
        20 => Just(Chance::Nothing),
        2 => (0_u64..8000).prop_map(Chance::Pause),
        1 => Just(Chance::GiveBack),
        1 => Just(Chance::Kill),
        1 => Just(Chance::Delete),
        1 => Just(Chance::Overwrite),
    ];
    let time = || prop_oneof![4 => 0_u64..30, 1 => 0_u64..3000, 1 => 0_u64..12_000];
    (time(), time(), prop::bool::weighted(0.15), prop_oneof![3 => Just(0_usize), 1 => 0_usize..6], chance)
        .prop_map(|(there, back, is_lost, stale, chance)| Way { there, back, is_lost, stale, chance })
}

proptest! {
    #[test]
    fn no_two_replicas_may_emit_at_a_time(ways in prop::collection::vec(way(), 20..400)) {
        let replicas = (0..REPLICAS).map(|_| Replica::default()).collect();
        let mut world = World { replicas, history: vec![None], index: 0, taken: 0 };
        let mut queue = Queue(BinaryHeap::new(), Vec::new());
        let mut ways = ways.into_iter();
        for number in 0..REPLICAS {
            queue.push(number as u64, (number, 0), Step::Act);
        }
        while let Some((at, number, start, step)) = queue.pop() {
            let us = world.id(number);
            let me = (number, start);
            // What a killed process has sent still arrives; nobody waits for the answer.
            let is_alive = world.replicas[number].start == start;
            match step {
                Step::Act if is_alive => {
                    let Some(way) = ways.next() else { continue };
                    match way.chance {
                        Chance::Pause(pause) => {
                            queue.push(at + pause, me, Step::Act);
                            continue;
                        }
                        Chance::Kill => {
                            let replica = &mut world.replicas[number];
                            *replica = Replica { start: start + 1, may_emit_until: at.min(replica.may_emit_until), ..Replica::default() };
                            queue.push(at + 500, (number, start + 1), Step::Act);
                            continue;
                        }
                        Chance::Delete => world.history.push(None),
                        Chance::Overwrite => { world.put(None); }
                        Chance::Nothing | Chance::GiveBack => {}
                    }
                    let replica = &mut world.replicas[number];
                    match &mut replica.leads {
                        Some(lead) => {
                            lead.counter += 1;
                            let released = way.chance == Chance::GiveBack;
                            if released {
                                // It stops first.
                                replica.may_emit_until = replica.may_emit_until.min(at);
                            }
                            let (cas, counter) = (lead.index, lead.counter);
                            let heartbeat = world.heartbeat(number, counter, released);
                            let write = Write { cas, heartbeat, sent: at, is_take: false, is_claim: false };
                            queue.push(at + way.there, me, Step::Write { write, way });
                        }
                        None => queue.push(at + way.there, me, Step::Read { way }),
                    }
                }
                Step::Read { way } => {
                    let past = world.history.len().saturating_sub(1 + way.stale);
                    let seen = world.history[past].clone();
                    queue.push(at + way.back, me, Step::Readable { seen, way });
                }
                Step::Readable { seen, way } if is_alive => {
                    let replica = &mut world.replicas[number];
                    if way.is_lost {
                        replica.expiry.restart();
                        queue.push(at + 100, me, Step::Act);
                        continue;
                    }
                    let index = RaftIndex(seen.as_ref().map_or(0, |seen| seen.index));
                    let heartbeat = seen.as_ref().and_then(|seen| seen.heartbeat.as_ref());
                    replica.expiry.observe(Seen { index, heartbeat }, &us, moment(at));
                    replica.seen = seen;
                    let is_absent = replica.seen.is_none();
                    if !replica.expiry.is_over(moment(at)) && !is_absent {
                        queue.push(at + 300, me, Step::Act);
                        continue;
                    }
                    let is_claim = is_absent && replica.expiry.leader().is_some();
                    let cas = index.0;
                    let heartbeat = world.heartbeat(number, 0, false);
                    let Some(way) = ways.next() else { continue };
                    let write = Write { cas, heartbeat, sent: at, is_take: !is_claim, is_claim };
                    queue.push(at + way.there, me, Step::Write { write, way });
                }
                Step::Write { write, way } => {
                    let current = world.now();
                    let result = match current.as_ref().map_or(0, |current| current.index) == write.cas {
                        true => Ok(world.put(Some(write.heartbeat.clone()))),
                        false => Err(current),
                    };
                    if result.is_ok() && !write.heartbeat.released {
                        if write.is_take {
                            world.taken += 1;
                            for (other, replica) in world.replicas.iter().enumerate() {
                                // One that was deleted while nobody looked proves nothing: a replica that starts then cannot know.
                                prop_assert!(
                                    other == number || replica.may_emit_until <= at || is_unknowable(&world, number, other),
                                    "{other} may emit until {}, and {number} takes it at {at}", replica.may_emit_until
                                );
                            }
                        }
                        if is_alive && !write.is_claim {
                            let until = write.sent + TERM;
                            let replica = &mut world.replicas[number];
                            replica.may_emit_until = replica.may_emit_until.max(until);
                        }
                    }
                    match way.is_lost {
                        true => queue.push(write.sent.max(at) + TERM, me, Step::GivenUp { write }),
                        false => queue.push(at + way.back, me, Step::Written { write, result }),
                    }
                }
                Step::Written { write, result } if is_alive => {
                    let replica = &mut world.replicas[number];
                    if let (Ok(cas), true) = (&result, write.is_claim) {
                        let silence = replica.expiry.silence().unwrap_or_default();
                        let at = at + u64::try_from(silence.as_millis()).expect("short");
                        let Some(way) = ways.next() else { continue };
                        let heartbeat = world.heartbeat(number, 0, false);
                        let write = Write { cas: *cas, heartbeat, sent: at, is_take: true, is_claim: false };
                        queue.push(at + way.there, me, Step::Write { write, way });
                        continue;
                    }
                    match (result, &mut replica.leads) {
                        (Ok(_), _) if write.heartbeat.released => replica.leads = None,
                        (Ok(index), Some(lead)) => {
                            (lead.index, lead.unknown) = (index, Vec::new());
                        }
                        (Ok(index), leads) => *leads = Some(Lead { index, counter: 0, unknown: Vec::new() }),
                        (Err(now), Some(lead)) => {
                            let ours = now.as_ref().and_then(|now| now.heartbeat.as_ref()).filter(|it| it.id == us && !it.released);
                            match (ours, now.as_ref()) {
                                (Some(_), Some(now)) => lead.index = now.index,
                                _ => {
                                    replica.leads = None;
                                    replica.may_emit_until = replica.may_emit_until.min(at);
                                }
                            }
                        }
                        (Err(now), None) => {
                            let index = RaftIndex(now.as_ref().map_or(0, |now| now.index));
                            let heartbeat = now.as_ref().and_then(|now| now.heartbeat.as_ref());
                            replica.expiry.observe(Seen { index, heartbeat }, &us, moment(at));
                        }
                    }
                    queue.push(at + LEASE / 3, me, Step::Act);
                }
                Step::GivenUp { write } if is_alive => {
                    let replica = &mut world.replicas[number];
                    match &mut replica.leads {
                        Some(_) if write.heartbeat.released => replica.leads = None,
                        Some(lead) => lead.unknown.push((write.heartbeat.counter, write.sent)),
                        None => replica.expiry.restart(),
                    }
                    queue.push(at + 300, me, Step::Act);
                }
                Step::Act | Step::Readable { .. } | Step::Written { .. } | Step::GivenUp { .. } => {}
            }
        }
        prop_assert!(world.taken > 0 || world.history.len() < 2 || world.index > 0);
        prop_assert!(term::margin(Duration::from_millis(LEASE)) == Duration::from_millis(LEASE - TERM));
    }
}

/// Whether `number` has never seen the leader `other`, because somebody deleted or overwrote what it wrote.
fn is_unknowable(world: &World, number: usize, other: usize) -> bool {
    let tampered =
        world.history.iter().skip(1).any(|state| state.as_ref().is_none_or(|state| state.heartbeat.is_none()));
    let id = world.id(other);
    tampered && world.replicas[number].expiry.leader().is_none_or(|leader| leader.id != id)
}
