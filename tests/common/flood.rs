//! Many records of a usual size, for long runs: nothing is kept of them but how far each key has come.

use std::time::{Duration, Instant};

use nomad_sim::Sim;

use super::{Process, made::id, probe::get};

/// How many keys the records are spread over.
const KEYS: u64 = 5_000;

/// The index of the first.
const FIRST: u64 = 10;

/// How long nothing may come. Behind a long outage the next try waits up to half a minute, and a server that takes
/// requests and does not answer is given ten seconds each time.
const STANDSTILL: Duration = Duration::from_secs(150);

/// How many records: `RECORDS` where it is set.
pub fn records(unless_set: u64) -> u64 {
    std::env::var("RECORDS").ok().and_then(|records| records.parse().ok()).unwrap_or(unless_set)
}

/// A cluster whose buffer holds so many records.
pub async fn cluster(records: u64) -> Sim {
    const PART: u64 = 10_000;
    let buffer = usize::try_from(records).expect("it fits into memory") + 10;
    let sim = Sim::builder().buffer(buffer).keep_truth(false).start().await.expect("the simulator starts");
    for part in 0..records.div_ceil(PART) {
        let numbers = part * PART..records.min((part + 1) * PART);
        sim.append_lines(numbers.map(|number| line(FIRST + number))).await.expect("lines of a stream");
    }
    sim
}

/// An evaluation that no node had room for, as Nomad writes it: about 1,050 bytes.
fn object(index: u64) -> String {
    let n = (index - FIRST) % KEYS + 1;
    let (id, job) = (id(n), format!("service-{n}"));
    format!(
        r#"{{"ID":"{id}","Namespace":"default","Priority":50,"Type":"service","TriggeredBy":"job-register","JobID":"{job}","JobModifyIndex":{n},"NodeID":"","NodeModifyIndex":0,"DeploymentID":"","Status":"complete","StatusDescription":"","Wait":0,"NextEval":"","PreviousEval":"","BlockedEval":"{id}","RelatedEvals":null,"FailedTGAllocs":{{"web":{{"NodesEvaluated":12,"NodesFiltered":4,"NodesInPool":12,"NodePool":"default","NodesAvailable":{{"dc1":6,"dc2":6}},"ClassFiltered":null,"ConstraintFiltered":{{"${{attr.kernel.name}} = linux":4}},"NodesExhausted":8,"ClassExhausted":null,"DimensionExhausted":{{"memory":8}},"QuotaExhausted":null,"ResourcesExhausted":null,"Scores":null,"AllocationTime":{index},"CoalescedFailures":2}}}},"ClassEligibility":{{"v1:1234567890":true}},"QuotaLimitReached":"","EscapedComputedClass":false,"AnnotatePlan":false,"QueuedAllocations":{{"web":3}},"SnapshotIndex":{n},"CreateIndex":{n},"ModifyIndex":{index},"CreateTime":1700000000000000000,"ModifyTime":1700000000000000000}}"#
    )
}

fn line(index: u64) -> String {
    let (id, object) = (id((index - FIRST) % KEYS + 1), object(index));
    format!(
        r#"{{"Index":{index},"Events":[{{"Topic":"Evaluation","Type":"EvaluationUpdated","Key":"{id}","Namespace":"default","FilterKeys":null,"Index":{index},"Payload":{{"Evaluation":{object}}}}}]}}"#
    )
}

/// What has come so far of the records of a [`cluster`].
#[derive(Debug)]
pub struct Came {
    records: u64,
    /// The number within its key that may come next at most, of each.
    next: Vec<u64>,
    /// How many of each key there were.
    reached: Vec<u64>,
    pub distinct: u64,
    pub repeats: u64,
    /// What was wrong first.
    wrong: Option<String>,
}

impl Came {
    pub fn new(records: u64) -> Self {
        let keys = vec![0; usize::try_from(KEYS).expect("a few")];
        Came { records, next: keys.clone(), reached: keys, distinct: 0, repeats: 0, wrong: None }
    }

    /// One body, a JSON array of them, or one a line; byte by byte as the cluster has them.
    pub fn take(&mut self, text: &str) {
        let mut rest = text.strip_prefix('[').unwrap_or(text);
        while let Some((_, behind)) = rest.split_once("\"ModifyIndex\":") {
            let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
            let index = behind[..digits].parse().expect("an index");
            let Some(behind) = rest.strip_prefix(object(index).as_str()) else {
                return self.found(format!("{index} is not what the cluster has"));
            };
            self.came(index - FIRST);
            rest = behind.trim_start_matches([',', '\n']);
        }
        if !matches!(rest, "" | "]") {
            self.found(format!("{rest:?} stands behind the records"));
        }
    }

    /// Each goes on by one within its key, or back to what has come: then it is a stretch that was sent again, in order.
    fn came(&mut self, number: u64) {
        let (place, key) = (number / KEYS, usize::try_from(number % KEYS).expect("a few"));
        if place > self.next[key] {
            self.found(format!("key {key}: {place} came when {} was next", self.next[key]));
        }
        self.next[key] = place + 1;
        if place < self.reached[key] {
            self.repeats += 1;
        } else {
            self.reached[key] = place + 1;
            self.distinct += 1;
        }
    }

    fn found(&mut self, wrong: String) {
        self.wrong.get_or_insert(wrong);
    }

    /// Holds it to be all, each key in order but for stretches that were sent again.
    pub fn assert_all(&self) {
        assert_eq!(self.wrong, None);
        assert_eq!(self.distinct, self.records);
    }
}

/// Waits until `count` gives so many; fails when it stands still.
pub async fn until_count(process: &Process, records: u64, mut count: impl AsyncFnMut() -> u64) {
    let (mut newest, mut moved) = (0, Instant::now());
    loop {
        let now = count().await;
        if now >= records {
            return;
        }
        if now != newest {
            (newest, moved) = (now, Instant::now());
        }
        if moved.elapsed() > STANDSTILL {
            panic!("{now} of {records} records, and no more; the log:\n{}", process.log());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many records the program that listens there has delivered.
pub async fn delivered(port: u16) -> u64 {
    let text = get(&format!("http://127.0.0.1:{port}/metrics")).await;
    let lines = text.lines().filter(|line| line.starts_with("nomad_firehose_records_delivered_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
