//! What the original program would have stored, and going on from what it has stored.

mod common;

use std::{collections::BTreeSet, path::Path};

use common::{
    Process, Setup, fixture, fixture_lines, seed,
    truth::{OBJECTS, Seen, all_seen, assert_exactly, by_key, expected, newest_time, original_value},
};
use nomad_sim::{Builder, Sim};
use serde_json::{Value, json};

const RECORDING: &str = "stream-complete.ndjson";
/// The original takes what is up to so many ns older than its value for certainly delivered.
const OVERLAP: u64 = 10_000_000_000;
/// Indexes at which one program takes over from the other: deployments under way, a restart loop, a drain.
const MIDDLES: [u64; 4] = [61, 97, 139, 180];
const NAMED: &str = "default,team-a,team-b,late";

fn index(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).expect("a line is JSON")["Index"].as_u64().expect("an index")
}

/// The recording up to and with an index, and what follows it.
fn cut(at: u64) -> (Vec<String>, Vec<String>) {
    fixture_lines(RECORDING).into_iter().partition(|line| index(line) <= at)
}

fn file(dir: &Path, kind: &str) -> std::path::PathBuf {
    let name = if kind == "jobliststubs" { "jobliststub" } else { kind };
    dir.join(format!("{name}.json"))
}

fn checkpoint(dir: &Path, kind: &str) -> Value {
    let text = std::fs::read(file(dir, kind)).expect("a checkpoint is stored");
    serde_json::from_slice(&text).expect("it is JSON")
}

/// Tells our program what the original has stored meanwhile.
fn led(dir: &Path, kind: &str, value: u64) {
    let path = file(dir, kind);
    let mut stored = match path.exists() {
        true => checkpoint(dir, kind),
        false => json!({"version": 1, "value": 0, "lanes": {}}),
    };
    stored["original"] = json!({"value": value});
    std::fs::write(path, stored.to_string()).expect("the directory is there");
}

fn cluster(at: u64) -> Builder {
    Sim::builder().recording(fixture(RECORDING)).buffer(1_000).preload(at)
}

fn setup(kind: &str, sim: &Sim, dir: &Path, namespaces: &str) -> Setup {
    // The start is that of the very first run, which the original's was.
    Setup::new(&[kind], &sim.url(0))
        .verbose()
        .data_dir(dir)
        .env("NOMAD_FIREHOSE_START", "now")
        .env("NOMAD_NAMESPACE", namespaces)
}

fn versions(seen: &[Seen]) -> BTreeSet<Seen> {
    seen.iter().cloned().collect()
}

fn time(seen: &Seen) -> u64 {
    seen.version.split(' ').next().and_then(|time| time.parse().ok()).expect("a task event's time comes first")
}

/// What ours has to bring after an original that stood at `value`, having seen `before`.
struct Owed {
    kind: &'static str,
    value: u64,
    before: Vec<String>,
    after: Vec<String>,
}

impl Owed {
    fn new(kind: &'static str, middle: u64) -> Self {
        let (before, after) = cut(middle);
        Owed { kind, value: original_value(kind, &before), before, after }
    }

    fn all(&self) -> Vec<Seen> {
        let all: Vec<_> = self.before.iter().chain(&self.after).cloned().collect();
        expected(self.kind, &all)
    }

    /// What is certainly new.
    fn new_ones(&self) -> Vec<Seen> {
        match self.kind {
            "allocations" => {
                let known = versions(&expected(self.kind, &self.before));
                self.all().into_iter().filter(|seen| !known.contains(seen)).collect()
            }
            // It sends those of its index with the next change.
            "evaluations" => {
                let last = self.before.iter().filter(|line| index(line) == self.value).cloned();
                expected(self.kind, &last.chain(self.after.iter().cloned()).collect::<Vec<_>>())
            }
            kind => expected(kind, &self.after),
        }
    }

    /// All that is new has come, once and in order, and of the rest only what is not certainly older.
    fn assert_brought(&self, printed: &[Seen]) {
        let new_ones = self.new_ones();
        if self.kind != "allocations" {
            return assert_exactly(printed, &new_ones);
        }
        let known = versions(&expected(self.kind, &self.before));
        let (again, fresh): (Vec<_>, Vec<_>) = printed.iter().cloned().partition(|seen| known.contains(seen));
        assert_exactly(&fresh, &new_ones);
        for versions in by_key(&again).into_values() {
            assert_eq!(versions.iter().collect::<BTreeSet<_>>().len(), versions.len(), "twice: {versions:?}");
        }
        let older: Vec<_> = again.iter().filter(|seen| time(seen) + OVERLAP < self.value).collect();
        assert!(older.is_empty(), "certainly delivered by the original: {older:#?}");
    }

    /// Whether all that is new is among the printed.
    fn is_brought(&self, printed: &[String]) -> bool {
        let printed = versions(&all_seen(printed));
        self.new_ones().iter().all(|seen| printed.contains(seen))
    }
}

async fn until_brought(process: &Process, owed: &Owed, earlier: &[String]) {
    let mut count = usize::MAX;
    let is_brought = || {
        // Parsing is dear: only what changed is looked at.
        if std::mem::replace(&mut count, process.count()) == process.count() {
            return false;
        }
        owed.is_brought(&[earlier, &process.printed()].concat())
    };
    process.until("all that is new", is_brought).await;
}

/// From the value alone, at `middle`; stopped and started again at these indexes.
async fn goes_on(kind: &'static str, middle: u64, stops: &[u64], namespaces: &str) {
    let (sim, dir) = (cluster(middle).start().await.expect("starts"), tempfile::tempdir().expect("a directory"));
    let owed = Owed::new(kind, middle);
    led(dir.path(), kind, owed.value);
    let setup = setup(kind, &sim, dir.path(), namespaces);
    let mut printed = Vec::new();
    for stop in stops {
        let process = setup.spawn();
        process.until_logged("subscribed to the event stream").await;
        sim.play_to(*stop).await;
        printed.extend(process.stop().await);
    }
    let process = setup.spawn();
    sim.play_all().await;
    until_brought(&process, &owed, &printed).await;
    // The buffer still holds where the original stopped; a stream of a namespace in which nothing happened there cannot
    // show it.
    if stops.is_empty() && namespaces == "*" {
        assert_eq!(process.logged("gap detected"), 0, "{kind} after {middle}:\n{}", process.log());
    }
    printed.extend(process.stop().await);
    owed.assert_brought(&all_seen(&printed));
    let stored = checkpoint(dir.path(), kind);
    let all: Vec<_> = owed.before.iter().chain(&owed.after).cloned().collect();
    assert_eq!(stored["value"], original_value(kind, &all), "{kind} after {middle}");
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_from_a_value_alone() {
    for kind in OBJECTS {
        for middle in MIDDLES {
            goes_on(kind, middle, &[], "*").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_in_namespaces_named_one_by_one() {
    for kind in OBJECTS {
        goes_on(kind, MIDDLES[1], &[], NAMED).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_in_the_midst_it_goes_on_the_same_way() {
    let mut random = fastrand::Rng::with_seed(seed());
    for kind in OBJECTS {
        for namespaces in ["*", NAMED] {
            let middle = MIDDLES[1];
            let mut stops: Vec<u64> = (0..3).map(|_| random.u64(middle..200)).collect();
            stops.sort_unstable();
            goes_on(kind, middle, &stops, namespaces).await;
        }
    }
}

/// Ours, then the original, then ours again: with marks, and with namespaces named and not.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_original_delivered_in_between_is_not_delivered_again() {
    for (kind, namespaces) in OBJECTS.into_iter().flat_map(|kind| [(kind, "*"), (kind, NAMED)]) {
        let (sim, dir) =
            (cluster(MIDDLES[0]).start().await.expect("starts"), tempfile::tempdir().expect("a directory"));
        let setup = setup(kind, &sim, dir.path(), namespaces).env("NOMAD_FIREHOSE_START", "all");
        let first = setup.spawn();
        first.until_printed(expected(kind, &cut(MIDDLES[0]).0).len()).await;
        first.stop().await;
        let middle = MIDDLES[2];
        sim.play_to(middle).await;
        let owed = Owed::new(kind, middle);
        led(dir.path(), kind, owed.value);
        let process = setup.spawn();
        process.until_logged("subscribed to the event stream").await;
        sim.play_all().await;
        until_brought(&process, &owed, &[]).await;
        owed.assert_brought(&all_seen(&process.stop().await));
        let stored = checkpoint(dir.path(), kind);
        // A namespace in which nothing has happened since still needs it.
        assert!(stored.get("original").is_none() || namespaces == NAMED, "{kind}: the lane is past it");
    }
}

/// Nothing streams: what has changed since is in the lists.
#[tokio::test(flavor = "multi_thread")]
async fn goes_on_where_the_buffer_is_gone() {
    for kind in OBJECTS {
        let (middle, now) = (MIDDLES[0], MIDDLES[2]);
        let (sim, dir) = (cluster(now).start().await.expect("starts"), tempfile::tempdir().expect("a directory"));
        sim.server(0).restart();
        let owed = Owed::new(kind, middle);
        led(dir.path(), kind, owed.value);
        let process = setup(kind, &sim, dir.path(), "*").spawn();
        // Of all that changed, the final versions; a node that did not change brings nothing.
        let between: Vec<_> = cut(now).0.into_iter().filter(|line| index(line) > middle).collect();
        let fresh = Owed { after: between, ..Owed::new(kind, middle) };
        let changed = by_key(&fresh.new_ones()).len();
        process.until("the final versions", || by_key(&all_seen(&process.printed())).len() >= changed).await;
        process.until_logged(if changed > 0 { "backfill finished" } else { "subscribed" }).await;
        let printed = all_seen(&process.stop().await);
        let wanted = versions(&fresh.all());
        for seen in &printed {
            assert!(wanted.contains(seen), "not of this time: {seen:?}");
            assert!(kind != "allocations" || time(seen) + OVERLAP >= owed.value, "certainly delivered: {seen:?}");
        }
    }
}

/// A value that cannot be: nothing is taken for delivered on its word, and it is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_ahead_of_the_cluster_loses_nothing() {
    for (kind, value) in OBJECTS.into_iter().flat_map(|kind| [(kind, u64::MAX), (kind, 1 << 62), (kind, 0)]) {
        let (sim, dir) =
            (cluster(MIDDLES[1]).start().await.expect("starts"), tempfile::tempdir().expect("a directory"));
        led(dir.path(), kind, value);
        let process = setup(kind, &sim, dir.path(), "*").spawn();
        let want = expected(kind, &cut(MIDDLES[1]).0);
        process.until_printed(want.len()).await;
        process.until_logged("backfill finished").await;
        assert_eq!(process.logged("ahead of the cluster or of the clock"), usize::from(value > 0));
        assert_exactly(&all_seen(&process.stop().await), &want);
        let stored = checkpoint(dir.path(), kind);
        assert_eq!(stored["value"], original_value(kind, &cut(MIDDLES[1]).0));
        assert_eq!(stored.get("original"), None);
    }
}

fn recorded_list(moment: &str, kind: &str) -> (u64, Vec<Value>) {
    let name = if kind == "jobliststubs" { "jobs" } else { kind };
    let text = std::fs::read(fixture(&format!("rest/{moment}/{name}.json"))).expect("a recorded list");
    let answer: Value = serde_json::from_slice(&text).expect("it is JSON");
    let mut headers = answer["headers"].as_object().expect("headers").iter();
    let index = headers.find(|(name, _)| name.eq_ignore_ascii_case("x-nomad-index")).map(|(_, value)| value);
    let index = index.and_then(|index| index.as_str()?.parse().ok()).expect("its index");
    (index, answer["body"].as_array().expect("a list").clone())
}

/// What the recorded list alone would have made the original store.
fn value_of_list(kind: &str, (index, list): &(u64, Vec<Value>)) -> u64 {
    let of_object = |object: &Value| match kind {
        "allocations" => newest_time(object),
        _ => object["ModifyIndex"].as_u64().expect("an index"),
    };
    if kind == "evaluations" { *index } else { list.iter().map(of_object).max().unwrap_or_default() }
}

/// What the records of a kind, each the final version, would have made the original store.
fn value_of_records(kind: &str, printed: &[String]) -> u64 {
    let records = printed.iter().filter(|record| common::truth::seen(record).kind == kind);
    let of_record = |record: &String| {
        let record: Value = serde_json::from_str(record).expect("it is JSON");
        let value = if kind == "allocations" { &record["TaskEvent"]["Time"] } else { &record["ModifyIndex"] };
        value.as_u64().expect("a number")
    };
    records.map(of_record).max().unwrap_or_default()
}

/// At each moment at which the real cluster's lists were recorded: what the original makes of them, and what we store,
/// from the stream and from lists.
#[tokio::test(flavor = "multi_thread")]
async fn the_value_is_the_originals() {
    let lists = ["allocations", "evaluations", "jobs", "nodes", "deployments"];
    let mut greatest = std::collections::BTreeMap::<&str, u64>::new();
    for moment in ["1-deployed", "2-busy", "3-drained", "4-stopped"] {
        // The lists of a moment were read one after the other, each at its own index.
        for kind in OBJECTS {
            let list = recorded_list(moment, kind);
            let so_far = greatest.entry(kind).or_default();
            *so_far = value_of_list(kind, &list).max(*so_far);
            assert_eq!(*so_far, original_value(kind, &cut(list.0).0), "{moment} {kind}: of the recorded lists");
        }
        let at = lists.iter().map(|kind| recorded_list(moment, kind).0).max().expect("lists");
        for streams in [true, false] {
            let (sim, dir) = (cluster(at).start().await.expect("starts"), tempfile::tempdir().expect("a directory"));
            if !streams {
                sim.server(0).restart();
            }
            let arguments = ["run", "--resources", "all"];
            let process = Setup::new(&arguments, &sim.url(0)).verbose().data_dir(dir.path()).spawn();
            process.until("the lists are read", || process.logged("backfill finished") >= OBJECTS.len()).await;
            if streams {
                let want: usize = OBJECTS.iter().map(|kind| expected(kind, &cut(at).0).len()).sum();
                process.until_printed(want + expected("events", &cut(at).0).len()).await;
            }
            let printed = process.stop().await;
            for kind in OBJECTS {
                let value = checkpoint(dir.path(), kind)["value"].as_u64().expect("a number");
                let want = match streams {
                    true => original_value(kind, &cut(at).0),
                    false => value_of_records(kind, &printed),
                };
                assert_eq!(value, want, "{moment} {kind}, streams: {streams}");
            }
        }
    }
}
