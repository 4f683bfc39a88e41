//! What a leader knows of its checkpoint in Consul, and how it writes what changed.

use std::{collections::HashMap, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::sleep;
use tracing::warn;

use super::{
    heartbeat::Reach,
    keys::Keys,
    layout::{self, Corrupt, Found, Head, Stored},
    lease::Held,
    writer::Failed,
};
use crate::{
    backoff::Backoff,
    checkpoint::{Checkpoint, LegacyValue, VERSION},
    consul::{self, Get, MAX_OPS, MAX_REQUEST_BYTES, ModifyIndex, Op},
    coordinator::reset,
    lease::{Changes, Error, Progress},
    task_cursors::{ENTRY_BYTES, Shard, TaskCursor, TaskKey},
    throttle::Outage,
};

/// The deadline of reading a checkpoint.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// What is left for the heartbeats that go along with a write.
const FOR_HEARTBEATS: usize = 32 << 10;
/// The same in operations: two for each kind.
const OPS_FOR_HEARTBEATS: usize = 16;
/// Marks in one log, at most: 128 KiB.
const LOG_MARKS: usize = 4096;
/// Marks in one page, on average.
const PAGE_MARKS: usize = 3072;
/// Logs beyond which they are folded into pages, however small they are: each is a key to be read at a take-over.
const MAX_LOGS: u32 = 512;
/// The largest head.
const MAX_HEAD: usize = 256 << 10;
/// Of one index or range that has so many events that the head grows too large, this many are kept at first, and half
/// as many until it fits. The others are sent again after a crash.
const IDENTITIES_KEPT: usize = 8 << 10;
/// Generations that are taken away with one head.
const MAX_OBSOLETE: usize = 8;
/// Marks that may lie in logs however few the pages hold.
const FREE_MARKS: usize = 2048;

/// The checkpoint in Consul, as far as its leader has to know it.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Where the head was when we last wrote or read it; `None` where there is none.
    head: Option<ModifyIndex>,
    written: Written,
    /// What a write comes to whose outcome we do not know: look before the next one.
    unsure: Option<Written>,
    /// The newest generation of pages that a head was to name. No other pages are written as that generation, for the
    /// head can still be on its way.
    folded: u64,
    folding: Option<Folding>,
}

/// What is stored beside the head, as the head has it.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    stored: Stored,
    /// What the original's key holds, as far as we know.
    value: u64,
    in_pages: usize,
    in_logs: usize,
}

/// The logs are being folded into the pages of the next generation.
#[derive(Debug)]
struct Folding {
    generation: u64,
    pages: u32,
    /// The page to be written next.
    next: u32,
    written: usize,
    /// What was set since it began: pages that are written already do not have it.
    since: HashMap<TaskKey, TaskCursor>,
}

/// What one save writes, and what it makes of the store.
struct Plan {
    /// In any number of transactions, in order.
    before: Vec<Op>,
    /// In one transaction.
    head: Vec<Op>,
    written: Written,
    folded: bool,
}

impl Store {
    /// Reads the checkpoint. Waits for a Consul that does not answer.
    pub(super) async fn load(&mut self, held: &Held) -> Result<Option<Checkpoint>, Error> {
        let mut outage = Outage::new("reading the checkpoint from consul");
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let (entries, value) = loop {
            match read(held).await {
                Ok(read) => break read,
                Err(error) => outage.log(&error),
            }
            sleep(backoff.failed()).await;
        };
        outage.over();
        let corrupt = |Corrupt { key, reason }| Error::Corrupt { path: key, reason, reset: reset(held.kind, None) };
        let found = layout::read(&held.keys, &entries).map_err(corrupt)?;
        let value = match value.as_deref().map(parse_value) {
            None => 0,
            Some(Ok(value)) => value,
            Some(Err(reason)) if found.is_none() => {
                return Err(corrupt(Corrupt { key: held.keys.value.clone(), reason }));
            }
            Some(Err(reason)) => {
                warn!(key = held.keys.value, reason, "the value is not one of the original's; it is not looked at");
                0
            }
        };
        *self = Store { written: Written { value, ..Written::default() }, ..Store::default() };
        let Some(Found { mut checkpoint, stored, stored_value, head, in_pages, in_logs }) = found else {
            let legacy = (value > 0).then_some(LegacyValue { value, until: None });
            if legacy.is_none()
                && let Some(known) = &held.known
            {
                warn!(kind = %held.kind, "checkpoint missing, resuming from the last heartbeat");
                return Ok(Some(known.clone()));
            }
            return Ok(legacy.map(|legacy| {
                tracing::info!(kind = %held.kind, value, "there is no checkpoint, but a value of the original's; going on from it");
                Checkpoint { version: VERSION, legacy: Some(legacy), ..Checkpoint::default() }
            }));
        };
        *self = Store { head: Some(head), written: Written { stored, value, in_pages, in_logs }, ..Store::default() };
        if value > stored_value {
            warn!(
                kind = %held.kind, value, ours = stored_value,
                "the value was moved on since our last checkpoint: the original led in between; taking over its progress"
            );
            checkpoint.legacy = Some(LegacyValue { value, until: None });
        }
        held.reached(&checkpoint);
        // A first checkpoint that was cut off is none.
        let is_one = !checkpoint.streams.is_empty() || checkpoint.legacy.is_some();
        Ok(is_one.then_some(checkpoint))
    }

    /// Writes what changed.
    pub(super) async fn save(&mut self, held: &Arc<Held>, progress: &dyn Progress) -> Result<(), Error> {
        if let Some(tried) = self.unsure {
            self.look(held, tried).await?;
        }
        let Some(changes) = progress.changes() else { return Ok(()) };
        let saved = self.write(held, progress, &changes).await;
        match saved {
            Ok(()) => {
                held.reached(&changes.head);
                Ok(())
            }
            Err(failed) => {
                progress.not_stored();
                Err(match failed {
                    Failed::Lost => Error::Lost,
                    Failed::Moved => Error::Moved { path: held.keys.state.clone() },
                    Failed::Unknown(error) => Error::Consul(error),
                })
            }
        }
    }

    async fn write(&mut self, held: &Arc<Held>, progress: &dyn Progress, changes: &Changes) -> Result<(), Failed> {
        let Plan { before, head, written, folded } = self.plan(&held.keys, progress, changes);
        self.unsure = Some(written);
        if folded {
            self.folded = written.stored.generation;
        }
        let mut transactions = pack(before);
        match transactions.last_mut().filter(|last| fits(last.iter().chain(&head))) {
            Some(last) => last.extend(head),
            None => transactions.push(head),
        }
        if self.head.is_none() && transactions.len() > 1 {
            // Marks without a head would be taken for damage, if we ended before it is written.
            let none = Checkpoint { version: VERSION, ..Checkpoint::default() };
            let none = Head { checkpoint: none, stored: Stored::default(), stored_value: 0 };
            let check = self.check_head(&held.keys);
            let text = serde_json::to_vec(&none).expect("maps with texts as keys");
            let set = Op::Set { key: held.keys.state.clone(), value: text.into(), flags: 0 };
            self.head = held.commit(vec![check, set], None).await?;
            transactions.last_mut().and_then(|last| {
                let check = last.iter_mut().find(|op| matches!(op, Op::CheckNotExists { .. }))?;
                *check = self.check_head(&held.keys);
                Some(())
            });
        }
        let (mut index, last) = (None, transactions.len() - 1);
        for (number, ops) in transactions.into_iter().enumerate() {
            // The head goes with the last one.
            let reach = (number == last).then(|| Reach::of(&changes.head));
            index = held.commit(ops, reach).await?;
        }
        // The answer of Consul names each key that was set.
        self.head = index.or(self.head);
        (self.written, self.unsure) = (written, None);
        match &mut self.folding {
            Some(_) if folded => self.folding = None,
            Some(folding) => folding.next += 1,
            None => {}
        }
        Ok(())
    }

    fn plan(&mut self, keys: &Keys, progress: &dyn Progress, changes: &Changes) -> Plan {
        let mut before = Vec::new();
        let Written { mut stored, value, mut in_pages, mut in_logs } = self.written;
        let next_generation = stored.generation.max(self.folded) + 1;
        let mut obsolete = 0..0;
        let mut logged = match stored {
            // The first of all, or somebody has taken away what we had stored.
            Stored { pages: 0, logs: 0, .. } => progress.task_cursors(Shard::ALL),
            _ => changes.task_cursors.clone(),
        };
        let mut folded = false;
        if changes.forgotten {
            self.folding = None;
            obsolete = stored.generation..next_generation;
            stored = Stored { generation: next_generation, ..Stored::default() };
            (in_pages, in_logs) = (0, 0);
        } else if match &self.folding {
            None => in_logs >= in_pages + FREE_MARKS || stored.logs >= MAX_LOGS,
            // So many more marks were set meanwhile that its pages would not fit into a transaction: begin again.
            Some(folding) => progress.marks_len() > folding.pages as usize * 2 * PAGE_MARKS,
        } {
            let generation = next_generation;
            let pages = u32::try_from(progress.marks_len() / PAGE_MARKS).unwrap_or(u32::MAX).max(1);
            self.folding = Some(Folding { generation, pages, next: 0, written: 0, since: HashMap::new() });
        }
        if let Some(folding) = &mut self.folding {
            folding.since.extend(changes.task_cursors.iter().copied());
            if folding.next == 0 {
                // What a write that was cut off may have left.
                before.push(Op::DeleteTree { prefix: keys.generation(folding.generation) });
            }
            let task_cursors = progress.task_cursors(Shard { number: folding.next, of: folding.pages });
            folding.written += task_cursors.len();
            let key = keys.page(folding.generation, folding.next);
            before.push(Op::Set { key, value: layout::encode(&task_cursors), flags: 0 });
            if folding.next + 1 == folding.pages {
                obsolete = stored.generation..folding.generation;
                stored = Stored { generation: folding.generation, pages: folding.pages, logs: 0 };
                (in_pages, in_logs) = (folding.written, 0);
                logged = folding.since.iter().map(|(task, task_cursor)| (*task, *task_cursor)).collect();
                folded = true;
            }
        }
        for task_cursors in logged.chunks(LOG_MARKS) {
            before.push(Op::Set {
                key: keys.log(stored.generation, stored.logs),
                value: layout::encode(task_cursors),
                flags: 0,
            });
            stored.logs += 1;
            in_logs += task_cursors.len();
        }
        let value = if changes.head.value > 0 { changes.head.value } else { value };
        let head = self.head_ops(keys, changes, stored, value, obsolete);
        Plan { before, head, written: Written { stored, value, in_pages, in_logs }, folded }
    }

    fn head_ops(&self, keys: &Keys, changes: &Changes, stored: Stored, value: u64, obsolete: Range<u64>) -> Vec<Op> {
        let checkpoint = Checkpoint { version: VERSION, ..changes.head.clone() };
        let text_of_head = text(Head { checkpoint, stored, stored_value: value });
        // An older write of ours that is still on its way must not land on a newer one.
        let mut ops = vec![self.check_head(keys)];
        ops.push(Op::Set { key: keys.state.clone(), value: text_of_head.into(), flags: 0 });
        if value > 0 {
            ops.push(Op::Set { key: keys.value.clone(), value: value.to_string().into(), flags: 0 });
        }
        // More than one only where folds were cut off right before their end.
        for generation in obsolete.take(MAX_OBSOLETE) {
            ops.push(Op::DeleteTree { prefix: keys.generation(generation) });
        }
        ops
    }

    fn check_head(&self, keys: &Keys) -> Op {
        match self.head {
            Some(index) => Op::CheckIndex { key: keys.state.clone(), index },
            None => Op::CheckNotExists { key: keys.state.clone() },
        }
    }

    /// Reads what the last write came to. If it is still on its way, it is refused when it arrives: either it moves the
    /// head before us, or we do.
    async fn look(&mut self, held: &Held, tried: Written) -> Result<(), Error> {
        let failed = |error| Error::Consul(Arc::new(error));
        let head = read_key(held, &held.keys.state).await.map_err(failed)?;
        let index = head.as_ref().map(|head| head.modify_index);
        let written = if index.is_some() && index == self.head {
            self.written
        } else if head.and_then(|head| layout::stored(&head.value)) == Some(tried.stored) {
            tried
        } else {
            // Somebody else has been at it.
            let entries = read_state(held).await.map_err(failed)?;
            let corrupt = |Corrupt { key, reason }| Error::Corrupt { path: key, reason, reset: reset(held.kind, None) };
            let found = layout::read(&held.keys, &entries).map_err(corrupt)?;
            let folded = self.folded;
            *self = match found {
                Some(Found { stored, stored_value: value, head, in_pages, in_logs, .. }) => Store {
                    head: Some(head),
                    written: Written { stored, value, in_pages, in_logs },
                    folded,
                    ..Store::default()
                },
                None => {
                    Store { written: Written { value: tried.value, ..Written::default() }, folded, ..Store::default() }
                }
            };
            return Ok(());
        };
        *self = Store { head: index, written, folded: self.folded, ..Store::default() };
        Ok(())
    }
}

async fn read(held: &Held) -> Result<(Vec<consul::Entry>, Option<Bytes>), consul::Error> {
    let entries = read_state(held).await?;
    let value = read_key(held, &held.keys.value).await?;
    Ok((entries, value.map(|entry| entry.value)))
}

async fn read_key(held: &Held, key: &str) -> Result<Option<consul::Entry>, consul::Error> {
    let get = Get { consistent: true, ..Get::default() };
    Ok(held.client.get(key, get, READ_WITHIN).await?.value)
}

/// The head, and what it names. In parts: a million marks are more than one answer may have.
async fn read_state(held: &Held) -> Result<Vec<consul::Entry>, consul::Error> {
    loop {
        let Some(head) = read_key(held, &held.keys.state).await? else {
            return Ok(held.client.tree(&held.keys.state, READ_WITHIN).await?.value);
        };
        let index = head.modify_index;
        let stored = layout::stored(&head.value).unwrap_or_default();
        let mut entries = vec![head];
        for prefix in held.keys.hundreds(stored) {
            let part = held.client.tree(&prefix, READ_WITHIN).await?.value;
            // Whoever finds no end of what the head names looks no further.
            let is_missing = part.is_empty();
            entries.extend(part);
            if is_missing {
                break;
            }
        }
        let again = read_key(held, &held.keys.state).await?;
        // Otherwise a write of ours has come late, and what was read need not belong together.
        if again.is_some_and(|again| again.modify_index == index) {
            return Ok(entries);
        }
    }
}

/// The text of a head, made to fit: a checkpoint that cannot be stored would never move again.
fn text(mut head: Head) -> Vec<u8> {
    let text = |head: &Head| serde_json::to_vec(head).expect("maps with texts as keys");
    let mut text_of_head = text(&head);
    let mut keep = IDENTITIES_KEPT;
    while text_of_head.len() > MAX_HEAD && keep > 0 {
        head.checkpoint.forget_identities(keep);
        text_of_head = text(&head);
        keep /= 2;
    }
    if text_of_head.len() > MAX_HEAD {
        head.checkpoint.forget_identities(0);
        head.checkpoint.widen_ranges();
        text_of_head = text(&head);
    }
    text_of_head
}

/// The original's bare decimal.
pub(super) fn parse_value(text: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(text);
    text.trim().parse::<u64>().map_err(|_| format!("{text:?} is no whole number"))
}

fn fits<'a>(ops: impl Iterator<Item = &'a Op>) -> bool {
    let (mut count, mut bytes) = (0, 0);
    for op in ops {
        count += 1;
        bytes += op.wire_bytes();
    }
    count + OPS_FOR_HEARTBEATS <= MAX_OPS && bytes + FOR_HEARTBEATS <= MAX_REQUEST_BYTES
}

/// Spreads operations over as few transactions as they fit in, in order.
fn pack(ops: Vec<Op>) -> Vec<Vec<Op>> {
    let mut transactions: Vec<Vec<Op>> = Vec::new();
    for op in ops {
        match transactions.last_mut().filter(|last| fits(last.iter().chain([&op]))) {
            Some(last) => last.push(op),
            None => transactions.push(vec![op]),
        }
    }
    transactions
}

// A log, and a page of twice the average, fit into one transaction.
const _: () = assert!((LOG_MARKS + 2 * PAGE_MARKS) * ENTRY_BYTES * 4 / 3 < MAX_REQUEST_BYTES - FOR_HEARTBEATS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::{Gap, Pass, StreamProgress},
        position::{Identity, Position, RaftIndex},
    };

    /// A head with so many ranges, which do not meet, and identities that are known: of the position, and of each range.
    fn head(ranges: u64, seen: u64, known: u64) -> Head {
        let identities = |count: u64| (0..count).map(|n| Identity(u64::MAX - n)).collect();
        let range = |n: u64| Gap { from: RaftIndex(10 * n), until: RaftIndex(10 * n + 5), known: identities(known) };
        let backfill = vec![Pass { ranges: (1..=ranges).map(range).collect(), ..Pass::default() }];
        let position = Position { index: RaftIndex(1 << 40), seen: identities(seen), ..Position::default() };
        let stream = StreamProgress { position, backfill, ..StreamProgress::default() };
        let checkpoint = Checkpoint { streams: [("*".to_owned(), stream)].into(), ..Checkpoint::default() };
        Head { checkpoint, stored: Stored::default(), stored_value: 0 }
    }

    #[test]
    fn whatever_is_known_and_owed_a_head_can_be_stored() {
        for (ranges, seen, known) in
            [(1, 0, 100_000), (1, 100_000, 0), (2, 100_000, 100_000), (1_000, 10, 100), (20_000, 100_000, 2)]
        {
            let text = text(head(ranges, seen, known));
            assert!(text.len() <= MAX_HEAD, "{} bytes of {ranges} ranges, {seen} and {known}", text.len());
            let stored: Head = serde_json::from_slice(&text).expect("a head");
            let stream = &stored.checkpoint.streams["*"];
            assert_eq!(stream.position.seen.is_empty(), seen == 0);
            let owes = |index| stream.backfill[0].ranges.iter().any(|gap| gap.contains(RaftIndex(index), Identity(0)));
            assert!((1..=ranges).all(|n| owes(10 * n) && owes(10 * n + 4)));
        }
    }

    #[test]
    fn a_head_that_fits_forgets_nothing() {
        let small = head(10, 1_000, 100);
        let whole = serde_json::to_vec(&small).expect("a head");
        assert_eq!(text(small), whole);
    }
}
