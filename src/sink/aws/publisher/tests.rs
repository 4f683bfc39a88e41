use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use proptest::prelude::*;

use super::*;
use crate::sink::aws::{Reach, Service};
use crate::{
    delivery::testing::{Book, Switch},
    lease::LeaseState,
};

static SERVICE: Service = Service {
    name: "Service",
    target: "target",
    variable: "SINK_TARGET",
    action: "service:Write",
    missing: &["NoTarget"],
    data: &["Bad"],
    names_target: |_| false,
};

/// A service that answers as a script says, by the numbers in the bodies.
#[derive(Debug, Default)]
struct Scripted {
    keeps_keys_apart: bool,
    /// Codes for single records.
    failing: HashMap<usize, &'static str>,
    /// Records that are not acceptable in any call.
    guilty: HashSet<usize>,
    /// The call that has this record fails as a whole.
    broken: Option<usize>,
    /// The calls, when they began and when they ended.
    events: Mutex<Vec<(bool, Vec<usize>)>>,
}

impl Api for Scripted {
    type Client = ();
    type Entry = usize;

    fn name(&self) -> &'static str {
        "scripted"
    }

    fn service(&self) -> &'static Service {
        &SERVICE
    }

    fn target(&self) -> &str {
        "t"
    }

    fn call_bytes(&self) -> usize {
        100
    }

    fn keeps_keys_apart(&self) -> bool {
        self.keeps_keys_apart
    }

    fn reach(&self) -> BoxFuture<'_, Result<Reach<()>, Fault>> {
        Box::pin(async { Ok(Reach { client: (), region: "r".to_owned() }) })
    }

    fn entry(&self, record: &Record) -> Result<(usize, usize), String> {
        let number = str::from_utf8(&record.body).expect("digits").parse().expect("a number");
        if number == 999 { Err("too large".to_owned()) } else { Ok((number, 7 + number % 20)) }
    }

    fn call<'a>(&'a self, _: &'a Reach<()>, entries: Vec<usize>) -> BoxFuture<'a, Result<Vec<Answer>, Fault>> {
        Box::pin(async move {
            let event = |begins| self.events.lock().expect("no panic").push((begins, entries.clone()));
            event(true);
            for _ in 0..entries[0] % 5 {
                tokio::task::yield_now().await;
            }
            event(false);
            if self.broken.is_some_and(|number| entries.contains(&number)) {
                return Err(Fault::Passing(ErrorClass::Connection, "down".to_owned()));
            }
            if entries.iter().any(|number| self.guilty.contains(number)) {
                return Err(Fault::Data("Bad: why".to_owned()));
            }
            let answer = |number| match self.failing.get(number) {
                Some(code) => {
                    Answer::Failed { code: (*code).to_owned(), said: "why".to_owned(), is_ours: *code == "Odd" }
                }
                None => Answer::Taken,
            };
            Ok(entries.iter().map(answer).collect())
        })
    }
}

/// A batch: so many records over so many keys.
fn batch(book: &Book, records: usize, keys: usize) -> Vec<Record> {
    (0..records).map(|number| book.record(&format!("k{}", number % keys), number.to_string())).collect()
}

fn letters(outcomes: &[Outcome]) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Outcome::Delivered => 'd',
        Outcome::Retry { .. } => 't',
        Outcome::Reject { .. } => 'j',
    };
    outcomes.iter().map(letter).collect()
}

fn calls(publisher: &Publisher<Scripted>) -> Vec<Vec<usize>> {
    let events = publisher.api.events.lock().expect("no panic");
    events.iter().filter(|(begins, _)| *begins).map(|(_, call)| call.clone()).collect()
}

#[tokio::test]
async fn a_service_that_keeps_order_gets_one_record_of_a_key_in_a_call() {
    let book = Book::new();
    for (keeps_keys_apart, sizes) in [(false, vec![9, 3]), (true, vec![4, 4, 4])] {
        let publisher = Publisher::new(Scripted { keeps_keys_apart, ..Scripted::default() });
        let outcomes = publisher.put(&batch(&book, 12, 4)).await;
        assert_eq!(letters(&outcomes), "d".repeat(12));
        let sent: Vec<_> = calls(&publisher).iter().map(Vec::len).collect();
        assert_eq!(sent, sizes, "{keeps_keys_apart}");
    }
}

#[tokio::test]
async fn the_answers_for_records_are_told_apart() {
    let failing = HashMap::from([
        (1, "InternalError"),
        (2, "ThrottlingException"),
        (3, "Bad"),
        (4, "Odd"),
        (5, "NoTarget"),
        (6, "KMS.AccessDeniedException"),
    ]);
    let publisher = Publisher::new(Scripted { failing, ..Scripted::default() });
    let book = Book::new();
    let outcomes = publisher.put(&batch(&book, 8, 8)).await;
    assert_eq!(letters(&outcomes), "dttjtttd");
    let classes: Vec<_> = outcomes.iter().map(|outcome| outcome.class().map_or("", ErrorClass::name)).collect();
    assert_eq!(classes, ["", "server", "throttled", "rejected", "refused", "refused", "refused", ""]);
    let refusal =
        |outcome: &Outcome| matches!(outcome, Outcome::Retry { refusal: Some(said), .. } if said == "Odd: why");
    assert_eq!(outcomes.iter().filter(|outcome| refusal(outcome)).count(), 1);
    let Outcome::Retry { reason, .. } = &outcomes[5] else { panic!("{outcomes:?}") };
    assert_eq!(
        reason,
        "the target t does not exist in r; create it, or correct SINK_TARGET or AWS_REGION (NoTarget: why)"
    );
}

#[tokio::test]
async fn a_call_that_fails_ends_the_batch() {
    let publisher = Publisher::new(Scripted { broken: Some(0), ..Scripted::default() });
    let book = Book::new();
    let outcomes = publisher.put(&batch(&book, 600, 1)).await;
    assert_eq!(letters(&outcomes), "t".repeat(600));
    assert_eq!(calls(&publisher).len(), 1);
    assert!(matches!(&outcomes[599], Outcome::Retry { reason, .. } if reason.contains("not sent")));
}

#[tokio::test]
async fn without_the_lease_nothing_is_sent() {
    let book = Book::new();
    let batch = batch(&book, 3, 2);
    let lease: &Switch = &book.lease;
    lease.set(LeaseState::Suspended);
    let publisher = Publisher::new(Scripted::default());
    assert_eq!(letters(&publisher.put(&batch).await), "ttt");
    assert!(calls(&publisher).is_empty());
}

/// A rejected record may be taken later, as when the limit of the queue is raised. If a later record of its key were taken before it,
/// then that one, sent again behind it, would be dropped as a repeat, and the two would stay in the wrong order.
#[tokio::test]
async fn nothing_of_its_key_overtakes_a_rejected_record_where_order_counts() {
    let book = Book::new();
    let batch = [book.record("k", "999"), book.record("k", "1"), book.record("l", "2"), book.record("k", "3")];
    for (keeps_keys_apart, wanted) in [(false, "jddd"), (true, "jtdt")] {
        let publisher = Publisher::new(Scripted { keeps_keys_apart, ..Scripted::default() });
        assert_eq!(letters(&publisher.put(&batch).await), wanted);
    }
    let batch = [book.record("k", "1"), book.record("k", "2"), book.record("l", "3")];
    for (keeps_keys_apart, wanted) in [(false, "jdd"), (true, "jtd")] {
        // Rejected in an answer, and in a call that the service refuses as a whole.
        let answered = Scripted { keeps_keys_apart, failing: HashMap::from([(1, "Bad")]), ..Scripted::default() };
        let refused = Scripted { keeps_keys_apart, guilty: HashSet::from([1]), ..Scripted::default() };
        for scripted in [answered, refused] {
            let outcomes = Publisher::new(scripted).put(&batch).await;
            assert_eq!(letters(&outcomes), wanted, "{outcomes:?}");
        }
    }
}

proptest! {
    /// Whatever fails: the guilty alone are rejected, calls are within the limits, no two calls with one key are under way
    /// at a time, and the records of a key are delivered in order up to the first that fails.
    #[test]
    fn order_and_limits_hold(
        records in 1_usize..200,
        keys in 1_usize..40,
        keeps_keys_apart in any::<bool>(),
        failing in prop::collection::hash_set(0_usize..200, 0..6),
        guilty in prop::collection::hash_set(0_usize..200, 0..6),
        broken in prop::option::of(0_usize..200),
    ) {
        let failing: HashMap<_, _> = failing.into_iter().map(|number| (number, "InternalError")).collect();
        let guilty: HashSet<_> = guilty.into_iter().filter(|number| Some(*number) != broken).collect();
        let scripted = Scripted { keeps_keys_apart, failing: failing.clone(), guilty: guilty.clone(), broken, ..Scripted::default() };
        let publisher = Publisher::new(scripted);
        let book = Book::new();
        let batch = batch(&book, records, keys);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let outcomes = runtime.block_on(publisher.put(&batch));
        prop_assert_eq!(outcomes.len(), records);
        let mut under_way: HashSet<usize> = HashSet::new();
        let mut last: HashMap<usize, usize> = HashMap::new();
        for (begins, call) in &*publisher.api.events.lock().expect("no panic") {
            let of_call: HashSet<usize> = call.iter().map(|number| number % keys).collect();
            if !begins {
                under_way.retain(|key| !of_call.contains(key));
                continue;
            }
            let bytes: usize = call.iter().map(|number| 7 + number % 20).sum();
            prop_assert!(call.len() <= 10 && bytes <= 100, "{:?}", call);
            prop_assert!(!keeps_keys_apart || of_call.len() == call.len(), "{:?}", call);
            prop_assert!(under_way.is_disjoint(&of_call), "{:?}", call);
            under_way.extend(of_call);
            for number in call {
                // Sent once more only after its call was refused as a whole.
                let before = last.insert(number % keys, *number);
                prop_assert!(before.is_none_or(|before| before <= *number || !guilty.is_empty()), "{:?}", call);
            }
        }
        let mut held: HashSet<usize> = HashSet::new();
        for (number, outcome) in outcomes.iter().enumerate() {
            let key = number % keys;
            match outcome {
                Outcome::Reject { .. } => {
                    prop_assert!(guilty.contains(&number), "{}", number);
                    held.insert(key);
                }
                Outcome::Retry { .. } => _ = held.insert(key),
                Outcome::Delivered => {
                    prop_assert!(!guilty.contains(&number) && !failing.contains_key(&number));
                    prop_assert!(!keeps_keys_apart || !held.contains(&key), "{}", number);
                }
            }
        }
    }
}
