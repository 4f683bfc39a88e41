//! Gaps, pages, failures and restarts in any order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Objects of the table, each last changed at its own index. The list has them on two pages, even ones first.
const OBJECTS: u64 = 10;

fn gap(from: u64, until: u64) -> Gap {
    Gap { from: RaftIndex(from), until: RaftIndex(until), known: Seen::default() }
}

fn pass(from: u64, until: u64) -> Pass {
    Pass { ranges: vec![gap(from, until)], ..Pass::default() }
}

#[derive(Clone, Debug)]
enum Step {
    /// A gap is booked.
    Add { from: u64, len: u64, unreported: bool },
    /// The page goes on, by so many elements.
    Read(usize),
    /// The page fails.
    Fail,
    /// The program stops in order, and another one continues.
    Stop,
    /// It is killed, and another one continues with what was stored last.
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add =
        (0..OBJECTS, 1..OBJECTS, any::<bool>()).prop_map(|(from, len, unreported)| Step::Add { from, len, unreported });
    let step = prop_oneof![
        2 => add,
        6 => (1_usize..4).prop_map(Step::Read),
        1 => Just(Step::Fail),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 0..60)
}

/// Drives a backfill, as a tracker does.
struct Scene {
    kind: Kind,
    backfill: Backfill,
    stored: Vec<Pass>,
    /// Elements of the page under way that have yet to arrive.
    page: Option<Vec<u64>>,
    delivered: Vec<u64>,
    /// What was booked and was never delivered.
    missing: BTreeSet<u64>,
}

impl Scene {
    fn new(kind: Kind) -> Self {
        let backfill = Backfill::load(kind, Vec::new());
        let (page, delivered, missing) = (None, Vec::new(), BTreeSet::new());
        Scene { kind, backfill, stored: Vec::new(), page, delivered, missing }
    }

    /// What is submitted takes the snapshot along.
    fn submit(&mut self) {
        if let Some(snapshot) = self.backfill.take_snapshot() {
            self.stored = snapshot;
        }
        assert!(!self.backfill.has_changed());
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Add { from, len, unreported } => {
                self.backfill.add(Pass { unreported, ..pass(from, from + len) });
                let booked = from..(from + len).min(OBJECTS);
                self.missing.extend(booked.filter(|object| !self.delivered.contains(object)));
                self.submit();
            }
            Step::Read(elements) => (0..elements).for_each(|_| self.read()),
            Step::Fail => {
                self.page = None;
                self.backfill.page_failed();
            }
            Step::Stop => {
                self.page = None;
                self.backfill.page_left();
                self.submit();
                self.restart();
            }
            Step::Kill => {
                self.page = None;
                self.restart();
            }
        }
    }

    fn restart(&mut self) {
        self.backfill = Backfill::load(self.kind, self.stored.clone());
    }

    fn read(&mut self) {
        let Some(page) = &mut self.page else {
            let Some(pass) = self.backfill.next() else { return };
            let second = u64::from(pass.page.is_some());
            self.page = Some((0..OBJECTS).filter(|object| object % 2 == second).rev().collect());
            self.backfill.page_asked();
            return;
        };
        let Some(object) = page.pop() else {
            self.page = None;
            let is_first = self.backfill.next().is_some_and(|pass| pass.page.is_none());
            self.backfill.page_done(is_first.then(|| "second".to_owned())).expect("two pages");
            self.submit();
            return;
        };
        let (index, version) = (RaftIndex(object), Identity(object));
        assert!(self.backfill.is_in_range(index) || !self.backfill.is_missing(index, version));
        if self.backfill.is_missing(index, version) && !self.backfill.is_delivered(version) {
            self.backfill.confirm_gap();
            self.backfill.delivered(version);
            self.delivered.push(object);
            self.missing.remove(&object);
        }
    }

    fn finish(&mut self) {
        while !self.backfill.is_empty() {
            self.read();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever is booked is delivered, over failures and restarts, and in the end nothing is stored.
    #[test]
    fn all_that_is_booked_is_delivered(steps in steps(), allocations: bool) {
        let mut scene = Scene::new(if allocations { Kind::Allocations } else { Kind::Evaluations });
        steps.into_iter().for_each(|step| scene.step(step));
        scene.finish();
        prop_assert!(scene.missing.is_empty(), "{:?} never came", scene.missing);
        scene.submit();
        prop_assert!(scene.stored.is_empty());
    }

    /// One gap is delivered once, however its pages fail and however often the program stops in order.
    #[test]
    fn a_gap_is_delivered_once(from in 0..OBJECTS, len in 1..OBJECTS, steps in steps()) {
        let mut scene = Scene::new(Kind::Evaluations);
        scene.step(Step::Add { from, len, unreported: false });
        let in_order = steps.into_iter().filter(|step| !matches!(step, Step::Add { .. } | Step::Kill));
        in_order.for_each(|step| scene.step(step));
        scene.finish();
        let delivered: BTreeSet<u64> = scene.delivered.iter().copied().collect();
        prop_assert_eq!(&delivered, &(from..(from + len).min(OBJECTS)).collect());
        prop_assert_eq!(delivered.len(), scene.delivered.len(), "{:?}", scene.delivered);
    }
}

#[test]
fn a_gap_that_is_booked_while_a_page_is_read_gets_a_pass_of_its_own() {
    let mut backfill = Backfill::load(Kind::Jobs, Vec::new());
    backfill.add(pass(0, 5));
    backfill.add(pass(5, 9));
    assert_eq!(backfill.next().map(|pass| pass.ranges.len()), Some(1), "they meet, and no page has gone past either");
    backfill.page_asked();
    backfill.add(pass(20, 30));
    assert!(!backfill.is_in_range(RaftIndex(20)));
    let done = backfill.page_done(None).expect("one page").expect("its last page");
    assert_eq!((done.ranges[0].from, done.ranges[0].until), (RaftIndex(0), RaftIndex(9)));
    assert!(backfill.is_in_range(RaftIndex(20)));
}

#[test]
fn a_list_without_end_is_an_error_and_loses_nothing() {
    let mut backfill = Backfill::load(Kind::Jobs, Vec::new());
    backfill.add(pass(0, 5));
    backfill.page_asked();
    assert!(backfill.page_done(Some("a".to_owned())).expect("a further page").is_none());
    backfill.page_asked();
    backfill.delivered(Identity(1));
    backfill.page_done(Some("a".to_owned())).expect_err("it was named before");
    backfill.page_failed();
    assert!(backfill.is_delivered(Identity(1)) && backfill.is_missing(RaftIndex(2), Identity(2)));
}

#[test]
fn what_the_stream_delivered_of_the_last_index_is_known() {
    let mut backfill = Backfill::load(Kind::Jobs, Vec::new());
    backfill.add(pass(0, 5));
    backfill.know(RaftIndex(4), &[Identity(7)]);
    assert!(!backfill.is_missing(RaftIndex(4), Identity(7)) && backfill.is_missing(RaftIndex(4), Identity(8)));
    assert_eq!(backfill.take_snapshot().expect("it changed")[0].ranges[0].known.len(), 1);
    assert!(backfill.take_snapshot().is_none(), "nothing has changed since");
}

#[test]
fn a_gap_is_confirmed_once() {
    let mut backfill = Backfill::load(Kind::Jobs, Vec::new());
    backfill.add(Pass { unreported: true, ..pass(0, 5) });
    assert_eq!(backfill.confirm_gap(), Some(vec![gap(0, 5)]));
    assert_eq!(backfill.confirm_gap(), None);
}
