//! What the delivery of an entry changes in the checkpoint, and how two such effects merge.

use std::sync::Arc;

use crate::{
    checkpoint::{Anchor, Checkpoint, Pass},
    position::{Identity, RaftIndex},
    task_cursors::{TaskCursor, TaskKey},
};

/// What the delivery of one entry changes in the checkpoint.
#[derive(Debug, Default)]
pub struct Effect {
    /// The stream it belongs to.
    pub stream: Arc<str>,
    /// A line was delivered: its raft index, and the identities of its events.
    pub line: Option<(RaftIndex, Vec<Identity>)>,
    /// The index of the line before, once this effect has merged with it. Only the ledger sets it.
    pub before: Option<RaftIndex>,
    /// No more events of the last line's index can come.
    pub whole: bool,
    /// The backfill passes that are left from here on; `None` leaves them as they are.
    pub backfill: Option<Vec<Pass>>,
    /// The index of the line was chosen: there need not be an event at it. See `StreamProgress::chosen`.
    pub chosen: bool,
    /// Namespaces up to this index are covered from here on.
    pub namespaces: Option<RaftIndex>,
    /// An event that moved its table's index.
    pub anchor: Option<Anchor>,
    /// Task events that are now delivered.
    pub task_cursors: Vec<(TaskKey, TaskCursor)>,
    /// The original program's value for this resource, where it grew.
    pub value: Option<u64>,
    /// The topics of the stream from here on; `None` leaves them as they are.
    pub topics: Option<Arc<[String]>>,
}

impl Effect {
    /// Merges with the effect that follows, which can have merged with others.
    pub(super) fn follow(&mut self, next: Effect) {
        if let Some((index, events)) = next.line {
            self.whole = false;
            if self.line.as_ref().is_none_or(|(at, _)| index > *at) {
                self.chosen = next.chosen;
            }
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
                        // A position takes in two lines in the same way.
                        let before = if known.is_empty() { RaftIndex(0) } else { before };
                        // Several lines can have merged already.
                        self.before = next.before.or(Some(before));
                    }
                }
            }
        }
        self.whole |= next.whole;
        self.backfill = next.backfill.or(self.backfill.take());
        self.namespaces = self.namespaces.max(next.namespaces);
        self.anchor = next.anchor.or(self.anchor.take());
        self.task_cursors.extend(next.task_cursors);
        self.value = self.value.max(next.value);
        self.topics = next.topics.or(self.topics.take());
    }

    /// Takes effect in `checkpoint`.
    pub(super) fn apply(self, checkpoint: &mut Checkpoint) {
        checkpoint.value = checkpoint.value.max(self.value.unwrap_or(0));
        if !checkpoint.streams.contains_key(&*self.stream) {
            checkpoint.streams.insert(self.stream.to_string(), Default::default());
        }
        let Some(stream) = checkpoint.streams.get_mut(&*self.stream) else { return };
        if let Some((index, events)) = self.line {
            let moves = index > stream.position.index;
            stream.position.advance(index, &events);
            stream.delivered.retain(|_, further| *further >= index);
            stream.chosen = if moves { self.chosen } else { stream.chosen };
            if moves
                && !events.is_empty()
                && let Some(before) = self.before
            {
                stream.position.before = before;
            }
        }
        stream.position.whole |= self.whole;
        if let Some(passes) = self.backfill {
            stream.backfill = passes;
        }
        if self.anchor.is_some() {
            stream.anchor = self.anchor;
        }
        if let Some(index) = self.namespaces {
            stream.namespaces = stream.namespaces.max(index.0);
        }
        if let Some(topics) = self.topics
            && stream.topics[..] != topics[..]
        {
            stream.topics = topics.to_vec();
        }
    }
}
