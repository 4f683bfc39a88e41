//! Any answers of the sink, any sizes: nothing is lost, acknowledged early, or out of order.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Copy, Debug)]
enum Answer {
    Deliver,
    Retry,
    /// A retry that makes the delivery probe.
    Refuse,
    Reject,
}

#[derive(Clone, Debug)]
struct Case {
    /// The keys of the records, by submission.
    submissions: Vec<Vec<usize>>,
    /// The answers in the order of sending; later sends are delivered.
    answers: Vec<Answer>,
    batch_records: usize,
    /// The send before which the lease is lost.
    lost_at: Option<usize>,
    place: Place,
}

fn cases() -> impl Strategy<Value = Case> {
    let answer = prop_oneof![4 => Just(Answer::Deliver), 2 => Just(Answer::Retry), 2 => Just(Answer::Refuse), 1 => Just(Answer::Reject)];
    (
        prop::collection::vec(prop::collection::vec(0..KEYS.len(), 1..8), 1..8),
        prop::collection::vec(answer, 0..80),
        1_usize..10,
        prop::option::weighted(0.3, 0_usize..20),
        prop_oneof![Just(Place::Stop), Just(Place::Log)],
    )
        .prop_map(|(submissions, answers, batch_records, lost_at, place)| Case {
            submissions,
            answers,
            batch_records,
            lost_at,
            place,
        })
}

/// What the far side saw.
#[derive(Debug, Default)]
struct Seen {
    sent: Vec<(String, u64)>,
    through: HashSet<u64>,
    sends: usize,
    early: Option<u64>,
    /// The record that was sent alone and refused, right before.
    refused: Option<u64>,
}

async fn run(case: Case) -> (Book, Seen) {
    let book = Book::new();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (far_side, ledger, mut answers) = (Arc::clone(&seen), book.clone(), case.answers.into_iter());
    let are_kept = case.place == Place::Log;
    let (sink, _batches) = Script::new(move |batch| {
        let mut seen = far_side.lock().expect("no panic in here");
        if let Some(early) = (1..=ledger.acknowledged()).find(|number| !seen.through.contains(number)) {
            seen.early = Some(early);
        }
        // A rejected probe is no dead letter: it stays in its place.
        let refused = seen.refused.take();
        let is_probe = refused.is_some_and(|refused| refused != number(&batch[0]));
        // A record after a failure of its key is not delivered, whatever its answer.
        let mut failed = HashSet::new();
        let outcomes = batch.iter().map(|record| {
            seen.sent.push((record.key.to_string(), number(record)));
            let answer = answers.next().unwrap_or(Answer::Deliver);
            let through =
                matches!(answer, Answer::Deliver) || matches!(answer, Answer::Reject) && are_kept && !is_probe;
            if matches!(answer, Answer::Refuse) && batch.len() == 1 && !is_probe {
                seen.refused = Some(number(record));
            }
            if !through {
                failed.insert(record.key.clone());
            } else if !failed.contains(&record.key) {
                seen.through.insert(number(record));
            }
            match answer {
                Answer::Deliver => Outcome::Delivered,
                Answer::Retry => retry("told to"),
                Answer::Refuse => refuse("told to"),
                Answer::Reject => reject("told to"),
            }
        });
        let outcomes = outcomes.collect();
        seen.sends += 1;
        if Some(seen.sends) == case.lost_at {
            ledger.lease.set(LeaseState::Lost);
        }
        Some(Ok(outcomes))
    });
    let policy = Policy { batch_records: case.batch_records, ..Policy::default() };
    let running = start(sink, policy, case.place);
    if case.lost_at == Some(0) {
        book.lease.set(LeaseState::Lost);
    }
    for keys in case.submissions {
        let keys: Vec<_> = keys.into_iter().map(|key| KEYS[key]).collect();
        running.handle.submit(book.records(&keys)).await.expect("it runs");
    }
    running.handle.drain().await.expect("it runs");
    drop(running.handle);
    running.task.await.expect("no panic").expect("not closed");
    let seen = std::mem::take(&mut *seen.lock().expect("no panic in there"));
    (book, seen)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_lost_early_or_out_of_order(case in cases()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let total: usize = case.submissions.iter().map(Vec::len).sum();
        let numbers = case.submissions.iter().flatten().zip(1_u64..);
        let mut of_key: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (key, number) in numbers {
            of_key.entry(KEYS[*key]).or_default().push(number);
        }
        let lost_at = case.lost_at;
        let (book, seen) = runtime.expect("a runtime").block_on(run(case));

        prop_assert_eq!(seen.early, None, "acknowledged before it was through");
        let contiguous = (1..).take_while(|number| seen.through.contains(number)).count() as u64;
        prop_assert_eq!(book.acknowledged(), contiguous);
        match lost_at {
            Some(send) if seen.sends >= send => prop_assert_eq!(seen.sends, send, "sent without a lease"),
            _ => prop_assert_eq!(contiguous, total as u64),
        }

        // Within a key each step goes to the next record or back: what comes after a step back is a re-sent stretch in
        // order, and nothing new comes before the whole of it.
        for (key, numbers) in of_key {
            let mut at = None;
            for (_, number) in seen.sent.iter().filter(|(sent, _)| sent == key) {
                let place = numbers.iter().position(|own| own == number).expect("sent under its key");
                prop_assert!(place <= at.map_or(0, |at| at + 1), "{} skipped to {}", key, number);
                at = Some(place);
            }
        }
    }
}
