//! Acknowledgement: which frames are delivered, and how far that reaches without a hole.
//!
//! Each line of the stream and each page of a list is entered once, in the order it was read, with the effect that its
//! delivery has on the checkpoint. Its records carry [`Ticket`]s; when the last of them is delivered the entry is done,
//! and all done entries at the front take effect. A ticket that is dropped undelivered leaves its entry open, and
//! nothing behind it ever reaches the checkpoint.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    checkpoint::{Anchor, Checkpoint, Lane, Original, Pass},
    coordinator::{Changes, Lease, Progress, Standing},
    marks::{Mark, Marks, Shard, TaskKey},
    position::{Identity, RaftIndex},
    source::window::Share,
    telemetry::{Backlog, Front},
};

/// Lanes that start over within this time do so for the same reason.
const FORGET_ONCE_WITHIN: Duration = Duration::from_secs(600);

/// What the delivery of one entry changes in the checkpoint.
#[derive(Debug, Default)]
pub struct Effect {
    /// The lane it belongs to.
    pub lane: Arc<str>,
    /// A line was delivered: its raft index and the identities of its events.
    pub line: Option<(RaftIndex, Vec<Identity>)>,
    /// The index of the line before, where this effect has taken that in: the ledger's own business.
    pub before: Option<RaftIndex>,
    /// The index of the last line is known whole.
    pub whole: bool,
    /// The passes that lists still owe from here on; `None` leaves them.
    pub backfill: Option<Vec<Pass>>,
    /// Namespaces up to this index are covered from here on.
    pub namespaces: Option<RaftIndex>,
    /// An event that moved its table's index.
    pub anchor: Option<Anchor>,
    /// Task events that are now delivered.
    pub marks: Vec<(TaskKey, Mark)>,
    /// The original's value for this kind, where it grew.
    pub value: Option<u64>,
    /// The topics that the lane is read with from here on; `None` leaves them.
    pub topics: Option<Arc<[String]>>,
}

/// The acknowledged state of one kind, and what is on the way to it.
pub struct Ledger {
    lease: Arc<dyn Lease>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The number of the entry at the front.
    first: u64,
    pending: VecDeque<Pending>,
    /// The newest mark on the way for each task, with how many entries carry one.
    in_flight: HashMap<TaskKey, (Mark, u32)>,
    acknowledged: Checkpoint,
    changed: Changed,
    /// What was given to be stored last.
    given: Changed,
    /// Lanes that still need what is stored of the original program, and until when; `None` where they do not know yet.
    behind_original: BTreeMap<Arc<str>, Option<Behind>>,
    /// How often each lane started over.
    epochs: HashMap<Arc<str>, u64>,
    /// When the marks were last forgotten: all lanes see that their cluster is another one, one after the other.
    forgotten: Option<Instant>,
}

/// What is not stored yet.
#[derive(Default)]
struct Changed {
    any: bool,
    marks: Set,
    forgotten: bool,
}

/// Marks that were set.
enum Set {
    /// Those of these tasks; some are named twice.
    Of(Vec<TaskKey>),
    /// Any: nobody asks for single ones, or they are too many to be named.
    Any,
}

impl Default for Set {
    fn default() -> Self {
        Set::Of(Vec::new())
    }
}

impl Set {
    fn add(&mut self, task: TaskKey) {
        let Set::Of(tasks) = self else { return };
        if tasks.len() == tasks.capacity() && tasks.len() >= 1024 {
            // Most often the same tasks change again and again.
            tasks.sort_unstable();
            tasks.dedup();
        }
        tasks.push(task);
    }

    fn join(&mut self, other: Set) {
        match other {
            Set::Of(tasks) => tasks.into_iter().for_each(|task| self.add(task)),
            Set::Any => *self = Set::Any,
        }
    }
}

/// When a lane has come past what the original program had delivered.
#[derive(Clone, Copy, Debug)]
pub struct Behind {
    /// With its position here.
    pub position: RaftIndex,
    /// And with nothing owed by lists any more.
    pub lists: bool,
}

struct Pending {
    /// What was entered before a [`Ledger::start_over`] of its lane has no effect after it.
    epoch: u64,
    /// It never had a record, so what follows it without one can be taken into it.
    empty: bool,
    done: bool,
    effect: Effect,
    /// When it was entered, if the sink is waited for.
    since: Option<Instant>,
}

impl Effect {
    /// What this one and then `next` come to.
    fn follow(&mut self, next: Effect) {
        if let Some((index, events)) = next.line {
            self.whole = false;
            match &mut self.line {
                // Where a list covers the index, its lines add nothing.
                Some((same, known)) if *same == index && !events.is_empty() => {
                    if !known.is_empty() {
                        known.extend(events);
                    }
                }
                Some((newer, _)) if *newer > index => {}
                line => {
                    if let Some((before, known)) = line.replace((index, events)) {
                        // As a position does that takes in both.
                        self.before = Some(if known.is_empty() { RaftIndex(0) } else { before });
                    }
                }
            }
        }
        self.whole |= next.whole;
        self.backfill = next.backfill.or(self.backfill.take());
        self.namespaces = self.namespaces.max(next.namespaces);
        self.anchor = next.anchor.or(self.anchor.take());
        self.marks.extend(next.marks);
        self.value = self.value.max(next.value);
        self.topics = next.topics.or(self.topics.take());
    }
}

impl Ledger {
    /// A ledger that goes on from `checkpoint`, under `lease`.
    pub fn new(lease: Arc<dyn Lease>, checkpoint: Checkpoint) -> Arc<Self> {
        let inner = Inner { acknowledged: checkpoint, ..Inner::default() };
        Arc::new(Ledger { lease, inner: Mutex::new(inner) })
    }

    /// Enters a line or page that has `records` records, and hands out their common ticket; `None` when it has none, so
    /// that there is nothing to wait for.
    ///
    /// `bytes` is its share of the window, given back when the last copy of the ticket is gone.
    pub fn enter(self: &Arc<Self>, effect: Effect, records: usize, bytes: Option<Share>) -> Option<Ticket> {
        let mut inner = self.lock();
        for (task, mark) in &effect.marks {
            let entry = inner.in_flight.entry(*task).or_insert((*mark, 0));
            entry.0 = *mark;
            entry.1 += 1;
        }
        let epoch = inner.epochs.get(&effect.lane).copied().unwrap_or_default();
        let effect = match records {
            // However long a record is held, what passes by without one costs no memory.
            0 => inner.merge(epoch, effect)?,
            _ => effect,
        };
        let number = inner.first + inner.pending.len() as u64;
        let since = (records > 0).then(Instant::now);
        inner.pending.push_back(Pending { epoch, empty: records == 0, done: records == 0, effect, since });
        inner.settle();
        drop(inner);
        (records > 0).then(|| {
            Ticket(Arc::new(Entry {
                ledger: Arc::clone(self),
                number,
                remaining: AtomicUsize::new(records),
                _bytes: bytes,
            }))
        })
    }

    /// The mark of a task, those on the way included.
    pub fn mark(&self, task: TaskKey) -> Option<Mark> {
        let inner = self.lock();
        inner.in_flight.get(&task).map(|(mark, _)| *mark).or_else(|| inner.acknowledged.marks.get(task))
    }

    /// A copy of the acknowledged state.
    pub fn acknowledged(&self) -> Checkpoint {
        self.lock().acknowledged.clone()
    }

    /// Whether something changed that was not given to be stored yet.
    pub fn is_changed(&self) -> bool {
        self.lock().changed.any
    }

    /// Something beside the ledger is to be stored with it, where there is anything to go on from.
    pub fn touch(&self) {
        let mut inner = self.lock();
        inner.changed.any |= !inner.acknowledged.lanes.is_empty();
    }

    /// A copy of the acknowledged state of one lane; `None` before its first start.
    pub fn lane(&self, name: &str) -> Option<Lane> {
        self.lock().acknowledged.lanes.get(name).cloned()
    }

    /// A lane is going to be read: what is stored of the original program is kept until it is past that.
    pub fn expect(&self, lane: &Arc<str>) {
        let mut inner = self.lock();
        if inner.acknowledged.original.is_some() {
            inner.behind_original.insert(Arc::clone(lane), None);
        }
    }

    /// What the original program had delivered, while some lane still needs it.
    pub fn original(&self) -> Option<Original> {
        self.lock().acknowledged.original
    }

    /// Goes on from what the original program had delivered, of versions up to `until`; where a lane said so before, its
    /// index stays. Our value is not below the original's from here on, or it would be taken for new progress.
    pub fn go_on_from_original(&self, until: RaftIndex) -> Option<Original> {
        let mut inner = self.lock();
        let Checkpoint { original, value, .. } = &mut inner.acknowledged;
        let original = original.as_mut()?;
        original.until.get_or_insert(until);
        *value = original.value.max(*value);
        let original = *original;
        inner.changed.any = true;
        Some(original)
    }

    /// A lane needs what is stored of the original program until then.
    pub fn need_original(&self, lane: &Arc<str>, behind: Behind) {
        let mut inner = self.lock();
        if let Some(need) = inner.behind_original.get_mut(lane) {
            *need = Some(behind);
            inner.leave_original(lane);
        }
    }

    /// What the original program stored is of no use: it is as if it had delivered nothing.
    pub fn distrust_original(&self) {
        let mut inner = self.lock();
        if let Some(original) = &mut inner.acknowledged.original {
            *original = Original::default();
            inner.changed.any = true;
        }
    }

    /// The cluster is another one: all marks and the lane's position are of no use any more. What is on the way is still
    /// delivered, but changes nothing.
    pub fn start_over(&self, lane: &str) {
        let mut inner = self.lock();
        *inner.epochs.entry(Arc::from(lane)).or_default() += 1;
        let now = Instant::now();
        if inner.forgotten.is_none_or(|forgotten| now - forgotten > FORGET_ONCE_WITHIN) {
            inner.forgotten = Some(now);
            inner.in_flight.clear();
            inner.acknowledged.marks = Marks::default();
            inner.changed = Changed { forgotten: true, ..Changed::default() };
            // What another cluster had delivered would stand above all that this one delivers.
            inner.acknowledged.value = 0;
            inner.acknowledged.original = None;
            inner.behind_original.clear();
            for entry in &mut inner.pending {
                entry.effect.value = None;
                entry.effect.marks.clear();
            }
        }
        inner.acknowledged.lanes.insert(lane.to_owned(), Lane::default());
        inner.changed.any = true;
    }

    /// How many entries wait for their records.
    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    fn complete(&self, number: u64) {
        let mut inner = self.lock();
        // An entry that is no longer there took effect already.
        let offset = number.checked_sub(inner.first).and_then(|offset| usize::try_from(offset).ok());
        if let Some(entry) = offset.and_then(|offset| inner.pending.get_mut(offset)) {
            entry.done = true;
            inner.settle();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves plain data behind; each change is made in one step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Ledger {
    fn head(&self) -> Option<Checkpoint> {
        let mut inner = self.lock();
        if !inner.give() {
            return None;
        }
        // Whoever stores them all needs no list of them.
        (inner.given.marks, inner.changed.marks) = (Set::Any, Set::Any);
        Some(inner.acknowledged.head())
    }

    fn changes(&self) -> Option<Changes> {
        let mut inner = self.lock();
        if !inner.give() {
            return None;
        }
        let Inner { acknowledged, given, .. } = &mut *inner;
        let Checkpoint { marks, .. } = acknowledged;
        let set = match &mut given.marks {
            Set::Of(tasks) => {
                tasks.sort_unstable();
                tasks.dedup();
                // What was retired meanwhile needs no mark.
                tasks.iter().filter_map(|task| Some((*task, marks.get(*task)?))).collect()
            }
            Set::Any => marks.iter().collect(),
        };
        Some(Changes { head: acknowledged.head(), marks: set, forgotten: given.forgotten })
    }

    fn not_stored(&self) {
        let mut inner = self.lock();
        let Changed { any, marks, forgotten } = std::mem::take(&mut inner.given);
        inner.changed.any |= any;
        // What was forgotten since has no mark to be stored any more.
        if !inner.changed.forgotten {
            inner.changed.marks.join(marks);
            inner.changed.forgotten = forgotten;
        }
    }

    fn marks(&self, shard: Shard) -> Vec<(TaskKey, Mark)> {
        self.lock().acknowledged.marks.shard(shard).collect()
    }

    fn marks_len(&self) -> usize {
        self.lock().acknowledged.marks.len()
    }
}

impl Backlog for Ledger {
    fn front(&self) -> Front {
        let inner = self.lock();
        let lanes = || inner.acknowledged.lanes.values();
        let owed = lanes().flat_map(|lane| &lane.backfill).filter(|pass| !pass.is_unlisted());
        let owed = owed.flat_map(|pass| &pass.ranges).map(|owed| owed.from);
        // A gap is booked with the line that shows it, and that line can wait for the sink. It begins with the index of the
        // position, of which some is delivered.
        let booked = inner.pending.iter().filter_map(|entry| {
            let ranges = entry.effect.backfill.iter().flatten().filter(|pass| !pass.is_unlisted());
            let from = ranges.flat_map(|pass| &pass.ranges).map(|owed| owed.from).min()?;
            let position = inner.acknowledged.lanes.get(&*entry.effect.lane).map(|lane| lane.position.index);
            Some(from.max(RaftIndex(position.unwrap_or_default().0.saturating_add(1))))
        });
        // What stands at the front is not done.
        let first = inner.pending.front();
        let line = first.and_then(|entry| entry.effect.line.as_ref()).map(|(index, _)| *index);
        Front {
            position: lanes().map(|lane| lane.position.index).max().unwrap_or_default(),
            undelivered: line.into_iter().chain(owed).chain(booked).min(),
            oldest: first.and_then(|entry| entry.since),
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("pending", &self.pending()).finish_non_exhaustive()
    }
}

impl Inner {
    /// Moves what changed to what was given to be stored; `false` where nothing did.
    fn give(&mut self) -> bool {
        if !self.changed.any {
            return false;
        }
        self.given = std::mem::take(&mut self.changed);
        true
    }

    /// Takes an effect without records into the last entry, if that has none either and is of the same lane. Gives it
    /// back if it needs an entry of its own.
    fn merge(&mut self, epoch: u64, effect: Effect) -> Option<Effect> {
        let last = self.pending.back_mut();
        match last.filter(|last| last.empty && last.epoch == epoch && last.effect.lane == effect.lane) {
            Some(last) => last.effect.follow(effect),
            None => return Some(effect),
        }
        None
    }

    /// Lets every done entry at the front take effect.
    fn settle(&mut self) {
        while self.pending.front().is_some_and(|entry| entry.done) {
            let Some(Pending { epoch, effect, .. }) = self.pending.pop_front() else { return };
            self.first += 1;
            for (task, _) in &effect.marks {
                if let Some((_, carried)) = self.in_flight.get_mut(task) {
                    *carried -= 1;
                    if *carried == 0 {
                        self.in_flight.remove(task);
                    }
                }
            }
            if epoch != self.epochs.get(&effect.lane).copied().unwrap_or_default() {
                continue;
            }
            self.changed.any = true;
            for (task, mark) in &effect.marks {
                self.acknowledged.marks.set(*task, *mark);
                self.changed.marks.add(*task);
            }
            let lane = Arc::clone(&effect.lane);
            apply(&mut self.acknowledged, effect);
            self.leave_original(&lane);
        }
    }

    /// Forgets the original program once the last lane has come past what it had delivered.
    fn leave_original(&mut self, lane: &Arc<str>) {
        let Some(Some(behind)) = self.behind_original.get(lane) else { return };
        let Some(Lane { position, backfill, .. }) = self.acknowledged.lanes.get(&**lane) else { return };
        if position.index < behind.position || behind.lists && !backfill.iter().all(Pass::is_unlisted) {
            return;
        }
        self.behind_original.remove(lane);
        if self.behind_original.is_empty() {
            self.acknowledged.original = None;
            self.changed.any = true;
        }
    }
}

fn apply(checkpoint: &mut Checkpoint, effect: Effect) {
    checkpoint.value = checkpoint.value.max(effect.value.unwrap_or(0));
    if !checkpoint.lanes.contains_key(&*effect.lane) {
        checkpoint.lanes.insert(effect.lane.to_string(), Default::default());
    }
    let Some(lane) = checkpoint.lanes.get_mut(&*effect.lane) else { return };
    if let Some((index, events)) = effect.line {
        let moves = index > lane.position.index;
        lane.position.advance(index, &events);
        if moves
            && !events.is_empty()
            && let Some(before) = effect.before
        {
            lane.position.before = before;
        }
    }
    lane.position.whole |= effect.whole;
    if let Some(passes) = effect.backfill {
        lane.backfill = passes;
    }
    if effect.anchor.is_some() {
        lane.anchor = effect.anchor;
    }
    if let Some(index) = effect.namespaces {
        lane.namespaces = lane.namespaces.max(index.0);
    }
    if let Some(topics) = effect.topics
        && lane.topics[..] != topics[..]
    {
        lane.topics = topics.to_vec();
    }
}

/// One record's claim on its entry. Deliver it or drop it: dropped is not delivered.
#[derive(Clone)]
#[must_use]
pub struct Ticket(Arc<Entry>);

struct Entry {
    ledger: Arc<Ledger>,
    number: u64,
    remaining: AtomicUsize,
    _bytes: Option<Share>,
}

impl Ticket {
    /// Whether a write of this record may start now.
    pub fn standing(&self) -> Standing {
        self.0.ledger.lease.standing()
    }

    /// Whether it stands and falls with the lease of `other`.
    pub fn has_lease_of(&self, other: &Ticket) -> bool {
        Arc::ptr_eq(&self.0.ledger.lease, &other.0.ledger.lease)
    }

    /// The record is delivered, or in the dead-letter place. Call it once for each record.
    pub fn delivered(self) {
        if self.0.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ledger.complete(self.0.number);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticket").field(&self.0.number).finish()
    }
}
