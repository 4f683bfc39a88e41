//! Whether a record is itself the reason why the sink refuses it. No I/O and no clock.
//!
//! An answer such as 403 can be about the credentials, the target or the record. A probe tells which: a record of another
//! key, sent right after the refusal. Where the probe fails as well, the record is not to blame. Where the same record is
//! refused [`REFUSALS`] times over [`OVER`] and the probe passed each time, it is: the record is treated as refused data.
//! Until then it waits, because a wrong dead letter is worse than a wait.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{kind::Kind, record::Record};

/// How often a record is refused, each time with a passed probe right after, before it is to blame.
const REFUSALS: u32 = 10;

/// How long that must have lasted: new credentials and restarted servers have reached every machine by then.
const OVER: Duration = Duration::from_secs(300);

/// How many keys with a failed probe are passed over at a time; each costs one comparison per queued record.
const PASSED_OVER: usize = 64;

/// The refused record that the others pass by, if there is one.
#[derive(Debug, Default)]
pub(super) struct Suspect {
    case: Option<Case>,
    /// Keys whose probe failed. The next probe is of another key: a second record that is to blame would otherwise fail
    /// every probe.
    passed_over: Vec<(Kind, Arc<str>)>,
}

#[derive(Debug)]
struct Case {
    kind: Kind,
    id: Box<str>,
    refusals: u32,
    first: Instant,
    last: Instant,
}

/// What is known about a refused record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// How often it was refused with a passed probe right after.
    refusals: u32,
    /// From the first of these refusals to the last.
    over: Duration,
}

impl Suspect {
    /// `record` was refused at `now`, and the probe right after it passed.
    pub(super) fn passed(&mut self, record: &Record, now: Instant) -> Finding {
        if self.known(record).is_none() {
            self.case = Some(Case { kind: record.kind, id: record.id.clone(), refusals: 0, first: now, last: now });
        }
        let case = self.case.as_mut().expect("set above");
        case.refusals = case.refusals.saturating_add(1);
        case.last = now;
        case.finding()
    }

    /// A record was refused, and `probe` was not accepted either: counting starts again.
    pub(super) fn failed(&mut self, probe: &Record) {
        self.case = None;
        if self.passed_over.len() >= PASSED_OVER {
            self.passed_over.clear();
        }
        self.passed_over.push((probe.kind, Arc::clone(&probe.key)));
    }

    /// There was no refusal: something was accepted, or the sink gave no answer about the record.
    pub(super) fn clear(&mut self) {
        self.case = None;
        self.passed_over.clear();
    }

    /// What earlier tries have shown about `record`. A try without a probe changes nothing.
    pub(super) fn known(&self, record: &Record) -> Option<Finding> {
        let case = self.case.as_ref().filter(|case| case.kind == record.kind && case.id == record.id)?;
        Some(case.finding())
    }

    /// Whether a probe of this record's key failed lately.
    pub(super) fn passes_over(&self, record: &Record) -> bool {
        self.passed_over.iter().any(|(kind, key)| *kind == record.kind && *key == record.key)
    }

    /// Lets every key be probed again; `false` where each of them could be already.
    pub(super) fn pass_over_none(&mut self) -> bool {
        !std::mem::take(&mut self.passed_over).is_empty()
    }
}

impl Case {
    fn finding(&self) -> Finding {
        Finding { refusals: self.refusals, over: self.last - self.first }
    }
}

impl Finding {
    /// Whether the record is to blame.
    pub(super) fn is_proven(self) -> bool {
        self.refusals >= REFUSALS && self.over >= OVER
    }

    /// For the log, the status and the dead letter: what is known about `record`, for which the far side answered
    /// `answer`.
    pub(super) fn text(self, record: &Record, answer: &str) -> String {
        let Record { kind, id, key, .. } = record;
        if !self.is_proven() {
            return format!(
                "{kind} record {id} (key {key}) is refused while records of other keys are accepted: {answer}"
            );
        }
        let (times, seconds) = (self.refusals, self.over.as_secs());
        format!(
            "{kind} record {id} (key {key}) was refused {times} times in {seconds}s while records of other keys were \
             accepted: {answer}"
        )
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::delivery::testing::Book;

    #[derive(Clone, Copy, Debug)]
    enum Try {
        /// Refused, and the probe passed.
        Passed,
        /// Refused, and the probe failed.
        Failed,
        /// Refused, and there was no record for a probe.
        NoProbe,
        /// Another record was refused, and its probe passed.
        Other,
        /// A broken connection, a 429, or a success.
        NoAnswer,
    }
    use Try::{Failed, NoAnswer, NoProbe, Other, Passed};

    /// Whether the record is to blame after these tries, with so many seconds before each.
    async fn proven(tries: &[(Try, u64)]) -> bool {
        let (book, mut suspect, mut proven) = (Book::new(), Suspect::default(), false);
        let (record, other, probe) = (book.record("a", ""), book.record("b", ""), book.record("c", ""));
        for (tried, seconds) in tries {
            assert!(!proven, "a proven record is a dead letter");
            advance(Duration::from_secs(*seconds)).await;
            let now = Instant::now();
            match tried {
                Passed => proven = suspect.passed(&record, now).is_proven(),
                Failed => suspect.failed(&probe),
                NoProbe => proven = suspect.known(&record).is_some_and(Finding::is_proven),
                Other => assert!(!suspect.passed(&other, now).is_proven()),
                NoAnswer => suspect.clear(),
            }
        }
        proven
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_is_to_blame_after_ten_passed_probes_over_five_minutes() {
        let passed = |times: usize, seconds| vec![(Passed, seconds); times];
        for (tries, expected) in [
            (passed(9, 75), false),
            (passed(10, 26), false),
            // The tenth is 297 s after the first one; the eleventh 330 s.
            (passed(10, 33), false),
            (passed(11, 33), true),
            (passed(10, 34), true),
            ([passed(10, 24), vec![(Passed, 90)]].concat(), true),
            ([passed(9, 60), vec![(Failed, 1), (Passed, 1)]].concat(), false),
            ([passed(9, 60), vec![(NoAnswer, 1), (Passed, 1)]].concat(), false),
            ([passed(9, 60), vec![(Other, 1), (Passed, 1)]].concat(), false),
            // Says nothing about the record.
            ([passed(9, 60), vec![(NoProbe, 1); 5], passed(1, 1)].concat(), true),
            ([passed(9, 60), vec![(NoProbe, 60); 5]].concat(), false),
            ([passed(9, 60), vec![(Failed, 1)], passed(9, 60)].concat(), false),
            ([passed(9, 60), vec![(Failed, 1)], passed(10, 60)].concat(), true),
            (vec![(Failed, 30); 1000], false),
            (vec![(NoProbe, 30); 1000], false),
            ([(Passed, 30), (Failed, 30)].repeat(500), false),
        ] {
            assert_eq!(proven(&tries).await, expected, "{tries:?}");
        }
    }

    #[test]
    fn a_key_whose_probe_failed_is_passed_over_until_all_have_failed() {
        let (book, mut suspect) = (Book::new(), Suspect::default());
        let (a, b) = (book.record("a", ""), book.record("b", ""));
        suspect.failed(&a);
        assert!(suspect.passes_over(&book.record("a", "")) && !suspect.passes_over(&b));
        assert!(suspect.pass_over_none() && !suspect.passes_over(&a) && !suspect.pass_over_none());
        for number in 0..PASSED_OVER * 3 {
            suspect.failed(&book.record(&format!("k{number}"), ""));
            assert!(suspect.passed_over.len() <= PASSED_OVER);
        }
    }

    #[test]
    fn the_text_names_the_record_and_what_was_answered() {
        let record = Book::new().record("web", "");
        let finding = |refusals, seconds| Finding { refusals, over: Duration::from_secs(seconds) };
        for (finding, text) in [
            (
                finding(3, 20),
                "jobs record web/1 (key web) is refused while records of other keys are accepted: http://a answered 403",
            ),
            (
                finding(12, 301),
                "jobs record web/1 (key web) was refused 12 times in 301s while records of other keys were accepted: \
                 http://a answered 403",
            ),
        ] {
            assert_eq!(finding.text(&record, "http://a answered 403"), text);
        }
    }
}
