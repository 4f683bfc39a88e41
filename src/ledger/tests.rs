//! For any order of deliveries and any drops, the checkpoint ends right before the first record that is not delivered.

mod acks;
mod legacy;

use std::{collections::HashMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    checkpoint::{Checkpoint, Gap, Pass},
    delivery::testing::Switch,
    position::Identity,
    task_cursors::EventHash,
    telemetry::Metrics,
    window::Window,
};

const LANES: [&str; 2] = ["default", "other"];

fn ledger() -> (Arc<Ledger>, Switch) {
    let lease = Switch::default();
    (Ledger::new(Arc::new(lease.clone()), Checkpoint::default()), lease)
}

fn task_cursor(number: u64) -> TaskCursor {
    TaskCursor::new(EventHash(number), RaftIndex(number), false)
}

fn task(name: u8) -> TaskKey {
    TaskKey::new("allocation", &name.to_string())
}

#[derive(Clone, Debug)]
struct Line {
    stream: usize,
    records: usize,
    task: u8,
}

#[derive(Clone, Debug)]
struct Case {
    lines: Vec<Line>,
    /// Which records are delivered, in this order; the others are dropped.
    deliveries: Vec<(usize, bool)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let line = (0..LANES.len(), 0_usize..4, 0_u8..3).prop_map(|(stream, records, task)| Line { stream, records, task });
    prop::collection::vec(line, 1..20).prop_flat_map(|lines| {
        let owners: Vec<usize> =
            lines.iter().enumerate().flat_map(|(number, line)| vec![number; line.records]).collect();
        let order = Just(owners).prop_shuffle();
        let drop_rate = prop_oneof![Just(0.0), Just(0.1)];
        (Just(lines), order, drop_rate).prop_flat_map(|(lines, order, drop_rate)| {
            let delivered = prop::collection::vec(prop::bool::weighted(1.0 - drop_rate), order.len());
            (Just(lines), Just(order), delivered).prop_map(|(lines, order, delivered)| Case {
                lines,
                deliveries: order.into_iter().zip(delivered).collect(),
            })
        })
    })
}

/// What a coordinator that stores everything reads.
fn whole(ledger: &Ledger) -> Option<Checkpoint> {
    let head = ledger.head()?;
    Some(Checkpoint { task_cursors: ledger.task_cursors(Shard::ALL).into_iter().collect(), ..head })
}

/// The checkpoint when the first `done` lines took effect.
fn expected(lines: &[Line], done: usize) -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    for (line, number) in lines[..done].iter().zip(1..) {
        let stream = checkpoint.streams.entry(LANES[line.stream].to_owned()).or_default();
        stream.position.advance(RaftIndex(number), &[Identity(number)]);
        checkpoint.task_cursors.set(task(line.task), task_cursor(number));
        checkpoint.value = number;
    }
    checkpoint
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_checkpoint_stands_before_the_first_undelivered_record(case in cases()) {
        let (ledger, _lease) = ledger();
        let mut acks: Vec<Vec<AckHandle>> = Vec::new();
        let mut remaining: Vec<usize> = Vec::new();
        let mut stored = Checkpoint::default();
        for (line, number) in case.lines.iter().zip(1..) {
            let effect = Effect {
                stream: LANES[line.stream].into(),
                line: Some((RaftIndex(number), vec![Identity(number)])),
                task_cursors: vec![(task(line.task), task_cursor(number))],
                value: Some(number),
                ..Effect::default()
            };
            let ack = ledger.enter(effect, line.records, None);
            prop_assert_eq!(ack.is_some(), line.records > 0);
            acks.push(ack.map(|ack| vec![ack; line.records]).unwrap_or_default());
            remaining.push(line.records);
            // An undelivered cursor counts for the next difference of the same task.
            prop_assert_eq!(ledger.task_cursor(task(line.task)), Some(task_cursor(number)));
        }
        for (line, is_delivered) in case.deliveries {
            let ack = acks[line].pop().expect("one for each record");
            if is_delivered {
                ack.delivered();
                remaining[line] -= 1;
            } else {
                drop(ack);
            }
            let done = remaining.iter().take_while(|records| **records == 0).count();
            stored = whole(&ledger).unwrap_or(stored);
            prop_assert_eq!(&stored, &expected(&case.lines, done));
            // Neighbours without records share an entry.
            prop_assert!(ledger.pending() <= case.lines.len() - done);
        }
        let all = remaining.iter().all(|records| *records == 0);
        stored = whole(&ledger).unwrap_or(stored);
        prop_assert_eq!(stored.value == case.lines.len() as u64, all);
        // Undelivered cursors stay known, whatever becomes of their records.
        let newest: HashMap<u8, u64> = case.lines.iter().map(|line| line.task).zip(1..).collect();
        for (name, number) in newest {
            prop_assert_eq!(ledger.task_cursor(task(name)), Some(task_cursor(number)));
        }
    }
}

#[test]
fn changes_are_offered_once_and_again_where_they_were_not_stored() {
    let (ledger, _lease) = ledger();
    assert_eq!(whole(&ledger), None);
    assert!(ledger.enter(Effect { value: Some(3), ..Effect::default() }, 0, None).is_none());
    assert_eq!(whole(&ledger).map(|checkpoint| checkpoint.value), Some(3));
    assert_eq!(whole(&ledger), None);
    ledger.not_stored();
    assert_eq!(whole(&ledger).map(|checkpoint| checkpoint.value), Some(3));
}

#[test]
fn what_passes_without_a_record_costs_nothing_behind_one_that_is_held() {
    let (ledger, _lease) = ledger();
    let line = |index| Effect {
        stream: Arc::from("*"),
        line: Some((RaftIndex(index), vec![Identity(index)])),
        ..Effect::default()
    };
    let held = ledger.enter(line(1), 1, None).expect("a record");
    for index in 2..100_000 {
        assert!(ledger.enter(line(index), 0, None).is_none());
    }
    assert_eq!(ledger.pending(), 2);
    assert_eq!(ledger.stream("*"), None);
    held.delivered();
    let position = ledger.stream("*").expect("delivered").position;
    assert_eq!((position.index, &*position.seen), (RaftIndex(99_999), &[Identity(99_999)][..]));
}

#[test]
fn topics_take_effect_with_the_record_that_reports_them() {
    let (ledger, _lease) = ledger();
    let read_with = |topics: &[&str]| Effect {
        stream: Arc::from("*"),
        topics: Some(topics.iter().map(|topic| (*topic).to_owned()).collect()),
        ..Effect::default()
    };
    let stored = || ledger.stream("*").map(|stream| stream.topics).unwrap_or_default();
    assert!(ledger.enter(read_with(&["Node"]), 0, None).is_none());
    assert_eq!(stored(), ["Node"]);
    let reported = ledger.enter(read_with(&["Job", "Node"]), 1, None).expect("a record");
    for _ in 0..2 {
        assert!(ledger.enter(read_with(&["Job", "Node"]), 0, None).is_none());
    }
    assert_eq!(stored(), ["Node"], "it is not delivered yet");
    reported.delivered();
    assert_eq!(stored(), ["Job", "Node"]);
    assert!(ledger.enter(Effect { stream: Arc::from("*"), ..Effect::default() }, 0, None).is_none());
    assert_eq!(stored(), ["Job", "Node"], "what says nothing of them leaves them");
    ledger.start_over("*");
    assert_eq!(stored(), [""; 0]);
}

#[test]
fn a_lane_that_starts_over_takes_nothing_from_another_that_did() {
    let (ledger, _lease) = ledger();
    let gap = vec![Pass::default()];
    ledger.start_over("a");
    let effect = Effect {
        stream: Arc::from("a"),
        line: Some((RaftIndex(9), vec![Identity(9)])),
        backfill: Some(gap.clone()),
        task_cursors: vec![(task(1), task_cursor(9))],
        ..Effect::default()
    };
    let ack = ledger.enter(effect, 1, None).expect("a record");
    ledger.start_over("b");
    ack.delivered();
    let stream = ledger.stream("a").expect("delivered");
    assert_eq!((stream.position.index, stream.backfill), (RaftIndex(9), gap));
    assert_eq!(ledger.task_cursor(task(1)), Some(task_cursor(9)));
}

/// A restored cluster has the same allocations at lower indexes: with an old task cursor, all their events would look
/// delivered.
#[test]
fn what_another_lane_had_on_the_way_brings_no_mark_back() {
    for entered_between in [false, true] {
        let (ledger, _lease) = ledger();
        let effect =
            || Effect { stream: Arc::from("b"), task_cursors: vec![(task(1), task_cursor(500))], ..Effect::default() };
        let early = (!entered_between).then(|| ledger.enter(effect(), 1, None).expect("a record"));
        ledger.start_over("a");
        let late = entered_between.then(|| ledger.enter(effect(), 1, None).expect("a record"));
        if let Some(early) = early {
            early.delivered();
        }
        ledger.start_over("b");
        if let Some(late) = late {
            late.delivered();
        }
        assert_eq!(ledger.task_cursor(task(1)), None, "entered between: {entered_between}");
        let effect =
            Effect { stream: Arc::from("b"), task_cursors: vec![(task(1), task_cursor(40))], ..Effect::default() };
        ledger.enter(effect, 1, None).expect("a record").delivered();
        assert_eq!(ledger.task_cursor(task(1)), Some(task_cursor(40)));
        assert_eq!(ledger.acknowledged().task_cursors.get(task(1)), Some(task_cursor(40)));
        assert!(ledger.lock().entries.carries_nothing());
    }
}

#[test]
fn single_marks_are_given_until_whoever_stores_takes_all_of_them() {
    let (ledger, _) = ledger();
    let deliver = |name: u8, number: u64| {
        let effect = Effect {
            stream: LANES[0].into(),
            task_cursors: vec![(task(name), task_cursor(number))],
            ..Effect::default()
        };
        assert!(ledger.enter(effect, 0, None).is_none());
    };
    let given = || {
        let mut task_cursors = ledger.changes().expect("something changed").task_cursors;
        task_cursors.sort_unstable_by_key(|(_, task_cursor)| task_cursor.index());
        task_cursors
    };
    deliver(1, 1);
    deliver(1, 2);
    deliver(2, 3);
    assert_eq!(given(), [(task(1), task_cursor(2)), (task(2), task_cursor(3))]);
    deliver(3, 4);
    assert_eq!(given(), [(task(3), task_cursor(4))]);
    ledger.not_stored();
    deliver(4, 5);
    assert_eq!(given(), [(task(3), task_cursor(4)), (task(4), task_cursor(5))]);
    deliver(5, 6);
    assert_eq!(ledger.head().map(|head| head.task_cursors.len()), Some(0));
    deliver(6, 7);
    assert_eq!(given().len(), 6);
    deliver(7, 8);
    assert_eq!(given(), [(task(7), task_cursor(8))]);
}

#[test]
fn tasks_that_change_again_and_again_are_named_once() {
    let mut set = ChangedCursors::default();
    (0..100_000_u32).for_each(|number| set.add(task((number % 200) as u8)));
    let ChangedCursors::Of(mut tasks) = set else { panic!("they can be named") };
    assert!(tasks.capacity() <= 4096, "{}", tasks.capacity());
    tasks.sort_unstable();
    tasks.dedup();
    assert_eq!(tasks.len(), 200);
}

/// The gap is entered with the line that reveals it, and waits for the sink as every line does.
#[test]
fn a_gap_that_waits_with_its_line_is_not_delivered() {
    let (ledger, _) = ledger();
    let event = |index| vec![Identity::new("Evaluation", "default", "e", RaftIndex(index), 0)];
    let line = |index: u64, backfill| Effect {
        stream: Arc::from("*"),
        line: Some((RaftIndex(index), event(index))),
        backfill,
        ..Effect::default()
    };
    ledger.enter(line(15, None), 1, None).expect("a record").delivered();
    assert_eq!(ledger.front().undelivered, None);
    let gap = Gap { from: RaftIndex(15), until: RaftIndex(67), ..Gap::default() };
    let gap = vec![Pass { ranges: vec![gap], ..Pass::default() }];
    let ack = ledger.enter(line(66, Some(gap)), 1, None).expect("a record");
    let front = ledger.front();
    assert_eq!((front.position, front.undelivered), (RaftIndex(15), Some(RaftIndex(16))));
    ack.delivered();
    // Now the backfill has the gap, the index of the position included.
    let front = ledger.front();
    assert_eq!((front.position, front.undelivered), (RaftIndex(66), Some(RaftIndex(15))));
}

#[tokio::test(start_paused = true)]
async fn a_gap_ages_until_lists_have_filled_it_and_progress_until_it_is_stored() {
    let metrics = Metrics::new(&[]);
    let latency = metrics.latency(crate::kind::Kind::Jobs);
    let ledger = Ledger::measured(Arc::new(Switch::default()), Checkpoint::default(), latency);
    let line = |index: u64, backfill| Effect {
        stream: Arc::from("*"),
        line: Some((RaftIndex(index), Vec::new())),
        backfill,
        ..Effect::default()
    };
    let pass = |from| Pass { ranges: vec![Gap { from: RaftIndex(from), ..Gap::default() }], ..Pass::default() };
    let age = |since: Option<Instant>| since.map(|since| since.elapsed().as_secs());
    let ages = || (age(ledger.front().oldest), age(ledger.front().unsaved));
    let later = async |seconds| tokio::time::advance(Duration::from_secs(seconds)).await;
    assert_eq!(ages(), (None, None));
    assert!(ledger.enter(line(5, Some(vec![pass(1)])), 0, None).is_none());
    later(3).await;
    assert_eq!(ages(), (Some(3), Some(3)));
    // Another gap does not make the first one younger.
    assert!(ledger.enter(line(6, Some(vec![pass(1), pass(6)])), 0, None).is_none());
    later(2).await;
    assert_eq!(ages(), (Some(5), Some(5)));
    // What changes while a save is under way is not in it.
    let began = Instant::now();
    assert!(ledger.head().is_some());
    later(1).await;
    let window = Window::new(1024, &metrics);
    let share = window.received_line(10, Instant::now() - Duration::from_secs(7)).await;
    let ack = ledger.enter(line(7, Some(Vec::new())), 1, share).expect("a record");
    // The line was received before the gap was found.
    assert_eq!(ages(), (Some(7), Some(6)));
    ack.delivered();
    ledger.stored(began);
    assert_eq!(ages(), (None, Some(1)));
    let began = Instant::now();
    assert!(ledger.head().is_some());
    ledger.stored(began);
    assert_eq!(ages(), (None, None));
    let mut text = String::new();
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register("latency", "Latency", metrics.of(crate::kind::Kind::Jobs).delivery_latency_seconds.clone());
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
    assert!(text.contains("latency_sum 7.0\n") && text.contains("latency_count 1\n"), "{text}");
}

#[test]
fn what_is_filtered_away_costs_nothing_behind_a_record_that_is_held() {
    let (ledger, _lease) = ledger();
    let line = |index: u64| Effect {
        stream: LANES[index as usize % LANES.len()].into(),
        line: Some((RaftIndex(index), vec![Identity(index)])),
        task_cursors: vec![(task((index % 100) as u8), task_cursor(index))],
        value: Some(index),
        ..Effect::default()
    };
    let enter = |index| ledger.enter(line(index), 1, None).expect("a record");
    let held = enter(1);
    let mut filtered: Vec<AckHandle> = (2..100_000).map(enter).collect();
    let last = filtered.pop().expect("one of them");
    // From both ends to the middle, so that each finds done ones on either side at some time.
    while !filtered.is_empty() {
        filtered.swap_remove(filtered.len() / 2).delivered();
        filtered.pop().into_iter().for_each(AckHandle::delivered);
    }
    assert!(ledger.pending() <= 2 + LANES.len(), "{} entries", ledger.pending());
    let cursors = ledger.lock().entries.task_cursors();
    assert!(cursors <= 2 * 100, "{cursors} cursors of 100 tasks");
    assert_eq!(ledger.acknowledged(), Checkpoint::default());
    held.delivered();
    last.delivered();
    for stream in LANES {
        let position = ledger.stream(stream).expect("delivered").position;
        assert!(position.index.0 >= 99_998 && *position.seen == [Identity(position.index.0)], "{position:?}");
    }
    let acknowledged = ledger.acknowledged();
    assert_eq!((acknowledged.value, acknowledged.task_cursors.len()), (99_999, 100));
    assert_eq!(acknowledged.task_cursors.get(task(99)), Some(task_cursor(99_999)));
    assert!(ledger.lock().entries.carries_nothing());
}
