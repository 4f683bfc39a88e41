//! The worker under a paused clock, with scripted sinks.

use std::{
    os::unix::fs::symlink,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{
    testing::{Book, Script, number, refuse, reject, retry},
    *,
};
use crate::{
    dead_letter::Place,
    kind::Kind,
    lease::LeaseState,
    sink::{ErrorClass, Outcome, UnderWay},
    telemetry::SinkState,
    throttle::tests::Log,
};

mod order;
mod poisoned;
mod several;
mod several_at_random;

/// Long enough for everything that ends at all, under a paused clock.
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn each_kind_of_failure_counts_once_an_answer() {
    let metrics = crate::telemetry::Metrics::new(&[Kind::Jobs]);
    let status = crate::telemetry::Status::new(&[Kind::Jobs]);
    let counters = Arc::new(Counters::new(metrics.clone(), status, "http"));
    let mut asked = 0;
    let (sink, _sent) = Script::new(move |batch| {
        asked += 1;
        let failed = |class| Outcome::failed(class, "down");
        let first =
            [failed(ErrorClass::Server), failed(ErrorClass::Timeout), failed(ErrorClass::Server), Outcome::not_sent()];
        Some(Ok(if asked == 1 { first.into() } else { batch.iter().map(|_| Outcome::Delivered).collect() }))
    });
    let (handle, _task) =
        spawn(sink, Policy::default(), DeadLetters::new(Place::Stop), counters, CancellationToken::new());
    handle.submit(Book::new().records(&["a", "b", "c", "d"])).await.expect("it runs");
    timeout(LONG, handle.drain()).await.expect("in time").expect("it runs");
    let text = metrics.encode().expect("text");
    for (series, value) in [("server", 1), ("timeout", 1), ("other", 0), ("rejected", 0)] {
        let line = format!("\nnomad_firehose_sink_errors_total{{sink=\"http\",class=\"{series}\"}} {value}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    assert!(!text.contains("unsent\""), "{text}");
    assert!(text.contains("\nnomad_firehose_sink_batch_records_sum{sink=\"http\"} "), "{text}");
}

#[derive(Debug, Default)]
struct Counts {
    delivered: usize,
    bytes: usize,
    retried: usize,
    dead_lettered: usize,
    dropped: usize,
    states: Vec<SinkState>,
    in_flight: usize,
}

#[derive(Debug, Default)]
struct Counter(Mutex<Counts>);

impl Counter {
    fn with<T>(&self, look: impl FnOnce(&mut Counts) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Counter {
    fn in_flight(&self, records: usize, _bytes: usize) {
        self.with(|counts| counts.in_flight = records);
    }

    fn delivered(&self, _kind: Kind, records: usize, bytes: usize) {
        self.with(|counts| {
            counts.delivered += records;
            counts.bytes += bytes;
        });
    }

    fn retried(&self, _kind: Kind, records: usize) {
        self.with(|counts| counts.retried += records);
    }

    fn dead_lettered(&self, _kind: Kind, records: usize) {
        self.with(|counts| counts.dead_lettered += records);
    }

    fn dropped(&self, _kind: Kind, records: usize) {
        self.with(|counts| counts.dropped += records);
    }

    fn state(&self, state: SinkState) {
        self.with(|counts| counts.states.push(state));
    }
}

struct Running {
    handle: Handle,
    task: JoinHandle<Result<(), Closed>>,
    cancel: CancellationToken,
    counts: Arc<Counter>,
}

fn start(sink: Box<Script>, policy: Policy, place: Place) -> Running {
    let (counts, cancel) = (Arc::<Counter>::default(), CancellationToken::new());
    let (handle, task) = spawn(sink, policy, DeadLetters::new(place), counts.clone(), cancel.clone());
    Running { handle, task, cancel, counts }
}

/// Answers the first `times` sends with `answer` for the first record and takes the others.
fn first_record(
    times: usize,
    answer: impl Fn() -> Outcome + Send + 'static,
) -> impl FnMut(&[Record]) -> Option<Result<Vec<Outcome>, Closed>> {
    let mut sends = 0;
    move |batch| {
        sends += 1;
        let first = if sends <= times { answer() } else { Outcome::Delivered };
        Some(Ok(std::iter::once(first).chain(batch.iter().skip(1).map(|_| Outcome::Delivered)).collect()))
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_leaves_in_batches_within_both_limits() {
    let (sink, mut batches) = Script::willing();
    let policy = Policy { batch_records: 3, batch_bytes: 10, ..Policy::default() };
    let running = start(sink, policy, Place::Stop);
    let book = Book::new();
    let bodies = ["1", "2", "3", "4", "123456789", "1", "much more than ten", "1"];
    let records = bodies.iter().map(|body| book.record("k", *body)).collect();
    running.handle.submit(records).await.expect("it runs");
    running.handle.drain().await.expect("it runs");
    let mut sizes = Vec::new();
    while let Ok(batch) = batches.try_recv() {
        sizes.push(batch.len());
    }
    assert_eq!(sizes, [3, 2, 1, 1, 1]);
    assert_eq!(book.acknowledged(), 8);
    assert_eq!(running.counts.with(|counts| (counts.delivered, counts.bytes)), (8, 33));
}

#[tokio::test(start_paused = true)]
async fn a_batch_lingers_only_where_it_is_told_to() {
    let (sink, mut batches) = Script::willing();
    let policy = Policy { linger: Duration::from_millis(50), ..Policy::default() };
    let running = start(sink, policy, Place::Stop);
    let (book, started) = (Book::new(), Instant::now());
    running.handle.submit(book.records(&["a"])).await.expect("it runs");
    tokio::time::sleep(Duration::from_millis(30)).await;
    running.handle.submit(book.records(&["b"])).await.expect("it runs");
    assert_eq!(batches.recv().await.expect("sent"), ["a/1", "b/2"]);
    assert_eq!(started.elapsed(), Duration::from_millis(50));
    running.handle.submit(book.records(&["c"])).await.expect("it runs");
    running.handle.drain().await.expect("a drain does not wait for the linger");
    assert_eq!(started.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_failure_takes_the_rest_of_its_key_along() {
    let (sink, mut batches) = Script::new(first_record(1, || retry("busy")));
    let running = start(sink, Policy::default(), Place::Stop);
    let book = Book::new();
    running.handle.submit(book.records(&["a", "b", "a", "c"])).await.expect("it runs");
    assert_eq!(batches.recv().await.expect("sent"), ["a/1", "b/2", "a/3", "c/4"]);
    running.handle.submit(book.records(&["a"])).await.expect("it runs");
    assert_eq!(batches.recv().await.expect("sent again"), ["a/1", "a/3"]);
    assert_eq!(batches.recv().await.expect("newer ones wait"), ["a/5"]);
    running.handle.drain().await.expect("it runs");
    assert_eq!(book.acknowledged(), 5);
    assert_eq!(running.counts.with(|counts| counts.retried), 2);
    assert_eq!(
        running.counts.with(|counts| counts.states.clone()),
        [SinkState::Retrying { reason: "busy".to_owned() }, SinkState::Flowing]
    );
}

#[tokio::test(start_paused = true)]
async fn delays_stay_within_their_bounds_and_heed_the_far_side() {
    let (sink, mut batches) = Script::new(first_record(20, || retry("down")));
    let running = start(sink, Policy::default(), Place::Stop);
    let book = Book::new();
    running.handle.submit(book.records(&["a"])).await.expect("it runs");
    let mut last: Option<Instant> = None;
    for bound in [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000] {
        batches.recv().await.expect("tried again and again");
        // The timers of a paused clock count whole milliseconds.
        let delay = last.map_or(Duration::ZERO, |last| last.elapsed());
        assert!(delay <= Duration::from_millis(bound + 1), "{delay:?} for {bound} ms");
        last = Some(Instant::now());
    }
    timeout(LONG, running.handle.drain()).await.expect("it gets through at last").expect("it runs");
    assert_eq!(book.acknowledged(), 1);

    let after = || Outcome::Retry {
        reason: "too fast".to_owned(),
        after: Some(Duration::from_secs(7)),
        refusal: None,
        class: ErrorClass::Throttled,
    };
    let (sink, _batches) = Script::new(first_record(1, after));
    let running = start(sink, Policy::default(), Place::Stop);
    let started = Instant::now();
    running.handle.submit(book.records(&["a"])).await.expect("it runs");
    running.handle.drain().await.expect("it runs");
    assert_eq!(started.elapsed(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn stop_holds_a_rejected_record_and_everything_behind_it() {
    let (sink, mut batches) = Script::new(first_record(12, || reject("too large")));
    let running = start(sink, Policy::default(), Place::Stop);
    let book = Book::new();
    running.handle.submit(book.records(&["a", "a", "b"])).await.expect("it runs");
    assert_eq!(batches.recv().await.expect("sent"), ["a/1", "a/2", "b/3"]);
    running.handle.submit(book.records(&["c"])).await.expect("it runs");
    assert_eq!(batches.recv().await.expect("tried again"), ["a/1", "a/2"]);
    for bound in [2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30] {
        let last = Instant::now();
        assert_eq!(book.acknowledged(), 0);
        let sent = batches.recv().await.expect("tried again");
        assert!(last.elapsed() <= Duration::from_millis(bound * 1000 + 1), "{:?}", last.elapsed());
        assert_eq!(sent, ["a/1"], "what is behind it is not sent over and over");
    }
    running.handle.drain().await.expect("it runs");
    assert_eq!(batches.recv().await.expect("the rest of its key"), ["a/2"]);
    assert_eq!(book.acknowledged(), 4);
    assert_eq!(
        running.counts.with(|counts| counts.states.clone()),
        [SinkState::Held { reason: "too large".to_owned() }, SinkState::Flowing]
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_felt_with_one_record_and_then_left_in_steps() {
    let mut sends = 0;
    let (sink, mut batches) = Script::new(move |batch| {
        sends += 1;
        let answer = || if sends <= 3 { retry("down") } else { Outcome::Delivered };
        Some(Ok(batch.iter().map(|_| answer()).collect()))
    });
    let running = start(sink, Policy::default(), Place::Stop);
    let book = Book::new();
    running.handle.submit(book.records(&["a", "b", "a", "b", "c", "a", "b"])).await.expect("it runs");
    running.handle.drain().await.expect("it runs");
    let mut sizes = Vec::new();
    while let Ok(batch) = batches.try_recv() {
        sizes.push(batch.len());
    }
    assert_eq!(sizes, [7, 1, 1, 1, 4, 2]);
    assert_eq!(book.acknowledged(), 7);
    assert_eq!(running.counts.with(|counts| (counts.delivered, counts.retried)), (7, 9));
    assert_eq!(
        running.counts.with(|counts| counts.states.clone()),
        [SinkState::Retrying { reason: "down".to_owned() }, SinkState::Flowing]
    );
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_gets_on_is_not_waited_for_longer_and_longer() {
    // It takes the first record of each attempt, and fails at the second.
    let (sink, _batches) = Script::new(|batch| {
        let answer = |number| if number == 0 { Outcome::Delivered } else { retry("busy") };
        Some(Ok((0..batch.len()).map(answer).collect()))
    });
    let running = start(sink, Policy::default(), Place::Stop);
    let (book, started) = (Book::new(), Instant::now());
    running.handle.submit((0..100).map(|_| book.record("a", "{}")).collect()).await.expect("it runs");
    running.handle.drain().await.expect("it runs");
    assert_eq!(book.acknowledged(), 100);
    assert!(started.elapsed() <= Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_counts_once_it_is_on_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead");
    symlink("/dev/full", &path).expect("a link");
    let (sink, mut batches) = Script::new(|batch| {
        let answer = |record: &Record| if &*record.id == "a/1" { reject("no such thing") } else { Outcome::Delivered };
        Some(Ok(batch.iter().map(answer).collect()))
    });
    let running = start(sink, Policy::default(), Place::File(path.clone()));
    let book = Book::new();
    running.handle.submit(book.records(&["a", "a", "b"])).await.expect("it runs");
    assert_eq!(batches.recv().await.expect("sent"), ["a/1", "a/2", "b/3"]);
    assert_eq!(batches.recv().await.expect("an outage, in order"), ["a/1", "a/2"]);
    for _ in 0..3 {
        assert_eq!(batches.recv().await.expect("felt with the first one"), ["a/1"]);
        assert_eq!(book.acknowledged(), 0);
    }
    std::fs::remove_file(&path).expect("the link");
    timeout(LONG, running.handle.drain()).await.expect("in the end").expect("it runs");
    assert_eq!(book.acknowledged(), 3);
    let text = std::fs::read_to_string(&path).expect("the letters");
    let letters: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    assert_eq!(letters[0]["id"], "a/1");
    assert_eq!(letters[0]["sink"], "script");
    assert_eq!(letters[0]["reason"], "no such thing");
    assert!(letters[0]["attempts"].as_u64().is_some_and(|attempts| attempts >= 4));
    assert_eq!(letters.len(), 1);
    assert_eq!(running.counts.with(|counts| (counts.dead_lettered, counts.delivered)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn records_without_a_lease_are_dropped_also_while_they_wait() {
    let theirs = Book::new();
    let their_lease = theirs.lease.clone();
    let (sink, mut batches) = Script::new(|batch| {
        let answer = |record: &Record| if &*record.key == "theirs" { retry("down") } else { Outcome::Delivered };
        Some(Ok(batch.iter().map(answer).collect()))
    });
    let policy = Policy { retry_min: LONG, retry_max: LONG, after_max: LONG, ..Policy::default() };
    let running = start(sink, policy, Place::Stop);
    let (ours, started) = (Book::new(), Instant::now());
    running.handle.submit(theirs.records(&["theirs", "theirs"])).await.expect("it runs");
    batches.recv().await.expect("sent");
    running.handle.submit(ours.records(&["ours"])).await.expect("it runs");
    running.handle.submit(theirs.records(&["theirs"])).await.expect("it runs");
    their_lease.set(LeaseState::Lost);
    running.handle.drain().await.expect("it runs");
    assert!(started.elapsed() <= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!((theirs.acknowledged(), ours.acknowledged()), (0, 1));
    assert_eq!(running.counts.with(|counts| counts.dropped), 3);
    while let Ok(batch) = batches.try_recv() {
        assert_eq!(batch, ["ours/1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_one_line_in_the_log_however_many_batches_wait() {
    for under_way in [UnderWay::One, UnderWay::Ordered(2)] {
        let (log, _guard) = Log::start();
        let (sink, _batches) = Script::willing();
        let running = start(sink, Policy { batch_records: 2, under_way, ..Policy::default() }, Place::Stop);
        let book = Book::new();
        book.lease.set(LeaseState::Suspended);
        for _ in 0..3 {
            running.handle.submit(book.records(&["a", "b", "c"])).await.expect("it runs");
        }
        book.lease.set(LeaseState::Lost);
        running.handle.drain().await.expect("it runs");
        let lines = log.lines();
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.ends_with("records dropped undelivered kind=jobs records=9 reason=\"lease lost\""), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspended_lease_is_waited_for_and_a_lost_one_is_not() {
    let (sink, mut batches) = Script::willing();
    let running = start(sink, Policy::default(), Place::Stop);
    let (book, other) = (Book::new(), Book::new());
    book.lease.set(LeaseState::Suspended);
    other.lease.set(LeaseState::Suspended);
    running.handle.submit(book.records(&["a"])).await.expect("it runs");
    running.handle.submit(other.records(&["b"])).await.expect("it runs");
    assert!(timeout(LONG, running.handle.drain()).await.is_err(), "not while it is suspended");
    assert!(batches.try_recv().is_err(), "nothing was sent");
    other.lease.set(LeaseState::Lost);
    book.lease.set(LeaseState::Held);
    running.handle.drain().await.expect("it runs");
    assert_eq!(batches.recv().await.expect("sent"), ["a/1"]);
    assert_eq!((book.acknowledged(), other.acknowledged()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_with_its_lease_is_not_held_against_what_comes_next() {
    let (sink, _batches) = Script::new(|batch| Some(Ok(batch.iter().map(|_| retry("down")).collect())));
    let running = start(sink, Policy::default(), Place::Stop);
    let book = Book::new();
    running.handle.submit(book.records(&["a"])).await.expect("it runs");
    assert!(timeout(LONG, running.handle.drain()).await.is_err(), "the sink is down");
    book.lease.set(LeaseState::Suspended);
    assert!(timeout(LONG, running.handle.drain()).await.is_err(), "not while it is suspended");
    book.lease.set(LeaseState::Lost);
    running.handle.drain().await.expect("it runs");
    let states = [SinkState::Retrying { reason: "down".to_owned() }, SinkState::Suspended, SinkState::Flowing];
    assert_eq!(running.counts.with(|counts| counts.states.clone()), states);
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_a_send_and_acknowledges_nothing() {
    let (sink, mut batches) = Script::new(|_| None);
    let running = start(sink, Policy::default(), Place::Stop);
    let book = Book::new();
    running.handle.submit(book.records(&["a"])).await.expect("it runs");
    batches.recv().await.expect("sent");
    running.cancel.cancel();
    assert!(running.task.await.expect("no panic").is_ok());
    assert_eq!(book.acknowledged(), 0);
    assert_eq!(running.handle.submit(book.records(&["a"])).await, Err(Stopped));
    assert_eq!(running.handle.drain().await, Err(Stopped));
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_the_task_behind_the_queue() {
    let (sink, _batches) = Script::new(first_record(2, || retry("busy")));
    let running = start(sink, Policy::default(), Place::Stop);
    let book = Book::new();
    running.handle.submit(book.records(&["a", "b"])).await.expect("it runs");
    running.handle.clone().submit(book.records(&["a"])).await.expect("it runs");
    drop(running.handle);
    assert!(running.task.await.expect("no panic").is_ok());
    assert_eq!(book.acknowledged(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_closed_sink_ends_the_task() {
    let (sink, _batches) = Script::new(|_| Some(Err(Closed("gone".to_owned()))));
    let running = start(sink, Policy::default(), Place::Stop);
    let book = Book::new();
    running.handle.submit(book.records(&["a"])).await.expect("it runs");
    assert_eq!(running.handle.drain().await, Err(Stopped));
    assert_eq!(running.task.await.expect("no panic").expect_err("closed").0, "gone");
    assert_eq!(book.acknowledged(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_the_submitter_wait() {
    let (sink, mut batches) = Script::new(|_| None);
    let policy = Policy { queue: 2, batch_records: 1, ..Policy::default() };
    let running = start(sink, policy, Place::Stop);
    let book = Book::new();
    running.handle.submit(book.records(&["a"])).await.expect("it runs");
    batches.recv().await.expect("sent");
    for _ in 0..2 {
        running.handle.submit(book.records(&["a"])).await.expect("there is room");
    }
    let waiting = timeout(LONG, running.handle.submit(book.records(&["a"])));
    assert!(waiting.await.is_err(), "a third one found room");
}

#[tokio::test(start_paused = true)]
async fn a_record_without_an_answer_is_sent_again() {
    let mut sends = 0;
    let (sink, mut batches) = Script::new(move |batch| {
        sends += 1;
        let answers = if sends == 1 { 1 } else { batch.len() + 1 };
        Some(Ok((0..answers).map(|_| Outcome::Delivered).collect()))
    });
    let running = start(sink, Policy::default(), Place::Stop);
    let book = Book::new();
    running.handle.submit(book.records(&["a", "b"])).await.expect("it runs");
    assert_eq!(batches.recv().await.expect("sent"), ["a/1", "b/2"]);
    assert_eq!(batches.recv().await.expect("sent"), ["b/2"]);
    running.handle.drain().await.expect("it runs");
    assert_eq!(book.acknowledged(), 2);
}
