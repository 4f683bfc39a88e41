//! Which operations one save needs. Pure.
//!
//! What the leader knows of its checkpoint in Consul and what changed since come in; the operations of the save, and what
//! the leader will know after it, come out.

use std::{collections::HashMap, ops::Range};

use super::{
    keys::{Extent, Keys},
    layout::Head,
};
use crate::{
    checkpoint::{Checkpoint, VERSION},
    consul::{MAX_OPS, MAX_REQUEST_BYTES, ModifyIndex, Op},
    coordinator::pages,
    lease::{Changes, Progress},
    task_cursors::{ENTRY_BYTES, Shard, TaskCursor, TaskKey},
};

/// Bytes of a transaction that are left for the heartbeats that go along with a write.
const FOR_HEARTBEATS: usize = 32 << 10;
/// The same in operations: two for each resource.
const OPS_FOR_HEARTBEATS: usize = 16;
/// The most task cursors in one log: 128 KiB.
const LOG_CURSORS: usize = 4096;
/// Task cursors in one page, on average.
const PAGE_CURSORS: usize = 3072;
/// More logs than this are folded into pages, however small they are: a take-over reads each of these keys.
const MAX_LOGS: u32 = 512;
/// The largest head.
const MAX_HEAD: usize = 256 << 10;
/// How many identities of one index or range a head that is too large keeps at first; then half as many, until it fits.
/// The other events are sent again after a crash.
const IDENTITIES_KEPT: usize = 8 << 10;
/// The most generations that one head deletes.
const MAX_OBSOLETE: usize = 8;
/// Task cursors that may lie in logs even where the pages hold fewer.
const FREE_CURSORS: usize = 2048;

/// The checkpoint in Consul, as far as its leader has to know it.
#[derive(Debug, Default)]
pub(super) struct Remote {
    /// The index of the head when we last wrote or read it; `None` where there is none.
    pub(super) head: Option<ModifyIndex>,
    pub(super) written: Written,
    /// The result of a write whose outcome is unknown: read the head before the next write.
    pub(super) unsure: Option<Written>,
    /// The newest generation of pages that a head was to name. Another fold must not use its number: that head can still
    /// arrive.
    pub(super) folded: u64,
    folding: Option<Folding>,
}

/// What the head says of the keys beside it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) extent: Extent,
    /// What the original program's key holds, as far as we know.
    pub(super) value: u64,
    pub(super) in_pages: usize,
    pub(super) in_logs: usize,
}

/// The logs are being folded into the pages of the next generation.
#[derive(Debug)]
struct Folding {
    generation: u64,
    pages: u32,
    /// The page to be written next.
    next: u32,
    written: usize,
    /// What was set since the fold began: pages that are written already do not have it.
    since: HashMap<TaskKey, TaskCursor>,
}

/// The operations of one save, and what is stored after it.
pub(super) struct Save {
    /// In any number of transactions, in order.
    pub(super) before: Vec<Op>,
    /// In one transaction.
    pub(super) head: Vec<Op>,
    pub(super) written: Written,
    pub(super) folded: bool,
}

impl Remote {
    /// What was just read. No fold is under way.
    pub(super) fn new(head: Option<ModifyIndex>, written: Written, folded: u64) -> Self {
        Remote { head, written, unsure: None, folded, folding: None }
    }

    /// The save of `changes`.
    pub(super) fn plan(&mut self, keys: &Keys, progress: &dyn Progress, changes: &Changes) -> Save {
        let mut before = Vec::new();
        let Written { mut extent, value, mut in_pages, mut in_logs } = self.written;
        let next_generation = extent.generation.max(self.folded) + 1;
        let mut obsolete = 0..0;
        let mut logged = match extent {
            // The first save, or somebody has deleted what we had stored.
            Extent { pages: 0, logs: 0, .. } => progress.task_cursors(Shard::ALL),
            _ => changes.task_cursors.clone(),
        };
        let mut folded = false;
        if changes.forgotten {
            self.folding = None;
            obsolete = extent.generation..next_generation;
            extent = Extent { generation: next_generation, ..Extent::default() };
            (in_pages, in_logs) = (0, 0);
        } else if match &self.folding {
            None => in_logs >= in_pages + FREE_CURSORS || extent.logs >= MAX_LOGS,
            // So many more task cursors were set meanwhile that a page would not fit into a transaction: start again.
            Some(folding) => progress.task_cursors_len() > folding.pages as usize * 2 * PAGE_CURSORS,
        } {
            let generation = next_generation;
            let pages = u32::try_from(progress.task_cursors_len() / PAGE_CURSORS).unwrap_or(u32::MAX).max(1);
            self.folding = Some(Folding { generation, pages, next: 0, written: 0, since: HashMap::new() });
        }
        if let Some(folding) = &mut self.folding {
            before.extend(folding.page(keys, progress, changes));
            if folding.next + 1 == folding.pages {
                obsolete = extent.generation..folding.generation;
                extent = Extent { generation: folding.generation, pages: folding.pages, logs: 0 };
                (in_pages, in_logs) = (folding.written, 0);
                logged = folding.since.iter().map(|(task, task_cursor)| (*task, *task_cursor)).collect();
                folded = true;
            }
        }
        for task_cursors in logged.chunks(LOG_CURSORS) {
            let (key, value) = (keys.log(extent.generation, extent.logs), pages::encode(task_cursors));
            before.push(Op::Set { key, value, flags: 0 });
            extent.logs += 1;
            in_logs += task_cursors.len();
        }
        let value = if changes.head.value > 0 { changes.head.value } else { value };
        let written = Written { extent, value, in_pages, in_logs };
        Save { before, head: self.head_ops(keys, changes, &written, obsolete), written, folded }
    }

    fn head_ops(&self, keys: &Keys, changes: &Changes, written: &Written, obsolete: Range<u64>) -> Vec<Op> {
        let Written { extent, value, .. } = *written;
        let checkpoint = Checkpoint { version: VERSION, ..changes.head.clone() };
        let text_of_head = text(Head { checkpoint, extent, stored_value: value });
        // An older write of ours that is still on its way must not replace a newer one.
        let mut ops = vec![self.check_head(keys)];
        ops.push(Op::Set { key: keys.state.clone(), value: text_of_head.into(), flags: 0 });
        if value > 0 {
            ops.push(Op::Set { key: keys.value.clone(), value: value.to_string().into(), flags: 0 });
        }
        // There is more than one only where folds were cut off right before their end.
        for generation in obsolete.take(MAX_OBSOLETE) {
            ops.push(Op::DeleteTree { prefix: keys.generation(generation) });
        }
        ops
    }

    /// Refuses a transaction where the head is not the one that we know.
    pub(super) fn check_head(&self, keys: &Keys) -> Op {
        match self.head {
            Some(index) => Op::CheckIndex { key: keys.state.clone(), index },
            None => Op::CheckNotExists { key: keys.state.clone() },
        }
    }

    /// A save is stored.
    pub(super) fn stored(&mut self, head: Option<ModifyIndex>, written: Written, folded: bool) {
        self.head = head.or(self.head);
        (self.written, self.unsure) = (written, None);
        match &mut self.folding {
            Some(_) if folded => self.folding = None,
            Some(folding) => folding.next += 1,
            None => {}
        }
    }
}

impl Folding {
    /// The operations of the next page.
    fn page(&mut self, keys: &Keys, progress: &dyn Progress, changes: &Changes) -> Vec<Op> {
        self.since.extend(changes.task_cursors.iter().copied());
        let mut ops = Vec::new();
        if self.next == 0 {
            // A write that was cut off may have left keys there.
            ops.push(Op::DeleteTree { prefix: keys.generation(self.generation) });
        }
        let task_cursors = progress.task_cursors(Shard { number: self.next, of: self.pages });
        self.written += task_cursors.len();
        let key = keys.page(self.generation, self.next);
        ops.push(Op::Set { key, value: pages::encode(&task_cursors), flags: 0 });
        ops
    }
}

/// The text of a head. One that is too large is made to fit: otherwise the checkpoint would never move again.
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

/// Whether these operations fit into one transaction, beside the heartbeats.
pub(super) fn fits<'a>(ops: impl Iterator<Item = &'a Op>) -> bool {
    let (mut count, mut bytes) = (0, 0);
    for op in ops {
        count += 1;
        bytes += op.wire_bytes();
    }
    count + OPS_FOR_HEARTBEATS <= MAX_OPS && bytes + FOR_HEARTBEATS <= MAX_REQUEST_BYTES
}

/// Spreads operations over as few transactions as they fit in, in order.
pub(super) fn pack(ops: Vec<Op>) -> Vec<Vec<Op>> {
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
const _: () = assert!((LOG_CURSORS + 2 * PAGE_CURSORS) * ENTRY_BYTES * 4 / 3 < MAX_REQUEST_BYTES - FOR_HEARTBEATS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::{Gap, Pass, StreamProgress},
        position::{Identity, Position, RaftIndex},
    };

    /// A head with this many separate ranges, and known identities of the position and of each range.
    fn head(ranges: u64, seen: u64, known: u64) -> Head {
        let identities = |count: u64| (0..count).map(|n| Identity(u64::MAX - n)).collect();
        let range = |n: u64| Gap { from: RaftIndex(10 * n), until: RaftIndex(10 * n + 5), known: identities(known) };
        let backfill = vec![Pass { ranges: (1..=ranges).map(range).collect(), ..Pass::default() }];
        let position = Position { index: RaftIndex(1 << 40), seen: identities(seen), ..Position::default() };
        let stream = StreamProgress { position, backfill, ..StreamProgress::default() };
        let checkpoint = Checkpoint { streams: [("*".to_owned(), stream)].into(), ..Checkpoint::default() };
        Head { checkpoint, extent: Extent::default(), stored_value: 0 }
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
