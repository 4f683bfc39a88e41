//! How long what the original program stored is kept, and when it is void.

use super::*;

fn after_the_original(value: u64) -> Arc<Ledger> {
    let legacy = Some(LegacyValue { value, until: None });
    Ledger::new(Arc::new(Switch::default()), Checkpoint { legacy, ..Checkpoint::default() })
}

#[test]
fn the_original_is_remembered_until_every_lane_is_past_it() {
    let ledger = after_the_original(7);
    let streams = LANES.map(Arc::<str>::from);
    streams.iter().for_each(|stream| ledger.expect(stream));
    assert_eq!(
        ledger.resume_from_legacy_value(RaftIndex(9)),
        Some(LegacyValue { value: 7, until: Some(RaftIndex(9)) })
    );
    // The index that the first stream set stays.
    assert_eq!(
        ledger.resume_from_legacy_value(RaftIndex(11)),
        Some(LegacyValue { value: 7, until: Some(RaftIndex(9)) })
    );
    assert_eq!(whole(&ledger).map(|checkpoint| checkpoint.value), Some(7));
    let line = |stream: &Arc<str>, index, backfill| Effect {
        stream: Arc::clone(stream),
        line: Some((RaftIndex(index), vec![Identity(index)])),
        backfill,
        ..Effect::default()
    };
    let behind = LegacyNeed { position: RaftIndex(9), lists: true };
    ledger.need_legacy_value(&streams[0], behind);
    let gap = vec![Pass::default()];
    for (stream, index, backfill) in [(0, 8, None), (0, 9, Some(gap)), (1, 10, None), (0, 11, Some(Vec::new()))] {
        let held = ledger.enter(line(&streams[stream], index, backfill), 1, None).expect("a record");
        assert!(ledger.legacy().is_some(), "{stream} {index}");
        held.delivered();
    }
    // The other stream exists, but has not said yet what it needs.
    assert!(ledger.legacy().is_some());
    ledger.need_legacy_value(&streams[1], behind);
    assert_eq!(ledger.legacy(), None);
}

#[test]
fn another_cluster_begins_with_the_value_0_and_without_an_original() {
    let ledger = after_the_original(7);
    ledger.resume_from_legacy_value(RaftIndex(9));
    let held = ledger.enter(Effect { value: Some(8), ..Effect::default() }, 1, None).expect("a record");
    ledger.start_over("default");
    held.delivered();
    let checkpoint = ledger.acknowledged();
    assert_eq!((checkpoint.value, checkpoint.legacy), (0, None));
    assert!(ledger.enter(Effect { value: Some(3), ..Effect::default() }, 0, None).is_none());
    assert_eq!(ledger.acknowledged().value, 3);
}

#[test]
fn a_value_of_no_use_is_as_if_nothing_was_delivered() {
    let ledger = after_the_original(u64::MAX);
    ledger.distrust_legacy_value();
    ledger.resume_from_legacy_value(RaftIndex(9));
    let checkpoint = ledger.acknowledged();
    assert_eq!((checkpoint.value, checkpoint.legacy.map(|legacy| legacy.value)), (0, Some(0)));
}
