//! A sink that is down while far more happens than the server's buffer and the window hold, and what can still be known
//! behind it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use nomad_sim::Sim;
use serde_json::Value;

use super::{Setup, made};

/// How many evaluations and allocations have versions, over and over.
const EVALUATIONS: u64 = 500;
const ALLOCATIONS: u64 = 40;

/// A tenth of it, from its tenth index on, is of allocations: ten versions of each, which is as many task events as Nomad
/// keeps of a task.
const NEWEST: u64 = 9 + 10 * 10 * ALLOCATIONS;

/// What happens while the sink is well, and while it is down: 3,400 evaluations of 16 KB are more than the bound.
pub const BEFORE: RangeInclusive<u64> = 10..=209;
pub const MEANWHILE: RangeInclusive<u64> = 210..=NEWEST;

/// The most memory that the program may have, in bytes: a window of 64 KiB, the largest batch, and the program itself.
pub const BOUND: u64 = 48 << 20;

/// A cluster with a small buffer.
pub async fn cluster() -> Sim {
    let sim = Sim::builder().buffer(200).send_buffer(16 << 10).refusal(Duration::from_millis(100)).keep_truth(false);
    sim.start().await.expect("starts")
}

/// The program with a small window, and with pauses no longer than a test waits.
pub fn setup(sim: &Sim) -> Setup {
    Setup::new(&["run", "--resources", "evaluations,allocations,events"], &sim.url(0))
        .env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", "64KiB")
        .env("NOMAD_FIREHOSE_RETRY_MAX", "500ms")
}

/// Lets all of that happen.
pub async fn append(sim: &Sim, indexes: RangeInclusive<u64>) {
    sim.append_lines(indexes.map(line)).await.expect("lines of a stream");
}

/// The allocation that changes at an index, and how many task events it has then.
fn allocation(index: u64) -> Option<(u64, u64)> {
    let number = index / 10 - 1;
    index.is_multiple_of(10).then_some((number % ALLOCATIONS + 1, number / ALLOCATIONS + 1))
}

fn line(index: u64) -> String {
    match allocation(index) {
        Some((n, events)) => made::allocation(index, n, 1..=events),
        None => made::large_evaluation(index, index % EVALUATIONS, 16_000),
    }
}

/// What came.
#[derive(Debug, Default)]
pub struct Came {
    /// The indexes of the versions of each evaluation, in the order in which they came.
    evaluations: BTreeMap<String, Vec<u64>>,
    /// Allocation and time.
    task_events: BTreeSet<(String, u64)>,
    events: BTreeSet<u64>,
    /// From the first index until before the second one.
    gaps: Vec<(u64, u64)>,
}

impl Came {
    /// One record.
    pub fn take(&mut self, record: &Value) {
        let index = |value: &Value| value.as_u64().expect("an index");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        if record["Topic"] == "Firehose" {
            let gap = &record["Payload"]["Gap"];
            self.gaps.push((index(&gap["FromIndex"]), index(&gap["UntilIndex"])));
        } else if record.get("Topic").is_some() {
            self.events.insert(index(&record["Index"]));
        } else if record.get("TaskEvent").is_some() {
            self.task_events.insert((text(&record["AllocationID"]), index(&record["TaskEvent"]["Time"])));
        } else {
            self.evaluations.entry(text(&record["ID"])).or_default().push(index(&record["ModifyIndex"]));
        }
    }

    /// Whether all that can be known has come of what happened up to and with an index.
    pub fn is_all(&self, newest: u64) -> bool {
        self.wanting(newest).is_none()
    }

    /// Something of it that has not come.
    pub fn wanting(&self, newest: u64) -> Option<String> {
        let latest = newest.saturating_sub(EVALUATIONS - 1).max(10)..=newest;
        for index in latest.filter(|index| allocation(*index).is_none()) {
            let id = made::id(index % EVALUATIONS);
            if self.evaluations.get(&id).and_then(|versions| versions.last()) != Some(&index) {
                return Some(format!("the newest version of evaluation {id}, of {index}"));
            }
        }
        for index in 10..=newest {
            if let Some((n, time)) = allocation(index)
                && !self.task_events.contains(&(made::id(n), time))
            {
                return Some(format!("task event {time} of allocation {n}"));
            }
            let is_told = |(from, until): &(u64, u64)| (*from..*until).contains(&index);
            if !self.events.contains(&index) && !self.gaps.iter().any(is_told) {
                return Some(format!("the event of {index}"));
            }
        }
        None
    }

    /// Holds it to be all that can be known, each evaluation's versions in order, and the gap to be told of.
    pub fn assert_known(&self) {
        assert_eq!(self.wanting(NEWEST), None);
        for (id, versions) in &self.evaluations {
            let mut met = BTreeSet::new();
            for index in versions {
                assert!(met.last() <= Some(index) || met.contains(index), "{id}: {versions:?}");
                met.insert(*index);
            }
        }
        assert!(!self.gaps.is_empty() && self.gaps.len() < 10, "{:?}", self.gaps);
        // Far more was lost to the buffer than came.
        assert!(self.events.len() < 2_000, "{} events came", self.events.len());
    }
}
