//! Several batches under way, with answers, delays and lease losses at random.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::future::BoxFuture;
use proptest::prelude::*;
use tokio::time::sleep;

use super::*;
use crate::sink::{Sink, UnderWay};

#[derive(Clone, Copy, Debug)]
enum Answer {
    Deliver,
    /// It did not arrive.
    Retry,
    /// It arrived, and nobody knows.
    Unknown,
    Refuse,
    Reject,
}

#[derive(Clone, Debug)]
struct Case {
    under_way: UnderWay,
    /// The keys of the records, by submission. The last two are under another lease.
    submissions: Vec<Vec<usize>>,
    /// How long each call takes, in milliseconds, and the answers for its records; later calls deliver at once.
    calls: Vec<(u64, Vec<Answer>)>,
    batch_records: usize,
    /// When the other lease changes, in milliseconds after the last change, and whether it is held then.
    leases: Vec<(u64, bool)>,
    is_lost: bool,
    place: Place,
}

const KEYS: [&str; 6] = ["a", "b", "c", "d", "x", "y"];
const OURS: usize = 4;

fn cases() -> impl Strategy<Value = Case> {
    let answer = || {
        prop_oneof![
            8 => Just(Answer::Deliver),
            1 => Just(Answer::Retry),
            1 => Just(Answer::Unknown),
            1 => Just(Answer::Refuse),
            1 => Just(Answer::Reject),
        ]
    };
    // Also calls without any success, and calls without any failure.
    let call = prop_oneof![
        4 => prop::collection::vec(answer(), 1..8),
        3 => Just(vec![Answer::Deliver]),
        2 => Just(vec![Answer::Retry]),
        1 => Just(vec![Answer::Unknown]),
    ];
    (
        prop_oneof![(2_usize..6).prop_map(UnderWay::Ordered), (2_usize..6).prop_map(UnderWay::ByKey)],
        prop::collection::vec(prop::collection::vec(0..KEYS.len(), 1..12), 1..12),
        prop::collection::vec((0_u64..60, call), 0..40),
        1_usize..8,
        prop::collection::vec((0_u64..80, any::<bool>()), 0..6),
        any::<bool>(),
        prop_oneof![Just(Place::Stop), Just(Place::Log)],
    )
        .prop_map(|(under_way, submissions, calls, batch_records, leases, is_lost, place)| Case {
            under_way,
            submissions,
            calls,
            batch_records,
            leases,
            is_lost,
            place,
        })
}

/// What the far side saw.
#[derive(Debug, Default)]
struct Seen {
    calls: usize,
    /// In the order of the first polls.
    sent: Vec<(String, String)>,
    /// In the order of arrival, with the time.
    arrived: Vec<(String, String)>,
    /// Answered as delivered, or rejected.
    answered: HashSet<String>,
    /// By key, how many calls are under way.
    under_way: HashMap<String, usize>,
    /// Rejected for good: what became of an earlier attempt of such a record is of no account.
    dead: HashSet<String>,
    wrong: Vec<String>,
}

#[derive(Debug)]
struct Model {
    case: Case,
    seen: Arc<Mutex<Seen>>,
}

impl Model {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic in here")
    }
}

impl Sink for Model {
    fn name(&self) -> &'static str {
        "model"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async move {
            let keys: HashSet<_> = batch.iter().map(|record| record.key.to_string()).collect();
            let (delay, answers) = {
                let mut seen = self.seen();
                let call = self.case.calls.get(seen.calls).cloned();
                seen.calls += 1;
                if batch.iter().any(|record| record.ack.lease_state() != LeaseState::Held) {
                    seen.wrong.push(format!("sent without a lease: {batch:?}"));
                }
                if batch.len() > self.case.batch_records {
                    seen.wrong.push(format!("too many: {batch:?}"));
                }
                for record in batch {
                    seen.sent.push((record.key.to_string(), record.id.to_string()));
                }
                for key in &keys {
                    *seen.under_way.entry(key.clone()).or_default() += 1;
                    if seen.under_way[key] > 1 && matches!(self.case.under_way, UnderWay::ByKey(_)) {
                        seen.wrong.push(format!("two batches with {key}"));
                    }
                }
                call.unwrap_or((0, vec![Answer::Deliver]))
            };
            let answer_of = |number: usize| answers[number % answers.len()];
            let arrive = |seen: &mut Seen| {
                for (number, record) in batch.iter().enumerate() {
                    if matches!(answer_of(number), Answer::Deliver | Answer::Unknown) {
                        seen.arrived.push((record.key.to_string(), record.id.to_string()));
                    }
                }
            };
            // An ordered channel is written at once; otherwise requests arrive whenever they arrive.
            if matches!(self.case.under_way, UnderWay::Ordered(_)) {
                arrive(&mut self.seen());
            }
            sleep(Duration::from_millis(delay)).await;
            let mut seen = self.seen();
            if matches!(self.case.under_way, UnderWay::ByKey(_)) {
                arrive(&mut seen);
            }
            for key in &keys {
                *seen.under_way.get_mut(key).expect("set above") -= 1;
            }
            let outcomes = batch.iter().enumerate().map(|(number, record)| match answer_of(number) {
                Answer::Deliver => {
                    seen.answered.insert(record.id.to_string());
                    Outcome::Delivered
                }
                Answer::Retry => retry("told to"),
                Answer::Unknown => retry("no answer"),
                Answer::Refuse => refuse("told to"),
                Answer::Reject => {
                    if self.case.place == Place::Log {
                        seen.answered.insert(record.id.to_string());
                        seen.dead.insert(record.id.to_string());
                    }
                    reject("told to")
                }
            });
            Ok(outcomes.collect())
        })
    }
}

async fn run(case: Case) -> (Seen, [(u64, Vec<String>); 2], [BTreeMap<&'static str, Vec<String>>; 2]) {
    let seen = Arc::<Mutex<Seen>>::default();
    let (ours, theirs) = (Book::new(), Book::new());
    let (cancel, counts) = (CancellationToken::new(), Arc::<Counter>::default());
    let policy = Policy {
        under_way: case.under_way,
        batch_records: case.batch_records,
        // Small, so that the bound on what runs ahead is reached.
        batch_bytes: 2 * case.batch_records,
        retry_max: Duration::from_millis(400),
        ..Policy::default()
    };
    let sink = Model { case: case.clone(), seen: Arc::clone(&seen) };
    let letters = DeadLetters::new(case.place.clone());
    let (handle, task) = spawn(Box::new(sink), policy, letters, counts.clone(), cancel);
    let lease = theirs.lease.clone();
    let (leases, is_lost) = (case.leases.clone(), case.is_lost);
    let changes = async move {
        for (after, is_held) in leases {
            sleep(Duration::from_millis(after)).await;
            lease.set(if is_held { LeaseState::Held } else { LeaseState::Suspended });
        }
        lease.set(if is_lost { LeaseState::Lost } else { LeaseState::Held });
    };
    let (mut ids, mut numbers) = ([Vec::new(), Vec::new()], [BTreeMap::new(), BTreeMap::new()]);
    let submissions = async {
        for keys in &case.submissions {
            let mut records = Vec::new();
            for key in keys {
                let book = usize::from(*key >= OURS);
                let record = [&ours, &theirs][book].record(KEYS[*key], "{}");
                ids[book].push(record.id.to_string());
                numbers[book].entry(KEYS[*key]).or_insert_with(Vec::new).push(record.id.to_string());
                records.push(record);
            }
            handle.submit(records).await.expect("it runs");
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(changes, submissions);
    timeout(LONG, handle.drain()).await.expect("it ends").expect("it runs");
    drop(handle);
    task.await.expect("no panic").expect("not closed");
    assert_eq!(counts.with(|counts| counts.in_flight), 0);
    let seen = std::mem::take(&mut *seen.lock().expect("no panic in there"));
    let [ours_ids, theirs_ids] = ids;
    (seen, [(ours.acknowledged(), ours_ids), (theirs.acknowledged(), theirs_ids)], numbers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn several_batches_lose_nothing_and_keep_each_key_in_order(case in cases()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let is_lost = case.is_lost;
        let (seen, books, numbers) = runtime.expect("a runtime").block_on(run(case));

        prop_assert_eq!(&seen.wrong, &Vec::<String>::new());
        for (book, (acknowledged, ids)) in books.iter().enumerate() {
            let contiguous = ids.iter().take_while(|id| seen.answered.contains(*id)).count() as u64;
            prop_assert!(*acknowledged <= contiguous, "{} of {} are acknowledged", acknowledged, contiguous);
            if book == 0 || !is_lost {
                prop_assert_eq!(*acknowledged, ids.len() as u64);
            }
        }
        for (key, numbers) in numbers.iter().flatten() {
            let place = |id: &String| numbers.iter().position(|own| own == id).expect("sent under its key");
            // Each step goes to the next record of the key or back: nothing new is sent before the whole of a stretch that is
            // sent again.
            let mut at = None;
            for (_, id) in seen.sent.iter().filter(|(sent, _)| sent == key) {
                let place = place(id);
                prop_assert!(place <= at.map_or(0, |at| at + 1), "{} skipped to {}", key, id);
                at = Some(place);
            }
            // Behind the last arrival of a record, all later ones of its key arrive, unless they are dead letters.
            let mut last = BTreeMap::new();
            for (when, (_, id)) in seen.arrived.iter().enumerate().filter(|(_, (arrived, _))| arrived == key) {
                if !seen.dead.contains(id) {
                    last.insert(place(id), when);
                }
            }
            let last: Vec<_> = last.into_values().collect();
            prop_assert!(is_lost || last.is_sorted(), "the last arrivals of {} are not in order: {:?}", key, seen.arrived);
        }
    }
}
