//! Stopped cleanly and started again at every line, index and event of the recording: each thing comes exactly once, in order.

mod common;

use common::{
    Setup, fixture_lines,
    truth::{ALL, OBJECTS, Seen, all_seen, assert_exactly, expected_by_line},
};
use nomad_sim::Sim;
use serde_json::{Value, json};

const RECORDING: &str = "stream-complete.ndjson";

/// A cluster in which nothing has happened yet, and which has the recording's namespaces.
async fn new_cluster() -> Sim {
    let names = ["team-a", "team-b", "late"];
    let sim = names.iter().fold(Sim::builder().buffer(1_000), |sim, name| sim.namespace(name, 1));
    sim.start().await.expect("the simulator starts")
}

/// What each line must bring for all of these kinds.
fn by_line(kinds: &[&str], lines: &[String]) -> Vec<Vec<Seen>> {
    let mut all = vec![Vec::new(); lines.len()];
    for kind in kinds {
        all.iter_mut().zip(expected_by_line(kind, lines)).for_each(|(all, seen)| all.extend(seen));
    }
    all
}

/// Publishes the groups of lines one after the other, and stops and starts the program after each.
async fn stopped_after_each(groups: &[&[String]]) {
    let (sim, data_dir) = (new_cluster().await, tempfile::tempdir().expect("a directory"));
    let setup = Setup::new(&["run", "--resources", "all"], &sim.url(0)).verbose().data_dir(data_dir.path());
    let mut due = by_line(&ALL, &groups.concat()).into_iter();
    let (mut printed, mut expected) = (Vec::new(), Vec::new());
    let mut first_requests = 0;
    for (n, group) in groups.iter().enumerate() {
        let process = setup.spawn();
        sim.append_lines(group.iter().cloned()).await.expect("lines of a stream");
        let due = due.by_ref().take(group.len()).flatten().collect::<Vec<_>>();
        process.until_printed(due.len()).await;
        if n == 0 {
            process.until("the lists are read", || process.logged("backfill finished") >= OBJECTS.len()).await;
        }
        // What a run sends again, it sends before anything new.
        printed.extend(process.stop().await);
        expected.extend(due);
        if n == 0 {
            first_requests = sim.requests().len();
        }
    }
    assert_exactly(&all_seen(&printed), &expected);
    // From then on the stream itself proves that nothing was missed.
    let lists = lists(&sim, first_requests);
    assert!(lists.is_empty(), "{lists:?}");
}

/// The lists that were asked for after so many requests; a table's index is asked for with one element a page.
fn lists(sim: &Sim, after: usize) -> Vec<String> {
    let targets = sim.requests().into_iter().skip(after).map(|request| request.target);
    targets.filter(|target| target.contains("per_page=500")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_every_line_everything_comes_once() {
    let lines = fixture_lines(RECORDING);
    stopped_after_each(&lines.chunks(1).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_every_index_everything_comes_once() {
    let lines = fixture_lines(RECORDING);
    let index = |line: &String| serde_json::from_str::<Value>(line).expect("a line is JSON")["Index"].clone();
    stopped_after_each(&lines.chunk_by(|one, other| index(one) == index(other)).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_every_event_everything_comes_once() {
    let lines: Vec<_> = fixture_lines(RECORDING).iter().flat_map(|line| one_line_an_event(line)).collect();
    assert_eq!(lines.len(), 476);
    stopped_after_each(&lines.chunks(1).collect::<Vec<_>>()).await;
}

/// The events of a line as lines of their own: Nomad does publish one index in several lines.
fn one_line_an_event(line: &str) -> Vec<String> {
    let line: Value = serde_json::from_str(line).expect("a line is JSON");
    let events = line["Events"].as_array().expect("events");
    events.iter().map(|event| json!({"Index": line["Index"], "Events": [event]}).to_string()).collect()
}
