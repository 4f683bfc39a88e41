//! The stage in front of a delivery with a scripted sink, in paused time.

mod property;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    dead_letter::{DeadLetters, Place},
    delivery::{
        Policy,
        testing::{Book, Script, retry},
    },
    kind::Kind,
    lease::LeaseState,
    notify,
    record::Record,
    sink::Outcome,
    window::Window,
};

const WINDOW: Duration = Duration::from_secs(60);
/// Long enough for everything that happens at once.
const MOMENT: Duration = Duration::from_millis(1);

/// A stage with its delivery, and a sink that notes what it accepted.
struct Run {
    book: Book,
    metrics: Metrics,
    handle: Handle,
    accepted: Arc<Mutex<Vec<(String, notify::Message)>>>,
    fails: Arc<AtomicBool>,
}

impl Run {
    fn new(limit: usize) -> Self {
        let (accepted, fails) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (to, failing) = (Arc::clone(&accepted), Arc::clone(&fails));
        let (sink, _) = Script::new(move |batch| {
            let answer = |record: &Record| {
                if failing.load(Ordering::Relaxed) {
                    return retry("away");
                }
                to.lock().expect("no panic").push((record.id.to_string(), notify::Message::of(record)));
                Outcome::Delivered
            };
            Some(Ok(batch.iter().map(answer).collect()))
        });
        let letters = DeadLetters::new(Place::Stop);
        let policy = Policy { retry_max: Duration::from_secs(1), ..Policy::default() };
        let (delivery, _) = delivery::spawn(sink, policy, letters, Arc::new(()), CancellationToken::new());
        let metrics = Metrics::new(&[Kind::Jobs]);
        let handle = spawn(Config { window: WINDOW, limit }, metrics.clone(), delivery);
        Run { book: Book::new(), metrics, handle, accepted, fails }
    }

    async fn send(&self, key: &str, text: &str) {
        let body = json!({"text": text, "key": key}).to_string();
        self.handle.submit(vec![self.book.record(key, body)]).await.expect("runs");
        tokio::time::sleep(MOMENT).await;
    }

    /// What was accepted since the last call, as `ID TEXT COUNT`.
    fn accepted(&self) -> Vec<String> {
        let accepted = std::mem::take(&mut *self.accepted.lock().expect("no panic"));
        let shown =
            |(id, message): (String, notify::Message)| format!("{id} {} {}", message.text, message.count.unwrap_or(1));
        accepted.into_iter().map(shown).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_message_leaves_at_once_and_equal_ones_as_one_summary_that_acknowledges_them() {
    let run = Run::new(20);
    for text in ["failed", "failed", "failed"] {
        run.send("web", text).await;
    }
    run.send("db", "stopped").await;
    assert_eq!(run.accepted(), ["web/1 failed 1", "db/4 stopped 1"]);
    assert_eq!(run.book.acknowledged(), 1);
    tokio::time::sleep(WINDOW).await;
    assert_eq!(run.accepted(), ["web/2/summary/2 failed 2"]);
    assert_eq!(run.book.acknowledged(), 4);
    // While they keep coming, there is one summary a window.
    run.send("web", "failed").await;
    run.send("web", "failed again").await;
    assert_eq!(run.accepted(), Vec::<String>::new());
    tokio::time::sleep(WINDOW).await;
    assert_eq!(run.accepted(), ["web/5/summary/2 Messages about jobs 2"]);
    // After a quiet window, the next one leaves at once.
    tokio::time::sleep(WINDOW).await;
    run.send("web", "failed").await;
    assert_eq!(run.accepted(), ["web/7 failed 1"]);
    assert_eq!(run.metrics.of(Kind::Jobs).summaries.get(), 2);
    assert_eq!(run.metrics.of(Kind::Jobs).records_summarized.get(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_single_held_message_leaves_as_it_came() {
    let run = Run::new(20);
    run.send("web", "failed").await;
    run.send("web", "stopped").await;
    tokio::time::sleep(WINDOW).await;
    assert_eq!(run.accepted(), ["web/1 failed 1", "web/2 stopped 1"]);
    assert_eq!(run.metrics.of(Kind::Jobs).summaries.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn past_the_limit_everything_goes_into_one_summary_a_minute_until_it_is_quiet() {
    let run = Run::new(3);
    for number in 0..30 {
        run.send(&format!("job-{number}"), &format!("job {number} failed")).await;
    }
    assert_eq!(run.accepted().len(), 3);
    assert_eq!(run.book.acknowledged(), 3);
    tokio::time::sleep(WINDOW).await;
    let (id, summary) = run.accepted.lock().expect("no panic").pop().expect("a summary");
    assert_eq!(id, "job-3/4/summary/27");
    assert_eq!(summary.count, Some(27));
    assert_eq!(summary.lines.len(), 21);
    assert_eq!((summary.lines[0].as_str(), summary.lines[20].as_str()), ("job 3 failed", "and 7 more"));
    assert_eq!(run.book.acknowledged(), 30);
    // The storm was in that minute. This one is quiet, so that its messages are still held back, and the next ones are not.
    run.send("a", "a").await;
    run.send("b", "b").await;
    run.send("a", "a").await;
    assert_eq!(run.accepted(), Vec::<String>::new());
    tokio::time::sleep(WINDOW).await;
    assert_eq!(run.accepted(), ["a/31/summary/3 Messages about jobs 3"]);
    run.send("a", "a").await;
    assert_eq!(run.accepted(), ["a/34 a 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_summary_has_the_highest_severity_and_what_all_messages_share() {
    let run = Run::new(20);
    let bodies = [
        json!({"text": "x", "title": "t", "key": "k", "slack": {"channel": "#a"}, "fields": {"Job": "web", "Node": "n1"}}),
        json!({"text": "x", "title": "t", "key": "k", "slack": {"channel": "#a"}, "fields": {"Job": "web", "Node": "n1"},
            "severity": "critical", "link": "https://a.example/"}),
        json!({"text": "y", "title": "t", "key": "k", "slack": {"channel": "#a"}, "fields": {"Job": "web", "Node": "n2"}}),
    ];
    for body in bodies {
        run.handle.submit(vec![run.book.record("web", body.to_string())]).await.expect("runs");
    }
    tokio::time::sleep(WINDOW + MOMENT).await;
    let (_, summary) = run.accepted.lock().expect("no panic").pop().expect("a summary");
    assert_eq!(summary.severity, notify::Severity::Critical);
    assert_eq!((summary.title.as_deref(), summary.key.as_deref(), summary.link), (Some("t"), Some("k"), None));
    assert_eq!(summary.lines, ["t: x", "t: y"]);
    let names: Vec<_> = summary.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Job", "From", "Until"]);
    assert_eq!(summary.raw, *json!({"slack": {"channel": "#a"}}).as_object().expect("an object"));
    assert_eq!(summary.within.as_deref(), Some("1s"));
}

#[tokio::test(start_paused = true)]
async fn a_drain_sends_everything_at_once() {
    let run = Run::new(20);
    for key in ["a", "a", "b", "b", "b"] {
        run.send(key, "x").await;
    }
    run.accepted();
    run.handle.drain().await.expect("runs");
    assert_eq!(run.accepted(), ["a/2/summary/3 x 3"]);
    assert_eq!(run.book.acknowledged(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_source_sends_everything_at_once() {
    let run = Run::new(20);
    run.send("a", "x").await;
    run.send("a", "x").await;
    drop(run.handle);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(run.book.acknowledged(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_while_the_sink_fails_and_its_return_is_no_storm() {
    let run = Run::new(5);
    run.fails.store(true, Ordering::Relaxed);
    for number in 0..600 {
        run.send(&format!("job-{number}"), "failed").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(run.book.acknowledged(), 0);
    run.fails.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    // The messages that waited, and the summary of all others.
    let accepted = run.accepted();
    assert_eq!(accepted.len(), 6, "{accepted:?}");
    assert!(accepted[5].ends_with("summary/595 failed 595"), "{accepted:?}");
    assert_eq!(run.book.acknowledged(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_drops_what_is_held_back_and_acknowledges_nothing_of_it() {
    let run = Run::new(20);
    for _ in 0..3 {
        run.send("a", "x").await;
    }
    run.book.lease.set(LeaseState::Lost);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(run.metrics.of(Kind::Jobs).records_unsent_at_lease_loss.get(), 2);
    run.book.lease.set(LeaseState::Held);
    run.handle.drain().await.expect("runs");
    assert_eq!(run.accepted(), ["a/1 x 1"]);
    assert_eq!(run.book.acknowledged(), 1);
}

#[tokio::test(start_paused = true)]
async fn records_of_two_leases_never_share_a_summary() {
    let run = Run::new(20);
    let next = Book::new();
    let body = |text: &str| json!({"text": text, "key": "k"}).to_string();
    for book in [&run.book, &run.book, &run.book, &next, &next] {
        run.handle.submit(vec![book.record("k", body("x"))]).await.expect("runs");
    }
    tokio::time::sleep(MOMENT).await;
    // What the last lease held is not held back any longer.
    assert_eq!(run.accepted(), ["k/1 x 1", "k/2/summary/2 x 2"]);
    tokio::time::sleep(WINDOW).await;
    assert_eq!(run.accepted(), ["k/1/summary/2 x 2"]);
    assert_eq!((run.book.acknowledged(), next.acknowledged()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_summary_leaves_early_when_it_keeps_half_of_the_window() {
    let run = Run::new(20);
    let window = Window::new(4096, &run.metrics);
    for _ in 0..9 {
        let share = window.line(256).await;
        let record = run.book.record_with("a", json!({"text": "x", "key": "k"}).to_string(), share);
        run.handle.submit(vec![record]).await.expect("runs");
    }
    tokio::time::sleep(MOMENT).await;
    // Three quarters of the window are for lines: 3072 bytes, of which seven records keep more than half.
    assert_eq!(run.accepted(), ["a/1 x 1", "a/2/summary/7 x 7"]);
    assert_eq!(run.book.acknowledged(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_summary_leaves_early_when_it_has_too_many_records() {
    let run = Run::new(20);
    let body = json!({"text": "x", "key": "k"}).to_string();
    let records = (0..=MOST_HELD).map(|_| run.book.record("a", body.clone())).collect();
    run.handle.submit(records).await.expect("runs");
    tokio::time::sleep(MOMENT).await;
    assert_eq!(run.accepted(), ["a/1 x 1", "a/2/summary/10000 x 10000"]);
}
