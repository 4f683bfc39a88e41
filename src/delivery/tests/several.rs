//! Several batches under way, with a sink whose every answer the test gives.

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::{
    sink::{Sink, UnderWay},
    telemetry::Metrics,
    window::Window,
};

/// One call of a sink that the test answers.
#[derive(Debug)]
struct Call {
    ids: Vec<String>,
    answer: oneshot::Sender<Vec<Outcome>>,
}

impl Call {
    fn answer(self, outcomes: Vec<Outcome>) {
        self.answer.send(outcomes).expect("it waits for the answer");
    }

    fn deliver(self) {
        let outcomes = self.ids.iter().map(|_| Outcome::Delivered).collect();
        self.answer(outcomes);
    }
}

/// A sink whose calls the test sees and answers.
#[derive(Debug)]
struct Steered(mpsc::UnboundedSender<Call>);

impl Sink for Steered {
    fn name(&self) -> &'static str {
        "steered"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let ids = batch.iter().map(|record| record.id.to_string()).collect();
            self.0.send(Call { ids, answer }).expect("the test runs");
            Ok(answered.await.expect("the test answers"))
        })
    }
}

/// A sink under way with this policy, and its calls.
fn steer(under_way: UnderWay, policy: Policy) -> (Running, mpsc::UnboundedReceiver<Call>) {
    let (calls, called) = mpsc::unbounded_channel();
    let (counts, cancel) = (Arc::<Counter>::default(), CancellationToken::new());
    let policy = Policy { under_way, ..policy };
    let letters = DeadLetters::new(Place::Stop);
    let (handle, task) = spawn(Box::new(Steered(calls)), policy, letters, counts.clone(), cancel.clone());
    (Running { handle, task, cancel, counts }, called)
}

async fn next(calls: &mut mpsc::UnboundedReceiver<Call>) -> Call {
    timeout(LONG, calls.recv()).await.expect("another call").expect("it runs")
}

/// Whether nothing more is sent, however long one waits.
async fn is_quiet(calls: &mut mpsc::UnboundedReceiver<Call>) -> bool {
    timeout(LONG, calls.recv()).await.is_err()
}

fn pairs() -> Policy {
    Policy { batch_records: 2, ..Policy::default() }
}

#[tokio::test(start_paused = true)]
async fn so_many_batches_are_under_way_and_no_more() {
    let (running, mut calls) = steer(UnderWay::Ordered(3), pairs());
    let book = Book::new();
    running.handle.submit(book.records(&["a"; 9])).await.expect("it runs");
    let first = next(&mut calls).await;
    let (second, third) = (next(&mut calls).await, next(&mut calls).await);
    assert_eq!(
        (&first.ids[..], &second.ids[..]),
        (&["a/1", "a/2"].map(str::to_owned)[..], &["a/3", "a/4"].map(str::to_owned)[..])
    );
    assert!(is_quiet(&mut calls).await);
    assert_eq!(running.counts.with(|counts| counts.in_flight), 6);
    // The second is back before the first: it waits for it.
    second.deliver();
    assert!(is_quiet(&mut calls).await);
    assert_eq!(book.acknowledged(), 0);
    first.deliver();
    let fourth = next(&mut calls).await;
    assert_eq!(book.acknowledged(), 4);
    third.deliver();
    // One that is not full waits for those under way.
    assert!(is_quiet(&mut calls).await);
    fourth.deliver();
    next(&mut calls).await.deliver();
    running.handle.drain().await.expect("it runs");
    assert_eq!((book.acknowledged(), running.counts.with(|counts| counts.in_flight)), (9, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_holds_back_its_key_alone() {
    let (running, mut calls) = steer(UnderWay::Ordered(2), pairs());
    let book = Book::new();
    running.handle.submit(book.records(&["a", "b", "a", "c", "a", "d", "e", "e"])).await.expect("it runs");
    let (first, second) = (next(&mut calls).await, next(&mut calls).await);
    first.answer(vec![retry("busy"), Outcome::Delivered]);
    let third = next(&mut calls).await;
    assert_eq!(third.ids, ["d/6", "e/7"], "the others go on");
    // It was delivered, and is sent again behind the one that failed.
    second.deliver();
    let again = next(&mut calls).await;
    assert_eq!(again.ids, ["a/1", "a/3"]);
    assert_eq!(book.acknowledged(), 0);
    third.deliver();
    let rest = next(&mut calls).await;
    assert_eq!(rest.ids, ["a/5", "e/8"]);
    again.deliver();
    rest.deliver();
    running.handle.drain().await.expect("it runs");
    assert_eq!(book.acknowledged(), 8);
    assert_eq!(running.counts.with(|counts| counts.retried), 2);
    let states = [SinkState::Retrying { reason: "busy".to_owned() }, SinkState::Flowing];
    assert_eq!(running.counts.with(|counts| counts.states.clone()), states);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_felt_with_one_record_once_all_are_back() {
    let (running, mut calls) = steer(UnderWay::Ordered(2), pairs());
    let book = Book::new();
    running.handle.submit(book.records(&["a", "b", "a", "c", "d", "d"])).await.expect("it runs");
    let (first, second) = (next(&mut calls).await, next(&mut calls).await);
    first.answer(vec![retry("down"), retry("down")]);
    assert!(is_quiet(&mut calls).await);
    second.answer(vec![Outcome::Delivered, retry("down")]);
    let again = next(&mut calls).await;
    assert_eq!(again.ids, ["a/1"]);
    again.deliver();
    for ids in [["b/2", "a/3"], ["c/4", ""], ["d/5", "d/6"]] {
        let call = next(&mut calls).await;
        assert_eq!(call.ids, ids.into_iter().filter(|id| !id.is_empty()).collect::<Vec<_>>());
        call.deliver();
    }
    running.handle.drain().await.expect("it runs");
    assert_eq!(book.acknowledged(), 6);
}

#[tokio::test(start_paused = true)]
async fn no_key_is_under_way_twice_where_the_sink_keeps_no_order() {
    let (running, mut calls) = steer(UnderWay::ByKey(3), pairs());
    let book = Book::new();
    running.handle.submit(book.records(&["a", "b", "a", "b", "c", "d", "a", "e"])).await.expect("it runs");
    let (first, second) = (next(&mut calls).await, next(&mut calls).await);
    assert_eq!(
        (&first.ids[..], &second.ids[..]),
        (&["a/1", "b/2"].map(str::to_owned)[..], &["c/5", "d/6"].map(str::to_owned)[..])
    );
    assert!(is_quiet(&mut calls).await);
    first.deliver();
    let third = next(&mut calls).await;
    assert_eq!(third.ids, ["a/3", "b/4"]);
    second.deliver();
    third.deliver();
    let fourth = next(&mut calls).await;
    assert_eq!(fourth.ids, ["a/7", "e/8"]);
    fourth.deliver();
    running.handle.drain().await.expect("it runs");
    assert_eq!(book.acknowledged(), 8);
}

#[tokio::test(start_paused = true)]
async fn what_runs_ahead_of_a_slow_batch_is_bounded_and_stays_in_the_window() {
    let policy = Policy { batch_records: 1, batch_bytes: 10, ..Policy::default() };
    let (running, mut calls) = steer(UnderWay::ByKey(3), policy);
    let book = Book::new();
    let metrics = Metrics::new(&[]);
    let window = Window::new(400, &metrics);
    let mut records = Vec::new();
    for number in 0..30 {
        let share = window.line(10).await;
        records.push(book.record_with(&format!("k{number}"), "0123456789", share));
    }
    assert!(!window.has_room());
    running.handle.submit(records).await.expect("it runs");
    let slow = next(&mut calls).await;
    let mut sent = 1;
    while let Ok(call) = timeout(LONG, calls.recv()).await {
        call.expect("it runs").deliver();
        sent += 1;
    }
    // Twice as much as may be under way.
    assert_eq!((sent, book.acknowledged()), (6, 0));
    assert!(!window.has_room(), "what is delivered ahead of it counts");
    slow.deliver();
    while let Ok(call) = timeout(LONG, calls.recv()).await {
        call.expect("it runs").deliver();
    }
    assert_eq!(book.acknowledged(), 30);
    assert!(timeout(LONG, window.line(300)).await.is_ok(), "all of it is free again");
}

#[tokio::test(start_paused = true)]
async fn a_far_side_that_asks_for_a_pause_gets_nothing_meanwhile() {
    let (running, mut calls) = steer(UnderWay::ByKey(2), pairs());
    let (book, started) = (Book::new(), Instant::now());
    running.handle.submit(book.records(&["a", "b", "c", "d", "e", "f"])).await.expect("it runs");
    let (first, second) = (next(&mut calls).await, next(&mut calls).await);
    let (reason, after) = ("too fast".to_owned(), Some(Duration::from_secs(7)));
    let throttled = Outcome::Retry { reason, after, refusal: None, class: ErrorClass::Throttled };
    first.answer(vec![Outcome::Delivered, throttled]);
    second.deliver();
    let again = next(&mut calls).await;
    assert_eq!(again.ids, ["b/2", "e/5"]);
    assert_eq!(started.elapsed(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn cancelling_drops_every_batch_under_way() {
    let (running, mut calls) = steer(UnderWay::Ordered(2), pairs());
    let book = Book::new();
    running.handle.submit(book.records(&["a"; 6])).await.expect("it runs");
    let (first, second) = (next(&mut calls).await, next(&mut calls).await);
    running.cancel.cancel();
    assert!(running.task.await.expect("no panic").is_ok());
    assert!(first.answer.is_closed() && second.answer.is_closed());
    assert_eq!(book.acknowledged(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_linger_is_kept_and_a_drain_does_not_wait_for_it() {
    let linger = Duration::from_millis(50);
    let (running, mut calls) = steer(UnderWay::Ordered(2), Policy { linger, ..pairs() });
    let (book, started) = (Book::new(), Instant::now());
    running.handle.submit(book.records(&["a"])).await.expect("it runs");
    next(&mut calls).await.deliver();
    assert_eq!(started.elapsed(), linger);
    running.handle.submit(book.records(&["a"])).await.expect("it runs");
    let (drained, _) = tokio::join!(running.handle.drain(), async { next(&mut calls).await.deliver() });
    drained.expect("it runs");
    assert_eq!(started.elapsed(), linger);
}
