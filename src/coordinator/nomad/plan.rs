//! Which Variables one save needs. Pure.
//!
//! Task cursors that were set lately are beside the head, in the same Variable, so that most saves are one write. When they are too
//! many, they go into a log: a Variable of their own, which is written once. When the logs have as many as the pages, all task cursors
//! are written again as new pages, one with each save.
//!
//! No name is used twice: it has the id of the leader and a number. So a late write of a deposed leader makes a Variable that no head
//! names, and nobody reads. The next leader deletes it.

use std::collections::{BTreeSet, HashMap};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::record::{Head, Parts};
use crate::{
    checkpoint::{Checkpoint, VERSION},
    coordinator::pages,
    lease::{Changes, Progress},
    task_cursors::{Shard, TaskCursor, TaskKey},
};

/// The most task cursors beside the head: 24 KiB, and 32 KiB as text.
const MOST_RECENT: usize = 768;
/// The most task cursors in a Variable of their own. As text they have 64,024 bytes, of the 65,536 that a Variable may have.
pub(super) const MOST_IN_PART: usize = 1500;
/// Task cursors in one page, on average: a page has its share by chance, and one in 10^9 is 300 above it.
const PAGE: usize = 1150;
/// Task cursors that may lie in logs even where the pages hold fewer.
const FREE: usize = 4 * MOST_IN_PART;
/// The largest text of a head. With the recent task cursors and the heartbeat it fits into a Variable.
const MAX_HEAD: usize = 28 << 10;
/// How many identities of one index or range a head that is too large keeps at first; then half as many, until it fits.
const IDENTITIES_KEPT: usize = 1 << 10;

/// A Variable with task cursors that is to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its name, below that of the head.
    pub(super) name: String,
    /// The task cursors, as text.
    pub(super) text: String,
}

/// What the leader knows of the task cursors that are stored.
#[derive(Debug)]
pub(super) struct Plan {
    /// The id of the leader.
    id: String,
    /// The number of the next name.
    next: u64,
    parts: Parts,
    recent: HashMap<TaskKey, TaskCursor>,
    in_pages: usize,
    in_logs: usize,
    folding: Option<Folding>,
    /// Nothing is stored yet: the first save writes all.
    is_new: bool,
}

/// New pages are being written.
#[derive(Debug)]
struct Folding {
    pages: Vec<String>,
    of: u32,
    written: usize,
    /// What was set since the fold began: pages that are written already do not have it.
    since: HashMap<TaskKey, TaskCursor>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) parts: Parts,
    pub(super) recent: Vec<(TaskKey, TaskCursor)>,
    pub(super) in_pages: usize,
    pub(super) in_logs: usize,
}

impl Plan {
    /// After a first start, or with what was read.
    pub(super) fn new(id: &str, stored: Option<Stored>) -> Self {
        let is_new = stored.is_none();
        let Stored { parts, recent, in_pages, in_logs } = stored.unwrap_or_default();
        let (id, recent) = (id.to_owned(), recent.into_iter().collect());
        Plan { id, next: 0, parts, recent, in_pages, in_logs, folding: None, is_new }
    }

    fn name(&mut self) -> String {
        self.next += 1;
        format!("{}-{}", self.id, self.next)
    }

    /// Takes in what changed. Once it is taken in it need not be offered again: every later head covers it.
    pub(super) fn take_in(&mut self, changes: &Changes, progress: &dyn Progress) {
        if changes.forgotten {
            (self.parts, self.in_pages, self.in_logs) = (Parts::default(), 0, 0);
            self.recent.clear();
            self.folding = None;
        }
        if self.is_new || changes.forgotten {
            self.recent.extend(progress.task_cursors(Shard::ALL));
            self.is_new = false;
        }
        self.recent.extend(changes.task_cursors.iter().copied());
        if let Some(folding) = &mut self.folding {
            folding.since.extend(changes.task_cursors.iter().copied());
        }
    }

    /// The next Variable to be written before the head, if there is one. It is written when [`Plan::wrote`] says so.
    pub(super) fn next_part(&mut self, progress: &dyn Progress, is_first: bool) -> Option<(Part, Pending)> {
        if self.recent.len() > MOST_RECENT {
            let some: Vec<_> = self.recent.iter().take(MOST_IN_PART).map(|(task, cursor)| (*task, *cursor)).collect();
            let part = Part { name: self.name(), text: text(&some) };
            return Some((part, Pending::Log(some)));
        }
        // One page with each save.
        if !is_first {
            return None;
        }
        let count = progress.task_cursors_len();
        if self.folding.is_none() && self.in_logs >= self.in_pages + FREE {
            let of = u32::try_from(count / PAGE).unwrap_or(u32::MAX).saturating_add(1);
            self.folding = Some(Folding { pages: Vec::new(), of, written: 0, since: HashMap::new() });
        }
        let name = self.name();
        let folding = self.folding.as_mut()?;
        let number = u32::try_from(folding.pages.len()).unwrap_or(u32::MAX);
        let page = progress.task_cursors(Shard { number, of: folding.of });
        if page.len() > MOST_IN_PART {
            // So many more were set meanwhile: begin again, with more pages.
            self.folding = None;
            return None;
        }
        Some((Part { name, text: text(&page) }, Pending::Page(page.len())))
    }

    /// This part is stored.
    pub(super) fn wrote(&mut self, name: String, pending: Pending) {
        match pending {
            Pending::Log(some) => {
                self.in_logs += some.len();
                self.parts.logs.push(name);
                for (task, cursor) in some {
                    // A newer one may have come meanwhile.
                    if self.recent.get(&task) == Some(&cursor) {
                        self.recent.remove(&task);
                    }
                }
            }
            Pending::Page(len) => {
                let Some(mut folding) = self.folding.take() else { return };
                folding.pages.push(name);
                folding.written += len;
                if folding.pages.len() < folding.of as usize {
                    self.folding = Some(folding);
                    return;
                }
                self.parts = Parts { pages: folding.pages, logs: Vec::new() };
                (self.in_pages, self.in_logs) = (folding.written, 0);
                // What is beside the head may be in the pages already: that does no harm.
                self.recent.extend(folding.since);
            }
        }
    }

    /// The text of the head, and of the task cursors beside it.
    pub(super) fn head(&self, checkpoint: &Checkpoint) -> (String, Option<String>) {
        let checkpoint = Checkpoint { version: VERSION, ..checkpoint.clone() };
        let recent: Vec<_> = self.recent.iter().map(|(task, cursor)| (*task, *cursor)).collect();
        let recent = (!recent.is_empty()).then(|| text(&recent));
        (fitting(Head { checkpoint, parts: self.parts.clone() }), recent)
    }

    /// The Variables that the head names, and those that the next ones will.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let folded = self.folding.iter().flat_map(|folding| &folding.pages);
        self.parts.names().chain(folded).cloned().collect()
    }
}

/// What [`Plan::wrote`] has to know of a part.
#[derive(Debug)]
pub(super) enum Pending {
    Log(Vec<(TaskKey, TaskCursor)>),
    Page(usize),
}

/// Task cursors as the text of an item.
fn text(task_cursors: &[(TaskKey, TaskCursor)]) -> String {
    BASE64.encode(pages::encode(task_cursors))
}

/// The task cursors of an item.
///
/// # Errors
/// The text is damaged, and says how.
pub(super) fn parse(text: &str) -> Result<Vec<(TaskKey, TaskCursor)>, String> {
    let bytes = BASE64.decode(text).map_err(|error| error.to_string())?;
    Ok(pages::decode(&bytes)?.collect())
}

/// The text of a head. One that is too large is made to fit: otherwise the checkpoint would never move again.
fn fitting(mut head: Head) -> String {
    let text = |head: &Head| serde_json::to_string(head).expect("maps with texts as keys");
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        checkpoint::{Gap, Pass, StreamProgress},
        position::{Identity, Position, RaftIndex},
        task_cursors::{EventHash, TaskCursors},
    };

    /// All task cursors of a run.
    #[derive(Default)]
    struct All(std::sync::Mutex<BTreeMap<u64, u64>>);

    fn entry((task, event): (u64, u64)) -> (TaskKey, TaskCursor) {
        (TaskKey::new(&task.to_string(), "task"), TaskCursor::new(EventHash(event), RaftIndex(event), false))
    }

    impl Progress for All {
        fn head(&self) -> Option<Checkpoint> {
            None
        }
        fn changes(&self) -> Option<Changes> {
            None
        }
        fn not_stored(&self) {}
        fn task_cursors(&self, shard: Shard) -> Vec<(TaskKey, TaskCursor)> {
            let all = self.0.lock().expect("no panic");
            all.iter().map(|(task, event)| entry((*task, *event))).filter(|(task, _)| shard.has(*task)).collect()
        }
        fn task_cursors_len(&self) -> usize {
            self.0.lock().expect("no panic").len()
        }
    }

    /// The Variables, as a leader that reads them finds them.
    fn read(head: &(String, Option<String>), variables: &BTreeMap<String, String>) -> (TaskCursors, Stored) {
        let Head { parts, .. } = serde_json::from_str(&head.0).expect("a head");
        let mut stored = Stored { parts, ..Stored::default() };
        let mut all = TaskCursors::default();
        for (number, name) in stored.parts.names().enumerate() {
            let some = parse(variables.get(name).expect("what a head names is there")).expect("whole");
            if number < stored.parts.pages.len() {
                stored.in_pages += some.len()
            } else {
                stored.in_logs += some.len()
            }
            some.into_iter().for_each(|(task, cursor)| all.set(task, cursor));
        }
        stored.recent = head.1.as_deref().map(|text| parse(text).expect("whole")).unwrap_or_default();
        stored.recent.iter().for_each(|(task, cursor)| all.set(*task, *cursor));
        (all, stored)
    }

    /// One save: how many cursors are set, and which of its writes fails, if one does.
    fn saves() -> impl Strategy<Value = Vec<(u64, Option<u8>, bool, bool)>> {
        let one =
            (0_u64..2500, prop::option::weighted(0.2, 0_u8..4), prop::bool::weighted(0.03), prop::bool::weighted(0.1));
        prop::collection::vec(one, 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn whatever_fails_the_stored_head_has_every_cursor_that_it_had_to(saves in saves()) {
            let (all, variables) = (All::default(), RefCell::new(BTreeMap::<String, String>::new()));
            let (mut plan, mut leader) = (Plan::new("leader-0", None), 0);
            let (mut stored_head, mut expected) = (None, BTreeMap::new());
            let (mut next, mut owed, mut forgets) = (0_u64, Vec::new(), false);
            for (count, fails, forgotten, changes_leader) in saves {
                if forgotten {
                    all.0.lock().expect("no panic").clear();
                    owed.clear();
                    forgets = true;
                }
                for _ in 0..count {
                    next += 1;
                    let set = (next % 6007, next);
                    all.0.lock().expect("no panic").insert(set.0, set.1);
                    owed.push(entry(set));
                }
                let changes = Changes { head: Checkpoint::default(), task_cursors: owed.clone(), forgotten: forgets };
                plan.take_in(&changes, &all);
                let (mut is_first, mut writes, mut failed) = (true, 0, false);
                while let Some((Part { name, text }, pending)) = plan.next_part(&all, is_first) {
                    is_first = false;
                    prop_assert!(text.len() + 20 <= crate::nomad::MAX_ITEMS, "{} bytes", text.len());
                    failed = fails == Some(writes);
                    writes += 1;
                    if failed { break; }
                    prop_assert!(variables.borrow_mut().insert(name.clone(), text).is_none(), "{name} was used twice");
                    plan.wrote(name, pending);
                }
                if !failed && fails != Some(3) {
                    let head = plan.head(&Checkpoint::default());
                    let bytes = head.0.len() + head.1.as_ref().map_or(0, String::len);
                    prop_assert!(bytes <= 62 << 10, "{bytes} bytes");
                    stored_head = Some(head);
                    expected = all.0.lock().expect("no panic").clone();
                    owed.clear();
                    forgets = false;
                }
                if let Some(head) = &stored_head {
                    let (found, stored) = read(head, &variables.borrow());
                    for (task, event) in &expected {
                        let (task, cursor) = entry((*task, *event));
                        prop_assert_eq!(found.get(task), Some(cursor));
                    }
                    prop_assert_eq!(found.len(), expected.len());
                    if changes_leader {
                        leader += 1;
                        // What was not stored is lost with the old leader.
                        *all.0.lock().expect("no panic") = expected.clone();
                        (owed, forgets) = (Vec::new(), false);
                        plan = Plan::new(&format!("leader-{leader}"), Some(stored));
                    }
                }
            }
        }
    }

    #[test]
    fn whatever_is_known_and_owed_a_head_can_be_stored() {
        for (ranges, seen, known) in [(1, 0, 100_000), (1, 100_000, 0), (1_000, 10, 100), (20_000, 100_000, 2)] {
            let identities = |count: u64| (0..count).map(|n| Identity(u64::MAX - n)).collect();
            let range =
                |n: u64| Gap { from: RaftIndex(10 * n), until: RaftIndex(10 * n + 5), known: identities(known) };
            let backfill = vec![Pass { ranges: (1..=ranges).map(range).collect(), ..Pass::default() }];
            let position = Position { index: RaftIndex(1 << 40), seen: identities(seen), ..Position::default() };
            let stream = StreamProgress { position, backfill, ..StreamProgress::default() };
            let checkpoint = Checkpoint { streams: [("*".to_owned(), stream)].into(), ..Checkpoint::default() };
            let (text, _) = Plan::new("leader", None).head(&checkpoint);
            assert!(text.len() <= MAX_HEAD, "{} bytes of {ranges} ranges, {seen} and {known}", text.len());
            let head: Head = serde_json::from_str(&text).expect("a head");
            let owes = |index| {
                let ranges = &head.checkpoint.streams["*"].backfill[0].ranges;
                ranges.iter().any(|gap| gap.contains(RaftIndex(index), Identity(0)))
            };
            assert!((1..=ranges).all(|n| owes(10 * n) && owes(10 * n + 4)));
        }
    }
}
