//! What the report says of what is stored.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::{view::Row, *};
use crate::{
    checkpoint::{self, Checkpoint, Pass, VERSION},
    coordinator::inspect::Content,
    position::{Position, RaftIndex},
    task_cursors::{EventHash, TaskCursor, TaskKey},
};

fn stream(index: u64, backfill: Vec<Pass>) -> checkpoint::StreamProgress {
    checkpoint::StreamProgress {
        position: Position::at(RaftIndex(index)),
        backfill,
        ..checkpoint::StreamProgress::default()
    }
}

fn led() -> Leader {
    let lease = Some(Duration::from_secs(4));
    Leader::Known { holder: "process 7 on host".to_owned(), session: Some("5e55".to_owned()), lease }
}

fn found(kind: Kind, content: Content) -> Inspected {
    Inspected { kind, leader: led(), content, value: Some(Ok(1_795_264_246_120_000_000)), entries: 14, bytes: 39_120 }
}

fn readable() -> Content {
    let range = checkpoint::Gap { from: RaftIndex(3), until: RaftIndex(90), ..checkpoint::Gap::default() };
    let pass = Pass { ranges: vec![range], page: Some("p\u{1b}[2J".to_owned()), ..Pass::default() };
    let streams =
        BTreeMap::from([("default".to_owned(), stream(100, vec![pass])), ("team".to_owned(), stream(99, vec![]))]);
    let task_cursor = TaskCursor::new(EventHash(1), RaftIndex(2), false);
    let task_cursors = (0..1_234).map(|n| (TaskKey::new(&n.to_string(), "t"), task_cursor)).collect();
    let checkpoint = Checkpoint { version: VERSION, value: 5, streams, task_cursors, ..Checkpoint::default() };
    Content::Readable { checkpoint: Box::new(checkpoint), stored_value: Some(u64::MAX) }
}

fn written(found: &Inspected) -> String {
    table::write(&view::Report { place: "somewhere".to_owned(), kinds: vec![Row::new(found)] }, Unit::Keys)
}

#[test]
fn the_table_shows_each_stream_and_its_gaps() {
    let expected = "\
somewhere

KIND         STREAM   POSITION  GAPS  TASK CURSORS              LEGACY VALUE  KEYS   BYTES  LEASE  LEADER
allocations  default       100     1         1,234  2026-11-21T12:30:46.120Z    14  39,120  4s     process 7 on host (session 5e55)
             team           99     -

allocations, stream default: backfill is unfinished: indexes 3 to 89; it resumes at page \"p\u{fffd}[2J\"
";
    assert_eq!(written(&found(Kind::Allocations, readable())), expected);
}

#[test]
fn json_shows_the_same() {
    let row = serde_json::to_value(Row::new(&found(Kind::Jobs, readable()))).expect("plain data");
    assert_eq!(row["leader"], serde_json::json!({"holder": "process 7 on host", "session": "5e55", "lease_ms": 4000}));
    assert_eq!(row["checkpoint"]["streams"][0]["gaps"][0]["ranges"][0], serde_json::json!({"from": 3, "until": 90}));
    assert_eq!(row["checkpoint"]["task_cursors"], 1_234);
    assert_eq!((&row["value"], &row["value_time"]), (&1_795_264_246_120_000_000_u64.into(), &serde_json::Value::Null));
}

#[test]
fn what_keeps_a_start_from_going_on_is_a_problem() {
    let (path, reason) = ("a/jobs.state".to_owned(), "it is bad".to_owned());
    let reset = crate::coordinator::reset::anywhere(Kind::Jobs);
    let broken = Content::Unreadable { path, reason, reset };
    let row = Row::new(&found(Kind::Jobs, broken));
    assert!(row.problems[0].contains("a/jobs.state") && row.problems[0].ends_with("nomad-firehose state reset jobs"));
    let no_number = Some(Err("\"x\" is no whole number".to_owned()));
    let alone = Inspected { value: no_number.clone(), ..found(Kind::Jobs, Content::Nothing) };
    assert_eq!((Row::new(&alone).problems.len(), Row::new(&alone).unreadable), (1, true));
    // Beside a checkpoint it is not looked at.
    let beside = Row::new(&Inspected { value: no_number, ..found(Kind::Jobs, readable()) });
    assert_eq!((beside.problems.len(), beside.notes.len()), (0, 1));
    let no_lock = Leader::NoLock { path: "a/jobs.lock".to_owned(), flags: 0 };
    let no_lock = Row::new(&Inspected { leader: no_lock, ..found(Kind::Jobs, readable()) });
    assert_eq!((no_lock.problems.len(), no_lock.unreadable, no_lock.leader.is_none()), (1, false, true));
}

#[test]
fn an_original_that_led_in_between_is_noted() {
    let Content::Readable { checkpoint, .. } = readable() else { panic!("it is readable") };
    let content = Content::Readable { checkpoint, stored_value: Some(5) };
    assert!(Row::new(&found(Kind::Jobs, content)).notes[0].contains("from 5 to 1795264246120000000"));
    assert_eq!(Row::new(&found(Kind::Jobs, Content::Nothing)).notes.len(), 1);
}

#[test]
fn a_reset_says_what_it_did_and_what_comes_next() {
    let done = |value: Option<&str>, next| ResetOutcome::Forgotten {
        entries: 1,
        bytes: 1_000,
        value: value.map(str::to_owned),
        next,
    };
    for (outcome, expected) in [
        (
            done(None, Next::Value(7)),
            "removed the checkpoint: 1 key, 1,000 bytes. The next start resumes from the legacy value 7.",
        ),
        (
            done(Some("7"), Next::Anew),
            "removed the checkpoint: 1 key, 1,000 bytes. Removed the legacy value, too: \"7\". The next start is a first start: NOMAD_FIREHOSE_START says where it begins.",
        ),
        (
            ResetOutcome::Led(led()),
            "nothing was removed: process 7 on host (session 5e55) leads. Stop it first. With Consul, a leader that is gone counts until its lease has expired.",
        ),
    ] {
        assert_eq!(words(&outcome, Unit::Keys), expected);
    }
}

#[test]
fn every_time_of_a_task_event_can_be_written() {
    for (nanoseconds, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_868_799_999_999_999, "2000-02-29T23:59:59.999Z"),
        (1_795_264_246_120_000_000, "2026-11-21T12:30:46.120Z"),
        (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000Z"),
        (u64::MAX, "2554-07-21T23:34:33.709Z"),
    ] {
        assert_eq!(view::utc(nanoseconds), text);
    }
}

proptest! {
    #[test]
    fn nothing_that_is_stored_reaches_the_terminal_as_a_command(holder in "\\PC{0,9}|[\\x00-\\x9f]{0,200}", name in "[\\x00-\\x9f]{0,9}", page in "[\\x00-\\x9f]{0,9}") {
        let pass = Pass { page: Some(page), namespace: Some(name.clone()), ..Pass::default() };
        let checkpoint = Checkpoint { streams: BTreeMap::from([(name, stream(1, vec![pass]))]), ..Checkpoint::default() };
        let content = Content::Readable { checkpoint: Box::new(checkpoint), stored_value: None };
        let leader = Leader::Known { holder, session: None, lease: None };
        let text = written(&Inspected { leader, ..found(Kind::Nodes, content) });
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        prop_assert_eq!(text.lines().count(), 6);
    }

    #[test]
    fn groups_are_of_three(number: u64) {
        let text = table::grouped(number);
        prop_assert_eq!(text.replace(',', ""), number.to_string());
        prop_assert!(text.split(',').skip(1).all(|group| group.len() == 3));
    }
}
