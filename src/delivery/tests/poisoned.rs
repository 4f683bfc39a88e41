//! One record that the sink refuses while it accepts the others: a firewall that dislikes a word in its body.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use proptest::prelude::*;
use tokio::{sync::mpsc::UnboundedReceiver, time::sleep};

use super::*;

/// What the server says to the record that it refuses.
const ANSWER: &str = "http://collector answered 403 Forbidden";

/// Sends in order, as the sinks do: nothing is sent after a failure.
fn in_order(
    mut fails: impl FnMut(&Record) -> Option<Outcome> + Send + 'static,
) -> (Box<Script>, UnboundedReceiver<Vec<String>>) {
    Script::new(move |batch| {
        let mut failed = false;
        let answer = |record| {
            if failed {
                return Outcome::not_sent();
            }
            let outcome = fails(record).unwrap_or(Outcome::Delivered);
            failed = matches!(outcome, Outcome::Retry { .. });
            outcome
        };
        Some(Ok(batch.iter().map(answer).collect()))
    })
}

fn is_poisoned(record: &Record) -> bool {
    record.body.windows(6).any(|word| word == b"poison")
}

/// Records of keys of their own, after a poisoned one of the key `bad`, which also has a harmless one.
fn submission(book: &Book, others: usize) -> Vec<Record> {
    let mut records = vec![book.record("bad", "poison"), book.record("bad", "{}")];
    records.extend((0..others).map(|number| book.record(&format!("good{number}"), "{}")));
    records
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_refused_while_others_pass_is_a_dead_letter() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead");
    let (sink, mut batches) = in_order(|record| is_poisoned(record).then(|| refuse(ANSWER)));
    let running = start(sink, Policy::default(), Place::File(path.clone()));
    let (book, started) = (Book::new(), Instant::now());
    running.handle.submit(submission(&book, 200)).await.expect("it runs");
    let drained = timeout(LONG, running.handle.drain()).await;
    let delivered = running.counts.with(|counts| counts.delivered);
    let letters = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(drained.is_ok(), "held for an hour: {delivered} delivered, dead letters: {letters:?}");
    assert!(started.elapsed() >= Duration::from_secs(300), "{:?}", started.elapsed());
    assert_eq!(book.acknowledged(), 202);
    let letter: serde_json::Value = serde_json::from_str(&letters).expect("one letter");
    assert_eq!((letter["id"].as_str(), letter["body"].as_str()), (Some("bad/1"), Some("poison")));
    let reason = letter["reason"].as_str().expect("text");
    assert!(reason.contains(ANSWER) && reason.contains("records of other keys"), "{reason}");
    assert!(letter["attempts"].as_u64().is_some_and(|attempts| attempts >= 10), "{letter}");

    // After each attempt of the refused record at most one other record, of another key.
    let mut sent = Vec::new();
    while let Ok(batch) = batches.try_recv() {
        sent.push(batch);
    }
    let last = sent.iter().rposition(|batch| *batch == ["bad/1"]).expect("it was sent alone");
    for (next, pair) in (3..).zip(sent[1..last + 2].chunks(2)) {
        assert_eq!(pair, [["bad/1".to_owned()], [format!("good{}/{next}", next - 3)]]);
    }
}

#[tokio::test(start_paused = true)]
async fn stop_holds_it_names_it_and_goes_on_once_it_is_accepted() {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let (sink, _batches) =
        in_order(move |record| (is_poisoned(record) && !is_mended.load(Ordering::Relaxed)).then(|| refuse(ANSWER)));
    let running = start(sink, Policy::default(), Place::Stop);
    let book = Book::new();
    running.handle.submit(submission(&book, 500)).await.expect("it runs");
    assert!(timeout(LONG, running.handle.drain()).await.is_err(), "it holds");
    let states = running.counts.with(|counts| counts.states.clone());
    // Before the first probe it can be the credentials. Afterwards neither the log nor the status blames them.
    let SinkState::Retrying { reason } = &states[1] else { panic!("{states:?}") };
    let text = format!("jobs record bad/1 (key bad) is refused while records of other keys are accepted: {ANSWER}");
    assert_eq!(*reason, text);
    let Some(SinkState::Held { reason }) = states.last() else { panic!("{states:?}") };
    assert!(reason.starts_with("jobs record bad/1 (key bad) was refused ") && reason.ends_with(ANSWER), "{reason}");
    assert_eq!((book.acknowledged(), running.counts.with(|counts| counts.dead_lettered)), (0, 0));

    mended.store(true, Ordering::Relaxed);
    timeout(LONG, running.handle.drain()).await.expect("it goes on").expect("it runs");
    assert_eq!(book.acknowledged(), 502);
    assert_eq!(running.counts.with(|counts| counts.states.last().cloned()), Some(SinkState::Flowing));
}

#[tokio::test(start_paused = true)]
async fn outages_and_throttling_are_never_held_against_a_record() {
    for failure in ["http://collector: connection refused", "http://collector answered 429", "answered 503"] {
        let (sink, mut batches) = in_order(move |record| is_poisoned(record).then(|| retry(failure)));
        let running = start(sink, Policy::default(), Place::Log);
        let book = Book::new();
        running.handle.submit(submission(&book, 200)).await.expect("it runs");
        assert!(timeout(10 * LONG, running.handle.drain()).await.is_err(), "{failure}");
        batches.recv().await.expect("the whole batch");
        while let Ok(batch) = batches.try_recv() {
            assert_eq!(batch, ["bad/1"], "{failure}: a probe");
        }
        assert_eq!(running.counts.with(|counts| (counts.delivered, counts.dead_lettered)), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_concluded_while_probes_fail_as_well() {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let (sink, mut batches) = in_order(move |_| (!is_mended.load(Ordering::Relaxed)).then(|| refuse(ANSWER)));
    let running = start(sink, Policy::default(), Place::Log);
    let book = Book::new();
    running.handle.submit(book.records(&["a", "b", "a", "b", "c"])).await.expect("it runs");
    assert!(timeout(10 * LONG, running.handle.drain()).await.is_err(), "the credentials are wrong");
    let states = running.counts.with(|counts| counts.states.clone());
    assert_eq!(states, [SinkState::Retrying { reason: format!("{ANSWER}; see the credentials") }]);
    batches.recv().await.expect("the whole batch");
    while let Ok(batch) = batches.try_recv() {
        assert!(["a/1", "b/2", "c/5"].contains(&&*batch[0]) && batch.len() == 1, "{batch:?} overtakes its key");
    }
    mended.store(true, Ordering::Relaxed);
    running.handle.drain().await.expect("it runs");
    assert_eq!(book.acknowledged(), 5);
    assert_eq!(running.counts.with(|counts| counts.dead_lettered), 0);
    let sent: Vec<String> = std::iter::from_fn(|| batches.try_recv().ok()).flatten().collect();
    assert_eq!(sent, ["a/1", "b/2", "a/3", "b/4", "c/5"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_concluded_without_a_record_of_another_key() {
    let (sink, mut batches) = in_order(|record| is_poisoned(record).then(|| refuse(ANSWER)));
    let running = start(sink, Policy::default(), Place::Log);
    let book = Book::new();
    // Nine probes pass, and then there is none for hours.
    running.handle.submit(submission(&book, 9)).await.expect("it runs");
    assert!(timeout(10 * LONG, running.handle.drain()).await.is_err(), "held");
    assert_eq!(running.counts.with(|counts| (counts.delivered, counts.dead_lettered)), (9, 0));
    while batches.try_recv().is_ok() {}
    // What is submitted later comes after the drain.
    running.handle.submit(vec![book.record("bad", "{}"), book.record("good", "{}")]).await.expect("it runs");
    running.handle.drain().await.expect("it runs");
    assert_eq!(running.counts.with(|counts| (counts.delivered, counts.dead_lettered)), (12, 1));
    let sent: Vec<_> = std::iter::from_fn(|| batches.try_recv().ok()).collect();
    assert_eq!(sent[..2], [["bad/1"], ["good/13"]]);
}

#[tokio::test(start_paused = true)]
async fn a_second_record_that_is_to_blame_does_not_fail_every_probe() {
    let (sink, _batches) = in_order(|record| is_poisoned(record).then(|| refuse(ANSWER)));
    let running = start(sink, Policy::default(), Place::Log);
    let book = Book::new();
    let mut records: Vec<_> = (0..5).map(|number| book.record(&format!("bad{number}"), "poison")).collect();
    records.extend((0..500).map(|number| book.record(&format!("good{number}"), "{}")));
    running.handle.submit(records).await.expect("it runs");
    timeout(LONG, running.handle.drain()).await.expect("not held").expect("it runs");
    assert_eq!(running.counts.with(|counts| (counts.delivered, counts.dead_lettered)), (500, 5));
}

#[tokio::test(start_paused = true)]
async fn a_probe_needs_its_lease_and_heeds_what_the_sink_asks_for() {
    let asked = Duration::from_secs(120);
    let (sink, mut batches) = in_order(move |record| match &*record.key {
        "bad" => Some(refuse(ANSWER)),
        _ => Some(Outcome::Retry {
            reason: "too fast".to_owned(),
            after: Some(asked),
            refusal: None,
            class: ErrorClass::Throttled,
        }),
    });
    let running = start(sink, Policy { batch_records: 1, ..Policy::default() }, Place::Log);
    let (book, other) = (Book::new(), Book::new());
    other.lease.set(LeaseState::Suspended);
    running.handle.submit(book.records(&["bad"])).await.expect("it runs");
    running.handle.submit(other.records(&["good"])).await.expect("it runs");
    sleep(LONG).await;
    while let Ok(batch) = batches.try_recv() {
        assert_eq!(batch, ["bad/1"], "sent without a lease");
    }
    other.lease.set(LeaseState::Held);
    while batches.recv().await.expect("a probe") != ["good/1"] {}
    let probed = Instant::now();
    assert_eq!(batches.recv().await.expect("tried again"), ["bad/1"]);
    assert!(probed.elapsed() >= asked, "{:?}", probed.elapsed());
    other.lease.set(LeaseState::Lost);
    while batches.try_recv().is_ok() {}
    sleep(LONG).await;
    while let Ok(batch) = batches.try_recv() {
        assert_eq!(batch, ["bad/1"], "sent without a lease");
    }
}

#[derive(Clone, Debug)]
struct Case {
    /// The keys of the records, and which of them are refused for ever.
    records: Vec<(u8, bool)>,
    /// Which of the first sends find a broken connection.
    broken: Vec<bool>,
    batch_records: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let record = (0..6_u8, prop::bool::weighted(0.1));
    let broken = prop::collection::vec(prop::bool::weighted(0.1), 0..60);
    (prop::collection::vec(record, 1..40), broken, 1_usize..20).prop_map(|(records, broken, batch_records)| Case {
        records,
        broken,
        batch_records,
    })
}

/// What the sink accepted, in order: key and number. Then how many records are acknowledged, and how many dead letters.
async fn run(case: Case) -> (Vec<(String, u64)>, u64, usize) {
    let (book, accepted) = (Book::new(), Arc::new(Mutex::new(Vec::new())));
    let (far_side, ledger, mut broken) = (Arc::clone(&accepted), book.clone(), case.broken.into_iter());
    let poisoned: HashSet<u64> =
        (1..).zip(&case.records).filter(|(_, (_, poisoned))| *poisoned).map(|(number, _)| number).collect();
    let (sink, _batches) = in_order(move |record| {
        let mut accepted = far_side.lock().expect("no panic in here");
        for number in 1..=ledger.acknowledged().min(40) {
            let is_accepted = accepted.iter().any(|(_, accepted)| *accepted == number);
            assert!(is_accepted || poisoned.contains(&number), "{number} is acknowledged early");
        }
        if broken.next() == Some(true) {
            return Some(retry("broken connection"));
        }
        if is_poisoned(record) {
            return Some(refuse(ANSWER));
        }
        accepted.push((record.key.to_string(), number(record)));
        None
    });
    let policy = Policy { batch_records: case.batch_records, ..Policy::default() };
    let running = start(sink, policy, Place::Log);
    let body = |poisoned| if poisoned { "poison" } else { "{}" };
    for (key, poisoned) in &case.records {
        running.handle.submit(vec![book.record(&key.to_string(), body(*poisoned))]).await.expect("it runs");
    }
    let total = case.records.len() as u64;
    // Enough records of other keys for every probe.
    let mut others = 0;
    while book.acknowledged() < total {
        assert!(others < 2_000, "held");
        others += 1;
        running.handle.submit(vec![book.record(&format!("other{others}"), "{}")]).await.expect("it runs");
        sleep(Duration::from_secs(5)).await;
    }
    running.handle.drain().await.expect("it runs");
    let dead = running.counts.with(|counts| counts.dead_lettered);
    let accepted = std::mem::take(&mut *accepted.lock().expect("no panic in there"));
    (accepted, book.acknowledged() - others, dead)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn probes_keep_the_order_per_key_and_lose_nothing(case in cases()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let poisoned = case.records.iter().filter(|(_, poisoned)| *poisoned).count();
        let harmless: Vec<_> = (1_u64..).zip(&case.records).filter(|(_, (_, poisoned))| !poisoned).collect();
        let records = case.records.len() as u64;
        let (accepted, acknowledged, dead) = runtime.expect("a runtime").block_on(run(case.clone()));
        prop_assert_eq!((acknowledged, dead), (records, poisoned));
        for key in 0..6_u8 {
            let due: Vec<u64> = harmless.iter().filter(|(_, (own, _))| *own == key).map(|(number, _)| *number).collect();
            let mut first = Vec::new();
            for (_, number) in accepted.iter().filter(|(own, _)| *own == key.to_string()) {
                if !first.contains(number) {
                    first.push(*number);
                }
            }
            prop_assert_eq!(first, due, "the order of key {}", key);
        }
    }
}
