//! Any messages, times, faults and drains.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::delivery::testing::number;

#[derive(Clone, Debug)]
enum Step {
    /// Messages of these topics.
    Take(Vec<u8>),
    /// So many milliseconds pass, and what is due leaves.
    Pass(u64),
    /// The sink accepts so many messages.
    Accept(usize),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(0u8..12, 1..12).prop_map(Step::Take),
        3 => (0u64..90_000).prop_map(Step::Pass),
        3 => (0usize..30).prop_map(Step::Accept),
        1 => Just(Step::Drain),
    ]
}

/// What left, and what the sink accepted of it.
struct Sink {
    book: Book,
    waiting: VecDeque<Record>,
    accepted: u64,
    /// When each message left that no drain sent.
    left: Vec<Instant>,
    newest: HashMap<String, u64>,
}

impl Sink {
    fn leave(&mut self, records: Vec<Record>, now: Instant, is_drained: bool) {
        for record in records {
            if !is_drained {
                self.left.push(now);
            }
            // The first record of what leaves is newer than everything of its topic that left before.
            let first = record.id.split("/summary/").next().expect("a part").to_owned();
            let (key, number) = first.rsplit_once('/').expect("made by the book");
            let number: u64 = number.parse().expect("a number");
            let newest = self.newest.insert(key.to_owned(), number).unwrap_or_default();
            assert!(newest < number, "{first} after {newest}");
            self.waiting.push_back(record);
        }
    }

    fn accept(&mut self, most: usize) {
        for _ in 0..most {
            let Some(record) = self.waiting.pop_front() else { return };
            self.accepted += counted(&record);
            record.ack.delivered();
        }
        assert!(self.book.acknowledged() <= self.accepted, "acknowledged before it was accepted");
    }
}

/// How many records a message stands for.
fn counted(record: &Record) -> u64 {
    let Some((_, count)) = record.id.split_once("/summary/") else {
        assert!(number(record) > 0);
        return 1;
    };
    let message = notify::Message::of(record);
    assert_eq!(message.count.map(|count| count.to_string()).as_deref(), Some(count));
    let listed: u64 = message.lines.iter().map(|line| times(line)).sum();
    assert!(message.lines.is_empty() || Some(listed) == message.count, "{message:?}");
    message.count.expect("a summary counts")
}

/// How many messages a line of a summary stands for.
fn times(line: &str) -> u64 {
    if let Some(rest) = line.strip_prefix("and ") {
        return rest.trim_end_matches(" more").parse().expect("a number");
    }
    let times = line.rsplit_once('(').and_then(|(_, times)| times.strip_suffix(" times)"));
    times.map_or(1, |times| times.parse().expect("a number"))
}

proptest! {
    #[test]
    fn every_record_is_in_one_message_and_acknowledged_with_it(
        steps in prop::collection::vec(step(), 1..60),
        limit in 1usize..6,
    ) {
        let mut sink = Sink {
            book: Book::new(),
            waiting: VecDeque::new(),
            accepted: 0,
            left: Vec::new(),
            newest: HashMap::new(),
        };
        let mut now = Instant::now();
        let mut digest = Digest::new(Config { window: WINDOW, limit }, Metrics::new(&[Kind::Jobs]));
        let mut taken = 0;
        for step in steps {
            let mut leaving = Vec::new();
            match step {
                Step::Take(topics) => {
                    for topic in topics {
                        let body = json!({"text": format!("{topic} failed"), "key": topic.to_string()});
                        let record = sink.book.record(&format!("job-{topic}"), body.to_string());
                        digest.take(record, now, &mut leaving);
                        taken += 1;
                    }
                    sink.leave(leaving, now, false);
                }
                Step::Pass(millis) => {
                    let end = now + Duration::from_millis(millis);
                    while let Some(due) = digest.due_at().filter(|due| *due <= end) {
                        now = now.max(due);
                        digest.due(now, &mut leaving);
                        sink.leave(std::mem::take(&mut leaving), now, false);
                    }
                    now = end;
                }
                Step::Accept(most) => sink.accept(most),
                Step::Drain => {
                    digest.flush(now, &mut leaving);
                    sink.leave(leaving, now, true);
                }
            }
        }
        for (first, from) in sink.left.iter().enumerate() {
            let within = sink.left[first..].iter().take_while(|left| **left < *from + MINUTE).count();
            prop_assert!(within <= limit + 1, "{} messages within a minute", within);
        }
        let mut leaving = Vec::new();
        digest.flush(now, &mut leaving);
        sink.leave(leaving, now, true);
        sink.accept(usize::MAX);
        prop_assert_eq!(sink.accepted, taken);
        prop_assert_eq!(sink.book.acknowledged(), taken);
        prop_assert_eq!(sink.book.ledger.pending(), 0);
    }
}

const MINUTE: Duration = Duration::from_secs(60);
