//! What becomes of an entry with its ack handles: shared, split, joined, watched.

use futures_util::FutureExt;

use super::*;
use crate::lease::LeaseState;

#[tokio::test]
async fn the_window_opens_when_the_last_ticket_is_gone() {
    let (ledger, _lease) = ledger();
    let window = Window::new(1000, &Metrics::new(&[]));
    let all = window.line(750).await;
    let ack = ledger.enter(Effect::default(), 2, all).expect("two records");
    ack.clone().delivered();
    assert!(window.line(1).now_or_never().is_none());
    drop(ack);
    assert!(window.line(750).now_or_never().is_some());
    assert_eq!(ledger.pending(), 1);
}

#[test]
fn a_ticket_follows_the_lease() {
    let (ledger, lease) = ledger();
    let ack = ledger.enter(Effect::default(), 1, None).expect("a record");
    assert_eq!(ack.lease_state(), LeaseState::Held);
    lease.set(LeaseState::Lost);
    assert_eq!(ack.lease_state(), LeaseState::Lost);
}

#[test]
fn a_delivery_told_twice_counts_once() {
    let (ledger, _lease) = ledger();
    let twice = ledger.enter(Effect { value: Some(1), ..Effect::default() }, 1, None).expect("a record");
    let other = ledger.enter(Effect { value: Some(2), ..Effect::default() }, 1, None).expect("a record");
    twice.clone().delivered();
    twice.delivered();
    assert_eq!(ledger.pending(), 1);
    other.delivered();
    assert_eq!(whole(&ledger).map(|checkpoint| checkpoint.value), Some(2));
}

#[test]
fn a_record_that_becomes_several_is_delivered_with_the_last_of_them() {
    let (ledger, _) = ledger();
    let line = |index| Effect { stream: "*".into(), line: Some((RaftIndex(index), Vec::new())), ..Effect::default() };
    let position = || ledger.stream("*").unwrap_or_default().position.index.0;
    let [first, second] = [1, 2].map(|index| ledger.enter(line(index), 1, None).expect("a record"));
    let parts = second.split(3);
    parts.into_iter().for_each(AckHandle::delivered);
    assert_eq!(position(), 0);
    assert!(first.split(0).is_empty());
    assert_eq!(position(), 2);
}

#[test]
fn records_that_become_one_are_delivered_with_it_and_only_under_one_lease() {
    let (ledger, _) = ledger();
    let line = |index| Effect { stream: "*".into(), line: Some((RaftIndex(index), Vec::new())), ..Effect::default() };
    let handles = [1, 2, 3].map(|index| ledger.enter(line(index), 1, None).expect("a record"));
    let [first, second, third] = handles;
    let joined = AckHandle::join(&[first, second]).expect("one lease");
    let position = || ledger.stream("*").unwrap_or_default().position.index.0;
    third.delivered();
    assert_eq!(position(), 0);
    let [joined, rest]: [AckHandle; 2] = joined.split(2).try_into().expect("two");
    joined.delivered();
    assert_eq!(position(), 0);
    rest.delivered();
    assert_eq!(position(), 3);

    let other = self::ledger().0.enter(line(1), 1, None).expect("a record");
    let handle = ledger.enter(line(4), 1, None).expect("a record");
    assert!(AckHandle::join(&[handle, other]).is_none());
    assert!(AckHandle::join(&[]).is_none());
}

#[test]
fn a_watched_record_is_underway_until_its_last_claim_is_gone() {
    let ledger = ledger().0;
    let line = |index| Effect { stream: "*".into(), line: Some((RaftIndex(index), Vec::new())), ..Effect::default() };
    let ack = ledger.enter(line(1), 2, None).expect("a record");
    assert_eq!(ack.line(), ack.clone().line());
    let other = ledger.enter(line(2), 1, None).expect("a record");
    assert_ne!(ack.line(), other.line());
    let (first, underway) = ack.clone().watched();
    let mut parts = first.split(2);
    drop(parts.pop());
    assert!(!underway.is_over());
    parts.remove(0).delivered();
    assert!(underway.is_over(), "the other record of the line does not count");
    drop(ack);
}
