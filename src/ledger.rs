//! Acknowledgement: which lines are delivered, and how far that reaches without a gap.
//!
//! The source enters each line of the stream and each page of a list once, in the order it read them, with the effect
//! that its delivery has on the checkpoint. Its records carry [`AckHandle`]s. When the last of them is delivered the
//! entry is done, and all done entries at the front take effect. An ack handle that is dropped undelivered leaves its
//! entry open, and nothing after that entry ever reaches the checkpoint.

mod ack;
mod changed;
mod effect;
mod entries;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

pub use self::{
    ack::{AckHandle, Line, Underway},
    effect::Effect,
};
use self::{
    changed::{Changed, ChangedCursors},
    entries::Entries,
};
use crate::{
    checkpoint::{Checkpoint, LegacyValue, StreamProgress},
    lease::{Changes, Lease, Progress},
    position::RaftIndex,
    task_cursors::{Shard, TaskCursor, TaskCursors, TaskKey},
    telemetry::{Backlog, Front, Latency},
    window::Share,
};

/// Streams that start over within this time do so for the same reason.
const FORGET_ONCE_WITHIN: Duration = Duration::from_secs(600);

/// The acknowledged state of one resource, and the entries on the way to it.
pub struct Ledger {
    lease: Arc<dyn Lease>,
    inner: Mutex<Inner>,
    /// Takes in how long each entry was on its way.
    latency: Latency,
}

#[derive(Default)]
struct Inner {
    entries: Entries,
    acknowledged: Checkpoint,
    changed: Changed,
    /// The change that was handed out last.
    given: Changed,
    /// Streams that still need what the original program stored, and until when; `None` where they do not know yet.
    waiting_for_legacy: BTreeMap<Arc<str>, Option<LegacyNeed>>,
    /// How often each stream started over.
    epochs: HashMap<Arc<str>, u64>,
    /// Since when each stream has gaps that lists have to fill.
    gaps_since: BTreeMap<Arc<str>, Instant>,
    /// Since when something has changed that is not stored.
    unsaved: Option<Instant>,
    /// When the task cursors were last forgotten: all streams find out one after the other that this is another
    /// cluster.
    forgotten: Option<Instant>,
}

/// When a stream no longer needs what the original program had delivered.
#[derive(Clone, Copy, Debug)]
pub struct LegacyNeed {
    /// Once its position is here.
    pub position: RaftIndex,
    /// And once its backfill is finished.
    pub lists: bool,
}

impl Ledger {
    /// A ledger that resumes from `checkpoint`, under `lease`.
    pub fn new(lease: Arc<dyn Lease>, checkpoint: Checkpoint) -> Arc<Self> {
        Ledger::measured(lease, checkpoint, Latency::default())
    }

    /// The same, which measures in `latency` how long each entry took from its arrival until it was done.
    pub fn measured(lease: Arc<dyn Lease>, mut checkpoint: Checkpoint, latency: Latency) -> Arc<Self> {
        checkpoint.streams.values_mut().for_each(StreamProgress::end_open_passes);
        let with_gaps = checkpoint.streams.iter().filter(|(_, stream)| !stream.backfill.is_empty());
        let gaps_since = with_gaps.map(|(name, _)| (Arc::from(name.as_str()), Instant::now())).collect();
        let inner = Inner { acknowledged: checkpoint, gaps_since, ..Inner::default() };
        Arc::new(Ledger { lease, inner: Mutex::new(inner), latency })
    }

    /// Enters a line or page that has `records` records, and returns their common ack handle; `None` when it has none,
    /// so that nothing has to be delivered.
    ///
    /// `bytes` is its share of the window. The share is freed when the last clone of the ack handle is dropped.
    pub fn enter(self: &Arc<Self>, effect: Effect, records: usize, bytes: Option<Share>) -> Option<AckHandle> {
        let mut inner = self.lock();
        let epoch = inner.epochs.get(&effect.stream).copied().unwrap_or_default();
        let received = || bytes.as_ref().map_or_else(Instant::now, |share| share.received());
        let since = (records > 0).then(received);
        let number = inner.entries.push(epoch, effect, since);
        if records == 0 {
            inner.complete(number);
        }
        drop(inner);
        (records > 0).then(|| AckHandle::of(Arc::clone(self), number, records, bytes))
    }

    /// The cursor of a task, undelivered ones included.
    pub fn task_cursor(&self, task: TaskKey) -> Option<TaskCursor> {
        let inner = self.lock();
        let waiting = inner.entries.task_cursor(task);
        waiting.or_else(|| inner.acknowledged.task_cursors.get(task))
    }

    /// A copy of the acknowledged state.
    pub fn acknowledged(&self) -> Checkpoint {
        self.lock().acknowledged.clone()
    }

    /// Whether something has changed since a change was last handed out.
    pub fn is_changed(&self) -> bool {
        self.lock().changed.any
    }

    /// The coordinator has something of its own to store with the next checkpoint, if there is one.
    pub fn touch(&self) {
        let mut inner = self.lock();
        if !inner.acknowledged.streams.is_empty() {
            inner.change();
        }
    }

    /// What had changed before `began` is stored.
    pub fn stored(&self, began: Instant) {
        let mut inner = self.lock();
        if inner.unsaved.is_some_and(|since| since <= began) {
            inner.unsaved = inner.changed.any.then_some(began);
        }
    }

    /// A copy of the acknowledged state of one stream; `None` before its first start.
    pub fn stream(&self, name: &str) -> Option<StreamProgress> {
        self.lock().acknowledged.streams.get(name).cloned()
    }

    /// `stream` will be read: the ledger keeps what the original program stored until this stream no longer needs it.
    pub fn expect(&self, stream: &Arc<str>) {
        let mut inner = self.lock();
        if inner.acknowledged.legacy.is_some() {
            inner.waiting_for_legacy.insert(Arc::clone(stream), None);
        }
    }

    /// What the original program had delivered, while a stream still needs it.
    pub fn legacy(&self) -> Option<LegacyValue> {
        self.lock().acknowledged.legacy
    }

    /// Resumes from what the original program had delivered, of versions up to `until`; if a stream called this before,
    /// its index stays. From here on our value is not below the original's, or the original's would look like new
    /// progress.
    pub fn resume_from_legacy_value(&self, until: RaftIndex) -> Option<LegacyValue> {
        let mut inner = self.lock();
        let Checkpoint { legacy, value, .. } = &mut inner.acknowledged;
        let legacy = legacy.as_mut()?;
        legacy.until.get_or_insert(until);
        *value = legacy.value.max(*value);
        let legacy = *legacy;
        inner.change();
        Some(legacy)
    }

    /// `stream` needs what the original program stored until then.
    pub fn need_legacy_value(&self, stream: &Arc<str>, need: LegacyNeed) {
        let mut inner = self.lock();
        if let Some(waiting) = inner.waiting_for_legacy.get_mut(stream) {
            *waiting = Some(need);
            inner.drop_legacy(stream);
        }
    }

    /// The value that the original program stored is unusable: treat it as if nothing had been delivered.
    pub fn distrust_legacy_value(&self) {
        let mut inner = self.lock();
        if let Some(legacy) = &mut inner.acknowledged.legacy {
            *legacy = LegacyValue::default();
            inner.change();
        }
    }

    /// This is another cluster: all task cursors and the stream's position are void. Records on the way are still
    /// delivered, but change nothing.
    pub fn start_over(&self, stream: &str) {
        let mut inner = self.lock();
        *inner.epochs.entry(Arc::from(stream)).or_default() += 1;
        let now = Instant::now();
        if inner.forgotten.is_none_or(|forgotten| now - forgotten > FORGET_ONCE_WITHIN) {
            inner.forgotten = Some(now);
            inner.acknowledged.task_cursors = TaskCursors::default();
            inner.changed = Changed { forgotten: true, ..Changed::default() };
            // The value of another cluster would be above everything that this one delivers.
            inner.acknowledged.value = 0;
            inner.acknowledged.legacy = None;
            inner.waiting_for_legacy.clear();
            inner.entries.forget_cursors_and_values();
        }
        inner.acknowledged.streams.insert(stream.to_owned(), StreamProgress::default());
        inner.gaps_since.remove(stream);
        inner.change();
    }

    /// How many entries wait for their records.
    pub fn pending(&self) -> usize {
        self.lock().entries.len()
    }

    fn complete(&self, number: u64) {
        let since = self.lock().complete(number);
        if let Some(since) = since {
            self.latency.observe(since);
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
        // A caller that stores all of them needs no list of them.
        (inner.given.task_cursors, inner.changed.task_cursors) = (ChangedCursors::Any, ChangedCursors::Any);
        Some(inner.acknowledged.head())
    }

    fn changes(&self) -> Option<Changes> {
        let mut inner = self.lock();
        if !inner.give() {
            return None;
        }
        let Inner { acknowledged, given, .. } = &mut *inner;
        let Checkpoint { task_cursors, .. } = acknowledged;
        let set = match &mut given.task_cursors {
            ChangedCursors::Of(tasks) => {
                tasks.sort_unstable();
                tasks.dedup();
                // A task that was retired meanwhile needs no cursor.
                tasks.iter().filter_map(|task| Some((*task, task_cursors.get(*task)?))).collect()
            }
            ChangedCursors::Any => task_cursors.iter().collect(),
        };
        Some(Changes { head: acknowledged.head(), task_cursors: set, forgotten: given.forgotten })
    }

    fn not_stored(&self) {
        let mut inner = self.lock();
        let Changed { any, task_cursors, forgotten } = std::mem::take(&mut inner.given);
        inner.changed.any |= any;
        // Task cursors that were forgotten since then need not be stored.
        if !inner.changed.forgotten {
            inner.changed.task_cursors.join(task_cursors);
            inner.changed.forgotten = forgotten;
        }
    }

    fn task_cursors(&self, shard: Shard) -> Vec<(TaskKey, TaskCursor)> {
        self.lock().acknowledged.task_cursors.shard(shard).collect()
    }

    fn task_cursors_len(&self) -> usize {
        self.lock().acknowledged.task_cursors.len()
    }
}

impl Backlog for Ledger {
    fn front(&self) -> Front {
        let inner = self.lock();
        let streams = || inner.acknowledged.streams.values();
        let gap = streams().flat_map(|stream| &stream.backfill);
        let gap = gap.flat_map(|pass| &pass.ranges).map(|gap| gap.from);
        // A gap is entered with the line that reveals it, and that line can wait for the sink. The gap begins at the
        // index of the position, of which some events are delivered.
        let booked = inner.entries.effects().filter_map(|effect| {
            let ranges = effect.backfill.iter().flatten();
            let from = ranges.flat_map(|pass| &pass.ranges).map(|gap| gap.from).min()?;
            let position = inner.acknowledged.streams.get(&*effect.stream).map(|stream| stream.position.index);
            Some(from.max(RaftIndex(position.unwrap_or_default().0.saturating_add(1))))
        });
        // The entry at the front is not done.
        let first = inner.entries.front();
        let line = first.and_then(|(effect, _)| effect.line.as_ref()).map(|(index, _)| *index);
        let since = first.and_then(|(_, since)| since);
        Front {
            position: streams().map(|stream| stream.position.index).max().unwrap_or_default(),
            undelivered: line.into_iter().chain(gap).chain(booked).min(),
            line,
            oldest: since.into_iter().chain(inner.gaps_since.values().copied()).min(),
            unsaved: inner.unsaved,
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("pending", &self.pending()).finish_non_exhaustive()
    }
}

impl Inner {
    /// Moves the change to `given`; `false` where nothing changed.
    fn give(&mut self) -> bool {
        if !self.changed.any {
            return false;
        }
        self.given = std::mem::take(&mut self.changed);
        true
    }

    /// The records of the entry are delivered. Returns since when they were on their way.
    fn complete(&mut self, number: u64) -> Option<Instant> {
        let since = self.entries.since(number);
        if self.entries.complete(number) {
            self.settle();
        }
        since
    }

    /// Something has changed that has to be stored.
    fn change(&mut self) {
        self.changed.any = true;
        self.unsaved.get_or_insert_with(Instant::now);
    }

    /// Notes whether a stream has gaps that lists have to fill.
    fn note_gaps(&mut self, stream: &Arc<str>) {
        let progress = self.acknowledged.streams.get(&**stream);
        if progress.is_none_or(|progress| progress.backfill.is_empty()) {
            self.gaps_since.remove(stream);
        } else if !self.gaps_since.contains_key(stream) {
            self.gaps_since.insert(Arc::clone(stream), Instant::now());
        }
    }

    /// Applies every done entry at the front.
    fn settle(&mut self) {
        while let Some((epoch, effect)) = self.entries.pop_done() {
            if epoch != self.epochs.get(&effect.stream).copied().unwrap_or_default() {
                continue;
            }
            self.change();
            for (task, task_cursor) in &effect.task_cursors {
                self.acknowledged.task_cursors.set(*task, *task_cursor);
                self.changed.task_cursors.add(*task);
            }
            let (stream, has_gaps) = (Arc::clone(&effect.stream), effect.backfill.is_some());
            effect.apply(&mut self.acknowledged);
            if has_gaps {
                self.note_gaps(&stream);
            }
            self.drop_legacy(&stream);
        }
    }

    /// Forgets what the original program stored once no stream needs it.
    fn drop_legacy(&mut self, stream: &Arc<str>) {
        let Some(Some(behind)) = self.waiting_for_legacy.get(stream) else { return };
        let Some(StreamProgress { position, backfill, .. }) = self.acknowledged.streams.get(&**stream) else { return };
        if position.index < behind.position || behind.lists && !backfill.is_empty() {
            return;
        }
        self.waiting_for_legacy.remove(stream);
        if self.waiting_for_legacy.is_empty() {
            self.acknowledged.legacy = None;
            self.change();
        }
    }
}
